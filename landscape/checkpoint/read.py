"""Read anybody's checkpoint: ours, a state dict, or one of the usual wrappers around a state dict.

Nothing in the file is ever run and, where the format allows, no damage goes unseen. torch reads with
``weights_only=True``; what that refuses is refused here too, the offenders named. torch's zip reader ignores checksums,
so they are verified first, as a stream; then the file is mapped, not read into memory. Legacy (non-zip) torch files and
safetensors carry no checksum: damage to the numbers in them cannot be seen. Infinite and NaN weights are not refused:
measurements mark them.
"""

import hashlib
import io
import os
import pickletools
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import safetensors.torch
import torch
from torch import Tensor

from landscape import __version__
from landscape.checkpoint.checkpoint import FORMAT, Checkpoint, CheckpointError, first_few, to_device, without_prefixes
from landscape.checkpoint.content import misfit_of_ours, require_plain
from landscape.reading import reading, require_room

WRAPPERS = ("state_dict", "model", "model_state_dict", "net")

_SPECS: dict[str, type] = {"model": dict, "data": dict, "loss": dict}
_FIELDS = _SPECS | {"recipe": dict, "epoch": int, "step": int, "metrics": list, "state": dict}


def load_checkpoint(path: str | os.PathLike[str], *, map_location: str | torch.device = "cpu") -> Checkpoint:
    """Read a checkpoint without running anything in it.

    Read are files of ``torch.save`` (zip or legacy) and ``.safetensors``, holding a checkpoint of ours, a state dict,
    or a state dict under exactly one of the keys "state_dict", "model", "model_state_dict" and "net". The prefixes
    "module." and "_orig_mod.", and under "state_dict" also "model.", are dropped where every name has them.

    Weights on the CPU stay in the file until they are used: while the ``Checkpoint`` is in use do not overwrite the
    file in place (``save_checkpoint`` replaces it, which is safe).

    Args:
        path: the file.
        map_location: the device for the model's and the optimizer's tensors; generator states stay on the CPU.

    Raises:
        CheckpointError: the file is missing, damaged, refused, or no checkpoint.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     path = Path(directory, "weights.pt")
        ...     torch.save({"state_dict": {"model.bias": torch.ones(2)}}, path)
        ...     load_checkpoint(path).state["model"]
        {'bias': tensor([1., 1.])}
    """
    path = Path(path)
    try:
        before = _identity(path)
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        content = _read_content(path)
        with reading(path, "Write it with torch.save(model.state_dict(), PATH).", CheckpointError):
            require_plain(content, before[1])
        changed = _identity(path) != before
    except OSError as error:
        reason = error.strerror or error
        raise CheckpointError(f"{path}: cannot be read: {reason}. Check the path and its permissions.") from error
    if changed:
        raise CheckpointError(f"{path}: changed while it was being read. Run again.")

    tag = content.get("format") if isinstance(content, dict) else None
    ours = isinstance(tag, str) and tag.startswith("landscape.checkpoint/")
    fields = _our_fields(path, content) if ours else {"state": {"model": _weights(path, content)}}
    state = {"optimizer": None, "rng": None} | fields.pop("state")
    state |= to_device({"model": state["model"], "optimizer": state["optimizer"]}, torch.device(map_location))
    return Checkpoint(path=path, sha256=sha256, format=FORMAT if ours else "state_dict", state=state, **fields)


def _identity(path: Path) -> tuple[int, ...]:
    """What changes when the file is replaced or rewritten, so that the hash is known to be of what was read."""
    stat = path.stat()
    if not path.is_file():
        raise CheckpointError(f"{path}: is a directory or a device. Give a checkpoint file.")
    if stat.st_size == 0:
        raise CheckpointError(f"{path}: is empty. Copy it again, or use an earlier checkpoint.")
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def _our_fields(path: Path, content: dict[str, Any]) -> dict[str, Any]:
    """The fields of a checkpoint of our format."""
    if content["format"] != FORMAT:
        raise CheckpointError(
            f"{path}: is of format {content['format']}, and landscape {__version__} reads {FORMAT}. "
            "Upgrade with pip install --upgrade landscape-geometry."
        )
    wrong = [name for name, kind in _FIELDS.items() if not isinstance(content.get(name), kind)]
    wrong += [name for name in _SPECS if name not in wrong and not _is_spec(content[name])]
    if "state" not in wrong and not _is_state_dict(content["state"].get("model")):
        wrong.append("state")
    if not isinstance(content.get("fingerprint", {}), dict):  # which checkpoints used not to have
        wrong.append("fingerprint")
    if wrong:
        raise CheckpointError(
            f"{path}: is of format {FORMAT} but has missing or malformed fields: {', '.join(wrong)}. "
            "Write it with landscape.save_checkpoint."
        )
    if impossible := misfit_of_ours(content):
        raise CheckpointError(f"{path}: {impossible}. Write it with landscape.save_checkpoint.")
    return {name: content[name] for name in _FIELDS} | {"fingerprint": content.get("fingerprint", {})}


def _weights(path: Path, content: Any) -> dict[str, Any]:
    """The state dict of somebody else's checkpoint, without the prefixes of wrappers."""
    if _is_state_dict(content):
        return without_prefixes(content, lightning=False)
    expected = f"Expected tensors by name, alone or under exactly one of {', '.join(WRAPPERS)}."
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: holds a {type(content).__name__}, not a state dict. {expected}")
    under = [key for key in WRAPPERS if _is_state_dict(content.get(key))]
    if len(under) != 1:
        problem = "holds more than one state dict" if under else "holds no state dict"
        keys = first_few(content, 8) or "none"
        raise CheckpointError(f"{path}: {problem}; its top-level keys: {keys}. {expected}")
    return without_prefixes(content[under[0]], lightning=under == ["state_dict"])


def _is_spec(value: dict[str, Any]) -> bool:
    return isinstance(value.get("name"), str) and isinstance(value.get("args"), dict)


def _is_state_dict(value: Any) -> bool:
    """Whether it is tensors by name; a module may add an object of its own under a name with ``_extra_state``."""
    return (
        isinstance(value, dict)
        and any(isinstance(item, Tensor) for item in value.values())
        and all(isinstance(key, str) for key in value)
        and all(isinstance(item, Tensor) or key.endswith("_extra_state") for key, item in value.items())
    )


def _read_content(path: Path) -> Any:
    """The object in the file: read with safetensors if it is called so, otherwise with torch."""
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
        except OSError:
            raise
        except Exception as error:  # there is no list of what readers raise on bytes that make no sense
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
            with reading(path, "Save it with torch.save, which does not pack.", CheckpointError):
                require_room(sum(entry.file_size for entry in entries), path.stat().st_size)
            # torch.serialization.set_crc32_options(False) leaves every checksum zero: such a file cannot be verified.
            damaged = archive.testzip() if any(entry.CRC for entry in entries) else None
    except CheckpointError:
        raise
    except Exception as error:  # as above; a wrong offset may lie before the file, where seeking is an OSError
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
    with suppress(Exception):
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
