"""Images that lie in files and are decoded when a batch is asked for: sets as large as ImageNet.

An image becomes a square of ``size`` pixels, in color. To measure on, its shorter side is resized to 256 / 224 of that
and its center is cut out. To train on, a random part may be cut out instead ("Inception-style": Szegedy et al. 2015,
arXiv:1409.4842): of 8 to 100 % of the area, 3:4 to 4:3 in shape, resized to the square. Resizing is bilinear. Pixels
are normalized by the statistics that are usual for ImageNet: those of all images would take a pass over the files.

``decoded`` reads batches ahead in worker processes. What is drawn follows from a seed a batch, so that their number
changes nothing. A split is told by the names, sizes and classes of its files, whose content is not read for it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from landscape.content import digest
from landscape.data.arrays import read_picture
from landscape.data.places import DataError, reading
from landscape.data.split import Split, drawn

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
REMEDY = "Copy it again, or remove it."
_SHAPES = (3 / 4, 4 / 3)
_TRIES = 10


@dataclass(frozen=True)
class Files:
    """Images in files, indexed as a tensor (n, 3, size, size) of uint8 pixels is: by rows, which are then decoded."""

    paths: tuple[Path, ...]
    size: int
    device: torch.device | str = "cpu"
    dtype = torch.uint8

    @property
    def shape(self) -> tuple[int, ...]:
        """As of the tensor."""
        return (len(self.paths), 3, self.size, self.size)

    def is_floating_point(self) -> bool:
        """As of the tensor."""
        return False

    def to(self, device: torch.device | str) -> "Files":
        """The same, decoded onto a device."""
        return replace(self, device=device)

    def only(self, rows: Tensor) -> "Files":
        """Those of a mask (n,), not decoded."""
        return replace(self, paths=tuple(path for path, there in zip(self.paths, rows.tolist(), strict=True) if there))

    def __getitem__(self, rows: slice | Tensor) -> Tensor:
        return self.decode(rows).to(self.device)

    def decode(self, rows: slice | Tensor, *, seed: Sequence[int] | None = None, smallest: float = 1.0) -> Tensor:
        """The images of some rows, their centers; or with a ``seed`` random parts, of that share of the area at least.

        Raises:
            DataError: a file is missing or damaged.
        """
        paths = self.paths[rows] if isinstance(rows, slice) else [self.paths[row] for row in rows.tolist()]
        images = np.empty((len(paths), self.size, self.size, 3), np.uint8)
        for index, path in enumerate(paths):
            with reading(path, REMEDY):
                pixels = read_picture(path)
            color = np.broadcast_to(pixels, (3, *pixels.shape[1:])).transpose(1, 2, 0)
            picture = Image.fromarray(np.ascontiguousarray(color))
            if seed is None:
                part = _center(picture, self.size)
            else:
                box = _random_box(*picture.size, np.random.default_rng([*seed, index]), smallest)
                part = picture.resize((self.size, self.size), Image.Resampling.BILINEAR, box=box)
            images[index] = np.asarray(part)
        return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()


@dataclass(frozen=True, eq=False)
class Pictures(Split):
    """A split of images in files; ``inputs`` are ``Files``."""

    @classmethod
    def of(cls, paths: Sequence[Path], targets: Tensor, *, size: int) -> "Pictures":
        """Of the paths of images and their classes (n,)."""
        files = Files(tuple(paths), size)
        return cls(cast("Tensor", files), targets, MEAN, STD)  # indexed as a tensor is

    @property
    def files(self) -> Files:
        """The inputs."""
        return cast("Files", self.inputs)

    def content_hash(self) -> str:
        """The hash of the names of the files in their folders of classes, their sizes, and the classes."""
        names = ["/".join(path.parts[-2:]) for path in self.files.paths]
        return digest(names, [path.stat().st_size for path in self.files.paths], self.files.size, self.targets)

    def divide(self, num_examples: int, *, seed: int) -> tuple["Pictures", "Pictures"]:
        """As of any split; nothing is decoded."""
        chosen = drawn(self.targets, num_examples, seed=seed)
        first, second = (
            replace(self, inputs=cast("Tensor", self.files.only(at)), targets=self.targets[at.to(self.targets.device)])
            for at in (chosen, ~chosen)
        )
        return first, second


def decoded(
    files: Files,
    batches: Sequence[Tensor],
    *,
    seeds: Sequence[Sequence[int]] | None = None,
    smallest: float = 1.0,
    workers: int = 0,
) -> Iterator[Tensor]:
    """Decode batches of rows one after the other, ahead in worker processes.

    Args:
        files: of which.
        batches: rows (k,) of each, on the CPU.
        seeds: of each, to cut random parts; None: the centers.
        smallest: share of the area that a random part has at least.
        workers: processes; 0: decode when asked.

    Yields:
        Pixels (k, 3, size, size) on the device of the files.

    Raises:
        DataError: a file is missing or damaged.
    """
    some = _Batches(files.to("cpu"), batches, seeds, smallest)
    # a generator of its own, as DataLoader draws from the global one otherwise
    loader = DataLoader(some, batch_size=None, num_workers=min(workers, len(batches)), generator=torch.Generator())
    for found in loader:
        if isinstance(found, DataError):
            raise found
        yield found.to(files.device)


class _Batches(Dataset[Any]):
    def __init__(
        self, files: Files, batches: Sequence[Tensor], seeds: Sequence[Sequence[int]] | None, smallest: float
    ) -> None:
        self.files, self.batches, self.seeds, self.smallest = files, batches, seeds, smallest

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> Tensor | DataError:
        seed = None if self.seeds is None else self.seeds[index]
        try:
            return self.files.decode(self.batches[index], seed=seed, smallest=self.smallest)
        except DataError as error:  # which a worker would hand over with its traceback
            return error


def _center(picture: Image.Image, size: int) -> Image.Image:
    scale = round(size * 256 / 224) / min(picture.size)
    width, height = (max(size, round(side * scale)) for side in picture.size)
    left, top = round((width - size) / 2), round((height - size) / 2)
    resized = picture.resize((width, height), Image.Resampling.BILINEAR)
    return resized.crop((left, top, left + size, top + size))


def _random_box(
    width: int, height: int, rng: np.random.Generator, smallest: float
) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of a random part; the largest center of an allowed shape where none was found."""
    for _ in range(_TRIES):
        area = width * height * rng.uniform(smallest, 1)
        shape = np.exp(rng.uniform(*np.log(_SHAPES)))
        w, h = round(float(np.sqrt(area * shape))), round(float(np.sqrt(area / shape)))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
            return left, top, left + w, top + h
    w, h = min(width, round(height * _SHAPES[1])), min(height, round(width / _SHAPES[0]))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h
