"""Zeroth-order flatness: how far the loss rises at most within a ball (Foret et al. 2021; Zhang et al. 2023, def. 3.1).

    R0 = max over ||u|| <= rho of L(w + u) - L(w)

Also called sharpness. Finding this maximum is NP-hard in general; ``landscape.measure.ascent`` says how it is sought.
"""

from dataclasses import replace
from typing import Any

from landscape.measure.ascent import maximize, num_slopes
from landscape.measure.metric import FORWARD, Cost, Work, generator, metric
from landscape.measure.rise import Rise
from landscape.measure.rounding import rounded, unrounded
from landscape.measure.starts import num_points
from landscape.objective import Objective
from landscape.results import Measurement


def _slopes(given: Any) -> int:
    return num_slopes(given.num_params, num_restarts=given.num_restarts, num_steps=given.num_steps)


@metric(
    symbol="R⁰",
    latex="$R^0$",
    definition="the largest rise of the loss in the ball of radius rho (Foret et al. 2021; GAM, def. 3.1)",
    meaning="How sharp the place is, as SAM has it.",
    limits="It is a lower bound: a higher point may have been missed.",
    cost="84 gradients; more of few parameters",
    error_kind="lower bound",
    estimate_cost=lambda given: Cost(gradients=_slopes(given) + num_points(given.num_params) * FORWARD),
    details={"peaks": "what each ascent reached", "distance": "of the highest point from the weights"},
)
def zeroth_order_flatness(
    objective: Objective,
    *,
    rho: float = 0.05,
    num_steps: int = 20,
    num_restarts: int = 4,
    adaptive: bool = False,
    rel_error: float = 0.05,
    seed: int = 0,
) -> Measurement:
    """The largest rise of the loss that gradient ascents find within the ball: a *lower bound* of R0, never negative.

    ``std_error`` is ``Maximum.error`` of ``landscape.measure.ascent``; converged means that it is within ``rel_error``.
    It takes ``num_restarts * (num_steps + 1)`` gradients, and more of 32 parameters or fewer, to cover the ball.

    Args:
        objective: the loss around whose parameters to measure.
        rho: radius of the ball.
        num_steps: steps of each ascent.
        num_restarts: number of ascents: one from w along the gradient, the others as ``landscape.measure.starts`` says.
        adaptive: measure steps in units of |w|, entry by entry: ||u / |w||| <= rho (ASAM's ball, Kwon et al. 2021).
        rel_error: what the ascents should agree to.
        seed: of the starts.

    Raises:
        ValueError: for a radius or number of steps that is not positive, or fewer than 2 ascents.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(2, 1, bias=False).double()
        >>> _ = torch.nn.init.zeros_(model.weight)
        >>> batch = (torch.diag(torch.tensor([1.0, 3.0])).double(), torch.zeros(2, 1).double())
        >>> found = zeroth_order_flatness(Objective(model, torch.nn.MSELoss(), [batch]), rho=1.0)
        >>> round(found.value, 6)  # half of the largest eigenvalue of X^T X
        4.5
    """
    before = objective.num_gradients
    rise = Rise(objective, adaptive=adaptive)
    found = maximize(
        rise.with_slope,
        rise.origin,
        rho=rho,
        num_steps=num_steps,
        num_restarts=num_restarts,
        generator=generator(seed),
        height=rise,
    )
    num_gradients = objective.num_gradients - before
    error = 0.0
    rounding = Work.of(objective).rounding
    if rounding.loss > rounding.eps * found.value:
        exact = unrounded(objective, lambda wide: Rise(wide, adaptive=adaptive)(found.u))
        found, error = replace(found, value=exact), abs(exact - found.value)
    told = found.measurement("zeroth_order_flatness", rel_error, num_gradients=num_gradients)
    return rounded(told, error, rel_error=rel_error)
