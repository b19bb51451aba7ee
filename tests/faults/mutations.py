"""Ways in which a file can be wrong, drawn at random: of bytes, of text, and of what JSON, npz and torch files hold.

``mutated`` makes one of them of a valid file. All draws come from the generator that is given.
"""

import copy
import io
import json
import re
import warnings
import zipfile
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import torch

VALUES: list[Any] = [None, True, False, 0, -1, 3, 2.5, -0.0, 1e308, -1e308, 5e-324, 10**15, 2**63, 10**30]
VALUES += ["", "x", "\ud800", "\x1b[2J", "a\nb", "nan", "9" * 5000, [], {}, [[]], [None], {"": None}]
VALUES += [float("nan"), float("inf"), -float("inf")]
NUMBERS = ["0", "-1", "1e999", "NaN", "Infinity", "1e308", "9" * 400, "99999999999", "-0.0", '"3"', "null", "[]"]


def of_bytes(rng: Random, data: bytes, others: list[bytes]) -> bytes:
    """Damage that knows nothing of the format."""
    found, size = bytearray(data), len(data)
    place, length = rng.randrange(size + 1), 1 + int(size ** rng.random())
    match rng.randrange(12):
        case 0 | 1 | 2:
            for _ in range(rng.choice((1, 1, 1, 3, 20))):
                found[rng.randrange(size)] ^= 1 << rng.randrange(8)
        case 3:
            return data[:place]
        case 4:
            del found[place : place + length]
        case 5:
            found[place:place] = rng.randbytes(length)
        case 6:
            found[place : place + length] = rng.randbytes(length)
        case 7:
            start = rng.randrange(size)
            found[place : place + length] = data[start : start + length]
        case 8:
            width = rng.choice((1, 2, 4, 8))
            extreme = rng.choice((0, 1, (1 << 8 * width) - 1, 1 << (8 * width - 1), 1 << rng.randrange(8 * width)))
            found[place : place + width] = extreme.to_bytes(width, rng.choice(("little", "big")))
        case 9:
            return rng.choice((b"", b"\0" * 4096, rng.randbytes(512), data + data, b"\n" + data, data + b"\n{\n"))
        case 10:
            other = rng.choice(others)
            return rng.choice((other, data[:place] + other[place:], other[: len(other) // 2]))
        case 11:
            found[place : place + 1] = found[place : place + 1] * rng.choice((2, 100, 100_000))
    return bytes(found)


def of_text(rng: Random, data: bytes, others: list[bytes]) -> bytes:
    """Numbers, words and lines replaced, left out, doubled or nested deep."""
    text = data.decode()
    match rng.randrange(6):
        case 0 | 1:
            numbers = list(re.finditer(r"-?\d[\d.eE+-]*", text))
            if numbers:
                one = rng.choice(numbers)
                text = text[: one.start()] + rng.choice(NUMBERS) + text[one.end() :]
        case 2:
            lines = text.split("\n")
            del lines[rng.randrange(len(lines))]
            text = "\n".join(lines)
        case 3:
            lines = text.split("\n")
            lines.insert(rng.randrange(len(lines)), rng.choice(lines))
            text = "\n".join(lines)
        case 4:
            words = list(re.finditer(r"\w+", text))
            one, other = rng.choice(words), rng.choice(words)
            text = text[: one.start()] + rng.choice((other.group(), "", "\0", "é", "x" * 10_000)) + text[one.end() :]
        case 5:
            brackets = rng.choice(("[", '{"a":', "(", "a = [", '{"a": 1, "a": 2, '))
            place = rng.choice((0, rng.randrange(len(text))))
            text = text[:place] + brackets * rng.choice((3, 500, 100_000)) + text[place:]
    return text.encode(errors="surrogatepass")


def of_json(rng: Random, data: bytes, others: list[bytes]) -> bytes:
    """A value of the document, or of one of the lines, exchanged, left out or moved."""
    lines = data.split(b"\n") if data.count(b"\n{") or data.startswith(b"[") else [data]
    number = rng.choice([i for i, line in enumerate(lines) if line])
    lines[number] = json.dumps(of_tree(rng, json.loads(lines[number]), VALUES)).encode()
    if len(lines) == 1 and rng.randrange(20) == 0:
        key = rng.choice(list(json.loads(data)))
        lines[0] = b'{"' + key.encode() + b'": 1, ' + data.lstrip()[1:]
    return b"\n".join(lines)


def of_tree(rng: Random, tree: Any, values: list[Any]) -> Any:
    """Nested dicts and lists in which one thing is another."""
    tree = copy.deepcopy(tree)
    keys = [(node, node if isinstance(node, dict) else range(len(node))) for node in _containers(tree)]
    places = [(node, key) for node, its in keys for key in its]
    if not places:
        return rng.choice(values)
    node, key = rng.choice(places)
    match rng.randrange(7):
        case 0 | 1 | 2:
            node[key] = rng.choice(values)
        case 3:
            del node[key]
        case 4:
            other, its = rng.choice(places)
            if other is not node[key]:
                node[key] = copy.deepcopy(other[its])
        case 5 if isinstance(node, dict):
            node[rng.choice(("x", "", "a.b/c", f"{key} "))] = node.pop(key)
        case 5:
            node.append(node[key])
        case 6:
            deep: Any = node[key]
            for _ in range(rng.choice((1, 150))):
                deep = rng.choice(([deep], {"a": deep}))
            node[key] = deep
    return tree


def of_npz(rng: Random, data: bytes, others: list[bytes]) -> bytes:
    """An array of another shape, type or name, or one whose header claims what there is not."""
    with np.load(io.BytesIO(data)) as file:
        arrays = {name: _npy(file[name]) for name in file.files}
        name = rng.choice(file.files)
        array = file[name]
    claims = (10**12,), (2**62, 4), (-1,), (0, 10**12), (), (len(array.ravel()), 1), (True,), "(" * 3000
    types = "<f8", "|O", "|V0", "<U0", "<U4", ">f8", "<c16", "<f16", "M8[s]", "?", "x"
    match rng.randrange(8):
        case 0 | 1:
            arrays[name] = _npy(array, shape=rng.choice(claims))
        case 2:
            arrays[name] = _npy(array, descr=rng.choice(types))
        case 3:
            kinds = [array.ravel(), array[..., None], array[:0], array.astype(str), np.ones(array.shape, complex)]
            arrays[name] = _npy(rng.choice([*kinds, np.array(3.0), array.repeat(2, -1) if array.ndim else array]))
        case 4:
            arrays[name] = _npy(np.full(array.shape, rng.choice((np.nan, np.inf, -1.0, 1e308, 5e-324))))
        case 5:
            del arrays[name]
        case 6:
            arrays[rng.choice((f"{name}/x", "x", "", "../x", "9/loss", "a/b/c", f"{name}\n"))] = arrays.pop(name)
        case 7:
            content = arrays[name]
            arrays[name] = rng.choice((b"", b"\x93NUMPY", rng.randbytes(99), content[:-3], content + b"\0" * 8))
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that are there twice
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for key, content in arrays.items():
                archive.writestr(f"{key}.npy", content)
            if rng.randrange(20) == 0:
                archive.writestr(f"{name}.npy", b"")
    return file.getvalue()


def of_npy(rng: Random, data: bytes, others: list[bytes]) -> bytes:
    """One array likewise."""
    array = np.load(io.BytesIO(data))
    claims = (10**12,), (2**62, 4), (-1,), (0, 10**12), (), array.shape[::-1], (*array.shape, 1)
    if rng.randrange(2):
        return _npy(array, shape=rng.choice(claims))
    return _npy(array, descr=rng.choice(("|O", "|V0", "<U0", "<f8", ">i8", "?", "|i1", "<f16")))


def of_pt(rng: Random, data: bytes, others: list[bytes]) -> bytes:
    """A checkpoint in which a value or a tensor is another, or far more than it takes to say."""
    loops: list[Any] = [1]
    loops.append(loops)
    doubled: list[Any] = [1]
    for _ in range(60):
        doubled = [doubled, doubled]
    huge = torch.zeros(1).expand(10**6, 10**6)
    at = torch.zeros(2, 1, dtype=torch.int64)
    sparse = torch.sparse_coo_tensor(at, torch.ones(1), (10**6, 10**6), check_invariants=True)
    tensors = [huge, sparse, torch.empty(3, 3, device="meta"), torch.ones(2, 3, dtype=torch.complex64), torch.ones(())]
    tensors += [torch.ones(0), torch.full((4, 4), torch.nan), torch.ones(3, dtype=torch.bool), torch.ones(2).half()]
    values = [value for value in VALUES if value != "\ud800"] + [loops, doubled, (1, "a"), b"x", 7, 99_999, *tensors]
    torch.save(of_tree(rng, torch.load(io.BytesIO(data), weights_only=True), values), file := io.BytesIO())
    return file.getvalue()


KINDS: dict[str, list[Callable[[Random, bytes, list[bytes]], bytes]]] = {
    "bytes": [of_bytes],
    "text": [of_bytes, of_text],
    "json": [of_bytes, of_text, of_json, of_json, of_json],
    "npz": [of_bytes, of_npz],
    "npy": [of_bytes, of_npy],
    "pt": [of_bytes, of_pt, of_pt],
}


def mutated(rng: Random, kind: str, data: bytes, others: list[bytes]) -> tuple[str, bytes]:
    """What was done, and the bytes that it led to."""
    how = rng.choice(KINDS[kind])
    return how.__name__, how(rng, data, others)


def _containers(tree: Any) -> list[Any]:
    found, level = [], [tree]
    while level:
        level = [node for node in level if isinstance(node, (dict, list)) and node]
        found += level
        level = [item for node in level for item in (node.values() if isinstance(node, dict) else node)]
    return found


def _npy(array: np.ndarray, **claims: Any) -> bytes:
    """An array as numpy writes it, under a header that may claim something else."""
    header = {"descr": np.lib.format.dtype_to_descr(array.dtype), "fortran_order": False, "shape": array.shape} | claims
    text = repr(header) if not isinstance(header["shape"], str) else header["shape"]
    line = text.encode().ljust(118)[:60_000] + b"\n"
    return b"\x93NUMPY\x01\x00" + len(line).to_bytes(2, "little") + line + array.tobytes()
