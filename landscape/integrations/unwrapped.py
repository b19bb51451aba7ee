"""The optimizer in the wrapper that accelerate or Lightning puts around it."""

from typing import Any

from landscape.optim.base import MultiPassOptimizer


def unwrapped(optimizer: Any) -> MultiPassOptimizer | None:
    """The optimizer of several passes at the bottom of ``optimizer``; None where another one is there.

    Example:
        >>> import torch
        >>> from types import SimpleNamespace
        >>> from landscape.optim import SAM
        >>> sam = SAM(torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1))
        >>> unwrapped(SimpleNamespace(optimizer=sam)) is sam, unwrapped(sam) is sam, unwrapped(sam.base)
        (True, True, None)
    """
    while hasattr(optimizer, "optimizer"):
        optimizer = optimizer.optimizer
    return optimizer if isinstance(optimizer, MultiPassOptimizer) else None
