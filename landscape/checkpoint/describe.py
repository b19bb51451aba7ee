"""What a checkpoint holds, said without torch and without its weights: gigabytes take no longer than their names.

The weights are read only where that is quick, or asked for: their hash, their norms, and what is not finite.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from landscape.checkpoint.containers import AGAIN, Opened
from landscape.checkpoint.content import FORMAT, fields_of_ours, require_plain, told
from landscape.checkpoint.folders import open_checkpoint
from landscape.checkpoint.stored import Stored, contiguous, itemsize
from landscape.checkpoint.weights import Weights, find_weights, training_facts, weights_of
from landscape.reading import reading

QUICK = 64 * 2**20  # bytes of files whose weights are read unasked
_STATISTICS = ("running_mean", "running_var")


def describe(path: Path, *, key: str | None = None, values: bool | None = None) -> dict[str, Any]:
    """What the file or folder holds.

    Args:
        path: the checkpoint.
        key: where its state dict is, as for ``load_checkpoint``.
        values: whether the weights are read too; None where all files together have at most 64 MiB.

    Returns:
        "path", "sha256" (None where the weights are not read), "format", "container", "num_bytes"; "model", "data",
        "loss", "recipe", "epoch", "step" and "metrics" as far as it says them; "key" of the state dict, "others" that
        are there, "beside" what else stands there, "left_out" what was not run; "num_params" (entries of floating
        tensors, tied ones once, without BatchNorm's statistics), "num_entries", "dtypes", "tied" (names that are one
        weight), "needs" (what ``analyze`` needs beside), "tensors" (name, shape, dtype; norm, num_nan and num_inf
        where the weights are read).

    Raises:
        FileError: it is damaged, refused, or no checkpoint.
    """
    values = _num_bytes(path) <= QUICK if values is None else values
    opened = open_checkpoint(path, verify=values)
    ours = fields_of_ours(path, opened)
    weights = weights_of(path, opened, key) if ours is None else find_weights(ours["state"]["model"])
    with reading(path, AGAIN):
        require_plain(weights.state, opened.num_bytes)
    tensors = {name: value for name, value in weights.state.items() if isinstance(value, Stored)}
    said = ours or training_facts(opened.content) | opened.facts
    return {
        "path": str(path),
        "sha256": hash_of(opened.files) if values else None,
        "format": FORMAT if ours else "state_dict",
        "container": opened.container,
        "num_bytes": opened.num_bytes,
        "model": told(said.get("model")) or _architecture(opened),
        **{name: told(said.get(name)) for name in ("data", "loss")},
        "recipe": told(said.get("recipe")) or None,
        **{name: told(said.get(name)) for name in ("epoch", "step")},
        "metrics": told(said["metrics"][-1]) if said.get("metrics") else None,
        "key": weights.key,
        "others": list(weights.others),
        "beside": [] if ours else _beside(opened.content, weights),
        "left_out": list(opened.left_out),
        "num_params": _num_params(tensors),
        "num_entries": sum(one.num_entries for one in tensors.values()),
        "dtypes": dict(Counter(one.dtype for one in tensors.values())),
        "tied": _tied(tensors),
        "needs": "" if ours else _needs(opened),
        "tensors": _facts(path, tensors, values),
    }


def _num_bytes(path: Path) -> int:
    """Of the file; of all files of a folder, and of that which an index stands in."""
    try:
        folder = path if path.is_dir() else path.parent if path.suffix == ".json" else None
        return sum(one.stat().st_size for one in folder.iterdir()) if folder else path.stat().st_size
    except OSError:
        return 0  # which whoever opens it will tell


def hash_of(paths: Collection[Path]) -> str:
    """SHA-256 of the file, or of the names and hashes of several."""
    hashes = []
    for path in paths:
        with path.open("rb") as file:
            hashes.append(hashlib.file_digest(file, "sha256").hexdigest())
    if len(hashes) == 1:
        return hashes[0]
    lines = sorted(f"{path.name} {one}\n" for path, one in zip(paths, hashes, strict=True))
    return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()


def _architecture(opened: Opened) -> Any:
    """The classes that a folder's config.json names; of diffusers and timm by the name of the library too."""
    config = opened.facts.get("config") or {}
    names = {"diffusers": config.get("_class_name"), "timm": config.get("architecture")}
    named = next((f"{library}.{name}" for library, name in names.items() if isinstance(name, str)), None)
    return told(config.get("architectures")) or told(named)


