"""What trials of several optimizers allow to say of the optimizers, and not of their radii, budgets or luck.

Trials are a table: a row for each arm (an optimizer), budget, point of the common grid, and seed. Two kinds of claim
are made of an arm against another, at every budget (or condition), over the seeds that both have:

as tuned    the number that was tuned for, each arm at its chosen point. It is claimed to be higher only where it is
            higher than the other arm's at *every* point of the grid, whichever it had chosen (an intersection-union
            test, Berger 1982), so that a choice made by noise claims nothing.
at equal    any number against the other arm's curve over the radius ||e||: a claim a point of the grid, where the
radius      curve reaches that far, and one of the mean over these. Between its points the curve is not known: it is
            drawn straight in logarithms, and as the parabolas through a third point, and a difference is claimed
            only where it is one from each of them. With an arm that has no radius (||e|| = 0), all are compared at
            its chosen point.

All claims are one family: a difference is "higher" or "lower" where Holm's test of all of them says so, and every
interval has the level at which it says the same (``holm_levels``). Shares of few examples are often alike in all seeds:
their standard error is at least that of their rounding.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from landscape.statistics import LEVEL, Interval, half_width, holm_levels, mean_interval, standard_error

KEYS = ["arm", "budget", "point", "seed"]  # of a row; beside them "radius", "gradients", and a column a metric
Pairs = Sequence[tuple[str, str]]
Samples = Sequence[float] | pd.Series | np.ndarray
_SAME = 1.02  # radii within this factor are one


@dataclass(frozen=True)
class Claim:
    """A difference between an arm and another, from paired samples.

    Attributes:
        arm: whose number it is.
        against: the arm it is compared with.
        budget: at which both were trained.
        metric: the column.
        radius: ||e|| of the arm at a point of the grid; None for the mean over all that are compared, NaN as tuned,
            and infinite for what is of the whole grid.
        samples: after - before by seed; of logarithms if ``relative``.
        worst: those of the comparison that speaks most against it; the same, but for claims as tuned.
        relative: whether the difference is a ratio less one.
        step: to multiples of which the numbers are rounded, such as the share of one example; 0 where they are not.
        blocked: why no claim is made whatever the numbers say, "" where one may be.
        level: of its interval.

    Example:
        >>> claim = Claim("CR-SAM", "SAM", "epochs", "trace", 0.05, (-0.05, -0.04, -0.06))
        >>> claim.verdict, f"{claim.interval.value:.3f}", f"{claim.p:.3f}"
        ('lower', '-0.049', '0.013')
    """

    arm: str
    against: str
    budget: str
    metric: str
    radius: float | None
    samples: tuple[float, ...]
    worst: tuple[float, ...] = ()
    relative: bool = True
    step: float = 0.0
    blocked: str = ""
    level: float = LEVEL

    @property
    def p(self) -> float:
        """Of the two-sided t-test that the difference is zero, or not on the side that its mean is on."""
        return min(1.0, 2 * _p_above(self._against, self._side, self.step))

    @property
    def interval(self) -> Interval:
        """Of its level: from the worst comparison's end to that of the difference."""
        ends = [_interval(some, self.level, self.step) for some in (self.samples, self._against)]
        low, high = min(end.low for end in ends), max(end.high for end in ends)
        value, low, high = (ends[0].value, low, ends[0].high) if self._side > 0 else (ends[0].value, ends[0].low, high)
        if self.relative:
            value, low, high = (math.inf if end > 700 else math.expm1(end) for end in (value, low, high))
        return Interval(value, low, high, len(self.samples))

    @property
    def verdict(self) -> str:
        """Whether it is "higher", "lower" or "not told apart"."""
        return "not told apart" if self.blocked else self.interval.verdict

    def agrees(self, expected: str) -> bool | None:
        """Whether it is "higher" or "lower", as expected; None where that cannot be told."""
        return None if self.verdict == "not told apart" else self.verdict == expected

    @property
    def _against(self) -> tuple[float, ...]:
        return self.worst or self.samples

    @property
    def _side(self) -> float:
        return math.copysign(1, np.mean(self.samples))


def choose(trials: pd.DataFrame, tuned_for: str) -> dict[tuple[str, str], float]:
    """The point of the grid at which each arm is best at each budget, by the mean over seeds; of equals the first.

    Args:
        trials: of the seeds that choose, and no others; a NaN counts as the worst there is.
        tuned_for: the column, more of which is better.

    Example:
        >>> rows = [("SAM", "epochs", point, seed, 0.9 - point) for point in (0.1, 0.2) for seed in (100, 101)]
        >>> choose(pd.DataFrame(rows, columns=[*KEYS, "validation"]), "validation")
        {('SAM', 'epochs'): 0.1}
    """
    filled = trials.assign(**{tuned_for: trials[tuned_for].fillna(trials[tuned_for].min())})
    chosen = {}
    for arm, budget in filled[["arm", "budget"]].drop_duplicates().itertuples(index=False):
        means = {
            point: round(float(one.mean()), 12) for point, one in _by_point(filled, arm, budget, tuned_for).items()
        }
        chosen[arm, budget] = max(sorted(means), key=lambda point: means[point])
    return chosen


