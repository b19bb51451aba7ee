"""Files that ask for far more time or memory than they have bytes, or for what lies elsewhere."""

import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save, save_file

from .hostile import spliced, text
from .kind import small

Write = Callable[[Path], Path]  # into a folder
PUT, GET = b"q\xf0", b"h\xf0"


def weights() -> dict[str, Any]:
    return dict(small(1).state_dict())


def length(value: int, num_bytes: int = 8) -> bytes:
    return value.to_bytes(num_bytes, "little")


def repeated(make: bytes, again: bytes, times: int) -> bytes:
    """A list of what these steps leave, after what they all need was made and is remembered."""
    return make + PUT + b"0(" + again * times + b"l"


def doubled(last: bytes) -> bytes:
    """Pairs of pairs of pairs ..., 60 deep: of a billion billion parts."""
    return b")" + (PUT + b"0(" + GET + GET + last) * 60


LONG_TEXT = text("x" * 10**6)
OPS: dict[str, bytes] = {
    "a memo of 2^31": b"Nr\xff\xff\xff\x7f",
    "a memo of digits": b"Np99999999999999999999\n",
    "a frame of 2^62": b"\x95" + length(2**62) + b"N",
    "bytes of 2^62": b"\x8e" + length(2**62),
    "bytes of 2^31": b"B" + length(2**31, 4),
    "text of 2^62": b"\x8d" + length(2**62),
    "a byte array of 2^62": b"\x96" + length(2**62),
    "a byte array of 2^33": b"\x96" + length(2**33),
    "a number of 2^31 bytes": b"\x8b" + length(2**31 - 1, 4),
    "a number of a million digits": b"I" + b"9" * 10**6 + b"\n",
    "a number of a million bytes": b"\x8b" + length(10**6, 4) + b"\x7f" * 10**6,
    "text of negative length": b"T\xff\xff\xff\xff",
    "a key whose hash never ends": b"}" + doubled(b"t") + b"Ns",
    "a set whose hash never ends": b"\x8f(" + doubled(b"t") + b"\x90",
    "a frozen set whose hash never ends": b"(" + doubled(b"t") + b"\x91",
    "an argument whose hash never ends": b"ccollections\nOrderedDict\n((" + doubled(b"t") + b"Ntt\x85R",
    "a name whose hash never ends": doubled(b"t") + text("x") + b"\x93",
    "pairs of pairs": doubled(b"t"),
    "lists of lists": doubled(b"l"),
    "lists 10^5 deep": b"]" * 10**5 + b"a" * (10**5 - 1),
    "tuples 10^5 deep": b")" + b"\x85" * 10**5,
    "dicts 10^5 deep": (b"}" + text("a")) * 10**5 + b"N" + b"s" * 10**5,
    "calls 10^5 deep": b"cgone\nThing\n" + PUT + GET * (10**5 - 1) + b")R" + b"\x85R" * (10**5 - 1),
    "itself": b"h\x00",
    "a list in itself": b"]" + PUT + GET + b"a",
    "10^5 keys of one hash": b"}("
    + b"".join(b"\x8a\x0a" + (k * (2**61 - 1)).to_bytes(10, "little") + b"N" for k in range(10**5))
    + b"u",
    "copies of a list": repeated(b"](" + b"N" * 10**5 + b"e", b"cbuiltins\nlist\n" + GET + b"\x85R", 10**4),
    "copies of a tuple": repeated(b"(" + b"N" * 10**5 + b"t", b"cbuiltins\nlist\n" + GET + b"\x85R", 10**4),
    "copies of a set": repeated(b"](" + b"K\x01" * 10**5 + b"e", b"cbuiltins\nset\n" + GET + b"\x85R", 10**4),
    "copies of sizes": repeated(b"(" + b"K\x01" * 10**5 + b"t", b"ctorch\nSize\n" + GET + b"\x85R", 10**4),
    "copies of pairs": repeated(
        b"](" + b"".join(text(str(n)) + b"N\x86" for n in range(50_000)) + b"e",
        b"ccollections\nOrderedDict\n" + GET + b"\x85R",
        10**3,
    ),
    "a dict under 60,000 names": b"}("
    + text("all")
    + b"}("
    + b"".join(text(str(n)) + b"N" for n in range(60_000))
    + b"u"
    + PUT
    + b"".join(text(f"k{n}") + GET for n in range(60_000))
    + b"u",
    "copies of bytes": repeated(
        b"B" + length(10**6, 4) + bytes(10**6), b"cbuiltins\nbytearray\n" + GET + b"\x85R", 10**4
    ),
    "copies of text": repeated(LONG_TEXT, b"c_codecs\nencode\n" + GET + text("latin1") + b"\x86R", 10**4),
    "copies of a name": repeated(LONG_TEXT, text("m") + GET + b"\x93", 10**4),
    "copies of a class": repeated(text("m") + LONG_TEXT + b"\x93", GET + b")\x81", 10**4),
    "10^5 calls": b"(" + b"cgone\nThing\n)R" * 10**5 + b"l",
}


