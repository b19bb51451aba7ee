"""Files that run something where they are read without care: each leaves a mark, a file, where it could."""

import builtins
import functools
import importlib
import io
import logging
import operator
import os
import pathlib
import pickle
import struct
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from .kind import small

Make = Callable[[Path], Any]  # of the mark
MODULE = "canary_module_beside"  # which leaves the mark when it is imported


class Call:
    """Pickled as a call, whose function or arguments may be calls as well."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.function, self.args = function, args

    def __call__(self) -> None:
        """Calls may be called: pickle looks."""

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.function, self.args


class Trap:
    """Of a module that can be imported; each of its methods leaves the mark that it was told."""

    def __new__(cls, mark: str = "", *how: Any) -> "Trap":
        made = super().__new__(cls)
        made.mark, made.how = mark, how
        if "new" in how:
            made.spring()
        return made

    def spring(self, *_: Any) -> Any:
        if self.mark and not _making:
            Path(self.mark).touch()

    def __hash__(self) -> int:
        self.spring()
        return 0

    def __reduce__(self) -> tuple[Any, ...]:
        made = Trap, (self.mark,)
        match self.how[0]:
            case "new":
                return Trap, (self.mark, "new")
            case "state":
                return *made, {"a": 1}
            case "setter":
                return *made, {"a": 1}, None, None, set_state
            case "list":
                return *made, None, iter([1, 2])
            case "dict":
                return *made, None, None, iter([(1, 2)])
            case _:
                return made

    __setstate__ = append = extend = __setitem__ = spring


def set_state(trap: Trap, state: Any) -> None:
    trap.spring()


_making: list[bool] = []  # where there is something, traps are being written and do not spring


def touch(mark: Path) -> str:
    return f"touch {mark}"


def module_os() -> Call:
    return Call(importlib.import_module, "os")


def evil_file(mark: Path) -> Path:
    path = mark.parent / "evil.pt"
    torch.save(Call(os.system, touch(mark)), path)
    return path


def hub(mark: Path) -> Any:
    (mark.parent / "hubconf.py").write_text(f"open({str(mark)!r}, 'w')\ndef evil():\n    pass\n")
    return Call(functools.partial(torch.hub.load, source="local"), str(mark.parent), "evil")


def stored(mark: Path) -> Any:
    torch.save(Call(os.system, touch(mark)), file := io.BytesIO())
    return Call(torch.storage._load_from_bytes, file.getvalue())


CALLS: dict[str, Make] = {
    "os.system": lambda mark: Call(os.system, touch(mark)),
    "builtins.eval": lambda mark: Call(eval, f"open({str(mark)!r}, 'w')"),
    "builtins.exec": lambda mark: Call(exec, f"open({str(mark)!r}, 'w')"),
    "builtins.open": lambda mark: Call(open, str(mark), "w"),
    "os.mkdir": lambda mark: Call(os.mkdir, str(mark)),
    "subprocess.run": lambda mark: Call(subprocess.run, ["touch", str(mark)]),
    "getattr of an imported module": lambda mark: Call(Call(getattr, module_os(), "system"), touch(mark)),
    "operator.attrgetter": lambda mark: Call(Call(operator.attrgetter("system"), module_os()), touch(mark)),
    "operator.methodcaller": lambda mark: Call(operator.methodcaller("system", touch(mark)), module_os()),
    "functools.partial": lambda mark: Call(functools.partial(os.system, touch(mark))),
    "functools.reduce": lambda mark: Call(functools.reduce, operator.call, [os.system, touch(mark)]),
    "map in a list": lambda mark: Call(list, Call(map, os.system, [touch(mark)])),
    "builtins.__import__": lambda mark: Call(builtins.__import__, MODULE),
    "importlib.import_module": lambda mark: Call(importlib.import_module, MODULE),
    "torch.load": lambda mark: Call(functools.partial(torch.load, weights_only=False), str(evil_file(mark))),
    "torch.save": lambda mark: Call(torch.save, 1, str(mark)),
    "torch.hub.load": hub,
    "torch.storage._load_from_bytes": stored,
    "pickle.loads": lambda mark: Call(pickle.loads, pickle.dumps(Call(os.system, touch(mark)))),
    "numpy.load": lambda mark: Call(functools.partial(np.load, allow_pickle=True), str(evil_array(mark))),
    "numpy.memmap": lambda mark: Call(np.memmap, str(mark), "u1", "w+", 0, (3,)),
    "numpy objects": lambda mark: np.array([Call(os.system, touch(mark)), None], dtype=object),
    "logging.FileHandler": lambda mark: Call(logging.FileHandler, str(mark)),
    "Path.touch": lambda mark: Call(pathlib.Path.touch, Path(mark)),
    "a rebuilt tensor of a subclass": lambda mark: Call(
        torch._tensor._rebuild_from_type_v2, os.system, nn.Parameter, (touch(mark),), {}
    ),
    "hooks of a tensor": lambda mark: Call(
        torch._utils._rebuild_parameter, torch.ones(1), True, Call(os.mkdir, str(mark))
    ),
    "state of a parameter": lambda mark: Call(torch._utils._set_obj_state, Trap(str(mark), "made"), {"a": 1}),
    "__new__": lambda mark: Trap(str(mark), "new"),
    "__setstate__": lambda mark: Trap(str(mark), "state"),
    "a setter of states": lambda mark: Trap(str(mark), "setter"),
    "append": lambda mark: Trap(str(mark), "list"),
    "__setitem__": lambda mark: Trap(str(mark), "dict"),
    "__hash__ of a key": lambda mark: {Trap(str(mark), "made"): 1},
    "__hash__ in a set": lambda mark: {Trap(str(mark), "made")},
}


def evil_array(mark: Path) -> Path:
    path = mark.parent / "evil.npy"
    np.save(path, np.array([Call(os.system, touch(mark))], dtype=object), allow_pickle=True)
    return path


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


Ops = Callable[[Path], bytes]
TRAP = b"ctests.checkpoint.kinds.hostile\nTrap\n"
OPCODES: dict[str, Ops] = {  # what is left on the stack is dropped
    "GLOBAL": lambda mark: f"c{MODULE}\nthing\n".encode(),
    "REDUCE": lambda mark: b"cos\nsystem\n" + text(touch(mark)) + b"\x85R",
    "INST": lambda mark: b"(" + text(touch(mark)) + b"ios\nsystem\n",
    "OBJ": lambda mark: b"(cos\nsystem\n" + text(touch(mark)) + b"o",
    "STACK_GLOBAL": lambda mark: text("os") + text("system") + b"\x93" + text(touch(mark)) + b"\x85R",
    "NEWOBJ": lambda mark: TRAP + b"(" + text(str(mark)) + text("new") + b"t\x81",
    "NEWOBJ_EX": lambda mark: TRAP + b"(" + text(str(mark)) + text("new") + b"t}\x92",
    "BUILD": lambda mark: TRAP + text(str(mark)) + b"\x85R}b",
    "names of dots": lambda mark: (
        text("tests.checkpoint.kinds.hostile") + text("os.system") + b"\x93" + text(touch(mark)) + b"\x85R"
    ),
    "a memo of a name": lambda mark: (
        text("os")
        + b"r\xff\xff\x00\x000"
        + b"j\xff\xff\x00\x00"
        + text("system")
        + b"\x93"
        + text(touch(mark))
        + b"\x85R"
    ),
    "a second object": lambda mark: b".cos\nsystem\n" + text(touch(mark)) + b"\x85R.",
    "a persistent call": lambda mark: b"cos\nsystem\n" + text(touch(mark)) + b"\x85RQ",
    "a name that is a call": lambda mark: (
        text("os") + b"cbuiltins\nstr\n" + text("system") + b"\x85R\x93" + text(touch(mark)) + b"\x85R"
    ),
    "an extension": lambda mark: b"\x82\x01",
    "attributes of a function": lambda mark: (
        b"ccollections\nOrderedDict\n}" + text("__setstate__") + b"cos\nsystem\nsb" + b")R" + text(touch(mark)) + b"b"
    ),
}


def spliced(path: Path, ops: bytes) -> None:
    """Put these opcodes at the beginning of the pickle in a file of torch.save; their result is dropped."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content[:2] + ops + b"0" + content[2:] if name.endswith("data.pkl") else content)


