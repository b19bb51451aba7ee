"""Images in the parquet files of Hugging Face: a column of encoded images, and a column of class numbers.

    PATH/train*.parquet, PATH/test*.parquet         or in the one folder of PATH that has such files (PATH/plain_text)

An image is a struct with its bytes, as the ``datasets`` library writes it. Without test files, validation* files are
the test part. Needs pyarrow: ``pip install "landscape-geometry[parquet]"``.
"""

import importlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from landscape.data.arrays import Labelled, from_arrays, read_picture
from landscape.data.places import DataError, Where, found_again, places, read_first, reading
from landscape.data.split import Data
from landscape.reading import require_file, require_room

_LABELS = ("label", "fine_label")  # the latter in CIFAR-100
_ROWS = 1000  # decoded at a time
_ROW_BYTES = 100  # that a row takes at least, once it is read
_REMEDY = "Copy or download it again."


def parquet(*, path: Where = None) -> Data:
    """Load a folder of parquet files.

    Args:
        path: the folder; a relative one is looked for under LANDSCAPE_DATA too.

    Raises:
        DataError: pyarrow is not installed; the folder has no such files; they are damaged or hold something else.

    Example:
        >>> parquet(path="/nowhere")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        landscape.data.places.DataError: parquet: not found in /nowhere...
    """
    expected = "train*.parquet and test*.parquet, as Hugging Face's datasets have them."
    place, _ = read_first("parquet", places("parquet", path), parquet_folders, expected)
    return from_arrays("parquet", found_again(path, place), *read_parquet(place))


def parquet_folders(place: Path) -> list[Path]:
    """The folder itself if it has train*.parquet files, else those of its folders that have."""
    if any(place.glob("train*.parquet")):
        return [place]
    return sorted({file.parent for file in place.glob("*/train*.parquet")})


def read_parquet(place: Path) -> tuple[Labelled, Labelled]:
    """Read the train and the test part of a folder for which ``parquet_folders`` has one.

    Raises:
        DataError: as ``parquet``.
    """
    folder, *others = parquet_folders(place)
    if others:
        raise DataError(
            f"{place}: has train*.parquet in {folder.name}, {others[0].name}. Give the path of one of them."
        )
    tests = sorted(folder.glob("test*.parquet")) or sorted(folder.glob("validation*.parquet"))
    if not tests:
        raise DataError(f"{folder}: has no test*.parquet or validation*.parquet beside its train*.parquet. Add it.")
    return _read(sorted(folder.glob("train*.parquet"))), _read(tests)


def _read(files: list[Path]) -> Labelled:
    images: list[np.ndarray] = []
    labels: list[int] = []
    packed = 0
    for file in files:
        with reading(file, _REMEDY):
            packed += require_file(file)
            for encoded, label in encoded_rows(file, packed):
                image = read_picture(io.BytesIO(encoded))
                require_room((len(images) + 1) * max(image.nbytes, _ROW_BYTES), packed)
                if images and image.shape != images[0].shape:
                    raise DataError(
                        f"{file}: has images of shapes {images[0].shape} and {image.shape}. Expected one shape."
                    )
                images.append(image)
                labels.append(label)
    if not images:
        raise DataError(f"{files[0]}: has no rows. {_REMEDY}")
    return Labelled(np.stack(images), np.array(labels), files[0].parent)


def encoded_rows(file: Path, packed: int) -> Iterator[tuple[bytes, int]]:
    """Encoded image and class of each row of a file, of a set of ``packed`` bytes; errors as ``parquet``."""
    try:
        importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise DataError('parquet files need pyarrow: pip install "landscape-geometry[parquet]".') from error
    arrow = importlib.import_module("pyarrow")
    with arrow.parquet.ParquetFile(file) as table:
        schema = table.schema_arrow
        is_label = {name: arrow.types.is_integer(schema.field(name).type) for name in _LABELS if name in schema.names}
        is_image = {field.name: arrow.types.is_struct(field.type) and "bytes" in field.type.names for field in schema}
        columns = [next((name for name, holds in found.items() if holds), None) for found in (is_image, is_label)]
        if None in columns:
            raise DataError(
                f"{file}: has columns {', '.join(schema.names)}. Expected images with their bytes, as the datasets "
                f"library writes them, and whole numbers called {' or '.join(_LABELS)}."
            )
        require_room(_unpacked(table.metadata, columns), packed)
        for rows in table.iter_batches(batch_size=_ROWS, columns=columns):
            encoded, labels = rows.column(columns[0]).field("bytes").to_pylist(), rows.column(columns[1]).to_pylist()
            if None in encoded or None in labels:
                raise DataError(f"{file}: has rows without an image's bytes or without a label. {_REMEDY}")
            yield from zip(encoded, labels, strict=True)


def _unpacked(metadata: Any, columns: list[str | None]) -> int:
    """The bytes of the columns, as the file says."""
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    chunks = [group.column(index) for group in groups for index in range(group.num_columns)]
    return sum(max(one.total_uncompressed_size, 0) for one in chunks if one.path_in_schema.partition(".")[0] in columns)
