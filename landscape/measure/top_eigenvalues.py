"""The k largest eigenvalues of the Hessian (GAM, Zhang et al. 2023, fig. 3 draws 50)."""

from dataclasses import replace

import numpy as np

from landscape.linalg import lanczos_top
from landscape.measure.metric import Cost, Work, measurement_of, metric
from landscape.objective import Objective
from landscape.results import Measurement


@metric(
    definition="the largest eigenvalues of the Hessian, each with a bound; the value is the first",
    meaning="How many directions stand out, and how far.",
    limits="Equal eigenvalues may be listed fewer times than they occur.",
    cost="about 110 products for 50 to 1 %, those of lambda_max among them",
    error_kind="bound",
    estimate_cost=lambda given: Cost(products=(given.k + 4, given.max_matvecs), keeps_basis=True),
    details={
        "k": "how many were asked for",
        "engine": "what the products are made with",
        "eigenvalues": "(k,), descending",
        "residuals": "||Hv - lambda v||, (k,)",
        "bounds": "on their errors, (k,)",
        "eigenvectors": "(d, k), where asked for",
    },
)
def top_eigenvalues(
    objective: Objective,
    *,
    k: int = 50,
    vectors: bool = False,
    rel_error: float = 0.05,
    max_matvecs: int = 1000,
    seed: int = 0,
) -> Measurement:
    """The k largest algebraic eigenvalues of the Hessian of the mean loss, fewer where there are fewer parameters.

    ``value`` is the largest; an eigenvalue lies within its bound of each. Eigenvectors are in the order of
    ``objective.layout``. Products are shared with ``lambda_max``.

    Args:
        objective: the loss around whose parameters to measure.
        k: how many.
        vectors: keep the eigenvectors.
        rel_error: stop when each bound is within this fraction of its eigenvalue.
        max_matvecs: the budget.
        seed: of the start vector.

    Raises:
        ValueError: for a k, ``rel_error`` or ``max_matvecs`` that is not positive.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(2, 1, bias=False)
        >>> batch = (torch.diag(torch.tensor([1.0, 3.0])), torch.zeros(2, 1))
        >>> found = top_eigenvalues(Objective(model, torch.nn.MSELoss(), [batch]), k=2)
        >>> found.details["eigenvalues"].round(4)  # of 2/n X^T X
        array([9., 1.])
    """
    work = Work.of(objective)
    run = work.krylov(seed)
    found = lanczos_top(run, k, rel_error=rel_error, max_matvecs=max_matvecs)
    details = {key: found.details[key] for key in ("eigenvalues", "residuals", "bounds")}
    if vectors:
        details["eigenvectors"] = run.vectors(found.details["vectors"]).cpu().numpy()
    if work.hessian.rounding and not (details["bounds"] <= rel_error * np.abs(details["eigenvalues"])).all():
        reason = f"{found.reason}; others are no more than rounding of the model's dtype, try dtype=torch.float64"
        found = replace(found, converged=False, reason=reason)
    return measurement_of("top_eigenvalues", found, k=k, engine=work.hessian.engine, **details)
