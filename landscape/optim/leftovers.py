"""Gradients that were there before a pass: a closure that adds to them would step along a sum of different points.

Whether it does is known only when the first gradient of the pass is about to be added: a closure may zero them to None
or in place, before or after its forward pass. So each parameter gets a hook, which looks then at what is left of the
gradient that it had when the pass started. The hook is on the adding itself, which ``torch.autograd.grad`` does not do:
a closure may put what that finds in the place of what was there. A gradient that nobody has touched by the end of the
pass was left too. A pass whose gradients are gone at its end was zeroed too late.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor
from torch.autograd.graph import get_gradient_edge


@contextmanager
def no_leftovers(params: list[Tensor]) -> Iterator[None]:
    """Refuse a backward pass in the body that adds to gradients which were in ``.grad`` before, or leaves none there.

    Args:
        params: the leaves that may have gradients.

    Raises:
        ValueError: naming how to accumulate over micro-batches instead, or how to skip a step.

    Example:
        >>> import torch
        >>> w = torch.nn.Parameter(torch.ones(1))
        >>> w.grad = torch.ones(1)
        >>> with no_leftovers([w]):
        ...     w.grad = None
        ...     w.sum().backward()
        >>> with no_leftovers([w]):
        ...     w.sum().backward()
        Traceback (most recent call last):
        ValueError: the closure adds its gradients to those that were there before it. Expected a closure that ...
    """
    left: list[Tensor] = []
    added: list[tuple[Tensor, Tensor]] = []  # the parameter that got the first gradient, and whether that was any

    def look(p: Tensor, found: tuple[Tensor, ...]) -> None:
        hooks.pop(p).remove()
        if p in before and p.grad is not None:
            left.append(p.grad.any())
        if not added:
            added.append((p, found[0].any()))

    before = {p: (p.grad, p.grad._version, _size(p.grad)) for p in params if p.grad is not None}
    nodes = {p: get_gradient_edge(p).node for p in params}  # held here, for a parameter does not hold its own
    hooks = {p: node.register_prehook(partial(look, p)) for p, node in nodes.items()}
    try:
        yield
    finally:
        for hook in hooks.values():
            hook.remove()
    for p, (grad, version, size) in before.items():
        if p.grad is grad and grad._version == version:  # which writing through .data does not raise
            left.append(grad.any() & _size(grad).isclose(size, rtol=0, atol=0, equal_nan=True))
    if any(bool(some) for some in left):
        raise ValueError(
            "the closure adds its gradients to those that were there before it. Expected a closure that zeroes the "
            "gradients first, each time it is called, and loops over all micro-batches itself. In a Trainer, Lightning "
            "or accelerate loop, where others accumulate: see landscape.integrations."
        )
    if any(bool(some) and not _any(p) for p, some in added) and not any(map(_any, params)):
        raise ValueError(
            "the closure left no gradients: they were zeroed after backward(). Expected a closure that zeroes them "
            "first. To skip a step, return float('nan')."
        )


def _size(grad: Tensor) -> Tensor:
    return torch.linalg.vector_norm(grad.coalesce().values() if grad.is_sparse else grad)


def _any(p: Tensor) -> bool:
    return p.grad is not None and bool(p.grad.any())
