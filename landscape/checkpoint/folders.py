"""Checkpoints that are folders: of ``save_pretrained``, of a Trainer, of an adapter, of several processes; and shards.

config.json, model.safetensors          Hugging Face; also in shards, which *.index.json names, and as *.bin
trainer_state.json beside them          a Trainer's checkpoint-500/
adapter_config.json, adapter_model.*    an adapter, whose base lies elsewhere
.metadata, __0_0.distcp, ...            torch.distributed.checkpoint, which FSDP and others write
"""

import io
import math
import re
from bisect import bisect_left
from pathlib import Path
from typing import Any

import numpy as np

from landscape.checkpoint.containers import AGAIN, Opened, identities, open_container
from landscape.checkpoint.inert import read_pickle
from landscape.checkpoint.stored import KNOWN, Storage, Stored, find, itemsize
from landscape.checkpoint.weights import training_facts
from landscape.readers import parse_json
from landscape.reading import FileError, open_file, read_text, reading

# the weights of a folder: the first of these that is there, as its own library has it
_WEIGHTS: tuple[str, ...] = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_WEIGHTS += ("adapter_model.safetensors", "adapter_model.bin")
_WEIGHTS += ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.safetensors.index.json")
_WEIGHTS += ("diffusion_pytorch_model.bin", "diffusion_pytorch_model.bin.index.json")
_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".tar", ".pkl")
_BESIDE = (
    *("optimizer", "scheduler", "scaler", "sampler", "dl_state_dict", "rng_state", "random_states", "training_args"),
    "custom_checkpoint",
)
_SHARD = re.compile(r"-\d{5}-of-\d{5}\.")
_ELSEWHERE = {
    "flax_model.msgpack": "weights of JAX. Convert them: from_pretrained(DIR, from_flax=True).save_pretrained(OUT)",
    "tf_model.h5": "weights of TensorFlow. Convert them: from_pretrained(DIR, from_tf=True).save_pretrained(OUT)",
    "zero_to_fp32.py": "parts of DeepSpeed's. Join them: python zero_to_fp32.py . OUT",
}
_CELLS = 10_000_000  # of the grid that the edges of a tensor's parts make


def open_checkpoint(path: Path, *, verify: bool = True) -> Opened:
    """What the file or folder describes; of its tensors no number is read.

    Args:
        path: a checkpoint, a folder of one, or an index of shards.
        verify: check the checksum of every byte of an archive.

    Raises:
        FileError: it cannot be read, is damaged, refused, or none.
    """
    try:
        return _open(path, verify)
    except OSError as error:
        reason = error.strerror or error
        inside = "" if error.filename in (None, str(path), path) else f" {Path(error.filename).name} in it"
        raise FileError(f"{path}:{inside} cannot be read: {reason}. Check the path and its permissions.") from error


def _open(path: Path, verify: bool) -> Opened:
    if path.is_dir():
        return _open_folder(path, verify)
    return _open_shards(path, verify) if is_json(path) else open_container(path, verify=verify)


def is_json(path: Path) -> bool:
    """Whether a file begins as a JSON object does."""
    with open_file(path) as file:
        return file.read(64).lstrip()[:1] == b"{"


def _open_folder(folder: Path, verify: bool) -> Opened:
    opened = _open_distributed(folder) if (folder / ".metadata").exists() else _open(_weights_of(folder), verify)
    config, adapter = _json(folder / "config.json"), _json(folder / "adapter_config.json")
    said = _json(folder / "trainer_state.json") or {}
    opened.facts |= {name: value for name, value in (("config", config), ("adapter", adapter)) if value is not None}
    opened.facts |= training_facts(said)
    there = [folder / name for name in ("config.json", "adapter_config.json") if (folder / name).exists()]
    opened.files |= identities(*there)
    return opened


def _weights_of(folder: Path) -> Path:
    """The one file of the folder that holds its weights."""
    for name in _WEIGHTS:
        if (path := folder / name).exists():
            if (second := path.with_stem(f"{path.stem}_1")).exists():  # as accelerate has it
                raise FileError(f"{folder}: holds several checkpoints ({_first([path, second])}). Give one of them.")
            return path
    indices = [path for kind in ("safetensors", "bin") for path in sorted(folder.glob(f"*.{kind}.index*.json"))]
    if len(indices) == 1:
        return indices[0]
    found = _weights_in(folder)
    if len(found) == 1:
        return found[0]
    for name, words in _ELSEWHERE.items():
        if (folder / name).exists():
            raise FileError(f"{folder}: holds {words}.")
    if found and all(_SHARD.search(path.name) for path in found):
        raise FileError(f"{folder}: holds shards without the index of them, model.safetensors.index.json. {AGAIN}")
    if found:
        raise FileError(f"{folder}: holds several checkpoints ({_first(found)}). Give one of them.")
    inner = [path for path in sorted(folder.iterdir()) if path.is_dir() and _weights_in(path)]
    if inner:
        raise FileError(f"{folder}: has its weights in folders ({_first(inner)}). Give one of them.")
    raise FileError(
        f"{folder}: is a folder without weights. Expected model.safetensors, pytorch_model.bin, an index of shards, "
        ".metadata or one checkpoint file in it."
    )


def _weights_in(folder: Path) -> list[Path]:
    """The files, and folders of several processes, that may be weights."""
    found = [path for path in sorted(folder.iterdir()) if path.suffix in _SUFFIXES and path.name[0] != "."]
    found += [path for path in sorted(folder.iterdir()) if path.is_dir() and (path / ".metadata").exists()]
    return [path for path in found if not path.name.startswith(_BESIDE)]


