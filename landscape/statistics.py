"""Intervals and tests, each told once and by scipy.stats: what every table, figure, report and study says of errors.

An estimate is known by its value, its standard error, and the number n of independent samples that the error comes
from: Student's t with n - 1 degrees of freedom, and the normal distribution where n is 0 (not known, or many).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

LEVEL = 0.95
_LOOKED_AT = 0.97  # what is spent on looks: a fifth more samples


@dataclass(frozen=True)
class Interval:
    """A value and the interval around it, from so many samples; infinite for one sample, NaN for none.

    Example:
        >>> Interval(1.0, 0.5, 1.5, 3).half, Interval(1.0, 0.5, 1.5, 3).verdict, Interval(1.0, -1.0, 3.0, 3).verdict
        (0.5, 'higher', 'not told apart')
    """

    value: float
    low: float
    high: float
    num_samples: int

    @property
    def half(self) -> float:
        """Half its width."""
        return (self.high - self.low) / 2

    @property
    def verdict(self) -> str:
        """Of a difference: "higher", "lower", or "not told apart" where the interval holds 0."""
        return "higher" if self.low > 0 else "lower" if self.high < 0 else "not told apart"


def half_width(std_error: float, num_samples: int = 0, level: float = LEVEL) -> float:
    """Half the interval of an estimate: the quantile of Student's t, or the normal one, times the standard error.

    Example:
        >>> round(half_width(1.0, 3), 3), round(half_width(1.0), 3), half_width(1.0, 1)
        (4.303, 1.96, inf)
    """
    if num_samples == 1:
        return math.inf
    return float(stats.t.ppf((1 + level) / 2, num_samples - 1 if num_samples else math.inf)) * std_error


def looks(first: int, budget: int, *, fixed: bool = False) -> Iterator[int]:
    """The numbers of samples at which to see whether they are enough: ``first``, a quarter more each, the budget.

    Looking after every sample would stop at the luckiest moment; this keeps the looks few. A fixed number is the budget
    alone. Where the width of the interval is estimated from the samples it is lucky too: see ``looked_at_error``, and
    ``landscape.linalg.entries`` for one that is not.

    Example:
        >>> list(looks(16, 32)), list(looks(16, 32, fixed=True))
        ([16, 20, 25, 32], [32])
    """
    look = budget if fixed else min(first, budget)
    yield look
    while look < budget:
        look = min(budget, math.ceil(1.25 * look))
        yield look


def looked_at_error(samples: Sequence[float] | np.ndarray) -> float:
    """The standard error of a mean that is looked at until it will do: the 95 % interval of this is one of 97 %.

    Samples that come out alike by chance end the looking, and those of skewed quadratic forms do so below their mean:
    over the spectra in ``tests/linalg/test_coverage.py``, 9 % of the 95 % intervals then missed, and of these 6 %.

    Example:
        >>> round(looked_at_error([1.0, 2.0, 3.0, 4.0]) / standard_error([1.0, 2.0, 3.0, 4.0]), 2)
        1.22
    """
    n = len(samples)
    return standard_error(samples) * half_width(1.0, n, _LOOKED_AT) / half_width(1.0, n)


def interval_reason(value: float, half: float, rel_error: float) -> str:
    """How wide a 95 % interval is, and whether that is within the accuracy asked for, in words."""
    width = f"+-{half / abs(value):.2g} of the value" if value else f"+-{half:.2g}"
    return f"95 % interval {width} {'within' if half <= rel_error * abs(value) else 'above'} {rel_error:g}"


def standard_error(samples: Sequence[float] | np.ndarray) -> float:
    """Of the mean of independent samples; infinite for one, NaN for none."""
    return float(stats.sem(samples)) if len(samples) > 1 else math.inf if len(samples) else math.nan


def mean_interval(samples: Sequence[float] | np.ndarray, level: float = LEVEL) -> Interval:
    """The mean of independent samples with Student's interval.

    Example:
        >>> found = mean_interval([1.0, 2.0, 3.0])
        >>> found.value, round(found.half, 3)
        (2.0, 2.484)
    """
    n = len(samples)
    if not n:
        return Interval(math.nan, math.nan, math.nan, 0)
    mean = float(np.mean(samples))
    half = half_width(standard_error(samples), n, level)
    return Interval(mean, mean - half, mean + half, n)


def paired_interval(before: Sequence[float], after: Sequence[float], level: float = LEVEL) -> Interval:
    """The mean of after - before, pair by pair, with Student's interval.

    Example:
        >>> paired_interval([1.0, 5.0, 3.0], [2.0, 6.1, 3.9]).verdict
        'higher'
    """
    return mean_interval(np.subtract(after, before), level)


def share_interval(count: int, num_samples: int, level: float = LEVEL) -> Interval:
    """The share of samples that have a property, with the exact interval of Clopper and Pearson (1934).

    Example:
        >>> found = share_interval(0, 100)
        >>> found.value, found.low, round(found.high, 3)
        (0.0, 0.0, 0.036)
    """
    low, high = stats.binomtest(count, num_samples).proportion_ci(level)
    return Interval(count / num_samples, float(low), float(high), num_samples)


def count_error(counts: Sequence[int] | np.ndarray) -> float:
    """The standard error of a mean count; where fewer than 10 are above 0, at least what their share may be short of.

    Of counts that are all 0 the spread is 0, and 3 in 100 may still be others.

    Example:
        >>> round(half_width(count_error(100 * [0]), 100), 3)
        0.036
    """
    n, above = len(counts), int(np.count_nonzero(counts))
    share = share_interval(above, n)
    return max(standard_error(counts), (share.high - share.value) / half_width(1.0, n) if above < 10 else 0.0)


def welch(change: float, first: tuple[float, int], second: tuple[float, int]) -> tuple[float, float, float]:
    """Welch's test (1947) of a difference between two estimates, each given as (standard error, number of samples).

    Returns t, the difference in standard errors; its degrees of freedom; and the two-sided p value.

    Example:
        >>> t, freedom, p = welch(-5.0, (1.0, 50), (1.0, 50))
        >>> round(t, 3), round(freedom), round(p, 4)
        (-3.536, 98, 0.0006)
    """
    variances = [error**2 for error, _ in (first, second)]
    spread = sum(v**2 / (n - 1) for v, (_, n) in zip(variances, (first, second), strict=True) if n > 1 and v)
    t, freedom = change / math.sqrt(sum(variances)), sum(variances) ** 2 / spread if spread else math.inf
    return t, freedom, float(2 * stats.t.sf(abs(t), freedom))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p values of several tests, made larger so that any one below a level errs at that level (Holm 1979).

    Example:
        >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
        [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values)
    steps = np.asarray(p_values)[order] * np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return [float(p) for p in adjusted]


def holm_levels(p_values: Sequence[float], level: float = LEVEL) -> list[float]:
    """The levels at which the intervals of several claims say what Holm's test of all of them says.

    With p_(1) <= ... <= p_(m), the i-th claim is tested at (1 - level) / (m - i + 1) until one is not made, and that
    one's share is the share of all that follow: an interval of level 1 - share leaves 0 out exactly where ``holm`` has
    p below 1 - level.

    Example:
        >>> [round(level, 4) for level in holm_levels([0.01, 0.04, 0.03])]
        [0.9833, 0.975, 0.975]
    """
    order = np.argsort(p_values, kind="stable")
    shares = (1 - level) / np.arange(len(p_values), 0, -1)
    kept = np.flatnonzero(np.asarray(p_values)[order] > shares)
    if len(kept):
        shares[kept[0] :] = shares[kept[0]]
    levels = np.empty(len(p_values))
    levels[order] = 1 - shares
    return [float(each) for each in levels]


def bootstrap_interval(
    samples: Sequence[float], statistic: Callable[..., np.ndarray], *, seed: int, level: float = LEVEL
) -> Interval:
    """A statistic of independent samples with the BCa bootstrap interval (Efron 1987), by 9999 resamplings.

    ``statistic(samples, axis=-1)`` is vectorized, as ``np.median``. Where all samples are equal, so are the ends.

    Example:
        >>> bootstrap_interval([1.0, 2.0, 4.0, 8.0], np.median, seed=0)
        Interval(value=3.0, low=1.0, high=8.0, num_samples=4)
    """
    value = float(statistic(np.asarray(samples), axis=-1))
    if len(samples) < 2 or np.ptp(samples) == 0:
        half = math.inf if len(samples) < 2 else 0.0
        return Interval(value, value - half, value + half, len(samples))
    found = stats.bootstrap((samples,), statistic, confidence_level=level, rng=np.random.default_rng(seed))
    low, high = (float(end) for end in found.confidence_interval)
    return Interval(value, low, high, len(samples))


def kendall(a: Sequence[float], b: Sequence[float]) -> tuple[float, float]:
    """Kendall's tau-b of two orders, and the p value of its being zero.

    Example:
        >>> tau, p = kendall([1, 2, 3, 4, 5], [1, 3, 2, 4, 5])
        >>> round(tau, 3), round(p, 3)
        (0.8, 0.083)
    """
    found = stats.kendalltau(a, b)
    return float(found.statistic), float(found.pvalue)


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """Spearman's rank correlation of two orders.

    Example:
        >>> spearman([1.0, 2.0, 4.0], [9.0, 7.0, 5.0])
        -1.0
    """
    return float(stats.spearmanr(a, b).statistic)
