"""What trials of several optimizers allow to say of the optimizers, and not of their radii, budgets or luck.

Trials are a table: a row for each arm (an optimizer), budget, point of the common grid, and seed. Two kinds of claim
are made of an arm against another, at every budget (or condition), over the seeds that both have:

as tuned    the number that was tuned for, each arm at its chosen point. It is claimed to be higher only where it is
            higher than the other arm's at *every* point of the grid, whichever it had chosen (an intersection-union
            test, Berger 1982), so that a choice made by noise claims nothing.
at equal    any number against the other arm's curve over the radius ||e||: a claim a point of the grid, where the
radius      curve reaches that far, and one of the mean over these. Between its points the curve is straight in
            logarithms; with an arm that has no radius (||e|| = 0), all are compared at its chosen point.

All claims are one family: a difference is "higher" or "lower" where Holm's test of all of them says so, and every
interval has the level at which it says the same (``holm_levels``).
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import stats

from landscape.statistics import LEVEL, Interval, holm_levels, mean_interval

KEYS = ["arm", "budget", "point", "seed"]  # of a row; beside them "radius", "gradients", and a column a metric
Pairs = Sequence[tuple[str, str]]
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
    blocked: str = ""
    level: float = LEVEL

    @property
    def p(self) -> float:
        """Of the two-sided t-test that the difference is zero, or not on the side that its mean is on."""
        t = _t(self._against) * self._side
        return min(1.0, float(2 * stats.t.sf(t, len(self._against) - 1))) if len(self._against) > 1 else 1.0

    @property
    def interval(self) -> Interval:
        """Of its level: from the worst comparison's end to that of the difference."""
        ends = [mean_interval(some, self.level) for some in (self.samples, self._against)]
        low, high = min(end.low for end in ends), max(end.high for end in ends)
        value, low, high = (ends[0].value, low, ends[0].high) if self._side > 0 else (ends[0].value, ends[0].low, high)
        if self.relative:
            value, low, high = (math.inf if end > 700 else math.expm1(end) for end in (value, low, high))
        return Interval(value, low, high, len(self.samples))

    @property
    def verdict(self) -> str:
        """Whether it is "higher", "lower" or "not told apart"."""
        return "not told apart" if self.blocked else self.interval.verdict

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
    scale: Callable[[pd.Series], pd.Series] = np.log if relative else lambda values: values
    for arm, other, budget in _where(trials, pairs):
        ours, theirs = (
            {point: scale(values) for point, values in _by_point(trials, one, budget, metric).items()}
            for one in (arm, other)
        )
        our, their = ours[chosen[arm, budget]], theirs[chosen[other, budget]]
        tuned = _paired(their, our)
        if not len(tuned):
            continue
        if np.mean(tuned) > 0:
            worst = min((_paired(each, our) for each in theirs.values()), key=_t)
        else:
            worst = max((_paired(their, each) for each in ours.values()), key=_t)
        claims.append(Claim(arm, other, budget, metric, math.nan, tuple(tuned), tuple(worst), relative=relative))
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
    scale: Callable[[pd.Series], pd.Series] = np.log if relative else lambda values: values
    claims = []
    for arm, other, budget in _where(trials, pairs):
        radii = {one: _radii(trials, one, budget, over) for one in (arm, other)}
        ours, theirs = (
            {point: scale(values) for point, values in _by_point(trials, one, budget, metric).items()}
            for one in (arm, other)
        )
        differences = {}
        for point, radius in radii[arm].items():
            if radius > 0 and (curve := _at(theirs, radii[other], radius, chosen[other, budget])) is not None:
                differences[radius] = _difference(curve, ours[point])
        differences = {radius: one for radius, one in differences.items() if len(one)}
        for radius, one in differences.items():
            claims.append(Claim(arm, other, budget, metric, radius, tuple(one), relative=relative))
        if len(differences) > 1:
            mean = pd.concat(differences, axis=1).dropna().mean(axis=1)
            claims.append(Claim(arm, other, budget, metric, None, tuple(mean), relative=relative))
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
) -> pd.Series | None:
    """The values by seed at a radius; None where the curve does not reach it."""
    if not any(radii.values()):
        return values[chosen]
    points = sorted((point for point in radii if radii[point] > 0), key=lambda point: radii[point])
    for point in points:
        if 1 / _SAME <= radius / radii[point] <= _SAME:
            return values[point]
    above = next((point for point in points if radii[point] > radius), None)
    if above is None or above == points[0]:
        return None
    below = points[points.index(above) - 1]
    share = math.log(radius / radii[below]) / math.log(radii[above] / radii[below])
    return (1 - share) * values[below] + share * values[above]


def _difference(before: pd.Series, after: pd.Series) -> pd.Series:
    return (after - before).dropna()


def _paired(before: pd.Series, after: pd.Series) -> np.ndarray:
    return _difference(before, after).to_numpy()


def _t(samples: Sequence[float] | np.ndarray) -> float:
    """The mean in standard errors, after which samples are ordered by how sure they are above zero."""
    error = stats.sem(samples) if len(samples) > 1 else math.inf
    mean = float(np.mean(samples))
    return mean / error if error else math.copysign(math.inf, mean) if mean else 0.0
