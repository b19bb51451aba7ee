"""Images in folders, one a class, as torchvision's ImageFolder has them.

    PATH/train/CLASS/*.png,  PATH/test/CLASS/*.png      or val/ or validation/ instead of test/; .jpg, .bmp, ... as well

Classes are numbered in the order of their names. Without ``size`` all images have one size, and are held in memory as
they are. With it they are read when they are asked for, resized and cropped: ``landscape.data.pictures``.
"""

from pathlib import Path

import numpy as np
import torch

from landscape.data.arrays import Labelled, from_arrays, read_picture
from landscape.data.pictures import REMEDY, Pictures
from landscape.data.places import DataError, Where, found_again, places, read_first, reading
from landscape.data.split import Data

SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".bmp", ".gif", ".pgm", ".ppm", ".tif", ".tiff", ".webp"))


def folder(*, path: Where = None, size: int = 0) -> Data:
    """Load images from folders.

    Args:
        path: the folder that holds train/ and test/; a relative one is looked for under LANDSCAPE_DATA too.
        size: side of the squares that images of any size become, read when they are asked for; 0: all in memory.

    Raises:
        DataError: it is not there, an image is damaged or of another size, or a class is in test/ only.
        ValueError: ``size`` is negative.

    Example:
        >>> folder(path="/nowhere")
        Traceback (most recent call last):
        landscape.data.places.DataError: folder: not found in /nowhere. Expected train/CLASS/*.png and test/CLASS/*.png.
    """
    expected = "train/CLASS/*.png and test/CLASS/*.png."
    place, parts = read_first("folder", places("folder", path), _parts, expected)
    classes = sorted(child.name for child in (place / "train").iterdir() if child.is_dir())
    if size < 0:
        raise ValueError(f"size={size} is out of range. Expected a number of pixels, or 0 for images as they are.")
    if size:
        train, test = (_listed(part, classes, size) for part in parts)
        return Data("folder", found_again(path, place) | {"size": size}, train, test, len(classes))
    images = (_read(part, classes) for part in parts)
    return from_arrays("folder", found_again(path, place), *images, num_classes=len(classes))


def _parts(place: Path) -> tuple[Path, Path] | None:
    """The folders of the train and the test part, if there are both."""
    train, *tests = (place / name for name in ("train", "test", "val", "validation"))
    test = next((test for test in tests if test.is_dir()), None)
    return (train, test) if train.is_dir() and test else None


def _files(part: Path, classes: list[str]) -> list[Path]:
    """The images of a part, in the order of their names."""
    files = sorted(file for file in part.glob("*/*") if file.suffix.lower() in SUFFIXES)
    for file in files:
        if file.parent.name not in classes:
            raise DataError(f"{file.parent}: is a class that train/ does not have. Expected {', '.join(classes)}.")
    if not files:
        raise DataError(f"{part}: has no images. Expected CLASS/*.png, .jpg, ... in it.")
    return files


def _listed(part: Path, classes: list[str], size: int) -> Pictures:
    files, number = _files(part, classes), {name: index for index, name in enumerate(classes)}
    return Pictures.of(files, torch.tensor([number[file.parent.name] for file in files]), size=size)


def _read(part: Path, classes: list[str]) -> Labelled:
    images: list[np.ndarray] = []
    labels: list[int] = []
    for file in _files(part, classes):
        with reading(file, REMEDY):
            image = read_picture(file)
        if images and image.shape != images[0].shape:
            raise DataError(
                f"{file}: has shape {image.shape}. Expected {images[0].shape}, as the others. Resize it, or give size=."
            )
        images.append(image)
        labels.append(classes.index(file.parent.name))
    return Labelled(np.stack(images), np.array(labels), part)
