"""Read anybody's checkpoint: ours, a state dict, or one of the usual wrappers around a state dict.

The object in the file comes from `content.py`, which runs nothing; here it is told what it is. Infinite and NaN weights
are not refused: measurements mark them.
"""

import hashlib
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from landscape import __version__
from landscape.checkpoint.checkpoint import (
    FORMAT,
    LIGHTNING_PREFIX,
    WRAPPER_PREFIXES,
    Checkpoint,
    CheckpointError,
    first_few,
    to_device,
    without_prefixes,
)
from landscape.checkpoint.content import read_content

WRAPPERS = ("state_dict", "model", "model_state_dict", "net")

_SPECS: dict[str, type] = {"model": dict, "data": dict, "loss": dict}
_FIELDS = _SPECS | {"recipe": dict, "epoch": int, "step": int, "metrics": list, "state": dict}


def load_checkpoint(path: str | os.PathLike[str], *, map_location: str | torch.device = "cpu") -> Checkpoint:
    """Read a checkpoint without running anything in it.

    Read are files of `torch.save` (zip or legacy) and ``.safetensors``, holding a checkpoint of ours, a state dict, or
    a state dict under exactly one of the keys "state_dict", "model", "model_state_dict" and "net". The prefixes
    "module." and "_orig_mod.", and under "state_dict" also "model.", are dropped where every name has them.

    Weights on the CPU stay in the file until they are used: while the `Checkpoint` is in use do not overwrite the file
    in place (`save_checkpoint` replaces it, which is safe).

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
        content = read_content(path)
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
    if wrong:
        raise CheckpointError(
            f"{path}: is of format {FORMAT} but has missing or malformed fields: {', '.join(wrong)}. "
            "Write it with landscape.save_checkpoint."
        )
    return {name: content[name] for name in _FIELDS}


def _weights(path: Path, content: Any) -> dict[str, Any]:
    """The state dict of somebody else's checkpoint, without the prefixes of wrappers."""
    if _is_state_dict(content):
        return without_prefixes(content, *WRAPPER_PREFIXES)
    expected = f"Expected tensors by name, alone or under exactly one of {', '.join(WRAPPERS)}."
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: holds a {type(content).__name__}, not a state dict. {expected}")
    under = [key for key in WRAPPERS if _is_state_dict(content.get(key))]
    if len(under) != 1:
        problem = "holds more than one state dict" if under else "holds no state dict"
        keys = first_few(content, 8) or "none"
        raise CheckpointError(f"{path}: {problem}; its top-level keys: {keys}. {expected}")
    lightning = (LIGHTNING_PREFIX,) if under == ["state_dict"] else ()
    return without_prefixes(content[under[0]], *WRAPPER_PREFIXES, *lightning)


def _is_spec(value: dict[str, Any]) -> bool:
    return isinstance(value.get("name"), str) and isinstance(value.get("args"), dict)


def _is_state_dict(value: Any) -> bool:
    """Whether it is tensors by name; a module may add an object of its own under a name that ends in `_extra_state`."""
    return (
        isinstance(value, dict)
        and any(isinstance(item, Tensor) for item in value.values())
        and all(isinstance(key, str) for key in value)
        and all(isinstance(item, Tensor) or key.endswith("_extra_state") for key, item in value.items())
    )
