"""Gradients that were there before a pass: a closure that adds to them would step along a sum of different points.

Whether it does is known only when the first gradient of the pass is about to be added: a closure may zero them to None
or in place, before or after its forward pass. So each parameter that has a gradient when the pass starts gets a hook,
which looks at what is left of it then. Where nothing is left, as usual, the hook does nothing. A gradient that nobody
has touched by the end of the pass was left too.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from torch import Tensor


@contextmanager
def no_leftovers(params: list[Tensor]) -> Iterator[None]:
    """Refuse a backward pass in the body that adds to gradients which were in ``.grad`` before.

    Args:
        params: the leaves that may have gradients.

    Raises:
        ValueError: naming how to accumulate over micro-batches instead.

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

    def look(p: Tensor, _: Tensor) -> None:
        hooks.pop(p).remove()
        if p.grad is not None:
            left.append(p.grad.any())

    before = {p: (p.grad, p.grad._version) for p in params if p.grad is not None}
    hooks = {p: p.register_hook(partial(look, p)) for p in before}
    try:
        yield
    finally:
        for hook in hooks.values():
            hook.remove()
    left += [g.any() for p, (g, version) in before.items() if p.grad is g and g._version == version]
    if any(bool(some) for some in left):
        raise ValueError(
            "the closure adds its gradients to those that were there before it. Expected a closure that zeroes the "
            "gradients first, each time it is called, and loops over all micro-batches itself. In a Trainer, Lightning "
            "or accelerate loop, where others accumulate: see landscape.integrations."
        )
