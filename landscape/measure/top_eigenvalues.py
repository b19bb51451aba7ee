"""The k largest eigenvalues of the Hessian (GAM, Zhang et al. 2023, fig. 3 draws 50)."""

from dataclasses import replace

import numpy as np

from landscape.linalg import lanczos_top
from landscape.measure.metric import Cost, Work, measurement_of, metric
from landscape.objective import Objective
from landscape.results import Measurement


@metric(
    definition="the largest eigenvalues of the Hessian, each as often as it occurs; the value is the first",
    meaning="How many directions stand out, and how far.",
    limits="With probability 98 % over random starts, none is missing, whatever the gaps.",
    cost="about 115 products for 50 to 1 %, those of lambda_max among them",
    error_kind="bound",
    estimate_cost=lambda given: Cost(products=(given.k + 4, given.max_matvecs), keeps_basis=True),
    details={
        "k": "how many were asked for",
        "engine": "what the products are made with",
        "eigenvalues": "(k,), descending",
        "residuals": "||Hv - lambda v||, (k,)",
        "bounds": "on how far the eigenvalue is above each, (k,)",
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

    ``value`` is the largest. The bounds hold for all at once with probability 98 % (95 % for k = 1): the i-th largest
    eigenvalue, multiple ones counted as often as they occur, is not below the i-th value, and above it by no more than
    its bound. Eigenvectors are in the order of ``objective.layout``. Products are shared with ``lambda_max``, but for
    the 5 to 20 that show that none is missing; each copy of an eigenvalue takes some ten more.

    Args:
        objective: the loss around whose parameters to measure.
        k: how many.
        vectors: keep the eigenvectors.
        rel_error: stop when each bound is within this fraction of its eigenvalue.
        max_matvecs: the budget.
        seed: of the start vectors.

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
    found = lanczos_top(work.krylov(seed), k, rel_error=rel_error, max_matvecs=max_matvecs, vectors=vectors)
    details = {key: found.details[key] for key in ("eigenvalues", "residuals", "bounds")}
    if vectors:
        details["eigenvectors"] = found.details["vectors"].cpu().numpy()
    if work.hessian.rounding and not (details["bounds"] <= rel_error * np.abs(details["eigenvalues"])).all():
        reason = f"{found.reason}; others are no more than rounding of the model's dtype, try dtype=torch.float64"
        found = replace(found, converged=False, reason=reason)
    return measurement_of("top_eigenvalues", found, k=k, engine=work.hessian.engine, **details)
