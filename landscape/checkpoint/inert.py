"""Read a pickle without running anything in it.

A pickle is a program: it names functions and classes, and calls them. Here nothing that it names is looked up or
called. Dicts are made by what stands in ``_MADE``, tensors by what the caller knows, and every
other object is an ``Inert``: what would have been called, and with what. So what lies beside the weights of a
checkpoint (``argparse.Namespace``, numpy scalars, paths, settings of any framework) is no reason not to read them.

A pickle can make far more of its bytes than they are: copies of one long list, sets whose entries all have one hash. So
what is not needed to find the weights (sets, bytes of old protocols) is not made either, and long names are refused.
"""

import io
import pickle
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, NoReturn

Known = Mapping[str, Callable[..., Any]]
_NAME = 1000  # letters
_PAIRS = 100_000  # that all calls together may copy

# the steps of Python's own reader that look something up, call it, or put something into it
_REPLACED = "reduce newobj newobj_ex build append appends setitem setitems dict additems empty_set frozenset bytearray8"


class Global(str):
    """The name of a function or class, "argparse.Namespace", which is all that is known of it."""

    __slots__ = ()


class Inert:
    """An object that was not made: its class or function, its arguments, and what it would have been given.

    Attributes:
        name: "argparse.Namespace".
        args: of the call.
        state: what ``__setstate__`` would have got, or ``__dict__``.
        items: what it would hold as a mapping; None for nothing.
        entries: what it would hold as a sequence or set; None for nothing.
    """

    __slots__ = ("args", "entries", "items", "name", "state")

    def __init__(self, name: str, args: Any = ()) -> None:
        self.name, self.args = name, args
        self.state: Any = None
        self.items: dict[Any, Any] | None = None
        self.entries: list[Any] | None = None

    def __repr__(self) -> str:
        return f"<{self.name}, not run>"


def read_pickle(
    file: io.BufferedIOBase,
    *,
    known: Known | None = None,
    find: Callable[[str, str], Any] | None = None,
    persistent: Callable[[Any], Any] | None = None,
) -> tuple[Any, tuple[str, ...]]:
    """The object that one pickle describes, and the names in it that nothing stands for, each once, in their order.

    Args:
        file: from where it begins; it ends after the pickle.
        known: what stands for functions and classes, by name: it is called in their place.
        find: module, name -> what stands for other names; None for nothing.
        persistent: what stands for persistent ids.

    Raises:
        Exception: of any kind, for bytes that are no pickle.

    Example:
        >>> import argparse
        >>> found, left_out = read_pickle(io.BytesIO(pickle.dumps({"lr": 0.1, "args": argparse.Namespace(epochs=3)})))
        >>> found, found["args"].state, left_out
        ({'lr': 0.1, 'args': <argparse.Namespace, not run>}, {'epochs': 3}, ('argparse.Namespace',))
    """
    unpickler = _Unpickler(file, {**_MADE, **(known or {})}, find or _nothing, persistent or _refuse_id)
    try:
        return unpickler.load(), tuple(unpickler.left_out)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


_Python: Any = pickle._Unpickler  # Python's own, in Python: of the one in C no step could be replaced