def on_the_edge(chosen: Mapping[tuple[str, str], float], grid: Iterable[float]) -> dict[tuple[str, str], float]:
    """The choices that are the first or the last point of the grid: beyond it there may be better ones."""
    ends = {min(grid := list(grid)), max(grid)}
    return {key: point for key, point in chosen.items() if point in ends}


def as_tuned(
    trials: pd.DataFrame,
    chosen: Mapping[tuple[str, str], float],
    pairs: Pairs,
    metric: str,
    *,
    relative: bool = False,
) -> list[Claim]:
    """A claim for every pair of an arm and another that it is compared with, at every budget.

    Args:
        trials: of the seeds that are reported.
        chosen: the point of each arm and budget.
        pairs: (arm, other).
        metric: what was tuned for, on data that did not choose; or a number that goes with it.
        relative: whether claims are of ratios, or of differences.
    """
    claims = []
    scale: Callable[[pd.Series], pd.Series] = _logarithm if relative else lambda values: values
    for arm, other, budget in _where(trials, pairs):
        ours, theirs = (
            {point: scale(values) for point, values in _by_point(trials, one, budget, metric).items()}
            for one in (arm, other)
        )
        our, their = ours[chosen[arm, budget]], theirs[chosen[other, budget]]
        tuned = _paired(their, our)
        if not len(tuned):
            continue
        better = np.mean(tuned) > 0
        others = (
            [_paired(each, our) for each in theirs.values()] if better else [_paired(their, o) for o in ours.values()]
        )
        step = 0.0 if relative else _step(trials[metric])
        worst = _least_sure([tuned, *(each for each in others if len(each) > 1)], step)
        claims.append(Claim(arm, other, budget, metric, math.nan, tuple(tuned), worst, relative, step))
    return claims


def at_equal_radius(
    trials: pd.DataFrame,
    chosen: Mapping[tuple[str, str], float],
    pairs: Pairs,
    metric: str,
    *,
    over: str = "radius",
    relative: bool = True,
) -> list[Claim]:
    """Claims for every arm that has a radius against the other's curve: one a point, and one of their mean.

    Args:
        trials: of the seeds that are reported; "radius" is ||e||, the distance at which gradients are taken.
        chosen: the point of each arm and budget, at which an arm without radius is compared.
        pairs: (arm, other).
        metric: a column, of positive numbers if ``relative``.
        over: the column over which the curves are: "radius", or "point" where all arms sweep the same knob.
        relative: whether claims are of ratios, or of differences.
    """
    scale: Callable[[pd.Series], pd.Series] = _logarithm if relative else lambda values: values
    claims = []
    for arm, other, budget in _where(trials, pairs):
        radii = {one: _radii(trials, one, budget, over) for one in (arm, other)}
        ours, theirs = (
            {point: scale(values) for point, values in _by_point(trials, one, budget, metric).items()}
            for one in (arm, other)
        )
        step = 0.0 if relative else _step(trials[metric])
        differences: dict[float, list[pd.Series]] = {}  # by point, from each of the curves
        for point, radius in radii[arm].items():
            if radius > 0 and (curves := _at(theirs, radii[other], radius, chosen[other, budget])):
                found = [_difference(curve, ours[point]) for curve in curves]
                differences |= {point: found} if len(found[0]) else {}
        pooled = [pd.concat(each, axis=1).dropna().mean(axis=1) for each in zip(*differences.values(), strict=True)]
        compared: list[tuple[float | None, Sequence[Any]]]
        compared = [*((radii[arm][point], found) for point, found in differences.items()), (None, pooled)]
        for at, (straight, *others) in compared if len(differences) > 1 and len(pooled[0]) else compared[:-1]:
            worst = _least_sure([straight, *(one for one in others if len(one) > 1)], step)
            claims.append(Claim(arm, other, budget, metric, at, tuple(straight), worst, relative, step))
    return claims


def as_family(claims: Sequence[Claim], level: float = LEVEL) -> list[Claim]:
    """The claims with intervals that say what Holm's test of all of them says; those that are blocked take no part.

    Example:
        >>> sure = Claim("A", "B", "epochs", "trace", 0.1, (0.4, 0.5, 0.6))
        >>> [claim.verdict for claim in as_family([sure])], [claim.verdict for claim in as_family(2 * [sure])]
        (['higher'], ['higher', 'higher'])
        >>> {claim.verdict for claim in as_family(5 * [sure])}
        {'not told apart'}
    """
    free = [claim for claim in claims if not claim.blocked]
    levels = iter(holm_levels([claim.p for claim in free], level))
    return [claim if claim.blocked else replace(claim, level=next(levels)) for claim in claims]


