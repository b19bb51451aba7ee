"""From images and labels to ``Data``: the decoding, the checks and the normalization that readers of images share.

uint8 images are normalized by the mean and deviation of every channel over all train pixels; floating images are taken
for what networks read, and are left alone.
"""

from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from landscape.data.places import DataError
from landscape.data.split import Data, Split
from landscape.reading import require_file, require_room

_CHUNK = 1000  # images
_CLASSES = 100_000  # that few images may have, as they do of a large set
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "PPM", "TIFF", "WEBP")  # Pillow would run other programs for some


class Labelled(NamedTuple):
    """Images with their labels, and where they were read, for messages."""

    images: np.ndarray  # (n, channels, height, width) uint8 or floating
    labels: np.ndarray  # (n,) integers
    where: Any


def from_arrays(
    name: str, args: dict[str, Any], train: Labelled, test: Labelled, *, num_classes: int | None = None
) -> Data:
    """Make ``Data`` of two parts.

    Args:
        name: under which ``load_data`` loads it again.
        args: with which it does.
        train: the one part.
        test: the other.
        num_classes: by default one more than the largest label.

    Raises:
        DataError: a part is empty, has not one label an image, labels out of range, or images of another shape.

    Example:
        >>> part = Labelled(np.zeros((2, 1, 4, 4), np.uint8), np.array([0, 2]), "here")
        >>> from_arrays("made-up", {}, part, part).num_classes
        3
    """
    for images, labels, where in (train, test):
        if labels.ndim != 1 or labels.dtype.kind not in "iu" or len(labels) != len(images) or not len(labels):
            raise DataError(
                f"{where}: has {len(images)} images, and labels of shape {labels.shape} and type {labels.dtype}. "
                "Expected one whole number an image, and at least one image."
            )
        if not images.size:
            raise DataError(f"{where}: has images of shape {images.shape[1:]}, without a pixel. Expected some.")
    num_classes = num_classes or 1 + int(max(train.labels.max(), test.labels.max()))
    if num_classes > max(_CLASSES, len(train.images)):
        raise DataError(f"{train.where}: has {num_classes:,} classes, by its largest label. Number them from 0.")
    for part in (train, test):
        if part.labels.min() < 0 or part.labels.max() >= num_classes:
            raise DataError(
                f"{part.where}: has labels from {part.labels.min()} to {part.labels.max()}. "
                f"Expected 0 to {num_classes - 1}."
            )
    if test.images.shape[1:] != train.images.shape[1:] or test.images.dtype.kind != train.images.dtype.kind:
        raise DataError(
            f"{test.where}: has {test.images.dtype} images of shape {test.images.shape[1:]}. "
            f"Expected {train.images.dtype} of {train.images.shape[1:]}, as in {train.where}."
        )
    statistics = channel_statistics(train.images) if train.images.dtype == np.uint8 else ((), ())
    return Data(name, args, _split(train, *statistics), _split(test, *statistics), num_classes)


def read_picture(source: Path | BytesIO) -> np.ndarray:
    """Decode an image into uint8 pixels (channels, height, width): one channel if it is gray, else red, green, blue.

    Raises:
        Exception: it cannot be read or decoded, or would take too much memory (see ``landscape.reading``).

    Example:
        >>> import io
        >>> Image.new("RGB", (5, 4), "red").save(file := io.BytesIO(), "PNG")
        >>> read_picture(file)[:, 0, 0], read_picture(file).shape
        (array([255,   0,   0], dtype=uint8), (3, 4, 5))
    """
    packed = require_file(source) if isinstance(source, Path) else len(source.getbuffer())
    with Image.open(source, formats=_FORMATS) as image:
        require_room(image.width * image.height * len(image.getbands()), packed)
        pixels = np.asarray(image if image.mode in ("L", "RGB") else image.convert("RGB"))
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def channels_first(images: np.ndarray, where: Any) -> np.ndarray:
    """Bring images (n, h, w), (n, h, w, 1 or 3) or (n, 1 or 3, h, w) into the last of these layouts.

    Raises:
        DataError: they are of another shape, or of a type that is neither uint8 nor floating.
    """
    if images.dtype != np.uint8 and images.dtype.kind != "f":
        raise DataError(f"{where}: has images of {images.dtype}. Expected uint8, or floats that a network reads.")
    if images.ndim == 3:
        return images[:, None]
    if images.ndim == 4 and images.shape[3] in (1, 3):
        return np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    if images.ndim == 4 and images.shape[1] in (1, 3):
        return images
    raise DataError(
        f"{where}: has an array of shape {images.shape} for images. "
        "Expected (n, height, width), or with 1 or 3 channels last or second."
    )


def channel_statistics(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and the deviation of each channel of uint8 images, over all pixels scaled to [0, 1].

    A constant channel has deviation 1, so that dividing by it is harmless.

    Example:
        >>> channel_statistics(np.array([[[[0, 255]]]], dtype=np.uint8))
        ((0.5,), (0.5,))
    """
    values = np.arange(256) / 255
    mean, std = [], []
    for channel in range(images.shape[1]):
        counts = np.zeros(256, dtype=np.int64)  # exact, whatever the number of pixels
        for start in range(0, len(images), _CHUNK):
            counts += np.bincount(images[start : start + _CHUNK, channel].ravel(), minlength=256)
        share = counts / counts.sum()
        mean.append(float(share @ values))
        std.append(float(np.sqrt(share @ (values - mean[-1]) ** 2)) or 1.0)
    return tuple(mean), tuple(std)


def _split(part: Labelled, mean: tuple[float, ...], std: tuple[float, ...]) -> Split:
    images = torch.from_numpy(part.images.astype(part.images.dtype.newbyteorder("="), copy=False))
    targets = torch.from_numpy(part.labels.astype(np.int64))
    return Split(images if images.dtype == torch.uint8 else images.float(), targets, mean, std)
