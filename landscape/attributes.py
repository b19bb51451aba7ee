"""What modules keep in attributes, beside their parameters and buffers: noticed, lent as copies and put back.

A forward pass may count its calls, keep features for inspection, or keep a function of the weights that it does not
compute again. None of it may be seen after a measurement, and what one pass kept must not serve in the next, at other
weights: each begins with the attributes as they were handed over.

Looked at are the attributes of the modules (of their classes too, where those are containers) and, through any
nesting, what dictionaries, lists, tuples, sets, deques and objects of the user's classes among them hold. Tensors go by
identity and version; only those that a model is seen to write to in place are copied.
"""

import sys
from collections import deque
from collections.abc import Callable, Iterator, MutableMapping
from functools import lru_cache
from itertools import chain
from operator import is_
from random import Random
from types import MemberDescriptorType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_CHANGING = (dict, list, set, deque)
_FIXED = (tuple, frozenset)
_GENERATORS = (torch.Generator, np.random.Generator, np.random.RandomState, Random)
_NOTHING = None  # to be looked at
_PLAIN = frozenset({bool, int, float, complex, str, bytes, type(None)})
_OWN = frozenset(vars(nn.Module()))  # dictionaries that every module has
_NOT_THE_USERS = (sys.stdlib_module_names - {"collections", "types", "weakref"}) | {"landscape", "numpy", "torch"}
_OTHERS = (torch.utils.data.Dataset, torch.optim.Optimizer)  # to which a trainer may lead
_ENTRIES = 10_000  # looked at in all, at most, of containers in modules: the nearest to these
_TENSORS = 1_000  # of those; more are data (a memory of what was played, say)
_DEPTH = 8  # of containers in containers


class Attributes:
    """What the modules below ``root`` keep at this moment.

    Attributes:
        generators: of random numbers, torch's, numpy's and Python's.

    Example:
        >>> module = nn.Linear(1, 1)
        >>> module.seen = []
        >>> before = Attributes(module)
        >>> module.seen.append(3)
        >>> before.unchanged()
        False
        >>> before.put_back(), module.seen
        (['a list'], [])
    """

    def __init__(self, root: nn.Module) -> None:
        self.generators: list[Any] = []
        self._held: list[tuple[Any, Any]] = []  # a container, and what it held
        self._empty: list[Any] = []  # containers that held nothing
        self._tensors: list[tuple[Any, Any, int]] = []  # the places that lead there, a tensor or array, its version
        self._lent: list[tuple[Tensor, Tensor]] = []  # and its copy
        self._find(root)
        self._containers = [container for container, _ in self._held]
        self._contents = [c.values() if isinstance(c, (dict, _Slots)) else c for c in self._containers]
        self._values = list(chain.from_iterable(self._contents))
        self._sizes = list(map(len, self._containers))

    def unchanged(self) -> bool:
        """Whether everything is as it was."""
        return self._hold_the_same() and all(version(tensor) == before for _, tensor, before in self._tensors)

    def put_back(self) -> list[str]:
        """Make every container hold what it held; the names of what had changed."""
        if self._hold_the_same():
            return []
        names: list[str] = []
        for container, held in [*self._held, *((container, ()) for container in self._empty)]:
            if isinstance(container, (dict, _Slots)):
                kept = dict(held)
                changed = [k for k in {**kept, **container} if k not in kept or container.get(k, self) is not kept[k]]
            else:
                changed = [] if len(container) == len(held) and all(map(is_, container, held)) else ["a list"]
            if changed:
                container.clear()
                (container.update if isinstance(container, (dict, _Slots, set)) else container.extend)(held)
                names += map(str, changed)
        return names

    def lend_copies(self, of: Callable[[Tensor], bool]) -> None:
        """Put copies in the places of arrays and of these tensors, until they are put back."""
        self._lent = []
        for places, value, _ in self._tensors:
            array = isinstance(value, np.ndarray)
            if array or (not value.requires_grad and of(value)):
                copy = value.copy() if array else value.clone()
                container, key = next(place for place in reversed(places) if not isinstance(place[0], set))
                container[key] = _with(container[key], value, copy)
                if not array:
                    self._lent.append((value, copy))

    def written(self) -> tuple[list[Tensor], list[Tensor]]:
        """The tensors to whose copies the model wrote in place, and those to which it wrote themselves."""
        lent = [tensor for tensor, copy in self._lent if version(copy)]
        return lent, [tensor for _, tensor, before in self._tensors if version(tensor) != before]

    def places(self) -> list[tuple[tuple[Any, Any], ...]]:
        """Where each tensor or array is: (container, key) of all that it is in, from a module's attributes inward."""
        return [places for places, _, _ in self._tensors]

    def _hold_the_same(self) -> bool:
        return (
            not any(self._empty)
            and list(map(len, self._containers)) == self._sizes
            and all(map(is_, chain.from_iterable(self._contents), self._values))
        )

    def _find(self, root: nn.Module) -> None:
        """Hold every container, the nearest to the modules first."""
        modules = list(root.modules())
        found: list[tuple[Any, Any]] = [(vars(module), ()) for module in modules]
        found += [(shared, ()) for cls in dict.fromkeys(map(type, modules)) for shared in _of_class(cls)]
        seen, left = {*map(id, modules), *(id(container) for container, _ in found)}, _ENTRIES
        for container, places in found:  # which grows
            held = self._hold(container)
            left -= len(held) if places else 0
            values = held.values() if isinstance(held, dict) else held
            if left >= 0 and len(places) <= _DEPTH and not _PLAIN.issuperset(map(type, values)):
                found += self._look_into(container, held, places, seen)

    def _hold(self, container: Any) -> Any:
        """What is in a container now: the keys and values of a mapping."""
        if isinstance(container, _FIXED):
            return container
        held = dict(container) if isinstance(container, (dict, _Slots)) else list(container)
        if held:
            self._held.append((container, held))
        else:
            self._empty.append(container)
        return held

    def _look_into(self, container: Any, held: Any, places: Any, seen: set[int]) -> Iterator[tuple[Any, Any]]:
        """Containers in a container, not seen yet, with the places that lead there; tensors are taken note of."""
        exchanged = not isinstance(container, _FIXED)  # can its entries be?
        for key, value in held.items() if isinstance(held, dict) else enumerate(held):
            if key in _OWN and isinstance(value, _CHANGING):
                if value:
                    self._hold(value)
                else:
                    self._empty.append(value)
                continue
            kind = _kind(type(value))  # type: ignore[arg-type]  # whose hash is its own
            if kind is _NOTHING:
                continue
            within = (*places, (container, key)) if exchanged else places
            if kind is _FIXED:
                if not _PLAIN.issuperset(map(type, value)):
                    yield value, within
            elif kind is Tensor:
                if not isinstance(value, nn.Parameter) and (len(within) == 1 or len(self._tensors) < _TENSORS):
                    self._tensors.append((within, value, version(value)))
            elif kind is _GENERATORS:
                self.generators.append(value)
            elif id(value) not in seen:
                seen.add(id(value))
                yield from ((part, within) for part in _parts(value))


