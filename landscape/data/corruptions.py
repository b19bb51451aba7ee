"""The 15 common corruptions of Hendrycks and Dietterich 2019 (arXiv:1903.12261), for images of 8×8 pixels and more.

Strengths are those of their code for CIFAR-10-C. Lengths in pixels are meant for 32×32 and grow with larger images.
An image's random numbers depend on the seed and its place in the split, not on the severity.

This is made with numpy, scipy and Pillow, and does not give the published files. What differs by intent:

1. Frost is a texture of ridges made from noise; theirs is cut from six photographs.
2. Glass blur takes every pixel from a neighbor. Theirs is written to swap the two, but half of the swap has no effect.
3. Zooms are about the center, and the two steps of the elastic transform interpolate once.
4. Motion blur follows ImageMagick's definition, with offsets rounded to whole pixels.
"""

import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy import ndimage

from landscape.data.split import Data, Split
from landscape.registry import find


def corrupted(data: Data, *, corruption: str, severity: int, seed: int = 0) -> Data:
    """Corrupt the test part of a dataset; the train part stays clean, as in CIFAR-10-C.

    Args:
        data: images, as uint8 pixels or as floats in [0, 1].
        corruption: a key of ``CORRUPTIONS``.
        severity: from 1 to 5.
        seed: of all random numbers.

    Raises:
        ValueError: for an unknown corruption, a severity out of range, or inputs that are not such images.

    Example:
        >>> from landscape.data.digits import digits
        >>> foggy = corrupted(digits(), corruption="fog", severity=3)
        >>> foggy.name, foggy.args, foggy.test.inputs.shape
        ('digits-c', {'corruption': 'fog', 'severity': 3, 'seed': 0}, torch.Size([360, 1, 8, 8]))
    """
    test = corrupt(data.test, corruption=corruption, severity=severity, seed=seed)
    args = data.args | {"corruption": corruption, "severity": severity, "seed": seed}
    return replace(data, name=f"{data.name}-c", args=args, test=test)


def corrupt(split: Split, *, corruption: str, severity: int, seed: int = 0) -> Split:
    """Corrupt every image of a split; arguments and errors as for ``corrupted``.

    Example:
        >>> split = Split(torch.full((1, 1, 8, 8), 100, dtype=torch.uint8), torch.tensor([0]))
        >>> corrupt(split, corruption="brightness", severity=5).inputs[0, 0, 0, 0]  # 100 + 0.3 * 255, rounded
        tensor(176, dtype=torch.uint8)
    """
    function, strengths = find(CORRUPTIONS, "corruption", corruption)
    if severity not in range(1, 6):
        raise ValueError(f"severity={severity} is out of range. Expected 1 to 5.")
    inputs = split.inputs
    if not isinstance(inputs, torch.Tensor):
        raise ValueError("Images that are read when they are asked for are not corrupted here. Leave size out.")
    is_pixels = inputs.dtype == torch.uint8
    if inputs.ndim != 4 or min(inputs.shape[2:]) < 8 or inputs.shape[1] not in (1, 3):
        raise ValueError(f"The inputs have shape {tuple(inputs.shape)}. Expected gray or color images of at least 8×8.")
    if not is_pixels and not (inputs.min() >= 0 and inputs.max() <= 1):
        raise ValueError("The inputs are floats outside of [0, 1]. Expected images that are not normalized.")
    images = inputs.cpu().numpy().transpose(0, 2, 3, 1)
    out = np.empty_like(images)
    for index, image in enumerate(images):
        x = image / 255 if is_pixels else image.astype(np.float64)  # (h, w, c) in [0, 1]
        y = function(x, np.random.default_rng((seed, index)), *strengths[severity - 1]).clip(0, 1)
        out[index] = (255 * y).round() if is_pixels else y
    return replace(split, inputs=torch.from_numpy(out.transpose(0, 3, 1, 2).copy()).to(inputs.device))


def _gaussian_noise(x: np.ndarray, rng: np.random.Generator, std: float) -> np.ndarray:
    return x + std * rng.standard_normal(x.shape)


def _shot_noise(x: np.ndarray, rng: np.random.Generator, photons: float) -> np.ndarray:
    return rng.poisson(x * photons) / photons


def _impulse_noise(x: np.ndarray, rng: np.random.Generator, share: float) -> np.ndarray:
    hit, salt = rng.random(x.shape) < share, rng.random(x.shape) < 0.5
    return np.where(hit, salt, x)


def _defocus_blur(x: np.ndarray, _: np.random.Generator, radius: float, smoothing: float) -> np.ndarray:
    scale = _scale(x)
    reach = int(np.ceil(radius * scale)) + int(np.ceil(scale))
    at = np.arange(-reach, reach + 1)
    disk = (at[:, None] ** 2 + at**2 <= (radius * scale) ** 2).astype(float)
    kernel = ndimage.gaussian_filter(disk / disk.sum(), smoothing * scale, radius=int(np.ceil(scale)))
    return ndimage.convolve(x, kernel[..., None], mode="mirror")


