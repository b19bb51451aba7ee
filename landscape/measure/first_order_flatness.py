"""First-order flatness: how large the gradient is at most within a ball (GAM, Zhang et al. 2023, def. 4.1).

    R1 = rho * max over ||u|| <= rho of ||grad L(w + u)||

The slope of the gradient's norm is H(w + u) g / ||g||. Where w is a minimum of a quadratic loss, R1 / rho^2 is the
largest eigenvalue of the Hessian (lemma 4.1).
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from landscape.linalg.estimate import norm_of
from landscape.losses import Terms
from landscape.measure.ascent import maximize, num_slopes
from landscape.measure.metric import Cost, Work, generator, metric
from landscape.measure.rounding import rounded, unrounded
from landscape.measure.starts import num_points
from landscape.objective import Objective
from landscape.operators.graph import derivatives
from landscape.results import Measurement
from landscape.second_derivatives import twice_differentiable


def _slopes(given: Any) -> int:
    return num_slopes(given.num_params, num_restarts=given.num_restarts, num_steps=given.num_steps)


@metric(
    symbol="R¹",
    latex="$R^1$",
    definition="rho times the largest gradient norm in the ball of radius rho (GAM, Zhang et al. 2023, def. 4.1)",
    meaning="How steep the ground around is at most, what GAM regularises.",
    limits="It is a lower bound: a higher point may have been missed.",
    cost="84 gradients and 84 products; more of few parameters",
    error_kind="lower bound",
    estimate_cost=lambda given: Cost(
        products=(_slopes(given),) * 2,
        gradients=_slopes(given) + num_points(given.num_params),
    ),
    details={"peaks": "what each ascent reached", "distance": "of the highest point from the weights"},
)
def first_order_flatness(
    objective: Objective,
    *,
    rho: float = 0.05,
    num_steps: int = 20,
    num_restarts: int = 4,
    rel_error: float = 0.05,
    seed: int = 0,
) -> Measurement:
    """Rho times the largest gradient norm that ascents find within the ball: a *lower bound* of R1.

    ``std_error`` is ``Maximum.error`` of ``landscape.measure.ascent``; converged means that it is within ``rel_error``.
    It takes ``num_restarts * (num_steps + 1)`` gradients and as many products, four gradients' time together, and
    more of 32 parameters or fewer, to cover the ball.

    Args:
        objective: the loss around whose parameters to measure.
        rho: radius of the ball.
        num_steps: steps of each ascent.
        num_restarts: number of ascents: one from w, the others as ``landscape.measure.starts`` says.
        rel_error: what the ascents should agree to.
        seed: of the starts.

    Raises:
        ValueError: for a radius or number of steps that is not positive, or fewer than 2 ascents.

    Example:
        >>> model = torch.nn.Linear(2, 1, bias=False).double()
        >>> _ = torch.nn.init.zeros_(model.weight)
        >>> batch = (torch.diag(torch.tensor([1.0, 3.0])).double(), torch.zeros(2, 1).double())
        >>> found = first_order_flatness(Objective(model, torch.nn.MSELoss(), [batch]), rho=0.1)
        >>> round(found.value / 0.1**2, 6)  # the largest eigenvalue of X^T X
        9.0
    """
    w, num_matvecs = objective.vector(), 0

    def norm_at(u: Tensor) -> float:
        gradient = objective.gradient(at=w + u)
        return norm_of(gradient)

    def scaled_norm(u: Tensor) -> tuple[float, Tensor]:
        nonlocal num_matvecs
        gradient = objective.gradient(at=w + u)
        norm = norm_of(gradient)
        if norm == 0:
            return 0.0, torch.zeros_like(u)
        num_matvecs += 1
        return rho * norm, rho * _hessian_product(objective, w + u, gradient / norm)

    before = objective.num_gradients
    found = maximize(
        scaled_norm,
        torch.zeros_like(w),
        rho=rho,
        num_steps=num_steps,
        num_restarts=num_restarts,
        generator=generator(seed),
        height=norm_at,
    )
    num_gradients = objective.num_gradients - before
    error = 0.0
    rounding = Work.of(objective).rounding
    if rounding.gradient > rounding.eps * found.value / rho:
        exact = rho * unrounded(objective, lambda wide: norm_of(wide.gradient(at=wide.vector() + found.u)))
        found, error = replace(found, value=exact), abs(exact - found.value)
    told = found.measurement("first_order_flatness", rel_error, num_gradients=num_gradients, num_matvecs=num_matvecs)
    return rounded(told, error, rel_error=rel_error)


def _hessian_product(objective: Objective, at: Tensor, v: Tensor) -> Tensor:
    """H(at) v by double backward. Where torch's second derivative is wrong the ascent climbs less, and stays true."""
    leaves, pieces = objective.leaves(at), objective.layout.split(v)

    def product(terms: Terms) -> Tensor:
        summed = objective.summed(terms)
        grads = torch.autograd.grad(summed, leaves, create_graph=True, materialize_grads=True)
        curved = [(grad, piece) for grad, piece in zip(grads, pieces, strict=True) if grad.requires_grad]
        if not curved:
            return torch.zeros_like(v)
        outputs, vectors = zip(*curved, strict=True)
        return objective.layout.flatten(derivatives(outputs, leaves, vectors, batched=False))

    total = torch.zeros_like(v, dtype=objective.accumulation_dtype)
    for part in objective.over_batches(leaves, product, context=twice_differentiable):
        total += part
    return (total / objective.total_weight).to(v.dtype)
