"""Ways in which a checkpoint can be wrong that random bytes do not find: within its archive, its pickle, its header.

An archive has checksums, a header its length: here both are made right again, so that what is damaged is read.
"""

import io
import itertools
import json
import pickletools
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random

from tests.faults.mutations import VALUES, of_bytes, of_json, of_text, of_tree

Mutation = Callable[[Random, bytes, list[bytes]], bytes]
NUMBERS = (0, 1, 2, 7, 255, 256, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1)
NAMES = (
    "../../x",
    "/etc/passwd",
    "..",
    "",
    "a\0b",
    "x" * 5000,
    "config.json",
    "\udce9",
    "model-00001-of-00005.safetensors",
)
OPS = b"0123QRabdehjlopqrstu}])(NKMJIX\x85\x86\x87\x88\x89\x8a\x8c\x8f\x90\x91\x92\x93\x94\x95."


def of_archive(rng: Random, data: bytes, others: list[bytes]) -> bytes:
    """A member damaged, left out, doubled, renamed or packed."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    pickled = [name for name in members if name.endswith("data.pkl")]
    name = rng.choice(list(members) + 4 * pickled)
    twice, method = b"", zipfile.ZIP_STORED
    match rng.randrange(9):
        case 0 | 1 | 2 | 3:
            change = of_pickle if name in pickled and rng.randrange(4) else of_bytes
            members[name] = change(rng, members[name] or b"\0", others)
        case 4:
            del members[name]
        case 5:
            members[rng.choice((*NAMES[:5], f"{name}x", name.upper(), name.partition("/")[2] or "x"))] = members.pop(
                name
            )
        case 6:
            one, other = rng.choice(list(members)), rng.choice(list(members))
            members[one], members[other] = members[other], members[one]
        case 7:
            twice = rng.choice((b"", members[name], rng.randbytes(64)))
        case 8:
            method = rng.choice((zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
            members[name] = rng.choice((members[name], bytes(10**6), members[name] * 100))
    with warnings.catch_warnings(), zipfile.ZipFile(file := io.BytesIO(), "w", method) as archive:
        warnings.simplefilter("ignore")  # of names that are there twice
        for key, content in members.items():
            archive.writestr(key.replace("\0", "_") or "_", content)
        if twice:
            archive.writestr(name, twice)
    return file.getvalue()


def of_pickle(rng: Random, data: bytes, others: list[bytes]) -> bytes:
    """One step of the program in a pickle left out, doubled, moved or exchanged; or given another number or text."""
    try:
        found = list(pickletools.genops(data))
    except Exception:  # what follows the first pickle of an older file
        return of_bytes(rng, data, others)
    starts = [place for *_, place in found if place is not None] + [found[-1][2] + 1]
    steps = [data[a:b] for a, b in itertools.pairwise(starts)]
    place = rng.randrange(len(steps))
    match rng.randrange(8):
        case 0:
            del steps[place]
        case 1:
            steps.insert(rng.randrange(len(steps)), steps[place])
        case 2:
            other = rng.randrange(len(steps))
            steps[place], steps[other] = steps[other], steps[place]
        case 3:
            steps.insert(place, bytes([rng.choice(OPS)]))
        case 4:
            steps[place] = bytes([rng.choice(OPS)])
        case 5 | 6:
            numbers = [i for i, (op, *_) in enumerate(found) if op.name in ("BININT", "BININT1", "BININT2", "LONG1")]
            place = rng.choice(numbers or [place])
            steps[place] = (
                b"J" + struct.pack("<i", rng.choice((-1, -(2**31), *NUMBERS[:8]))) if rng.randrange(2) else long()
            )
        case 7:
            texts = [i for i, (op, *_) in enumerate(found) if "UNICODE" in op.name or op.name == "GLOBAL"]
            place, other = rng.choice(texts or [place]), rng.choice(texts or [place])
            text = rng.choice((*NAMES, "float64", "os", "__class__")).encode(errors="surrogatepass")
            steps[place] = rng.choice((steps[other], b"X" + struct.pack("<I", len(text)) + text))
    return b"".join(steps) + data[starts[-1] :]


def long() -> bytes:
    """A number of 2^63."""
    return b"\x8a\x09" + (2**63).to_bytes(9, "little")


def of_header(rng: Random, data: bytes, others: list[bytes]) -> bytes:
    """The description in a safetensors file, and its length."""
    (length,) = struct.unpack("<Q", data[:8])
    header, body = data[8 : 8 + length], data[8 + length :]
    if rng.randrange(8) == 0:
        return struct.pack("<Q", rng.choice((0, 1, length - 1, length + 1, 2**31, 2**62, 2**64 - 1))) + header + body
    document = json.loads(header)
    name = rng.choice(list(document))
    entry = document[name]
    match rng.randrange(6):
        case 0 if "data_offsets" in entry:
            entry["data_offsets"] = rng.choice(([0, 4], [4, 0], [-4, 8], [0, 2**62], [0], entry["data_offsets"][::-1]))
        case 1 if "shape" in entry:
            entry["shape"] = rng.choice(([10**6, 10**6], [-1], [0], [], [2**62, 4], [1.5], ["2"], entry["shape"] * 2))
        case 2 if "dtype" in entry:
            entry["dtype"] = rng.choice(("F64", "I8", "F8_E4M3", "F4", "C64", "BOOL", "U16", "F6_E2M3", "", "X"))
        case 3:
            document[name] = document[rng.choice(list(document))]
        case _:
            values = [value for value in VALUES if not isinstance(value, str)]
            document = of_tree(rng, document, [*values, *NAMES[:5]])
    header = json.dumps(document).encode()
    if rng.randrange(10) == 0:
        header = b'{"0.weight":' + json.dumps(entry).encode() + b"," + header[1:]
    return struct.pack("<Q", len(header)) + header + body


def of_index(rng: Random, data: bytes, others: list[bytes]) -> bytes:
    """Another shard for a tensor, or for all of them."""
    document = json.loads(data)
    if not isinstance(document.get("weight_map"), dict) or not document["weight_map"]:
        return of_json(rng, data, others)
    shards = document["weight_map"]
    name = rng.choice(list(shards))
    match rng.randrange(5):
        case 0:
            shards[name] = rng.choice((*NAMES, None, 3, [], {}))
        case 1:
            shards.update(dict.fromkeys(shards, rng.choice(NAMES)))
        case 2:
            shards[name] = rng.choice(list(shards.values()))
        case 3:
            shards[rng.choice(("x", f"{name}x", ""))] = shards.pop(name)
        case 4:
            return data.replace(b'"weight_map": {', f'"weight_map": {{"{name}": "x.bin", '.encode())
    return json.dumps(document).encode()


def of_file(path: Path, data: bytes) -> list[Mutation]:
    """What may be done to a file of this content."""
    if data[:4] == b"PK\x03\x04":
        return [of_bytes, of_archive, of_archive, of_archive]
    if path.suffix == ".json":
        return [of_bytes, of_text, of_json, of_index]
    if path.suffix == ".safetensors":
        return [of_bytes, of_header, of_header]
    if path.suffix == ".distcp":
        return [of_bytes]
    return [of_bytes, of_pickle, of_pickle]