def _first(paths: list[Path]) -> str:
    return ", ".join(path.name for path in paths[:4]) + (", ..." if len(paths) > 4 else "")


def _open_shards(index: Path, verify: bool) -> Opened:
    """The tensors of all shards that an index names, each where it says."""
    document = _json(index)
    shards = document.get("weight_map") if isinstance(document, dict) else None
    if not isinstance(shards, dict) or not all(isinstance(name, str) for name in shards.values()):
        raise FileError(f"{index}: is JSON and no index of shards. Expected a checkpoint, or its *.index.json.")
    opened = {}
    for name in dict.fromkeys(shards.values()):
        if not _is_beside(name):
            raise FileError(f"{index}: names the shard {name!r}. Expected a file beside it.")
        try:
            opened[name] = open_container(index.parent / name, verify=verify)
        except FileNotFoundError as error:
            raise FileError(f"{index}: names the shard {name}, which is not there. {AGAIN}") from error
    content = {}
    for key, name in shards.items():
        inside = opened[name].content
        if not isinstance(inside, dict) or not isinstance(inside.get(key), Stored):
            raise FileError(f"{index}: says that {key} is in {name}, where it is not. {AGAIN}")
        content[key] = inside[key]
    kind = next(iter(opened.values())).container if opened else "empty"
    left_out = tuple(dict.fromkeys(name for shard in opened.values() for name in shard.left_out))
    files = identities(index)
    for shard in opened.values():
        files |= shard.files
    return Opened(f"sharded {kind}", content, left_out, files)


def _open_distributed(folder: Path) -> Opened:
    """What ``.metadata`` says: of each tensor its shape, and which part of it lies where."""
    path = folder / ".metadata"
    with reading(path, AGAIN):
        with open_file(path) as file:
            metadata, _ = read_pickle(io.BytesIO(file.read()), known=KNOWN, find=find)
        said = metadata.state
        places: dict[tuple[str, Any], Any] = {}
        for index, info in said["storage_data"].items():
            places[index.state["fqn"], index.state.get("offset")] = info.state
        content: dict[str, Any] = {}
        files: set[str] = set()
        for name, entry in said["state_dict_metadata"].items():
            if not entry.name.endswith(".TensorStorageMetadata"):
                continue
            stored, used = _of_parts(folder, name, entry.state, places)
            files |= used
            *way, last = (said.get("planner_data") or {}).get(name, (name,))
            node = content
            for key in way:
                node = node.setdefault(key, {})
            node[last] = stored
    return Opened("distributed", content, (), identities(path, *(folder / name for name in sorted(files))))


def _of_parts(folder: Path, name: str, said: dict[str, Any], places: dict[Any, Any]) -> tuple[Stored, set[str]]:
    """A tensor of which each process wrote a part."""
    dtype, shape = said["properties"].state[0], tuple(said["size"])
    parts, files = [], set()
    for chunk in said["chunks"]:
        begin, sizes = tuple(chunk.state["offsets"]), tuple(chunk.state["sizes"])
        place = places[name, begin] if (name, begin) in places else places[name, None]
        if place.get("transform_descriptors"):
            raise ValueError(f"{name} is packed by an extension")
        if not _is_beside(place["relative_path"]):
            raise ValueError(f"{name} lies in {place['relative_path']!r}, which is not in this folder")
        files.add(place["relative_path"])
        parts.append((begin, sizes, folder / place["relative_path"], place["offset"], place["length"]))
    if not _tile(shape, [(begin, sizes) for begin, sizes, *_ in parts]):
        raise ValueError(f"the parts of {name} are not all of it")
    storage = Storage(parts[0][2] if parts else folder, math.prod(shape) * itemsize(dtype), 0)
    return Stored(dtype, shape, storage, kind="parts", args=tuple(parts)), files


def _is_beside(name: str) -> bool:
    """Whether it is the name of a file in the same folder."""
    return name not in ("", ".", "..") and Path(name).name == name and "\0" not in name


def _tile(shape: tuple[int, ...], parts: list[tuple[tuple[int, ...], tuple[int, ...]]]) -> bool:
    """Whether the parts fill the shape, each entry once."""
    for begin, sizes in parts:
        if not len(begin) == len(sizes) == len(shape):
            return False
        if any(not 0 <= b <= b + s <= n for b, s, n in zip(begin, sizes, shape, strict=True)):
            return False
    if sum(math.prod(sizes) for _, sizes in parts) != math.prod(shape):
        return False
    # In the grid that all their edges make, each cell once: of as many entries as all, none can be twice.
    edges = [sorted({e for b, s in parts for e in (b[axis], b[axis] + s[axis])}) for axis in range(len(shape))]
    if math.prod(map(len, edges)) > _CELLS:
        return False
    covered = np.zeros([len(axis) for axis in edges], dtype=bool)
    for begin, sizes in parts:
        sides = zip(edges, begin, sizes, strict=True)
        cells = tuple(slice(bisect_left(axis, b), bisect_left(axis, b + s)) for axis, b, s in sides)
        if np.any(covered[cells]):
            return False
        covered[cells] = True
    return True


def _json(path: Path) -> Any:
    """The object in a file of JSON, None where there is no file."""
    if not path.exists():
        return None
    with reading(path, AGAIN):
        found = parse_json(read_text(path))
        if not isinstance(found, dict):
            raise ValueError("it is no object")
        return found