def with_ops(ops: bytes) -> Write:
    """Beside the weights, what these steps leave."""

    def write(folder: Path) -> Path:
        path = folder / "w.pt"
        torch.save({"model": weights()}, path)
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in members.items():
                more = text("more") + ops + b"s."
                archive.writestr(name, content[:-1] + more if name.endswith("data.pkl") else content)
        return path

    return write


def at_first(ops: bytes) -> Write:
    """Before everything else."""

    def write(folder: Path) -> Path:
        torch.save(weights(), folder / "w.pt")
        spliced(folder / "w.pt", ops)
        return folder / "w.pt"

    return write


def storage(dtype: bytes, key: str, num: bytes) -> bytes:
    return b"(" + text("storage") + dtype + text(key) + text("cpu") + num + b"tQ"


FLOAT = b"ctorch\nFloatStorage\n"
IDS: dict[str, bytes] = {
    "an id that is a number": b"K\x07Q",
    "an id that is a text": text("storage") + b"Q",
    "an id that is nothing": b")Q",
    "an id that is too short": b"(" + text("storage") + b"tQ",
    "an id of another kind": b"(" + text("module") + FLOAT + text("0") + text("cpu") + b"K\x01tQ",
    "an id of lines": b"Pstorage\n",
    "a storage of text": storage(text("float6400000000"), "0", text("ab")),
    "a storage of 2^62": storage(FLOAT, "0", b"\x8a\x08" + length(2**62)),
    "a storage of -1": storage(FLOAT, "0", b"J\xff\xff\xff\xff"),
    "a storage of a list": storage(FLOAT, "0", b"]"),
    "a storage elsewhere": storage(FLOAT, "../../../etc/passwd", b"K\x01"),
    "a storage of the pickle": storage(FLOAT, "../data.pkl", b"K\x01"),
    "a storage of no name": b"(" + text("storage") + FLOAT + b"])" + text("cpu") + b"K\x01tQ",
    "a storage of two dtypes": storage(b"ctorch\nDoubleStorage\n", "0", b"K\x0e")
    + b"0"
    + storage(FLOAT, "0", b"K\x1c"),
}


def holding(make: Callable[[], Any], **options: Any) -> Write:
    def write(folder: Path) -> Path:
        torch.save(make(), folder / "w.pt", **options)
        return folder / "w.pt"

    return write


def tensor(size: str, stride: str, offset: str = "K\x00") -> Write:
    """A tensor that sees its storage so."""
    seen = f"({size}t({stride}t".encode("latin1")
    ops = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage(FLOAT, "0", b"K\x1c") + offset.encode("latin1") + seen
    return with_ops(ops + b"\x89ccollections\nOrderedDict\n)RtR")


def wide(num: int = 10**6) -> torch.Tensor:
    return torch.zeros(1).expand(num, num)


def sparse() -> torch.Tensor:
    at = torch.zeros(2, 1, dtype=torch.int64)
    return torch.sparse_coo_tensor(at, torch.ones(1), (10**6, 10**6), check_invariants=True)


def packed(folder: Path) -> Path:
    """10^8 steps, which take a hundred thousand bytes."""
    path = folder / "w.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w/data.pkl", b"\x80\x02" + b"N" * 10**8 + b".")
        archive.writestr("w/version", b"3\n")
    return path


def bomb(folder: Path) -> Path:
    path = folder / "w.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member in range(30):
            archive.writestr(f"w/data/{member}", bytes(10**7))
        archive.writestr("w/data.pkl", b"\x80\x02}.")
    return path


