"""The files that hold tensors, told apart by their first bytes: torch's archive, torch's older format, safetensors.

Each is read up to what it says of its tensors, and not a number further; nothing in it is run, and what its pickle
names beside tensors and plain values is left out (see ``inert``).
"""

import io
import mmap
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import safe_open

from landscape.checkpoint.inert import read_pickle
from landscape.checkpoint.stored import KNOWN, Storage, Stored, Typed, dtype_of, find, itemsize
from landscape.readers import parse_json
from landscape.reading import FileError, open_file, reading, require_room

AGAIN = "Copy or download it again."
_MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle of torch's older format
_DESCRIPTION, _RATIO = 4 * 2**20, 32  # bytes of an archive's pickle, and how well it may be packed beyond
_HEADER = 100_000_000  # bytes that the description of a safetensors file may take, in its own library


@dataclass
class Opened:
    """What a file, or a folder, says it holds.

    Attributes:
        container: "torch zip", "torch legacy", "safetensors", ...
        content: plain values, ``Stored`` tensors and ``Inert`` objects.
        left_out: what was named in it and not run.
        files: those that were looked at, with what changes when one of them does.
        facts: what is known beside: "config", "adapter", "step", "epoch".
    """

    container: str
    content: Any
    left_out: tuple[str, ...] = ()
    files: dict[Path, tuple[int, ...]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def num_bytes(self) -> int:
        """Of all files together."""
        return sum(size for size, *_ in self.files.values())


def open_container(path: Path, *, verify: bool = True) -> Opened:
    """What the file describes.

    Args:
        path: a regular file.
        verify: check the checksum of every byte of an archive, for which all of it is read.

    Raises:
        FileError: it is damaged, refused, or no such file.
        OSError: it cannot be read.
    """
    with open_file(path) as file:
        size = path.stat().st_size
        if not size:
            raise FileError(f"{path}: is empty. Copy it again, or use an earlier checkpoint.")
        head = file.read(300)
        file.seek(0)
        if head[:4] == b"PK\x03\x04":
            return _open_zip(path, file, 0, size, verify)
        if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= min(size - 8, _HEADER):
            return _open_safetensors(path, file)
        if words := next((words for place, mark, words in _FOREIGN if head[place:].startswith(mark)), ""):
            raise FileError(f"{path}: is {words}.")
        if head[:1] in (b"\x80", b"(", b"]", b"}", b"c"):
            return _open_legacy(path, file)
    raise _no_checkpoint(path)


def identities(*paths: Path) -> dict[Path, tuple[int, ...]]:
    """What changes when one of the files is replaced or rewritten."""
    found = {path: path.stat() for path in paths}
    return {path: (stat.st_size, stat.st_ino, stat.st_mtime_ns) for path, stat in found.items()}


def open_embedded(path: Path, offset: int, num_bytes: int) -> Opened:
    """What the archive of torch describes that lies within a file; errors as ``open_container``."""
    with open_file(path) as file:
        if not 0 <= offset <= offset + num_bytes <= path.stat().st_size:
            raise FileError(f"{path}: ends before what is said to lie in it. {AGAIN}")
        return _open_zip(path, file, offset, num_bytes, verify=True)


def _no_checkpoint(path: Path) -> FileError:
    return FileError(
        f"{path}: is no checkpoint, or a damaged one. Expected a file of torch.save or a .safetensors file."
    )


def _open_zip(path: Path, file: io.BufferedReader, start: int, size: int, verify: bool) -> Opened:
    part: Any = file if not start and size == path.stat().st_size else io.BufferedReader(_Part(file, start, size))
    try:
        archive = zipfile.ZipFile(part)
        members = {entry.filename: entry for entry in archive.infolist()}
        with reading(path, "Save it with torch.save, which does not pack."):
            require_room(sum(entry.file_size for entry in members.values()), size)
        # torch.serialization.set_crc32_options(False) leaves every checksum zero: such a file cannot be verified.
        has_sums = any(entry.CRC for entry in members.values())
        damaged = archive.testzip() if verify and has_sums else None
    except FileError:
        raise
    except Exception as error:  # there is no list of what readers raise on bytes that make no sense
        raise FileError(f"{path}: is truncated or damaged. {AGAIN}") from error
    if damaged is not None:
        raise FileError(f"{path}: is damaged: {damaged} fails its checksum. {AGAIN}")
    names = {Path(name).name for name in members}
    if "constants.pkl" in names:
        raise FileError(f"{path}: is a TorchScript program. Save its state_dict() with torch.save.")
    pickles = [name for name in members if Path(name).name == "data.pkl"]
    if not pickles:
        raise FileError(f"{path}: is a zip archive but no checkpoint. Expected a file of torch.save.")
    top = pickles[0].removesuffix("data.pkl")
    if len(pickles) > 1 or len(members) < len(archive.infolist()):
        raise _no_checkpoint(path)
    if not has_sums:
        for entry in members.values():
            entry.CRC = None  # type: ignore[assignment]  # which is how its reader is told not to check
    storages: dict[str, Storage] = {}

    def persistent(found: Any) -> Typed:
        _, dtype, key, location, num_entries = found
        if key not in storages:
            entry = members[f"{top}data/{key}"] if location != "meta" else None
            storages[key] = Storage(path, _num_bytes(num_entries, dtype))
            if entry is not None and entry.file_size < storages[key].num_bytes:
                raise ValueError(f"{entry.filename} is too short")
            if entry is not None and entry.compress_type == zipfile.ZIP_STORED:
                storages[key].offset = start + _begin(part, entry)
            elif entry is not None:
                storages[key].member = entry.filename
        return Typed(storages[key], dtype_of(dtype))

    try:
        if members.get(f"{top}byteorder") and archive.read(f"{top}byteorder") == b"big":
            raise FileError(f"{path}: was written on a big-endian machine. Save it again on a little-endian one.")
        described = members[pickles[0]]
        if described.file_size > max(_DESCRIPTION, _RATIO * described.compress_size):
            raise ValueError("its description is packed too well to be one")
        content, left_out = _read(io.BytesIO(archive.read(described)), persistent)
    except FileError:
        raise
    except Exception as error:
        raise _no_checkpoint(path) from error
    return Opened("torch zip", content, left_out, identities(path))


def _num_bytes(num_entries: Any, dtype: Any) -> int:
    if type(num_entries) is not int or not 0 <= num_entries < 2**60:
        raise ValueError("a storage has no number of entries")
    return num_entries * itemsize(dtype_of(dtype))


def _begin(file: Any, entry: zipfile.ZipInfo) -> int:
    """Where the bytes of a member begin, which its local header tells."""
    file.seek(entry.header_offset)
    header = struct.unpack("<4s22xHH", file.read(30))
    if header[0] != b"PK\x03\x04":
        raise ValueError(f"{entry.filename} is not where it should be")
    return entry.header_offset + 30 + header[1] + header[2]


def _open_legacy(path: Path, file: io.BufferedReader) -> Opened:
    """Five pickles (a magic number, a version, the machine, the object, the storages' keys), then the storages."""
    storages: dict[str, Storage] = {}
    sizes: dict[str, int] = {}

    def persistent(found: Any) -> Any:
        if found[0] == "module":
            return found[1]
        _, dtype, key, _, num_entries, view = found
        if key not in storages:
            storages[key] = Storage(path, _num_bytes(num_entries, dtype))
            sizes[key] = itemsize(dtype_of(dtype))
        return Typed(storages[key], dtype_of(dtype), view[1] if view else 0)

    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        data: Any = view
        try:
            content, left_out = _read(data, persistent)
            if content != _MAGIC and left_out:  # a pickle of Python's, which may say why it is refused
                return Opened("pickle", content, left_out, identities(path))
            if content != _MAGIC:
                raise ValueError("it does not begin as torch's")
            _read(data, persistent)
            _read(data, persistent)
            content, left_out = _read(data, persistent)
            keys, _ = _read(data, persistent)
            for key in keys:
                (num_entries,) = struct.unpack("<q", data.read(8))
                storages[key].offset = data.tell()
                if num_entries * sizes[key] != storages[key].num_bytes:
                    raise ValueError("a storage has another size than its tensors say")
                data.seek(storages[key].num_bytes, 1)
        except Exception as error:
            raise _no_checkpoint(path) from error
    return Opened("torch legacy", content, left_out, identities(path))


def _read(data: Any, persistent: Callable[[Any], Any]) -> tuple[Any, tuple[str, ...]]:
    return read_pickle(data, known=KNOWN, find=find, persistent=persistent)


def _open_safetensors(path: Path, file: io.BufferedReader) -> Opened:
    try:
        with safe_open(path, framework="np"):  # its own library, which checks that the tensors fill the file
            pass
        length = int.from_bytes(file.read(8), "little")
        header = parse_json(file.read(length))
        content = {}
        for name, entry in header.items():
            if name != "__metadata__":
                begin, end = entry["data_offsets"]
                storage = Storage(path, end - begin, 8 + length + begin)
                content[name] = Stored(_SAFETENSORS[entry["dtype"]], tuple(entry["shape"]), storage)
    except OSError:
        raise
    except Exception as error:
        reason = f"dtype {error}" if isinstance(error, KeyError) else error
        raise FileError(f"{path}: is no safetensors file, or a damaged one ({reason}). {AGAIN}") from error
    return Opened("safetensors", content, (), identities(path))


class _Part(io.RawIOBase):
    """Some of the bytes of a file, as a file."""

    def __init__(self, file: io.BufferedReader, start: int, size: int) -> None:
        self._file, self._start, self._size, self._at = file, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = max(offset + (0, self._at, self._size)[whence], 0)
        return self._at

    def readinto(self, buffer: Any) -> int:
        self._file.seek(self._start + self._at)
        num = self._file.readinto(memoryview(buffer)[: max(self._size - self._at, 0)])
        self._at += num
        return num


_FOREIGN = (  # what else is found in place of a checkpoint: where its mark is, the mark, and what to do
    (0, b"version https://git-lfs", "a pointer of Git LFS and not the file itself. Fetch that: git lfs pull"),
    (0, b"<!DOCTYPE", "a web page and not the file itself. Download that again"),
    (0, b"<html", "a web page and not the file itself. Download that again"),
    (257, b"ustar", "a tar archive. Unpack it, and give the file of weights in it"),
    (0, b"\x1f\x8b", "packed, by gzip. Unpack it"),
    (0, b"BZh", "packed, by bzip2. Unpack it"),
    (0, b"\xfd7zXZ", "packed, by xz. Unpack it"),
    (0, b"\x28\xb5\x2f\xfd", "packed, by zstd. Unpack it"),
    (0, b"GGUF", "GGUF, as llama.cpp reads it. Give the checkpoint that it was made from"),
    (0, b"\x93NUMPY", "an array of numpy. Save the weights by name, with torch.save"),
)
_SAFETENSORS = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
    "C64": "complex64",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E8M0": "float8_e8m0fnu",
}
