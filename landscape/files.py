"""Files on disk: written whole or not at all, JSON with its schema, and JSON lines that outlive a kill.

A file is written under a name of its own in the same folder, ``.NAME.*.tmp``, and takes the place of the old one once
all of it is on the disk. Only SIGKILL or a power cut can leave such a file behind; none is ever read, and the next who
comes to write in the folder removes it (``landscape.locks``).

JSON has no NaN or infinity: in a document they are written as null. Arrays keep them, and are never pickled. A document
names the hash of the arrays that belong to it, and reading refuses others: a writer that was killed between replacing
the one and the other leaves no mix.
"""

import hashlib
import json
import math
import os
import stat
import sys
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import BadZipFile, ZipFile

import numpy as np

from landscape.disk import told_if_full
from landscape.locks import claim, lock

_NAMED = b"A document beside this file names its SHA-256."  # comment of an archive: documents used not to


@contextmanager
def whole(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give the body an empty file to write; it replaces the one at ``path`` if the body ends without an exception.

    The folder is made if need be. Of a symbolic link the target is replaced. Of several writers the last one wins.

    Raises:
        DiskFullError: there is no room for it.
        OSError: it cannot be written, or ``path`` is a folder, a device, a pipe or a socket, which are left alone.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with whole(Path(folder, "a.txt")) as part:
        ...         _ = part.write_text("all of it")
        ...     [(file.name, file.read_text()) for file in Path(folder).iterdir()]
        [('a.txt', 'all of it')]
    """
    target = _target(Path(path))
    part = target.with_name(f".{target.name}.{uuid.uuid4().hex[:12]}.tmp")
    with told_if_full(path):
        file = claim(part, wait=True)
        assert file is not None
        with file:
            try:
                yield part
                os.fsync(file.fileno())
                if sys.platform == "win32":  # where an open file cannot be renamed
                    file.close()
                part.replace(target)
            finally:
                part.unlink(missing_ok=True)
    with suppress(OSError):  # where the file system cannot make the new name durable, the file is whole all the same
        _sync_folder(target.parent)


def write_text(path: Path, text: str) -> Path:
    """Write a file of UTF-8 whole or not at all and return its path; line breaks stay. Errors as ``whole``."""
    with whole(path) as part:
        part.write_text(text, encoding="utf-8", newline="")
    return path


def write_document(
    path: Path,
    document: Mapping[str, Any],
    arrays: tuple[Path, Mapping[str, Any]] | None = None,
    *,
    outdated: Iterable[Path] = (),
) -> Path:
    """Write a document as JSON and return its path; first the arrays that belong to it, if any, as npz to their path.

    Nothing is replaced unless both can be written. Files that were made of the old ones are removed, once it is certain
    that these will not be whole any more.
    """
    with whole(path) as part:
        if arrays:
            with whole(arrays[0]) as arrays_part:
                with arrays_part.open("wb") as file:
                    np.savez_compressed(file, allow_pickle=False, **arrays[1])
                with ZipFile(arrays_part, "a") as archive:
                    archive.comment = _NAMED
                sha256 = hashlib.sha256(arrays_part.read_bytes()).hexdigest()
                _write_json(part, {**document, "arrays": {"file": arrays[0].name, "sha256": sha256}})
            for one in outdated:
                one.unlink(missing_ok=True)
        else:
            _write_json(part, document)
    return path


def read_document(
    path: Path, schema: str | tuple[str, ...], writer: str, remedy: str = "Measure again."
) -> dict[str, Any]:
    """The document at ``path``; ``writer`` and ``remedy`` say who writes it, and what to do if it is malformed.

    Raises:
        ValueError: where it is missing, is no JSON, or has another schema.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}. Expected a directory written by {writer}.") from error
    except ValueError as error:
        raise ValueError(f"{path}: not valid JSON ({error}). {remedy}") from error
    _require_schema(document, schema, f"{path}: schema is")
    return document