def overlapping(folder: Path) -> Path:
    """5,000 members that are one."""
    path = folder / "w.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("w/data.pkl", b"\x80\x02}.")
        archive.writestr("w/data/0", bytes(10**6))
        one = archive.infolist()[-1]
        for member in range(1, 5000):
            twin = zipfile.ZipInfo(f"w/data/{member}")
            twin.header_offset, twin.CRC = one.header_offset, one.CRC
            twin.file_size, twin.compress_size = one.file_size, one.compress_size
            archive.filelist.append(twin)
    return path


def twice(folder: Path) -> Path:
    """Two pickles of one name: which of them is read is the reader's taste."""
    torch.save(weights(), path := folder / "w.pt")
    torch.save({name: value + 1 for name, value in weights().items()}, other := io.BytesIO())
    with zipfile.ZipFile(path) as first, zipfile.ZipFile(other) as second:
        members = [(name, first.read(name)) for name in first.namelist()]
        members += [(name.replace("archive", "w"), second.read(name)) for name in second.namelist()]
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def legacy(num: int) -> Write:
    """Whose first storage is said to be of so many entries."""

    def write(folder: Path) -> Path:
        path = folder / "w.pt"
        torch.save({"0.weight": torch.ones(28)}, path, _use_new_zipfile_serialization=False)
        raw = path.read_bytes()
        at = raw.rindex(struct.pack("<q", 28))
        path.write_bytes(
            raw[:at].replace(b"K\x1c", b"\x8a\x08" + struct.pack("<q", num)) + struct.pack("<q", num) + raw[at + 8 :]
        )
        return path

    return write


def header(change: Callable[[dict[str, Any]], Any], size: int | None = None) -> Write:
    def write(folder: Path) -> Path:
        raw = save(weights())
        num = int.from_bytes(raw[:8], "little")
        document = json.loads(raw[8 : 8 + num])
        changed = change(document)
        said = (changed if isinstance(changed, str) else json.dumps(document)).encode()
        path = folder / "w.safetensors"
        path.write_bytes(length(size or len(said)) + said + raw[8 + num :])
        return path

    return write


def index(change: Callable[[dict[str, Any]], Any], name: str = "model.safetensors.index.json") -> Write:
    """A folder of two shards, whose index is another."""

    def write(folder: Path) -> Path:
        path = folder / "model"
        path.mkdir()
        shards = {"0.": "model-1.safetensors", "": "model-2.safetensors"}
        where = {key: shards["0." if key.startswith("0.") else ""] for key in weights()}
        for shard in shards.values():
            save_file({key: value for key, value in weights().items() if where[key] == shard}, path / shard)
        save_file(weights(), folder / "x")
        document = {"metadata": {}, "weight_map": where}
        changed = change(document)
        (path / name).write_text(changed if isinstance(changed, str) else json.dumps(document))
        return path

    return write


def all_in(shard: Any) -> Write:
    return index(lambda document: document["weight_map"].update(dict.fromkeys(weights(), shard)))


def pipe(name: str, *beside: str) -> Write:
    """A folder in which one file is a pipe that nobody writes to."""

    def write(folder: Path) -> Path:
        path = folder / "model"
        path.mkdir()
        for other in beside:
            save_file(weights(), path / other)
        os.mkfifo(path / name)
        return path

    return write


def ring(folder: Path) -> Path:
    path = folder / "model"
    path.mkdir()
    (path / "model.safetensors").symlink_to("model.safetensors")
    return path


def of_parts(num: int, num_tensors: int) -> Write:
    """As of so many processes, each of which has one entry of each tensor."""

    def write(folder: Path) -> Path:
        import torch.distributed.checkpoint as dcp

        from .kind import quiet

        state = {f"w{number}": torch.ones(num) for number in range(num_tensors)}
        with quiet():
            dcp.save(state, checkpoint_id=folder / "dcp", no_dist=True)
        metadata = pickle.loads((folder / "dcp" / ".metadata").read_bytes())
        for entry in metadata.state_dict_metadata.values():
            (chunk,) = entry.chunks
            entry.chunks = [replace(chunk, offsets=torch.Size([n]), sizes=torch.Size([1])) for n in range(num)]
        places = dict(metadata.storage_data)
        for place, info in places.items():
            for n in range(num):
                metadata.storage_data[replace(place, offset=torch.Size([n]), index=n)] = info
        (folder / "dcp" / ".metadata").write_bytes(pickle.dumps(metadata))
        return folder / "dcp"

    return write


