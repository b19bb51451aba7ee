"""Where datasets lie: at a path that was given, or under the folder that the variable LANDSCAPE_DATA names.

Nothing is ever downloaded. What is missing or damaged is a ``DataError``: what was looked for, where, and how to get
it.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from landscape.reading import FileError
from landscape.reading import reading as carefully

T = TypeVar("T")
Where = str | os.PathLike[str] | None  # the path of a dataset, if one is given


class DataError(FileError):
    """A dataset is missing, damaged or not what it should be; the message is one line."""


def places(name: str, path: Where, folders: Sequence[str] = ()) -> list[Path]:
    """List the places to look for a dataset.

    A path is taken as it is and, if it is relative, under LANDSCAPE_DATA too. Without one the places are the folders
    of LANDSCAPE_DATA called ``name`` or as one of ``folders``.

    Raises:
        DataError: neither a path nor LANDSCAPE_DATA says where to look.

    Example:
        >>> [place.as_posix() for place in places("cifar10", "/data/cifar")]
        ['/data/cifar']
    """
    root = os.environ.get("LANDSCAPE_DATA")
    if path is not None:
        given = Path(path).expanduser()
        return [given] if given.is_absolute() or not root else [given, Path(root).expanduser() / given]
    if not root:
        raise DataError(
            f"{name}: it is not known where it lies. Give {name}:PATH (path=PATH in Python), or set LANDSCAPE_DATA "
            f"to the folder that holds {' or '.join([name, *folders])}."
        )
    return [Path(root).expanduser() / folder for folder in (name, *folders)]


def read_first(name: str, looked_in: Sequence[Path], read: Callable[[Path], T | None], expected: str) -> tuple[Path, T]:
    """Return the first place that has a dataset, and what ``read`` returns of it, which is nothing of one that has not.

    Raises:
        DataError: no place has it; says what was expected there, and how to get it.
    """
    for place in looked_in:
        if content := read(place):
            return place, content
    raise DataError(f"{name}: not found in {' or '.join(map(str, looked_in))}. Expected {expected}")


def found_again(path: Where, place: Path) -> dict[str, str]:
    """Return the argument that finds a place again from any working directory: none where LANDSCAPE_DATA led there."""
    return {} if path is None else {"path": os.path.abspath(place)}


@contextmanager
def reading(path: Path, remedy: str) -> Iterator[None]:
    """Run the body, in which any error means that the file is missing or damaged, as ``landscape.reading`` does.

    Raises:
        DataError: naming the file and the remedy.
    """
    with carefully(path, remedy, DataError):
        try:
            yield
        except FileNotFoundError as error:
            raise DataError(f"{path}: is missing. {remedy}") from error
