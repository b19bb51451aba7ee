"""Small made-up datasets in the published layouts, written byte by byte where we read byte by byte."""

import struct
from pathlib import Path
from typing import Any

import numpy as np

Part = tuple[np.ndarray, np.ndarray]  # images (n, h, w, c) uint8, labels (n,)


def part(num_images: int, *, seed: int, num_classes: int = 10, shape: tuple[int, ...] = (32, 32, 3)) -> Part:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(num_images) % num_classes)
    return rng.integers(256, size=(num_images, *shape), dtype=np.uint8), labels


def write_cifar10_pickles(folder: Path, train: Part, test: Part) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    images, labels = (np.array_split(array, 5) for array in train)
    for number in range(5):
        content = cifar_pickle(images[number], {b"labels": labels[number]})
        (folder / f"data_batch_{number + 1}").write_bytes(content)
    (folder / "test_batch").write_bytes(cifar_pickle(test[0], {b"labels": test[1]}))


def cifar_pickle(images: np.ndarray, labels: dict[bytes, np.ndarray]) -> bytes:
    """A batch as Python 2 pickled it: protocol 2, byte strings, and numpy's names of that time."""
    rows = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    items = [string(b"batch_label"), string(b"batch 1 of 5"), string(b"data"), array(rows)]
    for key, values in labels.items():
        items += [string(key), b"](", *map(number, values.tolist()), b"e"]
    return b"\x80\x02}(" + b"".join(items) + b"u."


def array(values: np.ndarray, code: bytes = b"u1") -> bytes:
    dtype = [b"cnumpy\ndtype\n", string(code), number(0), number(1), b"\x87R(", number(3), string(b"|"), b"NNN"]
    dtype += [number(-1), number(-1), number(0), b"tb"]
    empty = [b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n", number(0), b"\x85", string(b"b"), b"\x87R"]
    shape = [b"(", *map(number, values.shape), b"t"]
    return b"".join([*empty, b"(", number(1), *shape, *dtype, b"\x89", string(values.tobytes()), b"tb"])


def string(content: bytes) -> bytes:
    return b"T" + struct.pack("<i", len(content)) + content


def number(value: Any) -> bytes:
    return b"J" + struct.pack("<i", value)


def assert_is(data: Any, train: Part, test: Part) -> None:
    """Whether `Data` holds these images, channels first, and labels, in this order."""
    for split, (images, labels) in ((data.train, train), (data.test, test)):
        images = images[..., None] if images.ndim == 3 else images
        assert np.array_equal(split.inputs.numpy(), images.transpose(0, 3, 1, 2))
        assert np.array_equal(split.targets.numpy(), labels)
        assert (split.inputs.numpy().dtype, split.targets.numpy().dtype) == (np.uint8, np.int64)
