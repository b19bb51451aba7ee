"""CIFAR-10-C and CIFAR-100-C (Hendrycks and Dietterich 2019, arXiv:1903.12261), from the published .npy files.

The published files are the test images, corrupted: CORRUPTION.npy has those of severities 1 to 5 one after the other,
labels.npy their classes. Here the test part is one corruption at one severity. The train part is that of CIFAR itself,
clean, and the test part is normalized as it is. To corrupt any set of images, see `corruptions`.
"""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from landscape.data.cifar import CIFAR10, CIFAR100, Cifar, read_cifar
from landscape.data.places import DataError, found_again, not_found, places, reading
from landscape.data.split import Data

_SOURCES = {"cifar10": "2535967", "cifar100": "3555552"}  # record numbers at Zenodo


def cifar10_c(
    *,
    corruption: str,
    severity: int,
    path: str | os.PathLike[str] | None = None,
    clean: str | os.PathLike[str] | None = None,
) -> Data:
    """Load CIFAR-10 with one corruption of CIFAR-10-C for test part.

    Args:
        corruption: name of a file, such as "gaussian_noise" or "speckle_noise".
        severity: from 1 to 5.
        path: the folder of .npy files; by default a folder "cifar10-c" or "CIFAR-10-C" of LANDSCAPE_DATA.
        clean: where CIFAR-10 is, for the train part; by default beside the folder of .npy files, in a folder "cifar10"
            or "cifar-10-batches-py".

    Raises:
        DataError: one of them is not there, or damaged.
        ValueError: `severity` is out of range.

    Example:
        >>> cifar10_c(corruption="fog", severity=3, path="/nowhere")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        landscape.data.places.DataError: cifar10-c: not found in /nowhere. Expected labels.npy and fog.npy: unpack ...
    """
    return _load(CIFAR10, "CIFAR-10-C", corruption, severity, path, clean)


def cifar100_c(
    *,
    corruption: str,
    severity: int,
    path: str | os.PathLike[str] | None = None,
    clean: str | os.PathLike[str] | None = None,
) -> Data:
    """Load CIFAR-100 with one corruption of CIFAR-100-C for test part; arguments and errors as for `cifar10_c`."""
    return _load(CIFAR100, "CIFAR-100-C", corruption, severity, path, clean)


def _load(
    cifar: Cifar,
    folder: str,
    corruption: str,
    severity: int,
    path: str | os.PathLike[str] | None,
    clean: str | os.PathLike[str] | None,
) -> Data:
    if severity not in range(1, 6):
        raise ValueError(f"severity={severity} is out of range. Expected 1 to 5.")
    name = f"{cifar.name}-c"
    archive = f"{folder}.tar from https://zenodo.org/records/{_SOURCES[cifar.name]}"
    looked_in = places(name, path, [folder])
    place = next((place for place in looked_in if (place / "labels.npy").is_file()), None)
    if place is None:
        raise not_found(name, looked_in, f"labels.npy and {corruption}.npy: unpack {archive}.")
    labels = _rows(place / "labels.npy", severity, archive)
    images = _rows(place / f"{corruption}.npy", severity, archive)
    fit = images.shape == (len(labels), 32, 32, 3) and images.dtype == labels.dtype == np.uint8
    if not fit or labels.ndim != 1 or not labels.size or labels.max() >= cifar.num_classes:
        raise DataError(f"{place}: {corruption}.npy and labels.npy do not belong together. Unpack {archive} again.")
    beside = [place.parent / name for name in (cifar.name, cifar.folder)]
    data = read_cifar(cifar, beside if clean is None else places(cifar.name, clean), clean)
    args = {"corruption": corruption, "severity": severity, **found_again(path, place)}
    if clean is not None:
        args["clean"] = data.args["path"]
    pixels = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
    test = replace(data.test, inputs=pixels, targets=torch.from_numpy(labels.astype(np.int64)))
    return replace(data, name=name, args=args, test=test)


def _rows(file: Path, severity: int, archive: str) -> np.ndarray:
    """The fifth of the rows that belongs to a severity; the others are not read."""
    with reading(file, f"Unpack {archive} again.", ValueError, EOFError):
        rows = np.load(file, mmap_mode="r", allow_pickle=False)
        start, stop = (len(rows) * number // 5 for number in (severity - 1, severity))
        return np.array(rows[start:stop])
