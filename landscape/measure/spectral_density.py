"""The density of the Hessian's eigenvalues, and two numbers read off it (Ghorbani et al. 2019; Yao et al. 2020)."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from landscape.linalg.slq import SpectralQuadrature
from landscape.linalg.slq import effective_dimension as effective_dimension_of
from landscape.linalg.slq import negative_share as negative_share_of
from landscape.measure.metric import Cost, Work, measurement_of, metric
from landscape.measure.rounding import rounded
from landscape.objective import Objective
from landscape.results import Measurement

_LINEAR_PART = 1e-3  # of the largest node: below it the logarithmic axis is linear


def quadrature_cost(given: Any) -> Cost:
    """All runs; another metric that shares them takes nothing more."""
    products = given.num_runs * given.num_steps
    return Cost(products=(products, products), keeps_basis=True)


@metric(
    definition=(
        "how the eigenvalues are spread, by stochastic Lanczos quadrature (Ghorbani et al. 2019; Yao et al. "
        "2020); the value is their mean"
    ),
    meaning="The bulk near 0, and the few eigenvalues that stand out of it.",
    limits=(
        "The curve is smoothed: its width around a peak is that of the drawing, and single eigenvalues are "
        "not told apart."
    ),
    cost="4 runs of 64 products",
    error_kind="standard error",
    estimate_cost=quadrature_cost,
    details={
        "engine": "what the products are made with",
        "nodes": "of the quadrature, (runs, steps)",
        "weights": "of the nodes, (runs, steps)",
        "log_threshold": "eigenvalue below which the logarithmic axis is linear",
        "linear_eigenvalues": "axis",
        "linear_density": "a unit of it",
        "linear_std_error": "over starts",
        "log_eigenvalues": "axis",
        "log_density": "a decade of it",
        "log_std_error": "over starts",
    },
)
def spectral_density(objective: Objective, *, num_runs: int = 4, num_steps: int = 64, seed: int = 0) -> Measurement:
    """Stochastic Lanczos quadrature: how the eigenvalues of the Hessian are spread, as a fraction of all a unit.

    The nodes and weights are the result; the density on a linear and on a symmetric-logarithmic axis is drawn from
    them. The first run is shared with ``lambda_max``. Converged: two runs or more, which give the density an error bar.

    Args:
        objective: the loss around whose parameters to measure.
        num_runs: Lanczos runs from random starts.
        num_steps: products a run; more resolve more of the bulk.
        seed: of the start vectors.

    Raises:
        ValueError: for fewer than 1 run or step.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(2, 1, bias=False)
        >>> batch = (torch.diag(torch.tensor([1.0, 3.0])), torch.zeros(2, 1))
        >>> found = spectral_density(Objective(model, torch.nn.MSELoss(), [batch]))
        >>> found.details["nodes"].round(4), found.details["weights"]  # of 2/n X^T X, all of it
        (array([[9., 1.]]), array([[0.5, 0.5]]))
    """
    work = Work.of(objective)
    found = work.quadrature(num_runs, num_steps, seed)
    mean = found.trace(lambda x: x / found.dimension, rel_error=1.0)
    threshold = _LINEAR_PART * max(np.abs(rule.nodes).max() for rule in found.rules) or 1.0
    details: dict[str, object] = {
        "engine": work.hessian.engine,
        "nodes": np.stack([rule.nodes for rule in found.rules]),
        "weights": np.stack([rule.weights for rule in found.rules]),
        "log_threshold": threshold,
    }
    for axis, drawn in (("linear", found.density()), ("log", found.density(threshold=threshold))):
        details[f"{axis}_eigenvalues"] = drawn.eigenvalues
        details[f"{axis}_density"] = drawn.density
        details[f"{axis}_std_error"] = drawn.std_error
    several = found.exact or len(found.rules) > 1
    reason = "the whole spectrum" if found.exact else f"{len(found.rules)} runs of {num_steps} steps"
    told = Measurement(
        "spectral_density",
        mean.value,
        mean.error,
        num_matvecs=found.num_matvecs,
        converged=several,
        reason=reason if several else f"{reason}: no error bar",
        details=details,
        error_kind="none" if found.exact else "standard error",
        num_samples=0 if found.exact else len(found.rules),
    )
    return rounded(told, _shift(work, found), rel_error=1.0)


@metric(
    definition="the sum of λ / (λ + gamma) over positive eigenvalues (MacKay 1992)",
    meaning="The number of directions that the data determine.",
    limits="It depends on gamma, and on the bulk near 0, which a few runs see badly.",
    cost="nothing beside spectral_density",
    error_kind="standard error",
    estimate_cost=quadrature_cost,
    details={"gamma": "curvature below which a direction does not count"},
)
def effective_dimension(
    objective: Objective,
    *,
    gamma: float = 1e-2,
    rel_error: float = 0.05,
    num_runs: int = 4,
    num_steps: int = 64,
    seed: int = 0,
) -> Measurement:
    """The sum of lambda / (lambda + gamma) over the positive eigenvalues (also Maddox, Benton & Wilson 2020).

    ``gamma`` may be a weight decay. The error bar covers the spread over starts and what the steps cannot resolve; it
    is not converged where its 95 % interval exceeds ``rel_error``. Other arguments are those of ``spectral_density``.

    Raises:
        ValueError: for a ``gamma``, ``rel_error``, ``num_runs`` or ``num_steps`` that is not positive.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(2, 1, bias=False)
        >>> batch = (torch.diag(torch.tensor([1.0, 3.0])), torch.zeros(2, 1))
        >>> round(effective_dimension(Objective(model, torch.nn.MSELoss(), [batch]), gamma=1.0).value, 4)  # 9/10 + 1/2
        1.4
    """
    found, least, most = (
        effective_dimension_of(q, gamma=gamma, rel_error=rel_error)
        for q in _shifted(Work.of(objective), num_runs, num_steps, seed)
    )
    told = measurement_of("effective_dimension", found, gamma=gamma)
    return rounded(told, max(most.value - found.value, found.value - least.value), rel_error=rel_error)


@metric(
    definition="the negative eigenvalues' part of the sum of all |λ|",
    meaning="0 at a minimum, 0.5 at a balanced saddle.",
    limits="It weighs curvature. It is not the share of eigenvalues that are negative.",
    cost="nothing beside spectral_density",
    error_kind="standard error",
    estimate_cost=quadrature_cost,
)
def negative_share(
    objective: Objective, *, rel_error: float = 0.05, num_runs: int = 4, num_steps: int = 64, seed: int = 0
) -> Measurement:
    """The negative eigenvalues' part of the sum of all |lambda|. Arguments and error as in ``effective_dimension``.

    Curvature is weighed, not counted: how *many* eigenvalues are negative is decided by rounding, most being about 0.

    Raises:
        ValueError: for a ``rel_error``, ``num_runs`` or ``num_steps`` that is not positive.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(2, 1, bias=False)
        >>> batch = (torch.diag(torch.tensor([1.0, 3.0])), torch.zeros(2, 1))
        >>> negative_share(Objective(model, torch.nn.MSELoss(), [batch])).value
        0.0
    """
    found, most, least = (
        negative_share_of(q, rel_error=rel_error) for q in _shifted(Work.of(objective), num_runs, num_steps, seed)
    )
    told = measurement_of("negative_share", found)
    return rounded(told, max(most.value - found.value, found.value - least.value), rel_error=rel_error)


def _shifted(work: Work, num_runs: int, num_steps: int, seed: int) -> Iterator[SpectralQuadrature]:
    """The quadrature, and with all its nodes less and more by what the rounding of the model's dtype may be."""
    found = work.quadrature(num_runs, num_steps, seed)
    shift = _shift(work, found)
    for by in (0.0, -shift, shift):
        yield replace(found, rules=tuple(replace(rule, nodes=rule.nodes + by) for rule in found.rules))


def _shift(work: Work, found: SpectralQuadrature) -> float:
    """By how much an eigenvalue may be off by rounding."""
    return work.hessian.rounding * max(float(np.abs(rule.nodes).max()) for rule in found.rules)
