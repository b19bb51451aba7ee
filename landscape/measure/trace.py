"""The trace of the Hessian: the sum of all curvatures, and d times the mean curvature along a random direction."""

from landscape.linalg import hutchinson_trace
from landscape.measure.metric import generator, metric, shared_hessian
from landscape.objective import Objective
from landscape.results import Measurement


@metric
def trace(
    objective: Objective,
    *,
    method: str = "auto",
    rel_error: float = 0.05,
    num_probes: int | None = None,
    max_matvecs: int = 1000,
    seed: int = 0,
) -> Measurement:
    """Tr H, H the Hessian of the mean loss, by Hutchinson's estimator (Hutchinson 1989). One product a probe.

    Args:
        objective: the loss around whose parameters to measure.
        method: "hutchinson", or "auto", which is that.
        rel_error: stop when the half-width of the 95 % interval is within this fraction of the value.
        num_probes: take exactly so many probes instead; ``converged`` says whether they reached ``rel_error``.
        max_matvecs: the budget; a trace that needs more is reported as not converged.
        seed: of the probes.

    Raises:
        ValueError: for an unknown method, fewer than 2 probes, or a ``rel_error`` that is not positive.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(2, 1, bias=False)
        >>> batch = (torch.eye(2), torch.zeros(2, 1))
        >>> trace(Objective(model, torch.nn.MSELoss(), [batch])).value  # 2/n X^T X is the identity
        2.0
    """
    if method not in ("auto", "hutchinson"):
        raise ValueError(f"method={method!r}. Expected 'auto' or 'hutchinson'.")
    H = shared_hessian(objective)
    found = hutchinson_trace(
        H, rel_error=rel_error, num_probes=num_probes, max_probes=max_matvecs, generator=generator(seed)
    )
    return Measurement(
        "trace",
        found.value,
        found.error,
        num_matvecs=found.num_matvecs,
        converged=found.converged,
        reason=found.reason,
        details={"method": "hutchinson", "engine": H.engine, "samples": found.details["samples"]},
    )
