"""JSON, JSON lines and npz as they are read: what a file claims is checked before it is believed.

    JSON        is nested at most 150 deep, has whole numbers of 64 bits at most, and no key twice in an object; a
                document, or a line, has at most 64 MiB
    arrays      have the bytes that their headers claim, and no objects, which would be pickles

What holds of every file, ``reading`` says. JSON has no NaN or infinity: in a document they are written as null. Arrays
keep them.
"""

import hashlib
import json
import math
import os
import struct
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

import numpy as np

from landscape.forms import misfit
from landscape.reading import BOUND, FileError, open_file, read_text, reading, require_room

_END = struct.Struct("<4s6xH10x")  # of an archive, before its comment: a mark, and how many are in it
_LINE = 64 * 2**20  # bytes
_DEPTH = 150  # more than a checkpoint, which a document quotes, may be
_REMOVE = "Remove it, or move the file away."


def parse_json(text: str | bytes) -> Any:
    """The value that JSON stands for. Raises ValueError where it is none, or beyond the limits (see the module).

    Example:
        >>> parse_json('{"a": [1, 2.5, null]}')
        {'a': [1, 2.5, None]}
        >>> parse_json('{"a": 1, "a": 2}')
        Traceback (most recent call last):
        ValueError: an object has a key twice
    """
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_int=_whole)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    level = [value]
    for _ in range(_DEPTH):
        "".join(node for node in level if isinstance(node, str)).encode()  # half of a pair of code units is no letter
        nodes = [node.values() if isinstance(node, dict) else node for node in level if isinstance(node, (dict, list))]
        level = [item for node in nodes for item in node]
        if not level:
            return value
    raise ValueError(f"it is nested more than {_DEPTH} deep")


def read_document(
    path: Path, schema: str | tuple[str, ...], writer: str, remedy: str = "Measure again.", form: Any = None
) -> dict[str, Any]:
    """The document at ``path``.

    Args:
        path: the file.
        schema: the one it must have, or those.
        writer: who writes it.
        remedy: what to do if it is malformed.
        form: of its content (see ``landscape.forms``), if any is due.

    Raises:
        FileError: it is missing, is no JSON, has another schema, or is not of the form.
    """
    try:
        document = parse_json(read_text(path))
    except FileError:
        raise
    except OSError as error:
        raise FileError(f"{path}: {error.strerror}. Expected a directory written by {writer}.") from error
    except ValueError as error:
        raise FileError(f"{path}: not valid JSON ({error}). {remedy}") from error
    _require_schema(document, schema, f"{path}: schema is")
    if form is not None and (wrong := misfit(document, form)):
        raise FileError(f"{path}: {wrong}. {remedy}")
    return document


def read_lines(path: Path, schema: str | None = None, form: Any = None, *, skip_damaged: bool = False) -> list[Any]:
    r"""The rows of a file of JSON lines, none if there is no file; a last line without its line break is no row yet.

    Args:
        path: the file.
        schema: the one that every row must have, if any.
        form: of every row (see ``landscape.forms``), if any is due.
        skip_damaged: leave out the lines that are no such rows.

    Raises:
        FileError: it is no file, or a line is no such row.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "rows.jsonl")
        ...     _ = path.write_text('{"a": 1}\n{"a"\n{"a": 2')
        ...     read_lines(path, skip_damaged=True)
        [{'a': 1}]
    """
    rows = []
    for number, line in enumerate(_lines(path), start=1):
        try:
            row = parse_json(line) if line else None
            if line and schema:
                _require_schema(row, schema, f"{path}: the schema of line {number} is")
            if line and form is not None and (wrong := misfit(row, form)):
                raise FileError(f"{path}: line {number}: {wrong}. {_REMOVE}")
        except FileError:
            if not skip_damaged:
                raise
        except ValueError as error:
            if not skip_damaged:
                raise FileError(f"{path}: line {number} is not valid JSON. {_REMOVE}") from error
        else:
            rows += [row] if line else []
    return rows