GREEDY: dict[str, Write] = {
    **{f"pickle: {name}": with_ops(ops) for name, ops in OPS.items()},
    **{f"pickle: {name}": at_first(ops) for name, ops in IDS.items()},
    "pickle: 10^8 steps, packed": packed,
    "tensor: of stride 0": holding(lambda: weights() | {"0.weight": wide()}),
    "tensor: of stride 0, of a size that there might be": holding(lambda: weights() | {"0.weight": wide(20_000)}),
    "tensor: of stride 0, beside": holding(lambda: {"model": weights(), "more": wide()}),
    "tensor: sparse of 10^12": holding(lambda: weights() | {"0.weight": sparse()}),
    "tensor: beyond its storage": tensor("K\x1d", "K\x01"),
    "tensor: before its storage": tensor("K\x02", "J\xff\xff\xff\xff"),
    "tensor: of negative size": tensor("J\xff\xff\xff\xff", "K\x01"),
    "tensor: of two strides": tensor("K\x02", "K\x01K\x01"),
    "tensor: at a negative place": tensor("K\x02", "K\x01", "J\xf0\xff\xff\xff"),
    "tensor: of strides of 2^31": tensor("K\x02", "J\xff\xff\xff\x7f"),
    "zip: bomb": bomb,
    "zip: 5,000 members that are one": overlapping,
    "zip: two pickles": twice,
    **{f"legacy: of {num} entries": legacy(num) for num in (2**62, -28, 0, 10**9)},
    "safetensors: header of 2^62": header(lambda d: None, 2**62),
    "safetensors: header of 99 MB": header(lambda d: None, 99_000_000),
    "safetensors: tensors overlap": header(lambda d: d["0.bias"].update(data_offsets=d["1.bias"]["data_offsets"])),
    "safetensors: shape of 2^64": header(lambda d: d["0.bias"].update(shape=[2**62, 4])),
    "safetensors: shape of 10^12": header(lambda d: d["0.bias"].update(shape=[10**6, 10**6])),
    "safetensors: a name twice": header(lambda d: '{"0.bias":' + json.dumps(d["1.bias"]) + "," + json.dumps(d)[1:]),
    "safetensors: 10^5 deep": header(lambda d: '{"__metadata__":' + "[" * 10**5),
    "safetensors: a list": header(lambda d: "[]"),
    "safetensors: nothing": header(lambda d: "{}"),
    "shards: above": all_in("../x"),
    "shards: an absolute path": all_in("/etc/passwd"),
    "shards: the folder": all_in("."),
    "shards: the folder above": all_in(".."),
    "shards: no name": all_in(""),
    "shards: a name with a zero": all_in("a\0b"),
    "shards: a name of half a letter": all_in("\ud800"),
    "shards: a name too long": all_in("x" * 5000),
    "shards: a number": all_in(3),
    "shards: the index": all_in("model.safetensors.index.json"),
    "shards: a tensor elsewhere": index(lambda d: d["weight_map"].update({"3.bias": "model-1.safetensors"})),
    "shards: a tensor too many": index(lambda d: d["weight_map"].update({"4.bias": "model-1.safetensors"})),
    "shards: a name twice": index(lambda d: json.dumps(d).replace('"weight_map": {', '"weight_map": {"0.bias": "x", ')),
    "shards: no map": index(lambda d: d.pop("weight_map")),
    "shards: an empty map": index(lambda d: d["weight_map"].clear()),
    "shards: 10^5 deep": index(lambda d: "[" * 10**5),
    "folder: a pipe": pipe("model.safetensors"),
    "folder: a config that is a pipe": pipe("config.json", "model.safetensors"),
    "folder: a state that is a pipe": pipe("trainer_state.json", "model.safetensors"),
    "folder: metadata that is a pipe": pipe(".metadata"),
    "folder: an adapter that is a pipe": pipe("adapter_config.json", "model.safetensors"),
    "folder: a link to itself": ring,
    "DCP: of 2,000 parts": of_parts(2000, 6),
}
