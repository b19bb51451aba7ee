"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009): 50,000 train and 10,000 test images of 32×32 pixels in 10 or 100 classes.

Read is, at a path or under LANDSCAPE_DATA, the first of these that is there:

    cifar-10-batches-py, cifar-100-python   the original Python pickles, unpacked
    train*.parquet, test*.parquet           Hugging Face's files (see `parquet`)
    cifar10.npz, cifar100.npz               numpy arrays (see `npz`)

A pickle is a program. Ours are run by an unpickler that admits arrays of bytes and plain containers only and calls
nothing, not even numpy, whose own unpickling can be made to read outside of its memory by a forged state.

Images are normalized by the mean and deviation of the channels over all train pixels. Many codes, GAM's among them,
divide CIFAR-10 by (0.2023, 0.1994, 0.2010) instead, which are means over images of the deviations within an image.
"""

import os
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from landscape.data.arrays import Labelled, from_arrays
from landscape.data.npz import read_npz
from landscape.data.parquet import has_parquet, read_parquet
from landscape.data.places import DataError, found_again, not_found, places, reading
from landscape.data.split import Data


@dataclass(frozen=True)
class Cifar:
    """One of the two sets."""

    name: str
    num_classes: int
    archive: str
    folder: str  # what the archive unpacks to
    train: tuple[str, ...]  # its files
    test: str
    labels: bytes  # the key of the labels


CIFAR10 = Cifar(
    name="cifar10",
    num_classes=10,
    archive="cifar-10-python.tar.gz",
    folder="cifar-10-batches-py",
    train=("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5"),
    test="test_batch",
    labels=b"labels",
)
CIFAR100 = Cifar(
    name="cifar100",
    num_classes=100,
    archive="cifar-100-python.tar.gz",
    folder="cifar-100-python",
    train=("train",),
    test="test",
    labels=b"fine_labels",
)


def cifar10(*, path: str | os.PathLike[str] | None = None) -> Data:
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
    return read_cifar(CIFAR10, places(CIFAR10.name, path, [CIFAR10.folder]), path)


def cifar100(*, path: str | os.PathLike[str] | None = None) -> Data:
    """Load CIFAR-100 with its 100 fine classes; argument and errors as for `cifar10`."""
    return read_cifar(CIFAR100, places(CIFAR100.name, path, [CIFAR100.folder]), path)


def read_cifar(cifar: Cifar, looked_in: list[Path], path: str | os.PathLike[str] | None) -> Data:
    """Read the set from the first place that has it.

    Raises:
        DataError: none has, or it is damaged.
    """
    for place in looked_in:
        if parts := _parts(cifar, place):
            data = from_arrays(cifar.name, found_again(path, place), *parts, num_classes=cifar.num_classes)
            if data.input_shape != (3, 32, 32):
                raise DataError(f"{place}: has images of shape {data.input_shape}. {cifar.name} has (3, 32, 32).")
            return data
    raise not_found(
        cifar.name,
        looked_in,
        f"{cifar.folder} (unpack {cifar.archive} from https://www.cs.toronto.edu/~kriz/cifar.html), train*.parquet and "
        f"test*.parquet (from https://huggingface.co/datasets/uoft-cs/{cifar.name}), or {cifar.name}.npz.",
    )


def _parts(cifar: Cifar, place: Path) -> tuple[Labelled, Labelled] | None:
    """The train and the test part, if the place has them in any of the layouts."""
    for folder in (place, place / cifar.folder):
        if (folder / cifar.train[0]).is_file():
            return _read_pickles(cifar, folder, cifar.train), _read_pickles(cifar, folder, (cifar.test,))
    if has_parquet(place):
        return read_parquet(place)
    for file in (place, place / f"{cifar.name}.npz"):
        if file.suffix == ".npz" and file.is_file():
            return read_npz(file)
    return None


def _read_pickles(cifar: Cifar, folder: Path, files: tuple[str, ...]) -> Labelled:
    images, labels = [], []
    for name in files:
        with reading(folder / name, f"Unpack {cifar.archive} again.", *_MALFORMED):
            with (folder / name).open("rb") as file:
                batch = _BytesOnly(file, encoding="bytes").load()
            images.append(batch[b"data"].pixels.reshape(-1, 3, 32, 32))
            labels.append(np.array(batch[cifar.labels], dtype=np.int64).reshape(len(images[-1])))
    return Labelled(np.concatenate(images), np.concatenate(labels), folder)


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

# What unpickling raises on bytes that make no sense, or on objects that are not what is expected here.
_MALFORMED = (
    pickle.UnpicklingError,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
)
