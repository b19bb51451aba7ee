"""Images for a classifier of transformers: resized, cut and normalized as the processor in its folder does.

They are kept as uint8 pixels where that is the same, normalized when a batch is asked for. Classes are numbered as
config.json names them; where it gives them no names, in the order of theirs.
"""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from landscape.data import Split
from landscape.data.arrays import read_picture
from landscape.data.folder import SUFFIXES
from landscape.data.parquet import encoded_rows
from landscape.data.places import DataError, places, read_first, reading
from landscape.huggingface.library import classes_in, quiet
from landscape.reading import require_file
from landscape.text import reason_of

_PARTS = {"train": ("train",), "test": ("test", "val", "validation")}
Picture = tuple[Any, np.ndarray, str | int]  # where it is, (channels, height, width) uint8, its class


def images_of(name: str, path: str, *, folders: Sequence[Path], config: Any) -> dict[str, Split]:
    """The splits of images in a folder, or in parquet files, as the model reads them.

    Raises:
        DataError: they are not there or damaged, are of classes that the model does not have, or there is no processor.
    """
    if (config.problem_type or "single_label_classification") != "single_label_classification" or config.num_labels < 2:
        raise DataError(f"{name}:{path} has one class an image, and the model does not. Give --problem for it.")
    process = _Processor(folders, getattr(config, "num_channels", 3))
    find, read = (_folders, _pictures) if name == "images" else (_tables, _rows)
    expected = "train/CLASS/*.png and test/CLASS/*.png, or CLASS/*.png." if name == "images" else "*.parquet."
    _, parts = read_first(name, places(name, path), find, expected)
    names = sorted(
        {child.name for part in parts.values() for child in part[0].iterdir() if _is_class(child)}
        if name == "images"
        else ()
    )
    splits = {}
    for split, files in parts.items():
        found, targets = [], []
        for where, picture, label in read(files):
            found.append(process(where, picture))
            targets.append(_number(where, label, names, config))
        if not found:
            raise DataError(f"{files[0]}: has no images.")
        splits[split] = Split(torch.from_numpy(np.stack(found)), torch.tensor(targets), *process.normalization)
    return splits


class _Processor:
    """One image at a time, (channels, height, width) uint8, as the processor makes it.

    Attributes:
        normalization: mean and deviation of the channels of uint8 pixels, which are still to be normalized by; or none.
    """

    def __init__(self, folders: Sequence[Path], channels: int) -> None:
        folder = next((one for one in folders if (one / "preprocessor_config.json").is_file()), None)
        if folder is None:
            raise DataError(
                f"{folders[0]}: has no preprocessor_config.json. Save the image processor that it was trained with "
                "there: processor.save_pretrained(DIR)."
            )
        self.folder, self.channels = folder, channels
        try:
            with quiet() as transformers:
                self._processor = transformers.AutoImageProcessor.from_pretrained(
                    str(folder), local_files_only=True, trust_remote_code=False
                )
            self._pixels = self._normalizes_alone()
        except Exception as error:  # whatever transformers says of a file that makes no sense
            raise DataError(
                f"{folder}: has an image processor that cannot be used: {reason_of(error)[:300]}."
            ) from error

    def __call__(self, where: Any, picture: np.ndarray) -> np.ndarray:
        if len(picture) == 1 < self.channels:
            picture = picture.repeat(self.channels, axis=0)
        if len(picture) != self.channels:
            raise DataError(f"{where}: has {len(picture)} channels. Expected {self.channels}, as the model reads.")
        with reading(Path(str(where)), "Copy it again, or remove it."):
            return self._processed(picture, normalize=not self._pixels)

    @property
    def normalization(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        own = self._processor
        if not self._pixels or not own.do_normalize:
            return (), ()
        return tuple(map(float, own.image_mean)), tuple(map(float, own.image_std))

    def _processed(self, picture: np.ndarray, *, normalize: bool) -> np.ndarray:
        off = {} if normalize else {"do_rescale": False, "do_normalize": False}
        with quiet():
            made = self._processor(picture, return_tensors="np", input_data_format="channels_first", **off)
        values = made["pixel_values"][0]
        return values.astype(np.float32) if normalize else values

    def _normalizes_alone(self) -> bool:
        """Whether uint8 pixels, normalized by us, are what the processor makes."""
        self._pixels = True
        image = np.random.default_rng(0).integers(0, 256, (self.channels, 40, 50), dtype=np.uint8)
        pixels, whole = self._processed(image, normalize=False), self._processed(image, normalize=True)
        if pixels.dtype != np.uint8 or not self._processor.do_rescale:
            return False
        ours = Split(torch.from_numpy(pixels[None]), torch.zeros(1, dtype=torch.long), *self.normalization)
        return torch.allclose(ours.prepare(ours.inputs)[0], torch.from_numpy(whole), atol=1e-5)


def _folders(place: Path) -> dict[str, list[Path]] | None:
    """The folder of each split, which has one a class."""
    found: dict[str, list[Path]] = {}
    for split, names in _PARTS.items():
        folder = next((place / name for name in names if (place / name).is_dir()), None)
        if folder is not None:
            found[split] = [folder]
    if not found and place.is_dir() and any(map(_is_class, place.iterdir())):
        found["test"] = [place]
    return found or None


def _is_class(child: Path) -> bool:
    return child.is_dir() and not _is_hidden(child)


def _is_hidden(child: Path) -> bool:
    """What systems and notebooks leave beside: ``.DS_Store``, ``._0.png``, ``.ipynb_checkpoints``."""
    return child.name.startswith(".")


def _pictures(folders: list[Path]) -> Iterator[Picture]:
    shown = (file for place in folders[0].iterdir() if _is_class(place) for file in place.iterdir())
    for file in sorted(file for file in shown if file.suffix.lower() in SUFFIXES and not _is_hidden(file)):
        with reading(file, "Copy it again, or remove it."):
            picture = read_picture(file)
        yield file, picture, file.parent.name


def _tables(place: Path) -> dict[str, list[Path]] | None:
    """The files of each split."""
    if place.is_file():
        return {"train" if place.name.startswith("train") else "test": [place]}
    for folder in (place, *sorted(child for child in place.glob("*") if child.is_dir())):
        found: dict[str, list[Path]] = {}
        for split, names in _PARTS.items():
            files = next((files for name in names if (files := sorted(folder.glob(f"{name}*.parquet")))), [])
            found |= {split: files} if files else {}
        if found:
            return found
    return None


def _rows(files: list[Path]) -> Iterator[Picture]:
    for file in files:
        with reading(file, "Copy or download it again."):
            for encoded, label in encoded_rows(file, require_file(file)):
                yield file, read_picture(io.BytesIO(encoded)), label


def _number(where: Any, label: str | int, names: Sequence[str], config: Any) -> int:
    """The number of a class: as config.json names it; where it names none, its own, or its place in their order."""
    known = classes_in(config)
    named = any(not name.startswith("LABEL_") for name in known)
    if isinstance(label, int):
        number = label
    elif label in known or named:
        number = int(known.get(label, -1))
    elif all(name.isdecimal() for name in names):
        number = int(label)
    else:
        number = names.index(label) if len(names) == config.num_labels else -1
    if not 0 <= number < config.num_labels:
        raise DataError(
            f"{where}: is of the class {label}{f', of {len(names)}' if names else ''}, and the model has "
            f"{config.num_labels}: {', '.join(list(known)[:8])}. Name the classes as config.json does."
        )
    return number
