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

from landscape.linalg import Estimate
from landscape.measure.work import Work
from landscape.metrics import DEFAULT as DEFAULT
from landscape.metrics import About
from landscape.objective import MeasurementError, Objective
from landscape.results import Measurement

P = ParamSpec("P")

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
            done = Work.of(objective).measured
            if key not in done:
                start = time.perf_counter()
                try:
                    measurement = function(objective, *args, **kwargs)
                except MeasurementError as error:
                    measurement = Measurement(name, math.nan, math.nan, converged=False, reason=str(error))
                done[key] = replace(measurement, seconds=time.perf_counter() - start)
            return done[key]

        told = About(name, **about)  # which raises for what is missing
        measured.__doc__ = "\n        ".join(
            [f"{function.__doc__}\n    Details:", *(f"{key}: {text}" for key, text in told.details.items())]
        )
        METRICS[name], ESTIMATES[name] = measured, estimate_cost
        return measured

    return register


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
