"""A computation as if all of it were in the widest dtype: what it would be without the rounding of coarser ones.

    with widened(torch.float64):
        model(x)    # whatever it casts to inside, autocast too

Each operation gets its coarser floating tensors widened first, and each cast to a coarser dtype becomes one to the
widest, in forward and in backward passes. What a model stores as integers stays as it is.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_KEPT = {torch.ops.aten.clone.default, torch.ops.aten.detach.default, torch.ops.aten.equal.default}


@contextmanager
def widened(wide: torch.dtype) -> Iterator[None]:
    """Run the body as if every floating tensor coarser than ``wide`` were of that dtype.

    Example:
        >>> x = torch.tensor(1 / 3, dtype=torch.float64)
        >>> with widened(torch.float64):
        ...     unrounded = x.bfloat16().double() * 3
        >>> unrounded.item(), (x.bfloat16().double() * 3).item()
        (1.0, 1.001953125)
    """
    with _Widened(wide):
        yield


def coarsest_met(work: Callable[[], Any]) -> torch.dtype:
    """The coarsest floating dtype of what operations give while ``work`` is done.

    Example:
        >>> coarsest_met(lambda: torch.ones(2).bfloat16().double())
        torch.bfloat16
    """
    with _Met() as met:
        work()
    return max(met.dtypes, key=lambda dtype: torch.finfo(dtype).eps, default=torch.float64)


class _Met(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.dtypes: set[torch.dtype] = set()

    def __torch_dispatch__(
        self, func: Any, types: Sequence[Any], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        for one in found if isinstance(found, (list, tuple)) else [found]:
            if isinstance(one, Tensor) and (one.is_floating_point() or one.is_complex()):
                self.dtypes.add(one.dtype)
        return found

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # as below


class _Widened(TorchDispatchMode):
    def __init__(self, wide: torch.dtype) -> None:
        super().__init__()
        self.wide = wide

    def __torch_dispatch__(
        self, func: Any, types: Sequence[Any], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func in _KEPT:
            return func(*args, **(kwargs or {}))
        writes = func._schema.is_mutable  # to a tensor, which must be itself
        wider = [self._wider(one, tensors=not writes) for one in args]
        return func(*wider, **{name: self._wider(one, tensors=not writes) for name, one in (kwargs or {}).items()})

    def _wider(self, one: Any, *, tensors: bool) -> Any:
        if isinstance(one, Tensor):
            return one.to(self._dtype(one.dtype)) if tensors else one
        if isinstance(one, (list, tuple)):
            return type(one)([self._wider(each, tensors=tensors) for each in one])
        return self._dtype(one) if isinstance(one, torch.dtype) else one

    def _dtype(self, dtype: torch.dtype) -> torch.dtype:
        if dtype.is_complex:
            return self.wide.to_complex() if dtype.itemsize < 2 * self.wide.itemsize else dtype
        return self.wide if dtype.is_floating_point and dtype.itemsize < self.wide.itemsize else dtype

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # what torch wraps otherwise takes a second to import, and its time in every operation
