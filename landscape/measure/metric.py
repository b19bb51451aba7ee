"""What metrics share: the decorator that registers, times and remembers them, and the work that none pays for twice.

A metric is remembered with the objective, for its arguments, until the weights change: ``normalized_trace`` after
``trace`` costs nothing more. A loss or product that is not finite gives a measurement that says so, not an exception.
"""

import functools
import inspect
import math
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import Any, Concatenate, ParamSpec

import torch

from landscape.linalg import Estimate, Lanczos
from landscape.linalg.slq import SpectralQuadrature, slq
from landscape.measure.rounding import Rounding, rounded, rounding_of
from landscape.metrics import DEFAULT as DEFAULT
from landscape.metrics import About
from landscape.objective import MeasurementError, Objective
from landscape.operators import Hessian, gauss_newton_traces
from landscape.results import Measurement
from landscape.surroundings import no_autocast, rng_untouched

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
        estimate_cost: from its arguments, as attributes, ``num_params`` and ``exact_passes`` (None where the trace is
            not exact), what it will take.
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
            work = Work.of(objective)
            done = work.measured
            if key not in done:
                start = time.perf_counter()
                try:
                    with no_autocast(objective.device), rng_untouched(), objective.unchanging():
                        measurement = function(objective, *args, **kwargs)
                except MeasurementError as error:
                    measurement = Measurement(name, math.nan, math.nan, converged=False, reason=str(error))
                if work.rounding.unknown:
                    measurement = rounded(measurement, math.nan)
                done[key] = replace(measurement, seconds=time.perf_counter() - start)
            return done[key]

        told = About(name, **about)  # which raises for what is missing
        if told.details:
            details = (f"{key}: {text}" for key, text in told.details.items())
            measured.__doc__ = "\n        ".join([f"{function.__doc__}\n    Details:", *details])
        METRICS[name], ESTIMATES[name] = measured, estimate_cost
        return measured

    return register


class Work:
    """One Hessian, its exact traces, a Krylov run a seed, a quadrature for its settings, and what was measured.

    Attributes:
        measured: measurements, by metric and arguments.

    Example:
        >>> model, batch = torch.nn.Linear(2, 1), (torch.eye(2), torch.zeros(2, 1))
        >>> objective = Objective(model, torch.nn.MSELoss(), [batch])
        >>> work = Work.of(objective)
        >>> _ = model.weight.data.mul_(2)
        >>> Work.of(objective) is work
        False
    """

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self.measured: dict[Hashable, Measurement] = {}
        self._krylov: dict[int, Lanczos] = {}
        self._quadratures: dict[tuple[int, int, int], SpectralQuadrature] = {}

    @classmethod
    def of(cls, objective: Objective) -> "Work":
        """The work at the objective's weights as they are now."""
        objective.refresh()
        if objective.work is None:
            objective.work = cls(objective)
        work: Work = objective.work
        return work

    @functools.cached_property
    def rounding(self) -> Rounding:
        """What the dtype that the model computes in does to losses, gradients and products."""
        return rounding_of(self.objective)

    @functools.cached_property
    def hessian(self) -> Hessian:
        """The Hessian whose kept graphs serve every metric, and which knows of its rounding."""
        H = Hessian(self.objective)
        H.rounding = self.rounding.product
        return H

    @functools.cached_property
    def exact_traces(self) -> tuple[torch.Tensor, int]:
        """Traces by parameter tensor and their passes, as ``gauss_newton_traces`` proves and raises them."""
        return gauss_newton_traces(self.objective, of_hessian=True)

    def krylov(self, seed: int) -> Lanczos:
        """The Lanczos run from this seed's start, made longer by whoever needs it: largest, least, top k, density."""
        if seed not in self._krylov:
            self._krylov[seed] = Lanczos(self.hessian, generator=generator(seed))
        return self._krylov[seed]

    def quadrature(self, num_runs: int, num_steps: int, seed: int) -> SpectralQuadrature:
        """Stochastic Lanczos quadrature, whose first run is the Krylov run of this seed."""
        key = (num_runs, num_steps, seed)
        if key not in self._quadratures:
            self._quadratures[key] = slq(
                self.hessian,
                generator=generator(seed + PROBES),
                num_runs=num_runs,
                num_steps=num_steps,
                first=self.krylov(seed),
            )
        return self._quadratures[key]

    def release(self) -> None:
        """Let go of what is large, graphs and Krylov bases; measurements and quadratures stay."""
        self.__dict__.pop("hessian", None)
        self._krylov = {}


def generator(seed: int) -> torch.Generator:
    """A CPU generator for this seed: the same draws on every device."""
    return torch.Generator().manual_seed(seed)


def measurement_of(name: str, found: Estimate, **details: Any) -> Measurement:
    """The measurement that an estimate is: its error is that of its samples, or a bound where it has none."""
    samples = found.details.get("samples")
    sampled = samples is not None and len(samples) > 1  # a single one is all of it: the error is none, or by rounding
    return Measurement(
        name,
        found.value,
        found.error,
        num_matvecs=found.num_matvecs,
        converged=found.converged,
        reason=found.reason,
        details=details,
        error_kind="standard error" if sampled else "bound" if found.error or samples is None else "none",
        num_samples=(found.num_samples or len(samples)) if samples is not None and sampled else 0,
    )
