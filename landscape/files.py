"""Files on disk: written whole or not at all, JSON, and JSON lines that outlive a kill. ``readers`` reads them.

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
from zipfile import ZipFile

import numpy as np

from landscape.disk import told_if_full
from landscape.locks import claim, lock
from landscape.reading import BOUND


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
                    archive.comment = BOUND
                sha256 = hashlib.sha256(arrays_part.read_bytes()).hexdigest()
                _write_json(part, {**document, "arrays": {"file": arrays[0].name, "sha256": sha256}})
            for one in outdated:
                one.unlink(missing_ok=True)
        else:
            _write_json(part, document)
    return path


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


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _whole_lines(content: bytes) -> bytes:
    return content[: content.rfind(b"\n") + 1]