def _where(trials: pd.DataFrame, pairs: Pairs) -> list[tuple[str, str, str]]:
    budgets = {arm: set(some["budget"]) for arm, some in trials.groupby("arm")}
    return [
        (arm, other, budget)
        for arm, other in pairs
        for budget in trials["budget"].unique()
        if budget in budgets.get(arm, set()) & budgets.get(other, set())
    ]


def _by_point(trials: pd.DataFrame, arm: str, budget: str, metric: str) -> dict[float, pd.Series]:
    some = trials[(trials["arm"] == arm) & (trials["budget"] == budget)]
    return {point: some[some["point"] == point].set_index("seed")[metric] for point in some["point"].unique().tolist()}


def _radii(trials: pd.DataFrame, arm: str, budget: str, over: str) -> dict[float, float]:
    if over == "point":
        return {point: point for point in _by_point(trials, arm, budget, "radius")}
    return {point: float(radii.mean()) for point, radii in _by_point(trials, arm, budget, over).items()}


def _at(
    values: Mapping[float, pd.Series], radii: Mapping[float, float], radius: float, chosen: float
) -> list[pd.Series]:
    """The values by seed at a radius: those of the straight line, and of the parabolas through one point more.

    There are three curves, the same one where there is one; none where they do not reach so far, or where there is
    no third point to tell how they bend.
    """
    if not any(radii.values()):
        return 3 * [values[chosen]]
    points = sorted((point for point in radii if radii[point] > 0), key=lambda point: radii[point])
    for point in points:
        if 1 / _SAME <= radius / radii[point] <= _SAME:
            return 3 * [values[point]]
    above = sum(radii[point] < radius for point in points)
    if not 0 < above < len(points):
        return []
    straight = points[above - 1 : above + 1]
    left, right = points[max(0, above - 2) : above + 1], points[above - 1 : above + 2]
    bent = [three for three in (left, right) if len(three) == 3 and all(values[point].notna().any() for point in three)]
    return [_through(some, values, radii, radius) for some in (straight, bent[0], bent[-1])] if bent else []


def _through(
    points: Sequence[float], values: Mapping[float, pd.Series], radii: Mapping[float, float], radius: float
) -> pd.Series:
    """Lagrange's polynomial over the logarithm of the radius."""
    x, at = np.log([radii[point] for point in points]), math.log(radius)
    weights = [np.prod([(at - other) / (one - other) for other in x if other != one]) for one in x]
    first, *others = (weight * values[point] for weight, point in zip(weights, points, strict=True))
    return sum(others, first)


def _logarithm(values: pd.Series) -> pd.Series:
    """Of numbers that are not positive there is none."""
    return np.log(values.where(values > 0))


def _difference(before: pd.Series, after: pd.Series) -> pd.Series:
    return (after - before).dropna()


def _paired(before: pd.Series, after: pd.Series) -> np.ndarray:
    return _difference(before, after).to_numpy()


def _step(values: pd.Series) -> float:
    """To multiples of which the values are rounded: the least that two of them differ by."""
    gaps = np.diff(np.unique(values.dropna().round(12)))
    return float(gaps.min()) if len(gaps) else 0.0


def _least_sure(several: Sequence[Samples], step: float) -> tuple[float, ...]:
    """Those of several samples that speak most against a difference on the side of the first ones' mean."""
    side = float(np.sign(np.round(np.mean(several[0]), 12)))
    if not side:
        return tuple(several[0])
    return tuple(np.asarray(max(several, key=lambda some: _p_above(some, side, step))).tolist())


def _p_above(samples: Samples, side: float, step: float) -> float:
    """The one-sided p value of the t-test that the mean times the side is not above zero."""
    if len(samples) < 2:
        return 1.0
    mean, error = side * float(np.mean(samples)), _error(samples, step)
    t = mean / error if error else math.copysign(math.inf, mean) if mean else 0.0
    return float(stats.t.sf(t, len(samples) - 1))


def _error(samples: Samples, step: float) -> float:
    """The standard error of the mean; of differences of rounded numbers at least that of rounding (Sheppard 1898)."""
    return max(standard_error(np.asarray(samples)), step / math.sqrt(6 * max(1, len(samples))))


def _interval(samples: Sequence[float], level: float, step: float) -> Interval:
    found, half = mean_interval(samples, level), half_width(_error(samples, step), len(samples), level)
    return replace(found, low=found.value - half, high=found.value + half)
