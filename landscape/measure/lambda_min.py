"""The least eigenvalue of the Hessian: negative away from minima, and how negative says how unstable the point is."""

from landscape.linalg import lanczos_extreme
from landscape.measure.metric import Cost, Work, measurement_of, metric
from landscape.objective import Objective
from landscape.results import Measurement


@metric(
    symbol="λmin",
    latex=r"$\lambda_{\min}$",
    definition="the least algebraic eigenvalue of the Hessian, by the same run",
    meaning="Below 0, the loss curves downwards in that direction.",
    limits="A little below 0 is usual after training.",
    cost="10 products and more, those of lambda_max among them",
    error_kind="bound",
    estimate_cost=lambda given: Cost(products=(10, given.max_matvecs), keeps_basis=True),
    details={"engine": "what the products are made with", "residual": "||Hv - value v||"},
)
def lambda_min(objective: Objective, *, rel_error: float = 0.05, max_matvecs: int = 1000, seed: int = 0) -> Measurement:
    """The least algebraic eigenvalue of the Hessian of the mean loss, by the Krylov run that ``lambda_max`` uses.

    ``std_error`` is the bound that it is for ``lambda_max``, at the lower end. A value that is zero to within its error
    has no relative accuracy and is reported as not converged. Arguments and errors raised are those of ``lambda_max``.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(2, 1, bias=False)
        >>> batch = (torch.diag(torch.tensor([1.0, 3.0])), torch.zeros(2, 1))
        >>> round(lambda_min(Objective(model, torch.nn.MSELoss(), [batch]), rel_error=1e-4).value, 5)  # 2/n X^T X
        1.0
    """
    work = Work.of(objective)
    found = lanczos_extreme(work.krylov(seed), end=-1, rel_error=rel_error, max_matvecs=max_matvecs)
    return measurement_of("lambda_min", found, engine=work.hessian.engine, residual=found.details["residual"])