def beside(make: Make, **options: Any) -> Callable[[Path], Path]:
    """Weights, and beside them what is made."""

    def write(mark: Path) -> Path:
        path = mark.parent / "w.pt"
        _making.append(True)
        try:
            torch.save({"state_dict": small(1).state_dict(), "beside": make(mark)}, path, **options)
        finally:
            _making.clear()
        return path

    return write


def with_ops(make: Ops) -> Callable[[Path], Path]:
    def write(mark: Path) -> Path:
        path = mark.parent / "w.pt"
        torch.save({"state_dict": small(1).state_dict()}, path)
        spliced(path, make(mark))
        return path

    return write


def legacy_pickle(mark: Path) -> Path:
    """Before the pickle that says that it is a file of torch."""
    path = mark.parent / "w.pt"
    torch.save({"state_dict": small(1).state_dict()}, path, _use_new_zipfile_serialization=False)
    path.write_bytes(pickle.dumps(Call(os.system, touch(mark)), 2) + path.read_bytes())
    return path


def legacy_keys(mark: Path) -> Path:
    """In place of the last pickle, of the keys of the storages."""
    path = mark.parent / "w.pt"
    torch.save({"state_dict": small(1).state_dict()}, path, _use_new_zipfile_serialization=False)
    with path.open("rb") as file:
        for _ in range(4):
            pickle.Unpickler(file).load() if _ < 3 else _skip(file)
        start = file.tell()
    path.write_bytes(path.read_bytes()[:start] + pickle.dumps(Call(os.system, touch(mark)), 2))
    return path


