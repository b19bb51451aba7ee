"""The trace of the Hessian: the sum of all curvatures, and d times the mean curvature along a random direction."""

from typing import Any, Literal, get_args

import numpy as np

from landscape.linalg import deflated_trace, hutchinson_trace, hutchpp_trace, xtrace
from landscape.linalg.estimate import require_positive
from landscape.measure.metric import PROBES, Cost, Work, generator, measurement_of, metric
from landscape.measure.rounding import rounded
from landscape.objective import Objective
from landscape.operators import NoExactDiagonalError
from landscape.results import Measurement

Method = Literal["auto", "exact", "deflated", "hutch++", "xtrace", "hutchinson"]
METHODS = get_args(Method)


def trace_cost(given: Any) -> Cost:
    """Backward passes where the trace is exact, and otherwise products: up to the budget, or as many as are asked."""
    tries = given.method == "exact" or (given.method == "auto" and given.num_probes is None)
    if tries and given.exact_passes is not None:
        return Cost(gradients=given.exact_passes)
    return Cost(products=(16, given.max_matvecs) if given.num_probes is None else (given.num_probes,) * 2)


@metric(
    symbol="Tr(∇²L(w))",
    latex=r"$\mathrm{Tr}(\nabla^2 L(w))$",
    definition=(
        "the sum of the Hessian's eigenvalues (exact where the network is proved piecewise linear in each parameter)"
    ),
    meaning="All curvature together; a random direction sees Tr / d.",
    limits=(
        "Curvature up and down cancels in it. Rescaling the weights of a ReLU network changes it and no "
        "output: compare runs of one architecture, not architectures."
    ),
    cost="exact: one backward pass a class; elsewhere about 20 products for 5 %, 60 to 80 for 1 %",
    error_kind="standard error",
    estimate_cost=trace_cost,
    details={
        "method": "which estimator",
        "engine": "what the products are made with",
        "samples": "of the estimate, (num_samples,)",
        "not_exact": "why it could not be exact",
    },
)
def trace(
    objective: Objective,
    *,
    method: Method = "auto",
    rel_error: float = 0.05,
    num_probes: int | None = None,
    max_matvecs: int = 1000,
    seed: int = 0,
) -> Measurement:
    """Tr H, H the Hessian of the mean loss.

    "exact": for networks proved piecewise linear in each parameter (ReLU, convolutions, eval-mode BatchNorm, max-pool,
    residuals) Tr H is the trace of the Gauss-Newton matrix. "deflated" takes the trace exactly on the Krylov space that
    ``lambda_max`` uses and probes the rest, "hutch++" and "xtrace" on random spaces: 20 to 60 products for 1 % on
    trained networks. "hutchinson" (1989), as in the papers, takes thousands. "auto" is exact or else deflated.

    Args:
        objective: the loss around whose parameters to measure.
        method: one of ``METHODS``.
        rel_error: stop when the half-width of the 95 % interval is within this fraction of the value.
        num_probes: with "hutchinson" (or "auto", which it then is), take exactly so many probes; with the other
            estimators, so many products. ``converged`` says whether they reached ``rel_error``.
        max_matvecs: the budget; a trace that needs more is reported as not converged.
        seed: of the probes and the Krylov start.

    Raises:
        ValueError: for an unknown method, too few probes, or a ``rel_error`` or ``max_matvecs`` that is not positive;
            for "exact" where it cannot be had, the measurement says why, and is not converged.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(2, 1, bias=False)
        >>> batch = (torch.eye(2), torch.zeros(2, 1))
        >>> round(trace(Objective(model, torch.nn.MSELoss(), [batch])).value, 5)  # 2/n X^T X is the identity
        2.0
    """
    if method not in METHODS:
        raise ValueError(f"method={method!r}. Expected one of: {', '.join(METHODS)}.")
    require_positive(rel_error=rel_error, max_matvecs=max_matvecs)
    not_exact = ""
    if method == "exact" or (method == "auto" and num_probes is None):
        try:
            return _exact(objective, rel_error)
        except NoExactDiagonalError as error:
            if method == "exact":
                raise
            not_exact = str(error)
    if method == "auto":
        method = "deflated" if num_probes is None else "hutchinson"
    work = Work.of(objective)
    H = work.hessian
    options: dict[str, Any] = {"rel_error": rel_error, "num_matvecs": num_probes, "max_matvecs": max_matvecs}
    options["generator"] = generator(seed + PROBES)
    if method == "hutchinson":
        options = {"rel_error": rel_error, "num_probes": num_probes, "max_probes": max_matvecs}
        found = hutchinson_trace(H, generator=generator(seed), **options)
    elif method == "deflated":
        found = deflated_trace(H, work.krylov(seed), **options)
    else:
        found = hutchpp_trace(H, **options) if method == "hutch++" else xtrace(H, **options)
    samples = found.details["samples"]
    told = measurement_of("trace", found, method=method, engine=H.engine, not_exact=not_exact, samples=samples)
    if method != "hutchinson":  # the others know of H.rounding
        return told
    return rounded(told, H.rounding * float(np.sqrt(np.mean(samples**2))), rel_error=rel_error)


def _exact(objective: Objective, rel_error: float) -> Measurement:
    traces, num_passes = Work.of(objective).exact_traces
    found = Measurement(
        "trace",
        traces.sum().item(),
        num_gradients=num_passes,
        reason="exact: the network is piecewise linear in each parameter, so that Tr H is the Gauss-Newton trace",
        details={"method": "exact"},
    )
    return rounded(found, Work.of(objective).rounding.product * found.value, rel_error=rel_error)
