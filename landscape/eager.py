"""Passes run the model as it is written, in kernels that autograd can differentiate twice.

What ``torch.compile`` makes cannot be differentiated twice, and rounds otherwise than the model: whatever is compiled
(the model, modules in it, functions that it calls, the loss) runs eagerly during a pass, and is as it was afterwards.
Reentrant activation checkpoints refuse ``torch.autograd.grad``, and lose the gradients of parameters whose inputs need
none: during a pass they are checkpoints of the other kind, which compute the same. The recurrent kernels of cuDNN have
no gradient in eval mode and no second one: a model with such layers runs without cuDNN.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.utils import checkpoint

_DYNAMO = "torch._dynamo.eval_frame"  # a second to import, and there where anything is compiled
_WRAPPED = "_torchdynamo_orig_callable"  # of a compiled function


def uncompiled(of: Any) -> Any:
    """The module or function that ``torch.compile`` has wrapped; anything else as it is."""
    wrapper = getattr(sys.modules.get(_DYNAMO), "OptimizedModule", ())
    while isinstance(of, wrapper) or hasattr(of, _WRAPPED):
        of = of._orig_mod if isinstance(of, wrapper) else getattr(of, _WRAPPED)
    return of


def is_compiled(of: Any) -> bool:
    """Whether a module or function is compiled, or of a module one in it, or its forward.

    Example:
        >>> is_compiled(nn.Linear(1, 1))
        False
    """
    if _DYNAMO not in sys.modules or not isinstance(of, nn.Module):
        return hasattr(of, _WRAPPED)
    return any(
        isinstance(one, sys.modules[_DYNAMO].OptimizedModule)
        or one._compiled_call_impl is not None
        or hasattr(getattr(one, "forward", None), _WRAPPED)
        for one in of.modules()
    )


@contextmanager
def eager(*, recurrent: bool) -> Iterator[None]:
    """Run the body with nothing compiled, without reentrant checkpoints, and ``recurrent`` layers without cuDNN."""
    cudnn, enabled = torch.backends.cudnn, torch.backends.cudnn.enabled
    stance = torch.compiler.set_stance("force_eager") if _DYNAMO in sys.modules else nullcontext()
    before = checkpoint.CheckpointFunction
    checkpoint.CheckpointFunction = _NotReentrant  # type: ignore[assignment,misc]
    cudnn.enabled = enabled and not recurrent
    try:
        with stance:
            yield
    finally:
        cudnn.enabled = enabled
        checkpoint.CheckpointFunction = before  # type: ignore[misc]


class _NotReentrant:
    """In the place of ``torch.utils.checkpoint.CheckpointFunction``."""

    @staticmethod
    def apply(function: Callable[..., Any], preserve: bool, *args: Any) -> Any:
        return checkpoint.checkpoint(function, *args, use_reentrant=False, preserve_rng_state=preserve)