def _glass_blur(x: np.ndarray, rng: np.random.Generator, sigma: float, num_rounds: int) -> np.ndarray:
    (h, w), reach = x.shape[:2], max(1, round(_scale(x)))
    blurred = ndimage.gaussian_filter(x, sigma * _scale(x), axes=(0, 1))
    for _ in range(num_rounds):
        rows, columns = np.indices((h, w)) + rng.integers(-reach, reach, size=(2, h, w))
        blurred = blurred[rows.clip(0, h - 1), columns.clip(0, w - 1)]
    return ndimage.gaussian_filter(blurred, sigma * _scale(x), axes=(0, 1))


def _motion_blur(x: np.ndarray, rng: np.random.Generator, radius: float, sigma: float) -> np.ndarray:
    return _smear(x, radius, sigma, angle=rng.uniform(-45, 45))


def _zoom_blur(x: np.ndarray, _: np.random.Generator, largest: float) -> np.ndarray:
    factors = np.arange(1, largest + 0.005, 0.01)
    return (x + sum(_zoomed(x, factor) for factor in factors)) / (1 + len(factors))


def _snow(
    x: np.ndarray,
    rng: np.random.Generator,
    mean: float,
    std: float,
    zoom: float,
    threshold: float,
    radius: float,
    sigma: float,
    clarity: float,
) -> np.ndarray:
    flakes = _zoomed(rng.normal(mean, std, size=(*x.shape[:2], 1)), zoom)
    flakes = _smear(np.where(flakes < threshold, 0, flakes).clip(0, 1), radius, sigma, angle=rng.uniform(-135, -45))
    gray = x @ [[0.299], [0.587], [0.114]] if x.shape[2] == 3 else x
    return clarity * x + (1 - clarity) * np.maximum(x, 1.5 * gray + 0.5) + flakes + np.rot90(flakes, 2)


def _frost(x: np.ndarray, rng: np.random.Generator, clarity: float, amount: float) -> np.ndarray:
    ridges = (1 - np.abs(2 * _plasma(x, 1.5, rng) - 1)) ** 2
    tint = np.array([0.8, 0.9, 1.0]) if x.shape[2] == 3 else np.array([0.9])
    return clarity * x + amount * tint * ridges


def _fog(x: np.ndarray, rng: np.random.Generator, amount: float, decay: float) -> np.ndarray:
    brightest = x.max()
    return (x + amount * _plasma(x, decay, rng)) * brightest / (brightest + amount)


def _brightness(x: np.ndarray, _: np.random.Generator, shift: float) -> np.ndarray:
    value = x.max(axis=2, keepdims=True)  # of hue, saturation and value
    brighter = (value + shift).clip(0, 1)
    return np.where(value > 0, x * brighter / np.where(value > 0, value, 1), brighter)


def _contrast(x: np.ndarray, _: np.random.Generator, factor: float) -> np.ndarray:
    mean = x.mean(axis=(0, 1), keepdims=True)
    return (x - mean) * factor + mean


def _elastic_transform(x: np.ndarray, rng: np.random.Generator, push: float, sigma: float, shear: float) -> np.ndarray:
    """An affine map that moves three points by up to ``shear``, after smooth displacements, in shares of the side."""
    (h, w), side = x.shape[:2], min(x.shape[:2])
    corners = np.array([h, w]) // 2 + side // 3 * np.array([[1, 1], [1, -1], [-1, -1]])
    moved = corners + rng.uniform(-shear * side, shear * side, size=(3, 2))
    back = np.linalg.solve(np.c_[moved, np.ones(3)], corners)  # (row, column, 1) @ back: where a pixel comes from
    smooth = (ndimage.gaussian_filter(rng.uniform(-1, 1, (h, w)), sigma * side, truncate=3) for _ in range(2))
    rows, columns = np.indices((h, w)) + push * side * np.stack(list(smooth))
    at = np.moveaxis(np.stack([rows, columns, np.ones((h, w))], axis=-1) @ back, -1, 0)
    return _sampled(x, at)


def _pixelate(x: np.ndarray, _: np.random.Generator, share: float) -> np.ndarray:
    h, w = x.shape[:2]
    few, box = (int(share * w), int(share * h)), Image.Resampling.BOX
    channels = (Image.fromarray(channel.astype(np.float32)) for channel in np.moveaxis(x, 2, 0))
    return np.stack([np.asarray(channel.resize(few, box).resize((w, h), box)) for channel in channels], axis=-1)


