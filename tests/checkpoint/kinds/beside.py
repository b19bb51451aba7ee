"""What lies beside the weights: each is a file that holds it, and whose weights must be read without running it."""

import argparse
import collections
import datetime
import decimal
import enum
import fractions
import functools
import ipaddress
import pathlib
import random
import re
import types
import typing
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from .kind import Kind, lent, saved, under


class Said:
    """Pickled as a call of what it was made with."""

    def __init__(self, call: Any, *args: Any) -> None:
        self.call, self.args = call, args

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call, self.args


def class_of(module: str, name: str, *bases: type, **content: Any) -> type:
    """A class of a module that will not be there."""
    return types.new_class(name, bases, exec_body=lambda body: body.update(content | {"__module__": module}))


def of_user(make: Callable[..., Any], **classes: type) -> Callable[[Path, nn.Module], Path]:
    """Weights beside something of classes of the user's."""

    def write(folder: Path, trained: nn.Module) -> Path:
        with lent(**classes):
            torch.save({"state_dict": trained.state_dict(), "epoch": 3, "beside": make(**classes)}, folder / "w.pt")
        return folder / "w.pt"

    return write


Settings = class_of("gone", "Settings")
Color = enum.Enum("Color", {"RED": 1}, module="gone")
Level = enum.IntEnum("Level", {"HIGH": 1}, module="gone")
Point = collections.namedtuple("Point", "x y", module="gone")
Easy = class_of("easydict", "EasyDict", dict)
Texts = class_of("gone", "Text", str)
Many = class_of("gone", "Many", list)
Slotted = class_of("gone", "Slotted", __slots__=("a", "b"))
Hidden = class_of("gone", "Hidden", __getstate__=lambda self: (1, {"a": [2]}), __setstate__=lambda self, state: None)
WindowsPath = class_of("pathlib._local", "WindowsPath")
NumpyScalar = type("scalar", (), {"__module__": "numpy.core.multiarray"})
Any_ = class_of("omegaconf.nodes", "AnyNode")
DictConfig = class_of("omegaconf.dictconfig", "DictConfig")
Metadata = class_of("omegaconf.base", "ContainerMetadata")


def filled(made: Any, **attributes: Any) -> Any:
    vars(made).update(attributes)
    return made


def omegaconf(DictConfig: type, AnyNode: type, ContainerMetadata: type) -> Any:
    """As OmegaConf pickles itself: nodes that know their parents, who hold them."""
    about = filled(ContainerMetadata(), ref_type=typing.Any, object_type=dict, optional=True, key=None)
    config = filled(DictConfig(), _metadata=about, _parent=None, _flags_cache=None)
    config._content = {"lr": filled(AnyNode(), _val=0.1, _parent=config, _metadata=about)}
    return filled(config, again=config)


def slotted(Slotted: type) -> Any:
    made = Slotted()
    made.a, made.b = 1, [made]
    return made


def itself() -> Any:
    """A namespace that holds itself, and a list that does."""
    space, line = argparse.Namespace(), [1]
    line.append(line)
    return filled(space, me=space, line=line)


def tensors() -> list[torch.Tensor]:
    return [
        torch.eye(3).to_sparse(),
        torch.eye(3).to_sparse_csr(),
        torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.quint8),
        torch.ones(2, dtype=torch.complex64),
        torch.ones(2).to(torch.float8_e5m2),
        torch.ones(2, device="meta"),
        torch.ones(2, dtype=torch.uint16),
    ]


