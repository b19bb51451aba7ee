"""Batch normalization in eval mode, y = (x - mean) r w + b with r = (var + eps)^(-1/2), and its derivatives.

torch's double backward of it is a chain of elementwise operations; an affine function needs two passes over the data.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


def batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    """What torch's ``batch_norm`` returns; it is left to torch in train mode, without affine parameters, or mixed."""
    tensors = (running_mean, running_var, weight, bias)
    if training or any(t is None or t.dtype != x.dtype for t in tensors) or x.is_complex():
        return functional.batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps)
    assert running_var is not None
    return _Affine.apply(x, weight, bias, running_mean, (running_var + eps).rsqrt())


class _Affine(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, w: Tensor, b: Tensor, mean: Tensor, r: Tensor) -> Tensor:
        return _affine(x, w * r, b - mean * w * r)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, _output: Any) -> None:
        x, w, _, mean, r = inputs
        ctx.save_for_backward(x, w, mean, r)

    @staticmethod
    def backward(ctx: Any, back: Tensor) -> Any:
        return *_Backward.apply(back, *ctx.saved_tensors), None, None


class _Backward(torch.autograd.Function):
    """(gradient to x, to w, to b), bilinear in ``back`` and (x, w)."""

    generate_vmap_rule = True

    @staticmethod
    def forward(back: Tensor, x: Tensor, w: Tensor, mean: Tensor, r: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return back * _wide(w * r, back), _sums(back * (x - _wide(mean, x))) * r, _sums(back)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, _output: Any) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, along_x: Tensor, along_w: Tensor, along_b: Tensor) -> Any:
        back, x, w, mean, r = ctx.saved_tensors
        scale = along_w * r
        to_back = _affine(x, scale, along_b - mean * scale) + along_x * _wide(w * r, x)
        return to_back, back * _wide(scale, back), _sums(back * along_x) * r, None, None


def _affine(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return torch.addcmul(_wide(shift, x), x, _wide(scale, x))


def _wide(channels: Tensor, x: Tensor) -> Tensor:
    return channels.reshape(-1, *[1] * (x.ndim - 2))


def _sums(x: Tensor) -> Tensor:
    return x.sum((0, *range(2, x.ndim)))
