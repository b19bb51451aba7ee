"""What the rounding of a model's own dtype does to its losses, gradients and Hessian products.

    x - x',    x' the same of the same examples without that rounding

x' has parameters and inputs in float64, and everything that the model casts to inside: see
``landscape.widened``. Where eight examples differ by no more than 100 eps of the dtype of the vectors (1e-5 in
float32), that is called exact here; elsewhere all are compared. The difference, doubled, belongs into the error bars:
of a loss or a gradient's norm its own; of a trace or an eigenvalue that of a random product, as a fraction of the
Hessian's norm: an estimate, no bound.
"""

import copy
import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from landscape.batches import recut
from landscape.derivatives import coarsest_eps
from landscape.linalg.estimate import norm_of
from landscape.losses import Terms
from landscape.objective import Objective
from landscape.operators.graph import derivatives
from landscape.results import Measurement
from landscape.second_derivatives import twice_differentiable
from landscape.widened import widened

_EXAMPLES = 8
_NEGLIGIBLE = 100  # eps
_MARGIN = 2
Derivatives = Callable[[Tensor, list[Tensor], list[Tensor]], tuple[Sequence[Tensor], Sequence[Tensor]]]
_CANNOT = (RuntimeError, TypeError, ValueError, ArithmeticError, NotImplementedError)


@dataclass(frozen=True)
class Rounding:
    """Errors by the rounding of the dtype that a model computes in.

    Attributes:
        loss: of the mean loss; of a few examples the root mean square.
        gradient: of the gradient's norm; of a few examples the length of its own.
        product: of a product of the Hessian with a random vector, as a fraction of it; 0 where it is negligible.
        eps: what is negligible, as a fraction of a number.
        of_all: the same of all examples, where these are of a few.
        unknown: whether the model holds tensors coarser than float32 and cannot be computed otherwise than it is.
    """

    loss: float = 0.0
    gradient: float = 0.0
    product: float = 0.0
    eps: float = 0.0
    of_all: "Callable[[], Rounding] | None" = None
    unknown: bool = False

    def of_loss(self, value: float) -> float:
        """The error of a mean of losses, or 0 where it is a negligible fraction of this value."""
        if self.loss <= self.eps * abs(value):
            return 0.0
        return self.of_all().of_loss(value) if self.of_all else self.loss

    def of_gradient(self, norm: float) -> float:
        """The error of the norm of a gradient, likewise."""
        if self.gradient <= self.eps * norm:
            return 0.0
        return self.of_all().of_gradient(norm) if self.of_all else self.gradient


def rounding_of(objective: Objective) -> Rounding:
    """The rounding of an objective's model.

    Cost: a gradient of eight examples in two dtypes, and a product too where an operation is coarser than float32;
    where they differ, the same of all examples.

    Example:
        >>> model, batch = torch.nn.Linear(2, 1), (torch.randn(8, 2), torch.zeros(8, 1))
        >>> rounding_of(Objective(model, torch.nn.MSELoss(), [batch])).product
        0.0
        >>> 1e-4 < rounding_of(Objective(model, torch.nn.MSELoss(), [batch], dtype=torch.bfloat16)).product < 0.1
        True
    """
    coarse = coarsest_eps(objective) > torch.finfo(objective.dtype).eps
    if not coarse and objective.dtype == objective.accumulation_dtype:
        return Rounding()
    for some in (_rows, _first_batch):  # there are models that take no fewer rows than they are handed
        for derivatives_of in (_twice, _once):  # and those without a second derivative
            try:
                few = objective.over(some(objective))
                # products of float32 are off as gradients are, or less
                derivatives_of = derivatives_of if coarse else _once
                of_few, differs = _compared(few, derivatives_of, coarse=coarse, whole=False)
                of_all = cache(partial(_of_all, objective, derivatives_of, coarse))
                return of_all() if differs else replace(of_few, of_all=of_all)
            except _CANNOT:
                continue
    return Rounding(unknown=coarse or holds_coarse_tensors(objective))


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
    total = math.hypot(before, error) if kind == "standard error" else before + error
    measurement = replace(measurement, std_error=total, error_kind="bound" if kind == "none" else kind)
    half = total if kind == "lower bound" else measurement.half_width()
    within = half <= rel_error * abs(measurement.value)
    size = "an unknown error" if math.isnan(error) else f"{error:.2g}"
    reason = f"{measurement.reason}; {size} by rounding of the model's dtype"
    if not within:
        reason += f", with which it is not within {rel_error:g} of the value: try dtype=torch.float64"
    return replace(measurement, converged=measurement.converged and within, reason=reason)