def read_arrays(
    path: Path,
    names: Collection[str] | None = None,
    remedy: str = "Measure again.",
    document: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The arrays of numbers or words in an npz file, by name: those that are asked for, or all.

    Args:
        path: the file.
        names: which, or None for all.
        remedy: what to do if it cannot be read.
        document: what they must belong to, if anything.

    Raises:
        FileError: there is no such file, it is not what numpy.savez writes, an array asked for is not in it, or it
            belongs to another document.
    """
    with reading(path, remedy), _archive(path) as (size, archive, members):
        if document is not None and not _belongs(path, archive.comment, document.get("arrays")):
            raise FileError(
                f"{path}: does not belong to the document beside it: writing was interrupted while the two were being "
                f"replaced. {remedy}"
            )
        wanted = {name: members[name] for name in (members if names is None else names)}
        require_room(sum(member.file_size for member in wanted.values()), size)
        return {name: _read_member(archive, member) for name, member in wanted.items()}


def array_names(path: Path, remedy: str) -> list[str]:
    """The names of the arrays in an npz file. Raises FileError where there is no such file, or it is none."""
    with reading(path, remedy), _archive(path) as (_, _, members):
        return list(members)


def require_header(file: Any, num_bytes: int) -> None:
    """Read the header of an array in numpy's format, and refuse it where it does not claim the bytes that there are.

    Args:
        file: at the beginning of the array.
        num_bytes: from there to its end.

    Raises:
        ValueError: it is no such header, or claims other bytes, or objects.
    """
    version = np.lib.format.read_magic(file)
    headers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    shape, _, dtype = headers[version](file)
    if dtype.kind not in "biufcU" or dtype in (np.longdouble, np.clongdouble):
        raise ValueError(f"it has an array of {dtype}")
    num_entries, there = math.prod(shape), num_bytes - file.tell()
    # what has no bytes may still have sizes that nothing of that size is made of
    if num_entries * dtype.itemsize != there or math.prod(max(n, 1) for n in shape) > max(there, 2**20):
        raise ValueError(f"it claims an array of shape {shape} in {there:,} bytes")


@contextmanager
def _archive(path: Path) -> Iterator[tuple[int, ZipFile, dict[str, ZipInfo]]]:
    """The size of an npz file, and what is in it by name."""
    with open_file(path) as file:
        if file.peek(6).startswith(b"\x93NUMPY"):
            raise ValueError("it is one array, and no archive of several")
        with ZipFile(file) as archive:
            file.seek(-_END.size - len(archive.comment), os.SEEK_END)
            mark, num_members = _END.unpack(file.read(_END.size))
            if mark == b"PK\5\6" and num_members not in (len(archive.infolist()), 0xFFFF):
                raise ValueError("its directory is damaged")  # which zipfile does not look at
            members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
            if len(members) != len(archive.infolist()):
                raise ValueError("it has two arrays of one name")
            yield path.stat().st_size, archive, members


def _belongs(path: Path, comment: bytes, named: Any) -> bool:
    """Whether arrays are those that a document names; one that names none has arrays of its time."""
    if named is None:
        return comment != BOUND
    with open_file(path) as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return isinstance(named, Mapping) and named.get("sha256") == sha256


def _read_member(archive: ZipFile, member: ZipInfo) -> np.ndarray:
    if member.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        raise ValueError("it is packed in a way that numpy does not use")
    with archive.open(member) as file:
        require_header(file, member.file_size)
    with archive.open(member) as file:
        array: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
    return array


def _lines(path: Path) -> Iterator[bytes]:
    """The whole lines of a file, if there is one; of a line that is too long, its parts."""
    if path.exists():
        with open_file(path) as file:
            while line := file.readline(_LINE):
                if not line.endswith(b"\n") and len(line) < _LINE:
                    return
                yield line.rstrip(b"\n")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    "".join(found).encode()
    if len(found) != len(pairs):
        raise ValueError("an object has a key twice")
    return found


def _whole(digits: str) -> int:
    if len(digits) > 20 or abs(int(digits)) >= 2**64:
        raise ValueError(f"a whole number has {len(digits)} digits")
    return int(digits)


def _require_schema(row: Any, schema: str | tuple[str, ...], words: str) -> None:
    schemas = (schema,) if isinstance(schema, str) else schema
    found = row.get("schema") if isinstance(row, dict) else type(row).__name__
    if not isinstance(row, dict) or found not in schemas:
        raise FileError(f"{words} {found!r}. Expected {' or '.join(map(repr, schemas))}.")
