"""Curvature along the gradient by finite differences of the loss, as CR-SAM has it (Wu, Luo & Wunsch 2024, theorem 1).

    (L(w + rho v) + L(w - rho v) - 2 L(w)) / rho^2,    v = g / ||g||

Where the loss is smooth the limit for small rho is v^T H v. The kinks of ReLU, of which a step of any practical length
crosses many, count here and not in H: on such networks the two differ at every rho. CR-SAM regularises this one.
"""

import math

from landscape.linalg.estimate import norm_of, require_positive
from landscape.measure.metric import FORWARD, Cost, metric
from landscape.measure.rise import Rise
from landscape.objective import Objective
from landscape.results import Measurement


@metric(
    definition="the second difference of the loss along the gradient (CR-SAM, thm. 1)",
    meaning="The curvature that CR-SAM measures in training.",
    limits="Kinks of ReLU count here and not in the Hessian.",
    cost="one gradient and some ten forward passes",
    error_kind="bound",
    estimate_cost=lambda _: Cost(gradients=1 + 5 * FORWARD),
    details={
        "rho": "length of the step",
        "slope": "(L(w + rho v) - L(w - rho v)) / 2 rho",
        "step_error": "of the finite step",
        "rounding": "error from it",
    },
)
def gradient_curvature(objective: Objective, *, rho: float = 0.05, rel_error: float = 0.05) -> Measurement:
    """The second difference of the loss along the normalized gradient.

    ``std_error`` estimates how far it is from its limit for small steps: the step-size error 2 |C(rho) - C(rho / 2)|
    (4/3 is enough where the loss is smooth), plus the rounding error, found by comparing precisions. Converged means
    that this is within ``rel_error``; a smaller rho has less of the first error and more of the second.

    Raises:
        ValueError: for a step or accuracy that is not positive.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(1, 1, bias=False)
        >>> _ = torch.nn.init.constant_(model.weight, 3.0)
        >>> objective = Objective(model, torch.nn.MSELoss(), [(torch.ones(1, 1), torch.zeros(1, 1))])
        >>> found = gradient_curvature(objective)
        >>> round(found.value, 2), round(found.details["slope"], 2)  # of w^2 at 3
        (2.0, 6.0)
    """
    require_positive(rho=rho, rel_error=rel_error)
    gradient = objective.gradient()
    norm = norm_of(gradient)
    if norm == 0:
        reason = "the gradient is zero: a critical point"
        return Measurement("gradient_curvature", math.nan, math.nan, num_gradients=1, converged=False, reason=reason)
    v = gradient / norm
    rise = Rise(objective)
    above, below = rise(rho * v), rise(-rho * v)
    value = (above + below) / rho**2
    half = (rise(rho / 2 * v) + rise(-rho / 2 * v)) / (rho / 2) ** 2
    step_error = 2 * abs(value - half)
    rounding = abs(rise.rounding_error(rho * v) + rise.rounding_error(-rho * v)) / rho**2
    error = step_error + rounding
    within = "within" if error <= rel_error * abs(value) else "above"
    return Measurement(
        "gradient_curvature",
        value,
        error,
        num_gradients=1,
        converged=within == "within",
        reason=f"step-size error {step_error:.1e} and rounding {rounding:.1e} {within} {rel_error:g} of the value",
        details={"rho": rho, "slope": (above - below) / (2 * rho), "step_error": step_error, "rounding": rounding},
        error_kind="bound",
    )