GENERATOR = torch.Generator().manual_seed(3)
KNOWN: dict[str, Any] = {
    "argparse.Namespace": argparse.Namespace(lr=0.1, out=Path("runs"), nested=argparse.Namespace(depth=3)),
    "types.SimpleNamespace": types.SimpleNamespace(lr=0.1),
    "a namespace that holds itself": itself(),
    "numpy scalars": {"best": np.float64(0.9), "n": np.int64(3), "flag": np.bool_(True), "half": np.float16(0.5)},
    "numpy arrays": {
        "a": np.arange(6).reshape(2, 3),
        "text": np.array(["a", "b"]),
        "date": np.array(["2020"], "M8[D]"),
    },
    "numpy objects": np.array([{"a": 1}, None, Path("x")], dtype=object),
    "numpy record arrays": np.zeros(2, dtype=[("a", "f4"), ("b", "i8")]),
    "numpy generators": {"new": np.random.default_rng(0), "state": np.random.RandomState(0).get_state()},
    "paths": [Path("runs/1"), pathlib.PurePosixPath("a"), pathlib.PureWindowsPath("C:\\a")],
    "paths of Windows": Said(pathlib.WindowsPath, "C:\\", "runs"),
    "defaultdict": collections.defaultdict(list, {"loss": [1.0]}),
    "collections": [collections.Counter("abb"), collections.deque([1, 2], maxlen=3), collections.OrderedDict(a=1)],
    "datetime": [
        datetime.datetime.now(datetime.UTC),
        datetime.date(2020, 1, 1),
        datetime.timedelta(3),
        datetime.time(3),
    ],
    "sets and complex numbers": [{1, 2}, frozenset("ab"), 1 + 2j, b"bytes", bytearray(b"more"), ..., slice(1, 2)],
    "sets of what is not known": [{Path("a"), Path("b")}, {Path("c"): 1, (Path("d"), 2): 3}],
    "numbers": [decimal.Decimal("0.1"), fractions.Fraction(1, 3), 10**40, -(10**400), float("nan"), range(3)],
    "uuid and addresses": [uuid.UUID(int=3), ipaddress.ip_address("127.0.0.1"), re.compile("a+")],
    "dtype, device and size": [torch.float32, torch.device("cuda:1"), torch.Size([2, 3]), torch.strided, torch.qint8],
    "states of generators": {"t": GENERATOR.get_state(), "python": random.Random(0).getstate()},
    "functions by name": [nn.functional.relu, torch.optim.Adam, len, np.mean, nn.Linear, Path.cwd],
    "functools.partial": functools.partial(torch.optim.SGD, lr=0.1, momentum=0.9),
    "a network among the hyper-parameters": {"loss": nn.CrossEntropyLoss(), "net": nn.Linear(2, 2)},
    "an error": ValueError("what went wrong"),
    "an array of the standard library": __import__("array").array("d", [1.0, 2.0]),
}
NAMED = {  # and what must be told of it
    "argparse.Namespace": ("argparse.Namespace",),
    "types.SimpleNamespace": ("types.SimpleNamespace",),
    "functools.partial": ("functools.partial",),
    "a network among the hyper-parameters": ("torch.nn.modules.loss.CrossEntropyLoss",),
}
OF_USERS = {
    "a class of the user's": Kind(
        of_user(lambda Settings: filled(Settings(), lr=0.1), Settings=Settings), left_out=("gone.Settings",)
    ),
    "an Enum of the user's": Kind(
        of_user(lambda Color: [Color.RED, {Color.RED: 1}], Color=Color), left_out=("gone.Color",)
    ),
    "an IntEnum of the user's": Kind(of_user(lambda Level: [Level.HIGH], Level=Level), left_out=("gone.Level",)),
    "a namedtuple of the user's": Kind(of_user(lambda Point: [Point(1, 2)], Point=Point), left_out=("gone.Point",)),
    "dicts of a library": Kind(
        of_user(lambda EasyDict: EasyDict(a=EasyDict(b=1)), EasyDict=Easy), left_out=("easydict.EasyDict",)
    ),
    "texts of the user's": Kind(of_user(lambda Text: {Text("a"): {Text("b")}}, Text=Texts), left_out=("gone.Text",)),
    "lists of the user's": Kind(of_user(lambda Many: Many([1, Many()]), Many=Many), left_out=("gone.Many",)),
    "slots": Kind(of_user(slotted, Slotted=Slotted), left_out=("gone.Slotted",)),
    "a state of its own": Kind(of_user(lambda Hidden: [Hidden()], Hidden=Hidden), left_out=("gone.Hidden",)),
    "paths of a later Python": Kind(
        of_user(lambda WindowsPath: Said(WindowsPath, "C:\\", "runs"), WindowsPath=WindowsPath), may_refuse=False
    ),
    "OmegaConf": Kind(
        of_user(omegaconf, DictConfig=DictConfig, AnyNode=Any_, ContainerMetadata=Metadata),
        key="state_dict",
        left_out=("omegaconf.dictconfig.DictConfig", "omegaconf.nodes.AnyNode"),
    ),
}
LEGACY = {"_use_new_zipfile_serialization": False}
BESIDE: dict[str, Kind] = {
    **{
        f"beside: {name}": Kind(
            saved(under("state_dict", epoch=3, beside=thing)), key="state_dict", left_out=NAMED.get(name, ())
        )
        for name, thing in KNOWN.items()
    },
    **{f"beside: {name}": kind for name, kind in OF_USERS.items()},
    "beside: tensors of every sort": Kind(saved(lambda s: {"model": s, "beside": tensors()}), key="model"),
    "beside: all of it": Kind(saved(under("model", beside=KNOWN)), key="model"),
    "beside: all of it, protocol 5": Kind(saved(under("model", beside=KNOWN), pickle_protocol=5), key="model"),
    **{
        f"beside: frozen sets, protocol {n}": Kind(
            saved(under("model", beside=[frozenset([1]), {"a": frozenset()}]), pickle_protocol=n), key="model"
        )
        for n in (2, 4, 5)
    },
    "beside: all of it, legacy": Kind(saved(under("net", beside=KNOWN), **LEGACY), key="net"),
    "weights in a defaultdict": Kind(saved(lambda s: {"model": collections.defaultdict(list, s)}), may_refuse=True),
}
