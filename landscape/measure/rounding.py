"""What the rounding of a model's own dtype does to its losses, gradients and Hessian products.

    ||x - x'|| / ||x'||,    x' the same of the same examples without that rounding

x' has parameters and inputs in float64, and everything that the model casts to inside: see
``landscape.measure.widened``. Up to 32 eps of the dtype of the vectors, float32 or float64, a number is called exact
here. What is above, doubled as eight examples stand for all, belongs into the error bars: of a loss or gradient that
fraction of it, of a trace or an eigenvalue that fraction of the Hessian's norm. It is an estimate, and no bound.
"""

import copy
import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from landscape.batches import recut
from landscape.derivatives import coarsest_eps
from landscape.linalg.estimate import ROUNDING, norm_of
from landscape.losses import Terms
from landscape.measure.widened import widened
from landscape.objective import Objective
from landscape.operators.graph import derivatives
from landscape.results import Measurement
from landscape.second_derivatives import twice_differentiable

_EXAMPLES = 8
_MARGIN = 2
Derivatives = Callable[[Tensor, list[Tensor], list[Tensor]], tuple[Sequence[Tensor], Sequence[Tensor]]]
_CANNOT = (RuntimeError, TypeError, ValueError, ArithmeticError, NotImplementedError)


@dataclass(frozen=True)
class Rounding:
    """Relative errors by the rounding of a model's dtype, 0 where they are negligible.

    Attributes:
        loss: of the losses.
        gradient: of the gradient.
        product: of a product of the Hessian with a random vector.
        unknown: whether the model holds tensors coarser than float32 and cannot be computed otherwise than it is.
    """

    loss: float = 0.0
    gradient: float = 0.0
    product: float = 0.0
    unknown: bool = False


def rounding_of(objective: Objective) -> Rounding:
    """The rounding of an objective's model.

    Cost: a gradient of eight examples in two dtypes, and a product too where an operation is coarser than float32.

    Example:
        >>> model, batch = torch.nn.Linear(2, 1), (torch.randn(8, 2), torch.zeros(8, 1))
        >>> rounding_of(Objective(model, torch.nn.MSELoss(), [batch])).product
        0.0
        >>> 1e-4 < rounding_of(Objective(model, torch.nn.MSELoss(), [batch], dtype=torch.bfloat16)).product < 0.1
        True
    """
    for some in (_rows, _first_batch):  # there are models that take no fewer rows than they are handed
        for derivatives_of in (_twice, _once):  # and those without a second derivative
            try:
                return _compared(objective, some, derivatives_of)
            except _CANNOT:
                continue
    return Rounding(unknown=holds_coarse_tensors(objective))


def rounded(measurement: Measurement, error: float, *, rel_error: float = 0.05) -> Measurement:
    """The measurement with ``error`` by rounding in its error too; converged if that still is within ``rel_error``.

    Example:
        >>> rounded(Measurement("loss", 1.0), 0.002).text, rounded(Measurement("loss", 1.0), 0.002).error_kind
        ('1.0000 ± 0.0020', 'bound')
        >>> rounded(Measurement("loss", 1.0), 0.2).converged
        False
    """
    if error == 0 or math.isnan(measurement.value):
        return measurement
    before, kind = measurement.std_error, measurement.error_kind
    if kind == "lower bound":
        measurement = replace(measurement, value=max(measurement.value - error, 0.0), std_error=before + error)
        half = error
    else:
        total = math.hypot(before, error) if kind == "standard error" else before + error
        measurement = replace(measurement, std_error=total, error_kind="bound" if kind == "none" else kind)
        half = measurement.half_width()
    within = half <= rel_error * abs(measurement.value)
    size = "an unknown error" if math.isnan(error) else f"{error:.2g}"
    reason = f"{measurement.reason}; {size} by rounding of the model's dtype"
    if not within:
        reason += f", with which it is not within {rel_error:g} of the value: try dtype=torch.float64"
    return replace(measurement, converged=measurement.converged and within, reason=reason)


def _compared(objective: Objective, some: Callable[[Objective], list[Any]], derivatives_of: Derivatives) -> Rounding:
    wide, as_given = objective.accumulation_dtype, copy.copy(objective)
    as_given._cast = None  # whose rounding of the inputs counts too
    examples = some(as_given)
    few = objective.over(examples)
    coarse = coarsest_eps(few) > torch.finfo(objective.dtype).eps
    if not coarse and objective.dtype == wide:
        return Rounding()
    derivatives_of = derivatives_of if coarse else _once  # products of float32 are off as gradients are, or less
    found = _on_few(few, derivatives_of)
    with widened(wide) if coarse else nullcontext():
        true = _on_few(objective.over(examples, dtype=wide), derivatives_of)
    negligible = ROUNDING * torch.finfo(objective.dtype).eps
    loss, gradient, product = (_relative(*pair, negligible) for pair in zip(found, true, strict=True))
    return Rounding(loss, gradient, max(product, gradient))  # where second derivatives are dropped it would be 0


def _relative(found: Tensor, true: Tensor, negligible: float) -> float:
    off, size = norm_of(found.to(true.dtype) - true), norm_of(true)
    if off <= negligible * size:
        return 0.0
    return _MARGIN * off / size if size else 1.0


def _on_few(objective: Objective, derivatives_of: Derivatives) -> list[Tensor]:
    """Losses (n,), gradient (d,), and the product of the Hessian with a random vector (d,)."""
    draws = torch.Generator().manual_seed(0)
    v = torch.randn(objective.num_params, generator=draws, dtype=torch.float64).to(objective.device, objective.dtype)
    leaves = objective.leaves()

    def work(terms: Terms) -> tuple[Tensor, ...]:
        pieces = derivatives_of(objective.summed(terms), leaves, objective.layout.split(v))
        return terms.losses.detach(), *(objective.layout.flatten(one).detach() for one in pieces)

    parts = list(objective.over_batches(leaves, work, context=twice_differentiable))
    losses, *others = zip(*parts, strict=True)
    return [torch.cat(losses), *(torch.stack(one).sum(0) for one in others)]


def _twice(summed: Tensor, leaves: list[Tensor], pieces: list[Tensor]) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    if not summed.requires_grad:
        return leaves, leaves
    gradient = torch.autograd.grad(summed, leaves, create_graph=True, materialize_grads=True)
    curved = [(one, piece) for one, piece in zip(gradient, pieces, strict=True) if one.requires_grad]
    if not curved:
        return gradient, gradient
    outputs, vectors = zip(*curved, strict=True)
    return gradient, derivatives(outputs, leaves, vectors, batched=False)


def _once(summed: Tensor, leaves: list[Tensor], _: list[Tensor]) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """The gradient in the place of the product too, whose differences take its place."""
    gradient = torch.autograd.grad(summed, leaves, materialize_grads=True)
    return gradient, gradient


def _rows(objective: Objective) -> list[Any]:
    return next(recut((batch for _, batch in objective.batches()), _EXAMPLES))


def _first_batch(objective: Objective) -> list[Any]:
    return [next(objective.batches())[1]]


def holds_coarse_tensors(objective: Objective) -> bool:
    """Whether the model has parameters or buffers coarser than float32, as it is computed here."""
    floating = [tensor.dtype for tensor in objective._state.values() if tensor.is_floating_point()]
    return any(torch.finfo(dtype).eps > torch.finfo(torch.float32).eps for dtype in floating)