def read_arrays(
    path: Path, document: Mapping[str, Any] | None = None, remedy: str = "Measure again."
) -> dict[str, np.ndarray]:
    """The arrays at ``path``, by name; those that belong to a document, if one is given.

    Raises:
        ValueError: where there is no such file, it is not what was written, or belongs to another document.
    """
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                arrays, comment = {key: archive[key] for key in archive.files}, archive.zip.comment
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or 'unreadable'}. {remedy}") from error
    except (ValueError, EOFError, BadZipFile) as error:
        raise ValueError(f"{path}: not the archive of arrays that was written. {remedy}") from error
    if document is not None and not _belongs(sha256, comment, document.get("arrays")):
        raise ValueError(
            f"{path}: does not belong to the document beside it: writing was interrupted while the two were being "
            f"replaced. {remedy}"
        )
    return arrays


def plain(value: Any) -> Any:
    """The value in JSON's own types: NaN and infinity become null.

    Example:
        >>> plain({"a": (1, np.float64(2.5)), "b": math.inf})
        {'a': [1, 2.5], 'b': None}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def append_line(file: BinaryIO, row: Any) -> None:
    """Write a row as one line of JSON at the end of a file opened "a+b": when this returns, it is on the disk.

    What a killed writer left after the last line break is cut off first; other writers wait meanwhile.

    Raises:
        DiskFullError: there is no room for it; nothing of it is there.
    """
    lock(file, wait=True)
    end = file.seek(0, os.SEEK_END)
    file.seek(max(end - 1, 0))
    if file.read() not in (b"", b"\n"):
        file.seek(0)
        file.truncate(len(_whole_lines(file.read())))
    end = file.seek(0, os.SEEK_END)
    line = json.dumps(row, ensure_ascii=False).encode() + b"\n"
    with told_if_full(file.name):
        try:
            while line:  # past the buffer of the file, which would keep what there is no room for
                line = line[os.write(file.fileno(), line) :]
            os.fsync(file.fileno())
        except BaseException:
            os.ftruncate(file.fileno(), end)
            raise


def read_lines(path: Path, schema: str | None = None) -> list[Any]:
    r"""The rows of a file of JSON lines, none if there is no file; a last line without its line break is no row yet.

    Raises:
        ValueError: a line is no JSON, or has another schema than the one given.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "rows.jsonl")
        ...     _ = path.write_text('{"a": 1}\n{"a": 2')
        ...     with path.open("a+b") as file:
        ...         append_line(file, {"a": 3})
        ...     read_lines(path)
        [{'a': 1}, {'a': 3}]
    """
    rows = []
    for number, line in enumerate(_whole_lines(path.read_bytes() if path.exists() else b"").split(b"\n"), start=1):
        if line:
            try:
                row = json.loads(line)
            except ValueError as error:
                raise ValueError(
                    f"{path}: line {number} is not valid JSON. Remove it, or move the file away."
                ) from error
            if schema:
                _require_schema(row, schema, f"{path}: the schema of line {number} is")
            rows.append(row)
    return rows


def _target(path: Path) -> Path:
    """The file itself, at the end of all links; it need not be there."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return Path(os.path.realpath(path))
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "no regular file"
        raise OSError(f"{path}: is {kind}, and is not replaced. Expected a file, or a name that is still free.")
    return Path(os.path.realpath(path))


def _write_json(path: Path, document: Mapping[str, Any]) -> None:
    text = json.dumps(plain(document), indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    path.write_text(text, encoding="utf-8", newline="")


def _belongs(sha256: str, comment: bytes, named: Any) -> bool:
    """Whether arrays are those that a document names; one that names none has arrays of its time."""
    if named is None:
        return comment != _NAMED
    return isinstance(named, Mapping) and named.get("sha256") == sha256


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _whole_lines(content: bytes) -> bytes:
    return content[: content.rfind(b"\n") + 1]


def _require_schema(row: Any, schema: str | tuple[str, ...], words: str) -> None:
    schemas = (schema,) if isinstance(schema, str) else schema
    found = row.get("schema") if isinstance(row, dict) else type(row).__name__
    if not isinstance(row, dict) or found not in schemas:
        raise ValueError(f"{words} {found!r}. Expected {' or '.join(map(repr, schemas))}.")
