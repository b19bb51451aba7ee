"""The normalized Hessian trace of CR-SAM (Wu, Luo & Wunsch 2024, eq. 4)."""

import math
from dataclasses import replace
from typing import Any

from landscape.measure.gradient_norm import gradient_norm
from landscape.measure.metric import metric
from landscape.measure.rounding import rounded
from landscape.measure.trace import Method, trace, trace_cost
from landscape.objective import Objective
from landscape.results import Measurement


@metric(
    symbol="C(w)",
    latex="$C(w)$",
    definition="trace / gradient_norm (CR-SAM, Wu et al. 2024, eq. 4)",
    meaning="Curvature relative to slope, what CR-SAM regularises.",
    limits=(
        "Large may mean sharp, or only that the gradient is small, as late in training: read it with both its parts."
    ),
    cost="those of trace and gradient_norm, which it shares",
    error_kind="standard error",
    estimate_cost=lambda given: replace(trace_cost(given), gradients=trace_cost(given).gradients + 1),
    details={"trace": "Tr H", "gradient_norm": "||grad L||_2"},
)
def normalized_trace(
    objective: Objective,
    *,
    method: Method = "auto",
    rel_error: float = 0.05,
    num_probes: int | None = None,
    max_matvecs: int = 1000,
    seed: int = 0,
) -> Measurement:
    """C(w) = Tr H / ||grad L||_2. At a critical point it is infinite, and reported as not converged.

    The gradient norm is exact on these data, so the relative error is that of the trace. Arguments and errors raised
    are those of ``trace``.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(1, 1, bias=False)
        >>> _ = torch.nn.init.constant_(model.weight, 3.0)
        >>> objective = Objective(model, torch.nn.MSELoss(), [(torch.ones(1, 1), torch.zeros(1, 1))])
        >>> round(normalized_trace(objective).value, 6)  # w^2 has curvature 2 and slope 6 at w = 3
        0.333333
    """
    options: dict[str, Any] = {"num_probes": num_probes, "max_matvecs": max_matvecs, "seed": seed}
    tr = trace(objective, method=method, rel_error=rel_error, **options)
    norm = gradient_norm(objective)
    failed = next((part for part in (tr, norm) if not math.isfinite(part.value)), None)
    value, std_error, reason = math.inf, math.inf, "the gradient is zero: a critical point"
    if failed is not None:
        value, std_error, reason = math.nan, math.nan, failed.reason
    elif norm.value > 0:
        value, std_error, reason = tr.value / norm.value, tr.std_error / norm.value, tr.reason
    found = Measurement(
        "normalized_trace",
        value,
        std_error,
        num_matvecs=tr.num_matvecs,
        num_gradients=tr.num_gradients + norm.num_gradients,
        converged=tr.converged and math.isfinite(value),
        reason=reason,
        details={"trace": tr.value, "gradient_norm": norm.value},
        error_kind=tr.error_kind if math.isfinite(value) else "standard error",
        num_samples=tr.num_samples,
    )
    return rounded(found, abs(value) * norm.std_error / norm.value, rel_error=rel_error) if norm.std_error else found
