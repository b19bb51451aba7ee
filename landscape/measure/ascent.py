"""The maximum of a function over the ball ||u|| <= rho, looked for by gradient ascent from several starts.

    u <- P(b + s f'(b) / ||f'(b)||),    b the best point so far, P the projection on the ball

The step s grows by half when it gained and shrinks to a quarter when it did not. The first ascent starts at u = 0, with
s = rho, so that its first step is the perturbation of SAM; the others where ``landscape.measure.starts`` says. What is
found is a *lower bound* of the maximum. That it converged says that the search came to an end: two ascents reached the
same height, and more steps would gain nothing. It does not say that no higher peak exists to which no start leads.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from landscape.linalg.estimate import dot, norm_of, require_positive
from landscape.measure.starts import num_points, num_starts, starts
from landscape.results import Measurement

_GROW, _SHRINK = 1.5, 0.25
_LONGER = 5  # times as many steps go on from the highest peak, in few dimensions: along a ridge an ascent is slow
_REACHED = 1e-9  # of the value: an ascent ends where its slope promises no more


@dataclass(frozen=True)
class Point:
    """Where an ascent is: u (d,), f(u) and f'(u) (d,)."""

    u: Tensor
    value: float
    slope: Tensor

    def gap(self, rho: float) -> float:
        """The largest gain over the ball that the slope promises, max <f', u' - u>: zero at a maximum."""
        return max(rho * norm_of(self.slope) - dot(self.slope, self.u), 0.0)


@dataclass(frozen=True)
class Maximum:
    """The highest point of several ascents, and what is known of how high the maximum may be.

    Attributes:
        value: f at that point.
        u: the point, (d,).
        peaks: where each ascent ended, in the order of the starts.
        gap: the gain that the slope still promises there.
        progress: what the second half of its steps gained: about what as many more steps would, where they converge.
    """

    value: float
    u: Tensor
    peaks: list[float]
    gap: float
    progress: float

    @property
    def spread(self) -> float:
        """Twice the distance from the highest peak to the second highest: 0 for a peak that was found twice.

        With confidence 2/3 the end of a distribution is no further above the highest of a sample (Robson & Whitlock
        1964, Biometrika 51, 33).
        """
        first, second = sorted(self.peaks, reverse=True)[:2]
        return 2 * (first - second)

    @property
    def error(self) -> float:
        """The largest of spread, gap and progress: an estimate of how much higher the maximum is, and no bound."""
        return max(self.spread, self.gap, self.progress)

    def measurement(self, name: str, rel_error: float, *, num_gradients: int, num_matvecs: int = 0) -> Measurement:
        """The flatness of this name: converged where the error is within ``rel_error`` of the value, never negative."""
        converged = self.error <= rel_error * self.value
        reason = f"none of {len(self.peaks)} ascents found a rise"
        if self.value > 0:
            share = f"estimated error {self.error / self.value:.2g} of the value"
            reason = f"{len(self.peaks)} ascents, {share} {'within' if converged else 'above'} {rel_error:g}"
        return Measurement(
            name,
            max(self.value, 0.0),
            self.error,
            num_matvecs=num_matvecs,
            num_gradients=num_gradients,
            converged=converged,
            reason=reason,
            details={"peaks": np.array(self.peaks), "distance": self.u.norm().item()},
            error_kind="lower bound",
        )


def maximize(
    function: Callable[[Tensor], tuple[float, Tensor]],
    origin: Tensor,
    *,
    rho: float,
    num_steps: int,
    num_restarts: int,
    generator: torch.Generator,
    height: Callable[[Tensor], float] | None = None,
) -> Maximum:
    """The highest point that ``num_restarts`` ascents of ``num_steps`` steps find: at most ``num_slopes`` calls.

    In few dimensions these are more ascents, from the highest of ``num_points`` points, and the highest one goes on.

    Args:
        function: u (d,) -> (f(u), f'(u)).
        origin: the centre of the ball as a vector of zeros (d,), for its length, dtype and device.
        rho: the radius.
        num_steps: of each ascent; one whose slope promises no more ends there.
        num_restarts: number of ascents.
        generator: of the starts.
        height: u (d,) -> f(u), where that alone costs less.

    Raises:
        ValueError: for a radius or number of steps that is not positive, or fewer than 2 ascents.

    Example:
        >>> slope = torch.tensor([3.0, 4.0])
        >>> found = maximize(lambda u: ((slope @ u).item(), slope), torch.zeros(2), rho=1.0, num_steps=20,
        ...                  num_restarts=2, generator=torch.Generator().manual_seed(0))
        >>> round(found.value, 4), found.u
        (5.0, tensor([0.6000, 0.8000]))
    """
    require_positive(rho=rho, num_steps=num_steps)
    if num_restarts < 2:
        raise ValueError(f"num_restarts={num_restarts} gives no error bar. Expected at least 2 ascents.")
    number = num_starts(len(origin), num_restarts - 1)
    others, apart = starts(height or (lambda u: function(u)[0]), origin, rho=rho, number=number, generator=generator)
    found = [_ascend(function, origin, rho, rho, num_steps)]
    found += [_ascend(function, start, apart, rho, num_steps) for start in others]
    index, (best, progress) = max(enumerate(found), key=lambda ascent: ascent[1][0].value)
    if num_points(len(origin)):
        best, progress = found[index] = _ascend(function, best.u, apart, rho, _LONGER * num_steps)
    return Maximum(best.value, best.u, [point.value for point, _ in found], best.gap(rho), progress)


def num_slopes(dimension: int, *, num_restarts: int, num_steps: int) -> int:
    """How often ``maximize`` calls its function, at most.

    Example:
        >>> num_slopes(1000, num_restarts=4, num_steps=20), num_slopes(2, num_restarts=4, num_steps=20)
        (84, 374)
    """
    longer = _LONGER * num_steps + 1 if num_points(dimension) else 0
    return (1 + num_starts(dimension, num_restarts - 1)) * (num_steps + 1) + longer


def project(u: Tensor, rho: float) -> Tensor:
    """The point of the ball of radius ``rho`` that is nearest to u."""
    norm = norm_of(u)
    return u if norm <= rho else u * (rho / norm)


def _ascend(
    function: Callable[[Tensor], tuple[float, Tensor]], start: Tensor, step: float, rho: float, num_steps: int
) -> tuple[Point, float]:
    """The highest point, and what the second half of the steps gained."""
    best = Point(start, *function(start))
    halfway = best.value
    for k in range(num_steps):
        if k <= num_steps // 2:
            halfway = best.value
        norm = norm_of(best.slope)
        if not 0 < norm < math.inf or best.gap(rho) <= _REACHED * abs(best.value):
            break
        u = project(best.u + best.slope * (step / norm), rho)
        found = Point(u, *function(u))
        gained = found.value > best.value
        best, step = (found, step * _GROW) if gained else (best, step * _SHRINK)
    return best, best.value - halfway