def _jpeg_compression(x: np.ndarray, _: np.random.Generator, quality: int) -> np.ndarray:
    pixels = (255 * x).round().astype(np.uint8)
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(
        file := io.BytesIO(), "JPEG", quality=quality
    )
    with Image.open(file) as image:
        return np.asarray(image).reshape(x.shape) / 255


# name -> how, and its strengths from severity 1 to 5
CORRUPTIONS: dict[str, tuple[Callable[..., np.ndarray], list[tuple[Any, ...]]]] = {
    "gaussian_noise": (_gaussian_noise, [(0.04,), (0.06,), (0.08,), (0.09,), (0.10,)]),
    "shot_noise": (_shot_noise, [(500,), (250,), (100,), (75,), (50,)]),
    "impulse_noise": (_impulse_noise, [(0.01,), (0.02,), (0.03,), (0.05,), (0.07,)]),
    "defocus_blur": (_defocus_blur, [(0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)]),
    "glass_blur": (_glass_blur, [(0.05, 1), (0.25, 1), (0.4, 1), (0.25, 2), (0.4, 2)]),
    "motion_blur": (_motion_blur, [(6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)]),
    "zoom_blur": (_zoom_blur, [(1.05,), (1.10,), (1.15,), (1.20,), (1.25,)]),
    "snow": (
        _snow,
        [
            (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ],
    ),
    "frost": (_frost, [(1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)]),
    "fog": (_fog, [(0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)]),
    "brightness": (_brightness, [(0.05,), (0.1,), (0.15,), (0.2,), (0.3,)]),
    "contrast": (_contrast, [(0.75,), (0.5,), (0.4,), (0.3,), (0.15,)]),
    "elastic_transform": (
        _elastic_transform,
        [(0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)],
    ),
    "pixelate": (_pixelate, [(0.95,), (0.9,), (0.85,), (0.75,), (0.65,)]),
    "jpeg_compression": (_jpeg_compression, [(80,), (65,), (58,), (50,), (40,)]),
}


def _scale(x: np.ndarray) -> float:
    """By how much lengths grow: the strengths are those of 32×32 images."""
    return max(1.0, min(x.shape[:2]) / 32)


def _smear(x: np.ndarray, radius: float, sigma: float, *, angle: float) -> np.ndarray:
    """The mean of copies moved 0, 1, 2, ... 2 radius pixels along a direction, with Gaussian weights; edges repeat."""
    steps = np.arange(2 * round(radius * _scale(x)) + 1)
    weights = np.exp(-0.5 * (steps / (sigma * _scale(x))) ** 2)
    direction = np.deg2rad(angle)
    out = np.zeros_like(x)
    for weight, dy, dx in zip(
        weights / weights.sum(), steps * np.sin(direction), steps * np.cos(direction), strict=True
    ):
        rows, columns = (np.arange(n) + round(d) for n, d in zip(x.shape, (dy, dx), strict=False))
        out += weight * x[rows.clip(0, x.shape[0] - 1)][:, columns.clip(0, x.shape[1] - 1)]
    return out


def _zoomed(x: np.ndarray, factor: float) -> np.ndarray:
    h, w = x.shape[:2]
    center = np.array([h - 1, w - 1]).reshape(2, 1, 1) / 2
    return _sampled(x, center + (np.indices((h, w)) - center) / factor)


def _sampled(x: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The image at points (2, h, w), interpolated linearly, mirrored beyond its edges."""
    return np.stack(
        [ndimage.map_coordinates(channel, at, order=1, mode="mirror") for channel in np.moveaxis(x, 2, 0)], -1
    )


def _plasma(x: np.ndarray, decay: float, rng: np.random.Generator) -> np.ndarray:
    """A periodic landscape of the size of the image, (h, w, 1), from 0 to 1: midpoint displacement (diamond-square)."""
    heights, amplitude = np.zeros((1, 1)), 1.0

    def between(*neighbors: np.ndarray) -> np.ndarray:
        return sum(neighbors) / 4 + amplitude * rng.uniform(-1, 1, heights.shape)

    while len(heights) < max(x.shape[:2]):
        below, right = np.roll(heights, -1, 0), np.roll(heights, -1, 1)
        centers = between(heights, below, right, np.roll(below, -1, 1))
        finer = np.empty((2 * len(heights), 2 * len(heights)))
        finer[::2, ::2], finer[1::2, 1::2] = heights, centers
        finer[::2, 1::2] = between(heights, right, centers, np.roll(centers, 1, 0))
        finer[1::2, ::2] = between(heights, below, centers, np.roll(centers, 1, 1))
        heights, amplitude = finer, amplitude / decay**2
    heights = heights[: x.shape[0], : x.shape[1], None]
    return (heights - heights.min()) / np.ptp(heights)
