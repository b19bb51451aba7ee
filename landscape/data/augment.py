"""Augmentation of a whole batch at once, on the device that it lies on.

In this order, which is that of the papers' code: crop, flip, a policy, then what ``Split.prepare`` does, then Cutout.
So padding is black, and the squares of Cutout have the mean color. What is drawn is drawn on the CPU: it depends on the
generator and the shape of the batch, not on the device.

The policy "autoaugment" is that of ``landscape.data.autoaugment``, drawn once an image. "randaugment" (Cubuk et al.
2020, arXiv:1909.13719), two changes of strength 9 of 30, is kornia's: ``pip install "landscape-geometry[augment]"``;
it draws the kinds of change once a batch, where the paper draws them once an image.
"""

import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from landscape.data.autoaugment import autoaugment
from landscape.surroundings import rng_untouched

POLICIES = ("randaugment", "autoaugment")


def augment(
    inputs: Tensor,
    prepare: Callable[[Tensor], Tensor],
    *,
    generator: torch.Generator,
    flip: bool = False,
    crop: int = 0,
    cutout: int = 0,
    policy: str = "none",
    resized_crop: float = 0.0,
) -> Tensor:
    """Change the images of a batch at random and prepare them for a network.

    Args:
        inputs: images (n, channels, height, width), as pixels or floats.
        prepare: ``Split.prepare`` of their split.
        generator: of all that is drawn; on the CPU.
        flip: mirror every other image, left to right.
        crop: pad by so many pixels on all sides and crop to the size before.
        cutout: side of the square that is cut from every image.
        policy: "none", "autoaugment", or "randaugment", which needs kornia.
        resized_crop: of images in files (``landscape.data.pictures``), which training cuts as it reads them: the least
            share of the area of a random part; 0: the center. 0.08 is usual. Not of images that are here.

    Raises:
        ValueError: a length that is negative, a policy that cannot be applied, or ``resized_crop``.

    Example:
        >>> images = torch.arange(4, dtype=torch.uint8).reshape(1, 1, 1, 4)
        >>> augment(images, torch.Tensor.float, generator=torch.Generator().manual_seed(0), flip=True)
        tensor([[[[3., 2., 1., 0.]]]])
    """
    if resized_crop:
        raise ValueError(f"resized_crop={resized_crop} is of images in files. Expected a folder with size=.")
    for name, length in (("crop", crop), ("cutout", cutout)):
        if length < 0:
            raise ValueError(f"{name}={length} is out of range. Expected a number of pixels, or 0 for none.")
    if crop:
        inputs = random_crop(inputs, crop, generator=generator)
    if flip:
        inputs = random_flip(inputs, generator=generator)
    if policy != "none":
        inputs = apply_policy(policy, inputs, generator=generator)
    prepared = prepare(inputs)
    return random_cutout(prepared, cutout, generator=generator) if cutout else prepared


def random_flip(images: Tensor, *, generator: torch.Generator) -> Tensor:
    """Mirror each image left to right with probability 1/2."""
    flipped = torch.rand(len(images), generator=generator) < 0.5
    return torch.where(flipped.to(images.device).view(-1, 1, 1, 1), images.flip(3), images)


def random_crop(images: Tensor, padding: int, *, generator: torch.Generator) -> Tensor:
    """Pad with zeros on all sides, and crop each image to the size before, anywhere."""
    n, channels, height, width = images.shape
    corners = torch.randint(2 * padding + 1, (2, n, 1), generator=generator).to(images.device)
    rows = corners[0] + torch.arange(height, device=images.device)  # (n, height)
    columns = corners[1] + torch.arange(width, device=images.device)
    padded = torch.nn.functional.pad(images, (padding,) * 4)
    example = torch.arange(n, device=images.device).view(-1, 1, 1, 1)
    channel = torch.arange(channels, device=images.device).view(-1, 1, 1)
    return padded[example, channel, rows[:, None, :, None], columns[:, None, None, :]]


def random_cutout(images: Tensor, size: int, *, generator: torch.Generator) -> Tensor:
    """Set to zero a square of each image whose center is anywhere in it (DeVries and Taylor 2017, arXiv:1708.04552)."""
    n, _, height, width = images.shape
    inside = []
    for length in (height, width):
        first = torch.randint(length, (n, 1), generator=generator).to(images.device) - size // 2
        at = torch.arange(length, device=images.device)
        inside.append((at >= first) & (at < first + size))  # (n, length)
    return images.masked_fill((inside[0][:, :, None] & inside[1][:, None, :])[:, None], 0)


def apply_policy(name: str, images: Tensor, *, generator: torch.Generator) -> Tensor:
    """Change a batch of color images (n, 3, height, width) of uint8 pixels; kornia draws from a seed that we draw.

    Raises:
        ValueError: the policy is unknown, kornia is not installed, or the images are others.
    """
    if name not in POLICIES:
        raise ValueError(f"policy='{name}' is unknown. Expected one of: none, {', '.join(POLICIES)}.")
    if images.dtype != torch.uint8 or images.shape[1] != 3:
        raise ValueError(f"policy='{name}' got {images.dtype} of {images.shape[1]} channels. Expected color pixels.")
    if name == "autoaugment":
        return autoaugment(images, generator=generator)
    try:
        kornia: Any = importlib.import_module("kornia.augmentation.auto")
    except ImportError as error:
        raise ValueError(f'kornia is needed ({error}): pip install "landscape-geometry[augment]".') from error
    change = kornia.RandAugment(n=2, m=9)
    seed = int(torch.randint(2**62, (), generator=generator))
    with rng_untouched():
        torch.manual_seed(seed)
        changed: Tensor = change(images.float() / 255)
    return (255 * changed).round().clamp(0, 255).byte()
