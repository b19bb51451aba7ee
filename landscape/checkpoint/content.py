"""The object in a checkpoint file, with nothing in the file ever run and, where the format allows, no damage unseen.

torch reads with ``weights_only=True``; what that refuses is refused here too, the offenders named. torch's zip reader
ignores checksums, so they are verified first, as a stream; then the file is mapped, not read into memory. Legacy
(non-zip) torch files and safetensors carry no checksum: damage to the numbers in them cannot be seen.
"""

import io
import pickle
import pickletools
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import safetensors
import safetensors.torch
import torch

from landscape.checkpoint.checkpoint import CheckpointError, first_few

# What the readers of zip archives, pickles and safetensors raise on bytes that make no sense.
_MALFORMED = (
    pickle.UnpicklingError,
    safetensors.SafetensorError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
)


def read_content(path: Path) -> Any:
    """Read the object in the file: with safetensors if it is called so, otherwise with torch.

    Raises:
        CheckpointError: the file is damaged, refused, or of no known format.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        is_zip = file.read(4) == b"PK\x03\x04"
    # A mapped file shows its bytes as they lie, so where some are compressed all must be read instead.
    mmap = is_zip and _verify_zip(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what torch finds odd in a file either loads all the same or raises
        try:
            if path.suffix == ".safetensors":
                return safetensors.torch.load_file(path)
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
        except _MALFORMED as error:
            if path.suffix == ".safetensors":
                problem = f"is no safetensors file, or a damaged one ({error}). Copy or download it again."
            elif refused := _refused_globals(path, is_zip):
                problem = (
                    f"is refused: reading it would run {first_few(refused)}. "
                    "If you trust it, load it where it was made and save model.state_dict() alone."
                )
            else:
                problem = "is no checkpoint, or a damaged one. Expected a file of torch.save or a .safetensors file."
            raise CheckpointError(f"{path}: {problem}") from error


def _verify_zip(path: Path) -> bool:
    """Check every byte that will be used against its checksum; returns whether all of them lie uncompressed."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            # torch.serialization.set_crc32_options(False) leaves every checksum zero: such a file cannot be verified.
            damaged = archive.testzip() if any(entry.CRC for entry in entries) else None
    except (*_MALFORMED, OSError) as error:  # a wrong offset may lie before the file, where seeking is an OSError
        raise CheckpointError(f"{path}: is truncated or damaged. Copy or download it again.") from error
    if damaged is not None:
        raise CheckpointError(f"{path}: is damaged: {damaged} fails its checksum. Copy or download it again.")
    names = {Path(entry.filename).name for entry in entries}
    if "constants.pkl" in names:
        raise CheckpointError(f"{path}: is a TorchScript program. Save its state_dict() with torch.save.")
    if "data.pkl" not in names:
        raise CheckpointError(f"{path}: is a zip archive but no checkpoint. Expected a file of torch.save.")
    return all(entry.compress_type == zipfile.ZIP_STORED for entry in entries)


def _refused_globals(path: Path, is_zip: bool) -> list[str]:
    """What the file's pickles import and torch refuses to: asked of torch, with a pickle that is a list of imports."""
    names: set[str] = set()
    with suppress(*_MALFORMED):
        if is_zip:
            with zipfile.ZipFile(path) as archive:
                for entry in archive.namelist():
                    if Path(entry).name == "data.pkl":
                        names.update(_globals(archive.read(entry)))
        else:
            with path.open("rb") as file:
                for _ in range(5):  # a legacy file is five pickles, the fourth the object, and then raw numbers
                    names.update(_globals(file))
    with zipfile.ZipFile(question := io.BytesIO(), "w") as archive:
        archive.writestr("names/version", "3")
        archive.writestr("names/data.pkl", "".join(f"c{name}\n" for name in names) + ".")
    question.seek(0)
    return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(question))


def _globals(pickled: bytes | BinaryIO) -> Iterator[str]:
    """What one pickle says it imports: module, line break, name. Names put together while it runs are not seen."""
    strings: list[str] = ["", ""]
    memo: dict[int, str] = {}
    argument: Any
    for opcode, argument, _ in pickletools.genops(pickled):
        if "UNICODE" in opcode.name:
            strings.append(ascii(argument)[1:-1])
        elif opcode.name.endswith("GET"):
            strings.append(memo.get(argument, ""))
        elif opcode.name.endswith("PUT") or opcode.name == "MEMOIZE":
            memo[len(memo) if argument is None else argument] = strings[-1]
        elif opcode.name in ("GLOBAL", "INST"):
            yield argument.replace(" ", "\n", 1)
        elif opcode.name == "STACK_GLOBAL":
            yield "\n".join(strings[-2:])
