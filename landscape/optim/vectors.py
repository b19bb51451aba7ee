"""Gradients and directions as single vectors: a dictionary with a tensor for each parameter that has one.

A parameter that is absent counts as zero. Every operation is one kernel for each device and dtype, and nothing here
waits for the device.
"""

from collections import defaultdict
from collections.abc import Iterable
from functools import reduce

import torch
from torch import Tensor

Vectors = dict[Tensor, Tensor]


def global_norm(tensors: Iterable[Tensor]) -> Tensor:
    """The 2-norm of all the tensors as one vector, accumulated in float32 or wider, on the first one's device.

    Example:
        >>> global_norm([torch.tensor([3.0]), torch.tensor([4.0])]).item()
        5.0
    """
    tensors = list(tensors)
    if not tensors:
        return torch.zeros(())
    dtype = reduce(torch.promote_types, {t.dtype for t in tensors}, torch.float32)
    norms = torch._foreach_norm(tensors, 2, dtype=dtype)
    return torch.linalg.vector_norm(torch.stack([n.to(tensors[0].device) for n in norms]))


def dot(a: Vectors, b: Vectors) -> Tensor:
    """The inner product, accumulated in float32 or wider.

    Example:
        >>> v, w = torch.zeros(1), torch.zeros(1)
        >>> dot({v: torch.tensor([2.0]), w: torch.tensor([1.0])}, {v: torch.tensor([3.0])}).item()
        6.0
    """
    both = [p for p in a if p in b]
    if not both:
        return torch.zeros(())
    products = torch._foreach_mul([a[p] for p in both], [b[p] for p in both])
    dtype = reduce(torch.promote_types, {t.dtype for t in products}, torch.float32)
    return torch.stack([t.sum(dtype=dtype).to(products[0].device) for t in products]).sum()


def add_(target: Vectors, other: Vectors, *, alpha: float = 1.0) -> Vectors:
    """Add ``alpha * other`` to ``target`` in place, and return it.

    Example:
        >>> v, w = torch.zeros(1), torch.zeros(1)
        >>> list(add_({v: torch.ones(1)}, {v: torch.ones(1), w: torch.ones(1)}, alpha=2.0).values())
        [tensor([3.]), tensor([2.])]
    """
    if both := [p for p in other if p in target]:
        torch._foreach_add_([target[p] for p in both], [other[p] for p in both], alpha=alpha)
    if new := [p for p in other if p not in target]:
        target.update(zip(new, torch._foreach_mul([other[p] for p in new], alpha), strict=True))
    return target


def scale_(target: Vectors, alpha: float) -> Vectors:
    """Multiply ``target`` by ``alpha`` in place, and return it."""
    if target:
        torch._foreach_mul_(list(target.values()), alpha)
    return target


def multiply_(target: Vectors, factors: Vectors) -> Vectors:
    """Multiply those entries of ``target`` that have ``factors`` by them, in place, and return it."""
    if both := [p for p in factors if p in target]:
        torch._foreach_mul_([target[p] for p in both], [factors[p] for p in both])
    return target


def copy_(targets: list[Tensor], sources: list[Tensor]) -> None:
    """Copy list to list, in one kernel for each device and dtype (buffers mix float and integer ones)."""
    batches: dict[tuple[torch.device, torch.dtype], tuple[list[Tensor], list[Tensor]]]
    batches = defaultdict(lambda: ([], []))
    for target, source in zip(targets, sources, strict=True):
        batch = batches[target.device, target.dtype]
        batch[0].append(target)
        batch[1].append(source)
    for some_targets, some_sources in batches.values():
        torch._foreach_copy_(some_targets, some_sources)
