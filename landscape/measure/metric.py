"""The decorator that every metric wears: it registers, times and remembers, and marks what could not be measured.

A metric is remembered with the objective, for its arguments, until the weights change: ``normalized_trace`` after
``trace`` costs nothing more. A loss or product that is not finite gives a measurement that says so, not an exception.
"""

import functools
import inspect
import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Concatenate, ParamSpec

from landscape.linalg import Estimate
from landscape.measure.work import Work
from landscape.objective import MeasurementError, Objective
from landscape.results import Measurement

P = ParamSpec("P")

METRICS: dict[str, Callable[..., Measurement]] = {}  # by name
DEFAULT = ("loss", "accuracy", "gradient_norm", "trace", "lambda_max", "normalized_trace")


def metric(
    function: Callable[Concatenate[Objective, P], Measurement],
) -> Callable[Concatenate[Objective, P], Measurement]:
    """Make ``function(objective, *, ...) -> Measurement`` a metric of its own name."""
    name = function.__name__
    signature = inspect.signature(function)

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

    METRICS[name] = measured
    return measured


def measurement_of(name: str, found: Estimate, **details: Any) -> Measurement:
    """The measurement that an estimate is, with what else there is to say of it."""
    return Measurement(
        name,
        found.value,
        found.error,
        num_matvecs=found.num_matvecs,
        converged=found.converged,
        reason=found.reason,
        details=details,
    )
