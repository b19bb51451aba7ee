"""Comparisons over seeds, and the words for them; what a study says rests on their 95 % intervals alone.

Two trainings that share a seed share their first weights and their order of examples, so differences are taken seed by
seed. A relative difference is that of the logarithms, for numbers that are positive by nature. One seed has no interval
and tells nothing apart. Each interval stands for itself: nothing here corrects for their number.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

from landscape.figures import Table, Value
from landscape.statistics import Interval, mean_interval, paired_interval

BySeed = Mapping[int, float]


def over_seeds(values: BySeed) -> Interval:
    """The mean over seeds with Student's interval; values that are not finite are left out.

    Example:
        >>> found = over_seeds({0: 1.0, 1: 2.0, 2: 3.0, 3: math.nan})
        >>> round(found.value, 3), round(found.half, 3)  # t(0.975, 2) = 4.303
        (2.0, 2.484)
    """
    return mean_interval([value for value in values.values() if math.isfinite(value)])


def change(before: BySeed, after: BySeed) -> Interval:
    """The difference after - before, over the seeds at which both are finite.

    Example:
        >>> change({0: 1.0, 1: 5.0, 2: 3.0}, {0: 2.0, 1: 6.1, 2: 3.9}).verdict
        'higher'
    """
    seeds = [seed for seed in before if seed in after and math.isfinite(after[seed] - before[seed])]
    return paired_interval([before[seed] for seed in seeds], [after[seed] for seed in seeds])


def relative_change(before: BySeed, after: BySeed) -> Interval:
    """The relative difference after / before - 1, over the seeds that both have, from the mean of its logarithm.

    Of no seed where a value is not positive, and there is no logarithm.

    Example:
        >>> found = relative_change({0: 1.0, 1: 10.0}, {0: 0.5, 1: 5.0})
        >>> found.value, found.verdict
        (-0.5, 'lower')
    """
    if any(value <= 0 for value in (*before.values(), *after.values())):
        return over_seeds({})
    logs = change(*({seed: math.log(value) for seed, value in side.items()} for side in (before, after)))
    value, low, high = (math.inf if log > 700 else math.expm1(log) for log in (logs.value, logs.low, logs.high))
    return Interval(value, low, high, logs.num_samples)


def agrees(found: Interval, expected: str) -> bool | None:
    """Whether a difference is "higher" or "lower", as expected; None where the interval cannot tell.

    Example:
        >>> agrees(Interval(1.0, 0.5, 1.5, 3), "higher"), agrees(Interval(1.0, -0.5, 2.5, 3), "higher")
        (True, None)
    """
    return None if found.verdict == "not told apart" else found.verdict == expected


def all_agree(parts: Iterable[bool | None]) -> bool | None:
    """Of a claim with several parts: one that differs is enough to differ, one that cannot be told to leave it open."""
    known = list(parts)
    return False if False in known else None if None in known else True


def table(
    header: Sequence[str],
    rows: Sequence[Sequence[str | Interval]],
    caption: str,
    best: Mapping[str, str] | None = None,
) -> Table:
    """Of words and means over seeds; ``best`` is "min" or "max" by heading."""
    cells = [
        [one if isinstance(one, str) else Value(one.value, one.half, one.num_samples) for one in row] for row in rows
    ]
    return Table(header, cells, caption, dict(best or {}), "half the 95 % t-interval over seeds")


def percent(found: Interval) -> str:
    """A relative difference in words, with its interval in brackets.

    Example:
        >>> percent(Interval(-0.5, -0.6, -0.4, 3)), percent(Interval(0.1, -0.2, 0.5, 3))
        ('50 % lower (40 to 60)', 'not told apart (+10 %, -20 to +50)')
        >>> percent(Interval(6.0, 5.0, 8.0, 3)), percent(Interval(0.3, -1.0, math.inf, 1))
        ('7.0 times (6.0 to 9.0)', 'not told apart (one seed)')
    """
    if found.low > 1 and math.isfinite(found.high):
        return f"{_times(1 + found.value)} times ({_times(1 + found.low)} to {_times(1 + found.high)})"
    return _words(found, "%")


def points(found: Interval) -> str:
    """A difference of shares, such as accuracies, in points of a hundred.

    Example:
        >>> points(Interval(0.02, 0.01, 0.03, 3))
        '2.0 points higher (1.0 to 3.0)'
    """
    return _words(found, "points")


def _words(found: Interval, unit: str) -> str:
    if not found.num_samples:
        return "no number"
    if found.num_samples == 1:
        return "not told apart (one seed)"
    if found.verdict == "not told apart":
        value, low, high = (_hundredths(end, sign="+") for end in (found.value, found.low, found.high))
        return f"not told apart ({value} {unit}, {low} to {high})"
    nearer, value, further = (_hundredths(end) for end in sorted(map(abs, (found.low, found.value, found.high))))
    return f"{value} {unit} {found.verdict} ({nearer} to {further})"


def _hundredths(value: float, *, sign: str = "") -> str:
    value = round(value, 9) + 0.0  # what rounding left of nothing is nothing
    return f"{100 * value:{sign}#.2g}".rstrip(".") if abs(value) < 0.995 else f"{100 * value:{sign},.0f}"


def _times(value: float) -> str:
    return f"{value:#.2g}".rstrip(".") if value < 99.5 else f"{value:,.0f}"