def unrounded(objective: Objective, of: Callable[[Objective], float]) -> float:
    """What ``of`` makes of the objective without the rounding of the model's dtype."""
    wide = objective.accumulation_dtype
    with widened(wide):
        return of(objective.over(objective.data, dtype=wide))


def holds_coarse_tensors(objective: Objective) -> bool:
    """Whether the model has parameters or buffers coarser than float32, as it is computed here."""
    floating = [tensor.dtype for tensor in objective._state.values() if tensor.is_floating_point()]
    return any(torch.finfo(dtype).eps > torch.finfo(torch.float32).eps for dtype in floating)


def _of_all(objective: Objective, derivatives_of: Derivatives, coarse: bool) -> Rounding:
    return _compared(objective, derivatives_of, coarse=coarse, whole=True)[0]


def _compared(objective: Objective, derivatives_of: Derivatives, *, coarse: bool, whole: bool) -> tuple[Rounding, bool]:
    """The rounding, and whether it is more than negligible."""
    wide, eps = objective.accumulation_dtype, _NEGLIGIBLE * torch.finfo(objective.dtype).eps
    found = _derivatives(objective, derivatives_of)
    with widened(wide) if coarse else nullcontext():
        true = _derivatives(objective.over(objective.data, dtype=wide), derivatives_of)
    off = [norm_of(one.to(wide) - exact) for one, exact in zip(found, true, strict=True)]
    sizes = [norm_of(exact) for exact in true]
    fractions = [one / size if size else float(one > 0) for one, size in zip(off, sizes, strict=True)]
    product = fractions[2] if sizes[2] else fractions[1]  # nothing where torch drops a second derivative
    loss, gradient = off[0] / len(true[0]) ** 0.5, off[1]
    if whole:  # what they come to in the mean and in the norm, or what they would at random, if that is more
        loss = max(abs(float((found[0].to(wide) - true[0]).mean())), loss / len(true[0]) ** 0.5)
        along = max(abs(norm_of(found[1].to(wide)) - sizes[1]), gradient / len(true[1]) ** 0.5)
        gradient = min(gradient, along + gradient**2 / (2 * sizes[1] or math.inf))
    rounding = Rounding(_MARGIN * loss, _MARGIN * gradient, _MARGIN * product if product > eps else 0.0, _MARGIN * eps)
    return rounding, max(fractions) > eps


def _derivatives(objective: Objective, derivatives_of: Derivatives) -> list[Tensor]:
    """Losses (n,), gradient (d,), and the product of the Hessian with a random vector (d,)."""
    draws = torch.Generator().manual_seed(0)
    v = torch.randn(objective.num_params, generator=draws, dtype=torch.float64).to(objective.device, objective.dtype)
    leaves, losses = objective.leaves(), []
    totals = torch.zeros(2, objective.num_params, dtype=objective.accumulation_dtype, device=objective.device)

    def work(terms: Terms) -> list[Tensor]:
        losses.append(terms.losses.detach())
        summed = objective.summed(terms)
        if not summed.requires_grad:
            return [torch.zeros_like(v)] * 2
        found = derivatives_of(summed, leaves, objective.layout.split(v))
        return [objective.layout.flatten(one).detach() for one in found]

    for part in objective.over_batches(leaves, work, context=twice_differentiable):
        for total, one in zip(totals, part, strict=True):
            total += one
    return [torch.cat(losses), *(totals / objective.total_weight)]


def _twice(summed: Tensor, leaves: list[Tensor], pieces: list[Tensor]) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
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
    return next(recut((batch for _, batch in _as_given(objective).batches()), _EXAMPLES))


def _first_batch(objective: Objective) -> list[Any]:
    return [next(_as_given(objective).batches())[1]]


def _as_given(objective: Objective) -> Objective:
    """With data not in our dtype, whose rounding counts too, but as they are handed over."""
    other = copy.copy(objective)
    other._cast = None
    return other
