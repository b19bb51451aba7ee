"""The decorator that every metric wears: it registers, times and remembers, and marks what could not be measured.

A metric is remembered with the objective, for its arguments, until the weights change: ``normalized_trace`` after
``trace`` costs nothing more. A loss or product that is not finite gives a measurement that says so, not an exception.
"""

import functools
import inspect
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Concatenate, ParamSpec

import torch

from landscape.linalg import Estimate, Lanczos
from landscape.metrics import DEFAULT as DEFAULT
from landscape.metrics import About
from landscape.objective import MeasurementError, Objective
from landscape.operators import Hessian
from landscape.results import Measurement

P = ParamSpec("P")

PROBES = 1 << 32  # added to the seed of probes: they must not be drawn from the state that drew the Krylov start
METRICS: dict[str, Callable[..., Measurement]] = {}  # by name
ESTIMATES: dict[str, "Callable[[Any], Cost]"] = {}  # of their costs, likewise
FORWARD = 1 / 3  # of a gradient


@dataclass(frozen=True)
class Cost:
    """What a metric will take: products with the Hessian, at least and at most, and gradients."""

    products: tuple[int, int] = (0, 0)
    gradients: float = 0.0
    keeps_basis: bool = False


def metric(
    *, estimate_cost: Callable[[Any], Cost], **about: Any
) -> Callable[[Callable[Concatenate[Objective, P], Measurement]], Callable[Concatenate[Objective, P], Measurement]]:
    """Make ``function(objective, *, ...) -> Measurement`` a metric of its own name.

    Args:
        estimate_cost: from its arguments, as attributes, and ``exact_passes`` (None where the trace is not exact), what
            it will take.
        about: the other attributes of ``landscape.metrics.About``, as literals: they are read without being run.

    Raises:
        TypeError: where one is missing: a metric without a cost, a definition or the kind of its error is none.
    """

    def register(
        function: Callable[Concatenate[Objective, P], Measurement],
    ) -> Callable[Concatenate[Objective, P], Measurement]:
        name, signature = function.__name__, inspect.signature(function)

        @functools.wraps(function)
        def measured(objective: Objective, *args: P.args, **kwargs: P.kwargs) -> Measurement:
            bound = signature.bind(objective, *args, **kwargs)
            bound.apply_defaults()
            key = (name, *list(bound.arguments.items())[1:])
            objective.refresh()
            if key not in objective.memo:
                start = time.perf_counter()
                try:
                    measurement = function(objective, *args, **kwargs)
                except MeasurementError as error:
                    measurement = Measurement(name, math.nan, math.nan, converged=False, reason=str(error))
                objective.memo[key] = replace(measurement, seconds=time.perf_counter() - start)
            return objective.memo[key]

        About(name, **about)  # which raises for what is missing
        METRICS[name], ESTIMATES[name] = measured, estimate_cost
        return measured

    return register


def shared_hessian(objective: Objective) -> Hessian:
    """One Hessian an objective, so that its kept graphs serve every metric."""
    objective.refresh()
    if "hessian" not in objective.memo:
        objective.memo["hessian"] = Hessian(objective)
    return objective.memo["hessian"]


def shared_krylov(objective: Objective, seed: int) -> Lanczos:
    """One Lanczos run an objective and seed, made longer by whoever needs it: largest, least, top k, density."""
    H = shared_hessian(objective)
    if ("krylov", seed) not in objective.memo:
        objective.memo["krylov", seed] = Lanczos(H, generator=generator(seed))
    return objective.memo["krylov", seed]


def measurement_of(name: str, found: Estimate, **details: Any) -> Measurement:
    """The measurement that an estimate is: its error is that of its samples, or a bound where it has none."""
    samples = found.details.get("samples")
    exact = samples is not None and len(samples) == 1 and not found.error
    return Measurement(
        name,
        found.value,
        found.error,
        num_matvecs=found.num_matvecs,
        converged=found.converged,
        reason=found.reason,
        details=details,
        error_kind="none" if exact else "bound" if samples is None else "standard error",
        num_samples=0 if samples is None or exact else len(samples),
    )


def generator(seed: int) -> torch.Generator:
    """A CPU generator for this seed: the same draws on every device."""
    return torch.Generator().manual_seed(seed)
