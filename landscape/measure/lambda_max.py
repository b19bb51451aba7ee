"""The largest eigenvalue of the Hessian: the steepest curvature there is."""

from typing import Literal

from landscape.linalg import lanczos_extreme, power_iteration
from landscape.measure.metric import Cost, Work, generator, measurement_of, metric
from landscape.objective import Objective
from landscape.results import Measurement


@metric(
    symbol="λmax",
    latex=r"$\lambda_{\max}$",
    definition="the largest algebraic eigenvalue of the Hessian, by Lanczos",
    meaning="The curvature in the steepest direction; plain gradient descent is stable below 2 / lr.",
    limits=(
        "The true one is not below this value. The limit holds for a quadratic loss and full batches; mini-"
        "batches often settle below it."
    ),
    cost="6 to 10 products for 1 %",
    error_kind="bound",
    estimate_cost=lambda given: Cost(products=(4, given.max_matvecs), keeps_basis=True),
    details={
        "method": "which algorithm",
        "engine": "what the products are made with",
        "residual": "||Hv - value v||",
    },
)
def lambda_max(
    objective: Objective,
    *,
    method: Literal["lanczos", "power"] = "lanczos",
    rel_error: float = 0.05,
    max_matvecs: int = 1000,
    seed: int = 0,
) -> Measurement:
    """The largest *algebraic* eigenvalue of the Hessian of the mean loss. One product a step.

    ``std_error`` is a bound: the larger of the residual and the distance to an upper bound that holds with probability
    95 % over the start vector. With "lanczos", ``lambda_min``, ``top_eigenvalues`` and ``spectral_density`` share the
    products. "power" takes more of them, and the more the less the largest stands out.

    Args:
        objective: the loss around whose parameters to measure.
        method: "lanczos", or "power" (as the papers used).
        rel_error: stop when ``std_error`` is within this fraction of the value.
        max_matvecs: the budget; a value that needs more is reported as not converged.
        seed: of the start vector.

    Raises:
        ValueError: for an unknown method, or a ``rel_error`` or ``max_matvecs`` that is not positive.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(2, 1, bias=False)
        >>> batch = (torch.diag(torch.tensor([1.0, 3.0])), torch.zeros(2, 1))
        >>> round(lambda_max(Objective(model, torch.nn.MSELoss(), [batch]), rel_error=1e-4).value, 5)  # 2/n X^T X
        9.0
    """
    work = Work.of(objective)
    if method == "lanczos":
        found = lanczos_extreme(work.krylov(seed), rel_error=rel_error, max_matvecs=max_matvecs)
    elif method == "power":
        found = power_iteration(work.hessian, rel_error=rel_error, max_matvecs=max_matvecs, generator=generator(seed))
    else:
        raise ValueError(f"method={method!r}. Expected 'lanczos' or 'power'.")
    return measurement_of(
        "lambda_max", found, method=method, engine=work.hessian.engine, residual=found.details["residual"]
    )
