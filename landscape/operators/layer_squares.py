"""Squared gradients of one layer, example by example, from what went in and what comes back.

The gradient of example i in a linear layer or a convolution is b a^T, with ``entered`` a (n, inputs, positions) and the
back-propagated vectors b (C, n, outputs, positions); the sums of squares over C and n never hold it for all examples.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import unfold

from landscape.objective import MeasurementError


class NoExactDiagonalError(MeasurementError):
    """The exact diagonal is not to be had for this model or loss; the message says why."""


def _linear(_module: nn.Module, entered: Tensor, back: Tensor, products: "Products") -> dict[str, Tensor]:
    n = len(entered)
    a = entered.reshape(n, -1, entered.shape[-1])  # (n, positions, inputs)
    b = back.reshape(len(back), n, -1, back.shape[-1])  # (C, n, positions, outputs)
    if a.shape[1] == 1:
        squared = b[:, :, 0].square().sum(0)
        return {"weight": squared.T @ a[:, 0].square(), "bias": squared.sum(0)}
    weight = products(b.transpose(2, 3), a.transpose(1, 2))
    return {"weight": weight, "bias": b.sum(2).square().sum((0, 1))}


def _conv(module: Any, entered: Tensor, back: Tensor, products: "Products") -> dict[str, Tensor]:
    if module.padding_mode != "zeros" or isinstance(module.padding, str):
        raise NoExactDiagonalError(f"no exact diagonal for a convolution with padding {module.padding!r}")
    n, groups = len(entered), module.groups
    b = back.flatten(3)  # (C, n, channels out, positions)
    image = entered if entered.ndim == 4 else entered.unsqueeze(2)
    kernel, dilation, stride = (_pair(size, 1) for size in (module.kernel_size, module.dilation, module.stride))
    a = unfold(image, kernel, dilation, _pair(module.padding, 0), stride)  # (n, channels in x kernel, positions)
    a = a.reshape(n, groups, -1, a.shape[-1])
    parts = b.reshape(len(b), n, groups, -1, b.shape[-1])
    weight = torch.stack([products(parts[:, :, g], a[:, g]) for g in range(groups)])
    return {"weight": weight, "bias": b.sum(3).square().sum((0, 1))}


def _batch_norm(module: Any, entered: Tensor, back: Tensor, _products: "Products") -> dict[str, Tensor]:
    b = back.reshape(*back.shape[:3], -1)  # (C, n, channels, positions)
    scale = (module.running_var + module.eps).rsqrt()
    x = (entered.reshape(*entered.shape[:2], -1) - module.running_mean[:, None]) * scale[:, None]
    return {"weight": (b * x).sum(3).square().sum((0, 1)), "bias": b.sum(3).square().sum((0, 1))}


Products = Callable[[Tensor, Tensor], Tensor]  # of b (C, n, out, positions) and a (n, in, positions)
RULES: dict[type[nn.Module], Callable[..., dict[str, Tensor]]] = {
    nn.Linear: _linear,
    nn.Conv1d: _conv,
    nn.Conv2d: _conv,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.BatchNorm3d: _batch_norm,
}


def sum_of_squares(b: Tensor, a: Tensor) -> Tensor:
    """The sum over classes and examples of squares of b a^T: b (C, n, out, positions), a (n, in, positions)."""
    total = b.new_zeros(b.shape[2], a.shape[1])
    for back, entered in zip(b.unbind(1), a, strict=True):
        total += (back.flatten(0, 1) @ entered.T).square_().unflatten(0, back.shape[:2]).sum(0)
    return total


def total_of_squares(b: Tensor, a: Tensor) -> Tensor:
    """The sum of those squares over everything, by the Gram matrices of the positions where that is less work."""
    kernel, positions, back = a.shape[1], a.shape[2], b.shape[0] * b.shape[2]
    if positions * (kernel + back) > kernel * back:
        return sum_of_squares(b, a).sum()
    rows = b.transpose(0, 1).flatten(1, 2)  # (n, C out, positions)
    return (torch.bmm(a.transpose(1, 2), a) * torch.bmm(rows.transpose(1, 2), rows)).sum()


def _pair(values: tuple[int, ...], missing: int) -> tuple[int, ...]:
    """A setting of Conv1d as one of Conv2d over an image of height 1."""
    return values if len(values) == 2 else (missing, *values)
