"""Convolutions whose second derivative is made of backward passes.

torch makes the weight's part of a convolution's double backward by a convolution with the axes exchanged, a kernel as
large as the image; here it is a weight gradient of the same kind as in the first backward pass.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

CONVOLUTIONS: tuple[Callable[..., Tensor], ...] = (torch.conv1d, torch.conv2d, torch.conv3d)  # by number of axes


def convolve(
    func: Callable[..., Tensor],
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Any:
    """What ``func``, one of ``CONVOLUTIONS``, returns.

    Autocast, complex numbers, inputs without a batch axis and padding by name are left to torch.
    """
    num_axes = CONVOLUTIONS.index(func) + 1
    by_torch = isinstance(padding, str) or x.ndim != num_axes + 2 or x.is_complex()
    if by_torch or torch.is_autocast_enabled(x.device.type):
        return func(x, weight, bias, stride, padding, dilation, groups)
    per_axis = [_per_axis(setting, num_axes) for setting in (stride, padding, dilation)]
    return _Convolution.apply(x, weight, bias, (*per_axis, False, [0] * num_axes, groups))  # not transposed


def _per_axis(setting: Any, num_axes: int) -> list[int]:
    values = [setting] if isinstance(setting, int) else list(setting)
    return values * num_axes if len(values) == 1 else values


class _Convolution(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, w: Tensor, bias: Tensor | None, settings: Any) -> Tensor:
        return torch.convolution(x, w, bias, *settings)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, _output: Any) -> None:
        x, w, _, ctx.settings = inputs
        ctx.save_for_backward(x, w)

    @staticmethod
    def backward(ctx: Any, back: Tensor) -> Any:
        x, w = ctx.saved_tensors
        to_x, to_w, to_bias, _ = ctx.needs_input_grad
        grads = _Backward.apply(back, x, w, ctx.settings, to_x, to_w) if to_x or to_w else (None, None)
        return *grads, back.sum((0, *range(2, back.ndim))) if to_bias else None, None


class _Backward(torch.autograd.Function):
    """(gradient to x, gradient to w), bilinear in ``back`` and the other one of x and w."""

    generate_vmap_rule = True

    @staticmethod
    def forward(back: Tensor, x: Tensor, w: Tensor, settings: Any, to_x: bool, to_w: bool) -> Any:
        return torch.ops.aten.convolution_backward(back, x, w, None, *settings, [to_x, to_w, False])[:2]

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, _output: Any) -> None:
        back, x, w, ctx.settings, _, _ = inputs
        ctx.save_for_backward(back, x, w)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, along_x: Tensor | None, along_w: Tensor | None) -> Any:
        back, x, w = ctx.saved_tensors
        to_back, to_x, to_w = ctx.needs_input_grad[:3]
        grad_back = grad_x = grad_w = None
        if along_x is not None:
            if to_back:
                grad_back = torch.convolution(along_x, w, None, *ctx.settings)
            if to_w:
                grad_w = _Backward.forward(back, along_x, w, ctx.settings, False, True)[1]
        if along_w is not None:
            if to_back:
                more = torch.convolution(x, along_w, None, *ctx.settings)
                grad_back = more if grad_back is None else grad_back + more
            if to_x:
                grad_x = _Backward.forward(back, x, along_w, ctx.settings, True, False)[0]
        return grad_back, grad_x, grad_w, None, None, None
