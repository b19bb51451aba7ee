"""What modules keep in attributes, beside their parameters and buffers: noticed, lent as copies and put back.

A forward pass may count its calls, keep features for inspection, or keep a function of the weights that it does not
compute again. None of it may be seen after a measurement, and what one pass kept must not serve in the next, at other
weights: each begins with the attributes as they were handed over.

Looked at are the attributes of the modules and of the objects that are such attributes (a loss that is no module, say),
and dictionaries, lists and sets in them. Tensors go by identity and version; only those that a model is seen to write
to in place are copied.
"""

from collections import deque
from collections.abc import Callable, Iterator
from itertools import chain
from operator import is_
from typing import Any

import numpy as np
from torch import Tensor, nn

_CONTAINERS = (dict, list, set, deque)
_PLAIN = frozenset({bool, int, float, complex, str, bytes, type(None)})
_OWN = frozenset(vars(nn.Module()))  # dictionaries that every module has
_LOOKED_INTO = 100  # entries at most, of a container in which others are looked for


class Attributes:
    """What the modules below ``root`` keep at this moment.

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
        self._held: list[tuple[Any, Any]] = []  # a container, and what it held
        self._empty: list[Any] = []  # containers that held nothing
        self._seen: set[int] = set()
        self._tensors: list[tuple[Any, Any, Any, int]] = []  # a container, a key, a tensor or array, its version
        self._lent: list[tuple[Tensor, Tensor]] = []  # and its copy
        for module in root.modules():
            self._look(vars(module))
            for value in vars(module).values():
                if type(value) not in _PLAIN and _has_attributes(value):
                    self._look(vars(value))
        self._containers = [container for container, _ in self._held]
        self._contents = [c.values() if isinstance(c, dict) else c for c in self._containers]
        self._values = list(chain.from_iterable(self._contents))
        self._sizes = list(map(len, self._containers))

    def unchanged(self) -> bool:
        """Whether everything is as it was."""
        return self._hold_the_same() and all(version(tensor) == before for _, _, tensor, before in self._tensors)

    def put_back(self) -> list[str]:
        """Make every container hold what it held; the names of what had changed."""
        if self._hold_the_same():
            return []
        names: list[str] = []
        for container, held in [*self._held, *((container, type(container)()) for container in self._empty)]:
            if isinstance(container, dict):
                changed = [k for k in {**held, **container} if k not in held or container.get(k, self) is not held[k]]
            else:
                changed = [] if len(container) == len(held) and all(map(is_, container, held)) else ["a list"]
            if changed:
                container.clear()
                (container.update if isinstance(container, (dict, set)) else container.extend)(held)
                names += map(str, changed)
        return names

    def lend_copies(self, of: Callable[[Tensor], bool]) -> None:
        """Put copies in the places of arrays and of these tensors, until they are put back."""
        self._lent = []
        for container, key, value, _ in self._tensors:
            if isinstance(value, np.ndarray):
                container[key] = value.copy()
            elif not value.requires_grad and of(value):
                container[key] = value.clone()
                self._lent.append((value, container[key]))

    def written(self) -> tuple[list[Tensor], list[Tensor]]:
        """The tensors to whose copies the model wrote in place, and those to which it wrote themselves."""
        lent = [tensor for tensor, copy in self._lent if version(copy)]
        return lent, [tensor for _, _, tensor, before in self._tensors if version(tensor) != before]

    def places(self) -> Iterator[tuple[Any, Any]]:
        """Where tensors are: (container, key)."""
        return ((container, key) for container, key, value, _ in self._tensors if isinstance(value, Tensor))

    def _hold_the_same(self) -> bool:
        return (
            not any(self._empty)
            and list(map(len, self._containers)) == self._sizes
            and all(map(is_, chain.from_iterable(self._contents), self._values))
        )

    def _look(self, container: Any) -> None:
        if not container:
            self._empty.append(container)
        elif id(container) not in self._seen:
            self._seen.add(id(container))
            self._hold(container)
            if isinstance(container, dict):
                self._look_into(container, container.items())
            elif isinstance(container, list) and len(container) <= _LOOKED_INTO:
                self._look_into(container, enumerate(container))

    def _hold(self, container: Any) -> None:
        self._held.append((container, container.copy()))

    def _look_into(self, container: Any, items: Any) -> None:
        for key, value in items:
            if type(value) in _PLAIN:
                continue
            if key in _OWN and isinstance(value, _CONTAINERS):
                if value:
                    self._hold(value)
                else:
                    self._empty.append(value)
            elif isinstance(value, _CONTAINERS):
                self._look(value)
            elif isinstance(value, (Tensor, np.ndarray)) and not isinstance(value, nn.Parameter):
                self._tensors.append((container, key, value, version(value)))


def _has_attributes(value: Any) -> bool:
    """Whether it is an object of a class of the user's, other than what every program is made of."""
    own = type(value).__module__.partition(".")[0] not in ("builtins", "torch", "numpy", "functools")
    return (
        own and not isinstance(value, (nn.Module, *_CONTAINERS)) and isinstance(getattr(value, "__dict__", None), dict)
    )


def version(value: Any) -> int:
    """How often a tensor was written to in place, where torch counts that."""
    return value._version if isinstance(value, Tensor) and not value.is_inference() else 0