class _Slots(MutableMapping[str, Any]):
    """The ``__slots__`` of an object that are filled, as a container."""

    def __init__(self, owner: Any, names: tuple[str, ...]) -> None:
        self._owner, self._names = owner, names

    def __getitem__(self, name: str) -> Any:
        try:
            return object.__getattribute__(self._owner, name)  # past a class' own ways, of frozen ones too
        except AttributeError:
            raise KeyError(name) from None

    def __setitem__(self, name: str, value: Any) -> None:
        object.__setattr__(self._owner, name, value)

    def __delitem__(self, name: str) -> None:
        object.__delattr__(self._owner, name)

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._names if name in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _parts(value: Any) -> list[Any]:
    """The containers that a value is or has: itself, its attributes and its slots."""
    parts = [value] if isinstance(value, _CHANGING) else []
    if of_user(type(value)) and isinstance(attributes := getattr(value, "__dict__", None), dict):
        parts.append(attributes)
    slots = _slots(type(value))  # type: ignore[arg-type]  # as above
    return [*parts, _Slots(value, slots)] if slots else parts


@lru_cache(maxsize=4096)
def _kind(cls: type) -> Any:
    """What objects of a class are here."""
    for classes, here in (((Tensor, np.ndarray), Tensor), (_FIXED, _FIXED), (_GENERATORS, _GENERATORS)):
        if issubclass(cls, classes):
            return here
    return object if issubclass(cls, _CHANGING) or (of_user(cls) and not issubclass(cls, _OTHERS)) else _NOTHING


def of_user(cls: type) -> bool:
    """Whether a class is neither torch's, numpy's, Python's nor ours; and no class of classes."""
    return str(cls.__module__).partition(".")[0] not in _NOT_THE_USERS and not issubclass(cls, type)


@lru_cache(maxsize=4096)
def _slots(cls: type) -> tuple[str, ...]:
    """The names in the ``__slots__`` of a user's class."""
    bases = [vars(base) for base in cls.__mro__ if "__slots__" in vars(base) and of_user(base)]
    return tuple(name for base in bases for name, what in base.items() if isinstance(what, MemberDescriptorType))


def _of_class(cls: type) -> Iterator[Any]:
    """Containers that all modules of a class share, as its attributes."""
    for base in cls.__mro__:
        if of_user(base):
            values = ((name, value) for name, value in vars(base).items() if not name.startswith("__"))
            yield from (value for _, value in values if isinstance(value, (dict, list, deque)))


def _with(value: Any, old: Any, new: Any) -> Any:
    """The value with a new tensor in place of the old one: it itself, or in tuples and sets."""
    if value is old:
        return new
    if hasattr(value, "_make"):
        return value._make(_with(item, old, new) for item in value)
    return type(value)(_with(item, old, new) for item in value) if type(value) in (*_FIXED, set) else value


def version(value: Any) -> int:
    """How often a tensor was written to in place, where torch counts that."""
    return value._version if isinstance(value, Tensor) and not value.is_inference() else 0