class _Unpickler(_Python):
    dispatch: ClassVar[dict[int, Any]] = dict(_Python.dispatch)

    def __init__(self, file: Any, known: Known, find: Callable[[str, str], Any], persistent: Any) -> None:
        super().__init__(file, encoding="latin1")
        self.known, self._find, self.persistent_load = known, find, persistent
        self._found: dict[tuple[str, str], Any] = {}
        self.left_out: dict[str, None] = {}
        self._num_pairs = 0

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._found:
            if type(module) is not str or type(name) is not str or len(module) + len(name) > _NAME:
                raise ValueError("a name is no short text")
            self._found[module, name] = self._stand_in(_RENAMED.get(module, module), name)
        return self._found[module, name]

    def _stand_in(self, module: str, name: str) -> Any:
        found = Global(f"{module}.{name}")
        special = None if found in self.known else self._find(module, name)
        if special is None and found not in self.known and found not in _PLAIN:
            self.left_out[str(found)] = None
        return found if special is None else special

    def get_extension(self, code: int) -> None:
        self.append(self.find_class("copyreg", f"extension {code}"))

    def call(self, function: Any, args: Any) -> Any:
        if isinstance(function, Global) and function in self.known:
            made = self.known[function](*args)
            self._num_pairs += len(made) if isinstance(made, dict) else 0
            if self._num_pairs > _PAIRS:
                raise ValueError("it copies long lists of pairs")
            return made
        return Inert(name_of(function), args)

    def load_reduce(self) -> None:
        args = self.stack.pop()
        self.stack[-1] = self.call(self.stack[-1], args)

    def load_newobj(self) -> None:
        args = self.stack.pop()
        self.stack[-1] = self.call(self.stack[-1], args)

    def load_newobj_ex(self) -> None:
        options, args = self.stack.pop(), self.stack.pop()
        self.stack[-1] = Inert(name_of(self.stack[-1]), (*args, options))

    def _instantiate(self, function: Any, args: Any) -> None:  # of the two opcodes of old protocols
        self.append(self.call(function, args))

    def load_build(self) -> None:
        state = self.stack.pop()
        if isinstance(self.stack[-1], Inert):
            self.stack[-1].state = state

    def load_appends(self) -> None:
        values = self.pop_mark()
        _extend(self.stack[-1], values)

    def load_append(self) -> None:
        value = self.stack.pop()
        _extend(self.stack[-1], [value])

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        _fill(self.stack[-1], [(key, value)])

    def load_setitems(self) -> None:
        items = self.pop_mark()
        _fill(self.stack[-1], zip(items[::2], items[1::2], strict=True))

    def load_dict(self) -> None:
        items = self.pop_mark()
        self.append(_fill({}, zip(items[::2], items[1::2], strict=True)))

    def load_additems(self) -> None:
        values = self.pop_mark()
        _extend(self.stack[-1], values)

    def load_empty_set(self) -> None:
        self.append(Inert("set"))

    def load_frozenset(self) -> None:
        entries = self.pop_mark()  # which changes what is appended to
        self.append(Inert("frozenset", entries))

    def load_bytearray8(self) -> None:
        self.append(Inert("bytearray", self.read(int.from_bytes(self.read(8), "little"))))

    for _name in _REPLACED.split():
        dispatch[getattr(pickle, _name.upper())[0]] = vars()[f"load_{_name}"]


def name_of(thing: Any) -> str:
    """The name of a function or class, or of the object that stands for one. Raises ValueError for anything else."""
    if isinstance(thing, Inert):
        return thing.name
    if not isinstance(thing, str):  # a list could be long to print
        raise ValueError(f"a {type(thing).__name__} is called")
    return thing


def _fill(target: Any, items: Iterable[tuple[Any, Any]]) -> Any:
    if isinstance(target, Inert):
        target.items = {} if target.items is None else target.items
    mapping = target.items if isinstance(target, Inert) else target
    if type(mapping) is not dict:
        raise ValueError(f"entries by key are given to a {type(target).__name__}")
    for key, value in items:
        mapping[_key(key)] = value
    return target


def _extend(target: Any, values: list[Any]) -> None:
    if isinstance(target, Inert):
        target.entries = target.entries or []
        target.entries.extend(values)
    elif type(target) is list:
        target.extend(values)
    else:
        raise ValueError(f"entries are given to a {type(target).__name__}")


def _key(key: Any) -> Any:
    """What may be a key; a number whose hash others may have, and a tuple, are told apart by where they are."""
    if isinstance(key, tuple) or (isinstance(key, int) and not -(2**60) < key < 2**60):
        return Inert(type(key).__name__, key)
    return key


def _pairs(pairs: Any = ()) -> dict[Any, Any]:
    if not isinstance(pairs, (list, tuple)) or len(pairs) > _PAIRS:
        raise ValueError("a dict is made of something else than a list of pairs")
    return _fill({}, pairs)


def _nothing(*_: str) -> None:
    return None


def _refuse_id(found: Any) -> NoReturn:
    raise ValueError(f"it names an object from elsewhere, by a {type(found).__name__}")


_RENAMED = {"__builtin__": "builtins", "copy_reg": "copyreg"}
# what Python's own writer names of plain values: not made, and not told as left out either
_PLAIN = {
    f"builtins.{name}" for name in ("list", "tuple", "set", "frozenset", "complex", "bytearray", "slice", "range")
}
_PLAIN |= {"_codecs.encode", "builtins.object", "builtins.bytes"}
_MADE: Known = {
    "collections.OrderedDict": _pairs,
    "builtins.dict": _pairs,
    "collections.defaultdict": lambda *_: {},
    "copyreg._reconstructor": lambda kind, *_: Inert(name_of(kind)),
    "copyreg.__newobj__": lambda kind, *args: Inert(name_of(kind), args),
}