def _needs(opened: Opened) -> str:
    """What ``analyze`` needs beside the file."""
    if "adapter" in opened.facts or (opened.facts.get("config") or {}).get("model_type"):
        return "--data text:FILE, csv:FILE, images:FOLDER or parquet:PATH; or --problem FILE.py:FUNCTION"
    return "--problem FILE.py:FUNCTION (--write-problem drafts one); or --model and --data of ours"


def _beside(content: Any, weights: Weights) -> list[str]:
    """The keys of the file that are no weights."""
    if not isinstance(content, dict) or not weights.key:
        return list(weights.beside)
    used = {way.partition(".")[0] for way in (weights.key, *weights.others)}
    return [str(key) for key in content if str(key) not in used] + [f"{weights.key}.{one}" for one in weights.beside]


def _num_params(tensors: Mapping[str, Stored]) -> int:
    """The entries of floating tensors, of tied ones once, without BatchNorm's statistics."""
    params = {
        _place(one): one.num_entries
        for name, one in tensors.items()
        if one.dtype.startswith(("float", "bfloat", "complex")) and not name.endswith(_STATISTICS)
    }
    return sum(params.values())


def _tied(tensors: Mapping[str, Stored]) -> list[list[str]]:
    groups: dict[Any, list[str]] = {}
    for name, one in tensors.items():
        groups.setdefault(_place(one), []).append(name)
    return [names for names in groups.values() if len(names) > 1]


def _place(one: Stored) -> Any:
    if one.kind or not one.num_entries:
        return id(one)
    return id(one.storage), one.offset, one.shape, one.stride


def _facts(path: Path, tensors: Mapping[str, Stored], values: bool) -> list[dict[str, Any]]:
    rows = [
        {"name": name, "shape": list(one.shape), "dtype": f"{one.kind.removeprefix('parts')} {one.dtype}".lstrip()}
        for name, one in tensors.items()
    ]
    if values:
        mapped: dict[Path, Any] = {}
        with reading(path, AGAIN):
            for row, one in zip(rows, tensors.values(), strict=True):
                row |= _numbers(one, mapped)
    return rows


def _numbers(one: Stored, mapped: dict[Path, Any]) -> dict[str, Any]:
    """The norm of a tensor, and how many of its entries are not finite."""
    entries = _entries(one, mapped)
    with np.errstate(all="ignore"):
        norm = float(np.linalg.norm(entries.astype(np.complex128 if entries.dtype.kind == "c" else np.float64)))
    finite = math.isfinite(norm)
    counts = (0, 0) if finite else (int(np.isnan(entries).sum()), int(np.isinf(entries).sum()))
    return {"norm": norm, "num_nan": counts[0], "num_inf": counts[1]}


def _entries(one: Stored, mapped: dict[Path, Any]) -> Any:
    """All entries, flat; of a sparse tensor those that are there."""
    dtype = {"bfloat16": "uint16"}.get(one.dtype, one.dtype)
    if one.kind or one.storage.member or one.conj or one.neg or not hasattr(np, dtype):
        return _entries_by_torch(one)
    one.require_there()
    if not one.num_entries:
        return np.zeros(0)
    if one.storage.path not in mapped:
        mapped[one.storage.path] = np.memmap(one.storage.path, np.uint8, "r")
    begin, size = one.storage.offset, one.storage.num_bytes
    raw = mapped[one.storage.path][begin : begin + size]
    flat = raw[one.offset * itemsize(one.dtype) :].view(np.uint8)
    stride = tuple(step * itemsize(one.dtype) for step in one.stride or contiguous(one.shape))
    entries = np.ndarray(one.shape, dtype, flat, strides=stride)
    return (entries.astype(np.uint32) << 16).view(np.float32) if one.dtype == "bfloat16" else entries


def _entries_by_torch(one: Stored) -> Any:
    import torch

    from landscape.checkpoint.tensors import Tensors

    tensor = Tensors().of(one)
    if tensor.layout == torch.sparse_coo:
        tensor = tensor.coalesce().values()  # the rest, which may be any number of them, is 0
    elif tensor.is_quantized:
        tensor = tensor.dequantize()
    kind = torch.complex128 if tensor.is_complex() else torch.float64
    return tensor.to_dense().to(kind).resolve_conj().resolve_neg().numpy()
