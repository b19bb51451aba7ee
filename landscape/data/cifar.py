"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009), and CIFAR-10-C and CIFAR-100-C, their test images corrupted.

The sets have 50,000 train and 10,000 test images of 32×32 pixels. Read is, at a path or under LANDSCAPE_DATA, the first
of these that is there:

    cifar-10-batches-py, cifar-100-python   the original Python pickles, unpacked
    train*.parquet, test*.parquet           Hugging Face's files (see ``parquet``)
    cifar10.npz, cifar100.npz               numpy arrays (see ``npz``)

The corrupted images (Hendrycks and Dietterich 2019, arXiv:1903.12261) are the published .npy files: CORRUPTION.npy has
those of severities 1 to 5 one after the other, labels.npy their classes. To corrupt any set of images, see
``corruptions``.

A pickle is a program. Ours are run by an unpickler that admits arrays of bytes and plain containers only and calls
nothing, not even numpy, whose own unpickling can be made to read outside of its memory by a forged state.

Images are normalized by the mean and deviation of the channels over all train pixels. Many codes, GAM's among them,
divide CIFAR-10 by (0.2023, 0.1994, 0.2010) instead, which are means over images of the deviations within an image.
"""

import pickle
import pickletools
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from landscape.data.arrays import Labelled, from_arrays
from landscape.data.npz import read_npz
from landscape.data.parquet import parquet_folders, read_parquet
from landscape.data.places import DataError, Where, found_again, places, read_first, reading
from landscape.data.split import Data
from landscape.readers import require_header
from landscape.reading import open_file, require_file


@dataclass(frozen=True)
class _Cifar:
    """One of the two sets."""

    num_classes: int
    folder: str  # what its archive unpacks to
    train: tuple[str, ...]  # files
    test: str
    labels: bytes  # the key of the labels
    record: int  # of the corrupted images, at Zenodo

    @property
    def name(self) -> str:
        return f"cifar{self.num_classes}"


_CIFAR10 = _Cifar(
    num_classes=10,
    folder="cifar-10-batches-py",
    train=("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5"),
    test="test_batch",
    labels=b"labels",
    record=2535967,
)
_CIFAR100 = _Cifar(
    num_classes=100, folder="cifar-100-python", train=("train",), test="test", labels=b"fine_labels", record=3555552
)


def cifar10(*, path: Where = None) -> Data:
    """Load CIFAR-10.

    Args:
        path: the folder, or an .npz file; by default a folder "cifar10" or "cifar-10-batches-py" of LANDSCAPE_DATA.

    Raises:
        DataError: it is not there, or damaged.

    Example:
        >>> cifar10(path="/nowhere")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        landscape.data.places.DataError: cifar10: not found in /nowhere. Expected cifar-10-batches-py (unpack ...
    """
    return _load(_CIFAR10, places("cifar10", path, [_CIFAR10.folder]), path)


def cifar100(*, path: Where = None) -> Data:
    """Load CIFAR-100 with its 100 fine classes; argument and errors as for ``cifar10``."""
    return _load(_CIFAR100, places("cifar100", path, [_CIFAR100.folder]), path)


def cifar10_c(*, corruption: str, severity: int, path: Where = None, clean: Where = None) -> Data:
    """Load CIFAR-10 with one corruption of CIFAR-10-C for test part, normalized as the train part is.

    Args:
        corruption: name of a file, such as "gaussian_noise" or "speckle_noise".
        severity: from 1 to 5.
        path: the folder of .npy files; by default a folder "cifar10-c" or "CIFAR-10-C" of LANDSCAPE_DATA.
        clean: where CIFAR-10 is, for the train part; by default beside the folder of .npy files, in a folder "cifar10"
            or "cifar-10-batches-py".

    Raises:
        DataError: one of them is not there, or damaged.
        ValueError: ``severity`` is out of range.

    Example:
        >>> cifar10_c(corruption="fog", severity=3, path="/nowhere")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        landscape.data.places.DataError: cifar10-c: not found in /nowhere. Expected labels.npy and fog.npy: unpack ...
    """
    return _load_corrupted(_CIFAR10, corruption, severity, path, clean)


def cifar100_c(*, corruption: str, severity: int, path: Where = None, clean: Where = None) -> Data:
    """Load CIFAR-100 with one corruption of CIFAR-100-C for test part; arguments and errors as for ``cifar10_c``."""
    return _load_corrupted(_CIFAR100, corruption, severity, path, clean)


def _load(cifar: _Cifar, looked_in: list[Path], path: Where) -> Data:
    expected = (
        f"{cifar.folder} (unpack {_archive(cifar)} from https://www.cs.toronto.edu/~kriz/cifar.html), train*.parquet "
        f"and test*.parquet (from https://huggingface.co/datasets/uoft-cs/{cifar.name}), or {cifar.name}.npz."
    )
    place, parts = read_first(cifar.name, looked_in, partial(_read, cifar), expected)
    data = from_arrays(cifar.name, found_again(path, place), *parts, num_classes=cifar.num_classes)
    if data.input_shape != (3, 32, 32):
        raise DataError(f"{place}: has images of shape {data.input_shape}. {cifar.name} has (3, 32, 32).")
    return data


def _archive(cifar: _Cifar) -> str:
    return f"cifar-{cifar.num_classes}-python.tar.gz"


def _read(cifar: _Cifar, place: Path) -> tuple[Labelled, Labelled] | None:
    """The train and the test part, if the place has them in any of the layouts."""
    for folder in (place, place / cifar.folder):
        if (folder / cifar.train[0]).is_file():
            return _read_pickles(cifar, folder, cifar.train), _read_pickles(cifar, folder, (cifar.test,))
    if parquet_folders(place):
        return read_parquet(place)
    for file in (place, place / f"{cifar.name}.npz"):
        if file.suffix == ".npz" and file.is_file():
            return read_npz(file)
    return None


def _read_pickles(cifar: _Cifar, folder: Path, files: tuple[str, ...]) -> Labelled:
    images, labels = [], []
    for name in files:
        with reading(folder / name, f"Unpack {_archive(cifar)} again."):
            with open_file(folder / name) as file:
                _require_small_memo(file)
                batch = _BytesOnly(file, encoding="bytes").load()
            images.append(batch[b"data"].pixels.reshape(-1, 3, 32, 32))
            if any(type(label) is not int for label in batch[cifar.labels]):
                raise ValueError("its labels are not whole numbers")
            labels.append(np.array(batch[cifar.labels], dtype=np.int64).reshape(len(images[-1])))
    return Labelled(np.concatenate(images), np.concatenate(labels), folder)


def _require_small_memo(file: BinaryIO) -> None:
    """Refuse a pickle that counts its objects in a memo of more places than it has operations, which it fills."""
    places = [argument for operation, argument, _ in pickletools.genops(file) if operation.name.endswith("PUT")]
    if any(int(place or 0) > len(places) for place in places):
        raise ValueError("its memo has places that nothing fills")
    file.seek(0)


class _BytesOnly(pickle.Unpickler):
    """Builds plain containers, and our stand-ins for numpy's arrays of bytes."""

    def find_class(self, module: str, name: str) -> Any:
        if module in ("numpy", "numpy.core.multiarray", "numpy._core.multiarray") and name in _STAND_INS:
            return _STAND_INS[name]
        raise pickle.UnpicklingError(f"it would import {module}.{name}")


class _Dtype:
    """What stands for numpy.dtype; its state (byte order, alignment) says nothing that a byte has."""

    def __init__(self, code: bytes | str, *_: Any) -> None:
        self.code = code

    def __setstate__(self, state: Any) -> None: ...


class _Array:
    """What stands for numpy.ndarray: takes the state that numpy writes and makes an array of uint8 of it."""

    def __init__(self, *_: Any) -> None: ...

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, is_fortran, content = state
        if dtype.code not in (b"u1", "u1"):
            raise pickle.UnpicklingError(f"it has an array of {dtype.code}, where bytes are expected")
        self.pixels = np.frombuffer(content, dtype=np.uint8).reshape(shape, order="F" if is_fortran else "C")


_STAND_INS = {"ndarray": _Array, "dtype": _Dtype, "_reconstruct": _Array}


def _load_corrupted(cifar: _Cifar, corruption: str, severity: int, path: Where, clean: Where) -> Data:
    if severity not in range(1, 6):
        raise ValueError(f"severity={severity} is out of range. Expected 1 to 5.")
    name, folder = f"{cifar.name}-c", f"CIFAR-{cifar.num_classes}-C"
    archive = f"{folder}.tar from https://zenodo.org/records/{cifar.record}"
    expected = f"labels.npy and {corruption}.npy: unpack {archive}."
    place, _ = read_first(name, places(name, path, [folder]), lambda at: (at / "labels.npy").is_file(), expected)
    labels, images = (_read_fifth(place / f"{file}.npy", severity, archive) for file in ("labels", corruption))
    fit = images.shape == (len(labels), 32, 32, 3) and images.dtype == labels.dtype == np.uint8
    if not fit or labels.ndim != 1 or not labels.size or labels.max() >= cifar.num_classes:
        raise DataError(f"{place}: {corruption}.npy and labels.npy do not belong together. Unpack {archive} again.")
    beside = [place.parent / name for name in (cifar.name, cifar.folder)]
    data = _load(cifar, beside if clean is None else places(cifar.name, clean), clean)
    args = {"corruption": corruption, "severity": severity, **found_again(path, place)}
    if clean is not None:
        args["clean"] = data.args["path"]
    pixels = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
    test = replace(data.test, inputs=pixels, targets=torch.from_numpy(labels.astype(np.int64)))
    return replace(data, name=name, args=args, test=test)


def _read_fifth(file: Path, severity: int, archive: str) -> np.ndarray:
    """The rows of a severity; the others are not read."""
    with reading(file, f"Unpack {archive} again."):
        with open_file(file) as opened:
            require_header(opened, require_file(file))
        rows = np.load(file, mmap_mode="r", allow_pickle=False)
        start, stop = (len(rows) * number // 5 for number in (severity - 1, severity))
        return np.array(rows[start:stop])