def _skip(file: Any) -> None:
    import pickletools

    for _ in pickletools.genops(file):
        pass


def metadata(mark: Path) -> Path:
    """A folder of torch.distributed.checkpoint."""
    import torch.distributed.checkpoint as dcp

    _quietly(lambda: dcp.save(dict(small(1).state_dict()), checkpoint_id=mark.parent / "dcp", no_dist=True))
    path = mark.parent / "dcp" / ".metadata"
    found = pickle.loads(path.read_bytes())
    found.planner_data["evil"] = Call(os.system, touch(mark))
    path.write_bytes(pickle.dumps(found))
    return path.parent


def chunk(mark: Path) -> Path:
    """The same, in what lies where a tensor should."""
    path = metadata(mark)
    found = pickle.loads((path / ".metadata").read_bytes().replace(b"touch", b"true "))
    file = path / "__0_0.distcp"
    raw = file.read_bytes()
    torch.save(Call(os.system, touch(mark)), evil := io.BytesIO())
    for index, info in found.storage_data.items():
        found.storage_data[index] = type(info)(info.relative_path, len(raw), len(evil.getvalue()))
    found.planner_data.pop("evil")
    file.write_bytes(raw + evil.getvalue())
    (path / ".metadata").write_bytes(pickle.dumps(found))
    return path


def _quietly(act: Callable[[], Any]) -> None:
    from .kind import quiet

    with quiet():
        act()


def folder(*evil: str) -> Callable[[Path], Path]:
    """A folder with weights, and evil in these files."""

    def write(mark: Path) -> Path:
        path = mark.parent / "folder"
        path.mkdir()
        save_file(dict(small(1).state_dict()), path / "model.safetensors")
        (path / "trainer_state.json").write_text('{"global_step": 3, "epoch": 1.0}')
        for name in evil:
            torch.save(Call(os.system, touch(mark)), path / name)
        return path

    return write


HOSTILE: dict[str, Callable[[Path], Path]] = {
    **{f"call: {name}": beside(make) for name, make in CALLS.items()},
    **{f"legacy: {name}": beside(CALLS[name], _use_new_zipfile_serialization=False) for name in list(CALLS)[:6]},
    **{
        f"protocol 5: {name}": beside(CALLS[name], pickle_protocol=5)
        for name in ("os.system", "__new__", "a setter of states")
    },
    **{f"opcode: {name}": with_ops(ops) for name, ops in OPCODES.items()},
    "before the pickle of torch": legacy_pickle,
    "among the keys of storages": legacy_keys,
    "metadata of a distributed checkpoint": metadata,
    "a tensor of a distributed checkpoint": chunk,
    "what a Trainer writes beside": folder("training_args.bin", "optimizer.pt", "rng_state.pth", "scheduler.pt"),
    "the other weights of a folder": folder("pytorch_model.bin", "adapter_model.bin"),
}
