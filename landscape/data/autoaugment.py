"""AutoAugment with the policy found for CIFAR-10 (Cubuk et al. 2019, arXiv:1805.09501, appendix), by Pillow.

Of 25 pairs of changes each image draws one; each of the two is made with its probability, at its strength, and those
that have a direction in one of two at random. As in the authors' code pixels are moved without interpolation. The
strengths are those of torchvision's AutoAugment: 0 to 9 is none to the most that the paper has, moves are in shares of
the image's side, and color, contrast, brightness and sharpness go either way; what comes from outside is black.
"""

from collections.abc import Callable
from math import ceil

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

Picture = Image.Image


def autoaugment(images: Tensor, *, generator: torch.Generator) -> Tensor:
    """Change each of a batch of color images.

    Args:
        images: pixels (n, 3, height, width), uint8.
        generator: of all that is drawn; on the CPU.

    Example:
        >>> images = torch.arange(3 * 64, dtype=torch.uint8).reshape(1, 3, 8, 8)
        >>> autoaugment(images, generator=torch.Generator().manual_seed(0)).shape
        torch.Size([1, 3, 8, 8])
    """
    n = len(images)
    pairs = torch.randint(len(POLICY), (n,), generator=generator).tolist()
    chances = torch.rand((n, 2), generator=generator).tolist()
    signs = (2 * torch.randint(2, (n, 2), generator=generator) - 1).tolist()
    pixels = images.permute(0, 2, 3, 1).cpu().numpy()
    changed = np.empty_like(pixels)
    for i in range(n):
        picture = Image.fromarray(np.ascontiguousarray(pixels[i]))
        for (name, probability, strength), chance, sign in zip(POLICY[pairs[i]], chances[i], signs[i], strict=True):
            if chance < probability:
                picture = CHANGES[name](picture, strength / 9, sign)
        changed[i] = np.asarray(picture)
    return torch.from_numpy(changed).permute(0, 3, 1, 2).contiguous().to(images.device)


def _shear_x(picture: Picture, share: float, sign: int) -> Picture:
    return _affine(picture, 1, sign * 0.3 * share, 0, 0, 1, 0)


def _shear_y(picture: Picture, share: float, sign: int) -> Picture:
    return _affine(picture, 1, 0, 0, sign * 0.3 * share, 1, 0)


def _translate_x(picture: Picture, share: float, sign: int) -> Picture:
    return _affine(picture, 1, 0, sign * int(150 / 331 * picture.width * share), 0, 1, 0)


def _translate_y(picture: Picture, share: float, sign: int) -> Picture:
    return _affine(picture, 1, 0, 0, 0, 1, sign * int(150 / 331 * picture.height * share))


def _affine(picture: Picture, *matrix: float) -> Picture:
    """The pixel at (x, y) is that at (a x + b y + c, d x + e y + f)."""
    return picture.transform(picture.size, Image.Transform.AFFINE, matrix, Image.Resampling.NEAREST)


def _rotate(picture: Picture, share: float, sign: int) -> Picture:
    return picture.rotate(sign * 30 * share, Image.Resampling.NEAREST)


def _posterize(picture: Picture, share: float, _: int) -> Picture:
    return ImageOps.posterize(picture, 8 - round(4 * share))


def _solarize(picture: Picture, share: float, _: int) -> Picture:
    return ImageOps.solarize(picture, ceil(255 * (1 - share)))


def _enhanced(enhance: Callable[[Picture], ImageEnhance._Enhance]) -> Callable[[Picture, float, int], Picture]:
    return lambda picture, share, sign: enhance(picture).enhance(1 + sign * 0.9 * share)


def _without(change: Callable[[Picture], Picture]) -> Callable[[Picture, float, int], Picture]:
    """A change that has no strength."""
    return lambda picture, _, __: change(picture)


# name -> the change, of an image, a share of its largest strength, and a sign
CHANGES: dict[str, Callable[[Picture, float, int], Picture]] = {
    "shear_x": _shear_x,
    "shear_y": _shear_y,
    "translate_x": _translate_x,
    "translate_y": _translate_y,
    "rotate": _rotate,
    "brightness": _enhanced(ImageEnhance.Brightness),
    "color": _enhanced(ImageEnhance.Color),
    "contrast": _enhanced(ImageEnhance.Contrast),
    "sharpness": _enhanced(ImageEnhance.Sharpness),
    "posterize": _posterize,
    "solarize": _solarize,
    "autocontrast": _without(ImageOps.autocontrast),
    "equalize": _without(ImageOps.equalize),
    "invert": _without(ImageOps.invert),
}

# two changes with their probabilities and strengths, 0 where there is none
POLICY: tuple[tuple[tuple[str, float, int], tuple[str, float, int]], ...] = (
    (("invert", 0.1, 0), ("contrast", 0.2, 6)),
    (("rotate", 0.7, 2), ("translate_x", 0.3, 9)),
    (("sharpness", 0.8, 1), ("sharpness", 0.9, 3)),
    (("shear_y", 0.5, 8), ("translate_y", 0.7, 9)),
    (("autocontrast", 0.5, 0), ("equalize", 0.9, 0)),
    (("shear_y", 0.2, 7), ("posterize", 0.3, 7)),
    (("color", 0.4, 3), ("brightness", 0.6, 7)),
    (("sharpness", 0.3, 9), ("brightness", 0.7, 9)),
    (("equalize", 0.6, 0), ("equalize", 0.5, 0)),
    (("contrast", 0.6, 7), ("sharpness", 0.6, 5)),
    (("color", 0.7, 7), ("translate_x", 0.5, 8)),
    (("equalize", 0.3, 0), ("autocontrast", 0.4, 0)),
    (("translate_y", 0.4, 3), ("sharpness", 0.2, 6)),
    (("brightness", 0.9, 6), ("color", 0.2, 8)),
    (("solarize", 0.5, 2), ("invert", 0.0, 0)),
    (("equalize", 0.2, 0), ("autocontrast", 0.6, 0)),
    (("equalize", 0.2, 0), ("equalize", 0.6, 0)),
    (("color", 0.9, 9), ("equalize", 0.6, 0)),
    (("autocontrast", 0.8, 0), ("solarize", 0.2, 8)),
    (("brightness", 0.1, 3), ("color", 0.7, 0)),
    (("solarize", 0.4, 5), ("autocontrast", 0.9, 0)),
    (("translate_y", 0.9, 9), ("translate_y", 0.7, 9)),
    (("autocontrast", 0.9, 0), ("solarize", 0.8, 3)),
    (("equalize", 0.8, 0), ("invert", 0.1, 0)),
    (("translate_y", 0.7, 9), ("autocontrast", 0.9, 0)),
)
