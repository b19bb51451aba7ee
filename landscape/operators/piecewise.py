"""Proof that a network is piecewise affine in each single parameter, read off its autograd graph.

If every output is, near the current weights, an affine function of each parameter when all others are held fixed, then
the second derivative of the network by any one parameter is zero, and

    diag(Hessian) = diag(Gauss-Newton),    Tr(Hessian) = Tr(Gauss-Newton).

That class contains the parameters and is closed under linear operations; under piecewise-linear functions, which are
linear around almost every point; and under products of two functions that share no parameter. Eval-mode BatchNorm,
convolutions, linear layers, ReLU, max-pool and residual additions are such; softmax, tanh, LayerNorm, attention, tied
layers and gates are not. The graph is what was really computed, functional calls included. An operation that is not
listed here disqualifies, whatever it does.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

# By autograd node, without "Backward" and its number. Linear in all tensor arguments together, or piecewise linear.
# fmt: off
_LINEAR = frozenset((
    "Add", "Sub", "Neg", "Sum", "Mean", "Cat", "Stack", "Clone", "T", "Transpose", "Permute", "View",
    "ReshapeAlias", "UnsafeView", "Unsqueeze", "Squeeze", "Expand", "Select", "Slice", "Split", "SplitWithSizes",
    "Unbind", "Index", "IndexSelect", "Gather", "Narrow", "Diagonal", "ConstantPadNd", "ReflectionPad1D",
    "ReflectionPad2D", "ReplicationPad1D", "ReplicationPad2D", "AvgPool2D", "AvgPool3D", "AdaptiveAvgPool2D",
    "AdaptiveAvgPool3D", "UpsampleNearest1D", "UpsampleNearest2D", "UpsampleBilinear2D", "PixelShuffle",
    "PixelUnshuffle", "Im2Col", "Col2Im", "Embedding", "ToCopy", "Repeat", "Flip", "Roll", "Relu", "LeakyRelu",
    "Threshold", "Hardtanh", "Hardsigmoid", "Clamp", "ClampMin", "ClampMax", "Abs", "Max", "Min", "Maximum",
    "Minimum", "Amax", "Amin", "Where", "MaxPool2DWithIndices", "MaxPool3DWithIndices", "MkldnnMaxPool2D",
    "AdaptiveMaxPool2D", "AdaptiveMaxPool3D", "Hardshrink", "Softshrink", "Alias",
))
# fmt: on
_BILINEAR = {  # positions of the two factors; further arguments are added
    "Mm": (0, 1),
    "Bmm": (0, 1),
    "Mul": (0, 1),
    "Mv": (0, 1),
    "Dot": (0, 1),
    "Addmm": (1, 2),
    "Addbmm": (1, 2),
    "Baddbmm": (1, 2),
    "Convolution": (0, 1),
    "PreluKernel": (0, 1),
    "NativeBatchNorm": (0, 1),
    "CudnnBatchNorm": (0, 1),
    "MiopenBatchNorm": (0, 1),
    "Div": (0, 1),
}
_ACCUMULATE = "torch::autograd::AccumulateGrad"


def obstacle(outputs: Tensor, leaves: Sequence[Tensor]) -> str | None:
    """Why ``outputs`` are not proved piecewise affine in each single entry of ``leaves``; None where they are.

    Example:
        >>> import torch
        >>> w = torch.ones(3, requires_grad=True)
        >>> obstacle((2 * w).relu(), [w]) is None, obstacle(w * w.relu(), [w]), obstacle(w.tanh(), [w])
        (True, 'Mul multiplies functions of the same parameter', 'Tanh is not known to be piecewise linear')
    """
    bit = {id(leaf): 1 << index for index, leaf in enumerate(leaves)}
    depends: dict[Any, int] = {}  # node -> set of the leaves that it is a function of, as bits
    todo: list[Any] = [outputs.grad_fn]
    while todo:
        node = todo[-1]
        inputs = [parent for parent, _ in node.next_functions]
        waiting = [parent for parent in inputs if parent is not None and parent not in depends]
        if waiting:
            todo += waiting
            continue
        todo.pop()
        if node in depends:
            continue
        sets = [depends[parent] if parent is not None else 0 for parent in inputs]
        if node.name() == _ACCUMULATE:
            depends[node] = bit.get(id(node.variable), 0)
            continue
        depends[node] = 0
        for leaf_set in sets:
            depends[node] |= leaf_set
        if depends[node] and (reason := _reason(node, sets)):
            return reason
    return None


def _reason(node: Any, sets: list[int]) -> str | None:
    """Why this operation leaves the class, its arguments being functions of the given sets of leaves."""
    name = node.name().split("Backward")[0]
    if name in _LINEAR:
        return None
    if name not in _BILINEAR:
        return f"{name} is not known to be piecewise linear"
    if getattr(node, "_saved_training", False):
        return f"{name} uses batch statistics"
    first, second = (sets[position] for position in _BILINEAR[name])
    if name == "Div" and second:
        return "Div divides by a function of parameters"
    return f"{name} multiplies functions of the same parameter" if first & second else None
