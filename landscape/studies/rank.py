"""Whether a measure orders trained networks as another number does: Kendall's tau over sets of pairs of networks.

Which pairs are compared is the question that is asked. Over all pairs, tau may only follow a hyper-parameter that moves
both (Simpson 1951); over the pairs that share their learning rate it cannot follow that one; and over those that differ
in a single hyper-parameter it says what every one of them does by itself (Jiang et al. 2020, eq. 4: granulated
Kendall's coefficient). Where there are several sets, tau is the mean over them.

Intervals and p values are those of a bootstrap that draws whole clusters with replacement (Davison and Hinkley 1997,
sec. 3.8): trainings that share a setting are not independent, and are drawn, or left, together.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from landscape.statistics import LEVEL, Interval

_RESAMPLES = 9999

Pairs = NDArray[np.bool_]  # (n, n), symmetric: which networks are compared


def all_pairs(num: int) -> list[Pairs]:
    """One set: every pair.

    Example:
        >>> int(all_pairs(4)[0].sum()) // 2
        6
    """
    return [~np.eye(num, dtype=bool)]


def pairs_within(groups: Sequence[object]) -> list[Pairs]:
    """A set a group: the pairs that share it.

    Example:
        >>> [int(pairs.sum()) // 2 for pairs in pairs_within([0.1, 0.1, 0.1, 0.3, 0.3])]
        [3, 1]
    """
    (pairs,) = all_pairs(len(groups))
    of = np.unique(np.array([str(group) for group in groups]), return_inverse=True)[1]
    return [pairs & np.outer(of == group, of == group) for group in range(of.max() + 1)]


def pairs_by_axis(settings: Sequence[Mapping[str, object]]) -> list[Pairs]:
    """A set a hyper-parameter: the pairs that differ in it and in no other (Jiang et al. 2020, eq. 3).

    Where all settings were trained equally often, tau over such a set is theirs, averaged over the other settings.

    Example:
        >>> grid = [{"lr": lr, "batch": batch} for lr in (1, 2, 3) for batch in (8, 64)]
        >>> [int(pairs.sum()) // 2 for pairs in pairs_by_axis(grid)]
        [6, 3]
    """
    values = [np.unique([str(one[axis]) for one in settings], return_inverse=True)[1] for axis in settings[0]]
    differ = np.array([value[:, None] != value[None, :] for value in values])  # (axes, n, n)
    single = differ.sum(axis=0) == 1
    return [differs & single for differs in differ if differs.any()]


@dataclass(frozen=True)
class Ranked:
    """Kendall's tau with its interval, and the p value of its being zero."""

    interval: Interval
    p: float


class Ranking:
    """Kendall's tau of pairs of numbers over sets of pairs, by the same draws of clusters for all of them.

    Args:
        sets: of pairs; tau-b is taken over each, and averaged.
        clusters: of every network, what is drawn together with it.
        seed: of the draws.
        num_resamples: how many there are; no p value is below 2 / (num_resamples + 1).

    Example:
        >>> measure, gap, cells = np.arange(40.0), np.arange(40.0), np.repeat(np.arange(10), 4)
        >>> ranked = Ranking(all_pairs(40), cells, seed=0)(measure, gap)
        >>> ranked.interval.value, ranked.interval.verdict, ranked.p
        (1.0, 'higher', 0.0002)
    """

    def __init__(
        self,
        sets: Sequence[Pairs],
        clusters: Sequence[int] | NDArray[np.int_],
        *,
        seed: int,
        num_resamples: int = _RESAMPLES,
    ) -> None:
        of = np.unique(np.asarray(clusters), return_inverse=True)[1]
        c = of.max() + 1
        draws = np.random.default_rng(seed).multinomial(c, np.full(c, 1 / c), size=num_resamples)
        weights = np.vstack([np.ones(c), draws]).astype(np.float32)  # (1 + resamples, c): how often each is drawn
        self._sets = [_Set(pairs, of, weights) for pairs in sets if pairs.any()]

    def __call__(self, a: NDArray[np.float64], b: NDArray[np.float64], level: float = LEVEL) -> Ranked:
        """Tau of two numbers of each network; 0 with an interval of no width where one of them is constant.

        Args:
            a: of each network, (n,).
            b: likewise.
            level: of the interval, from the percentiles.

        Raises:
            ValueError: a number is not finite.
        """
        if not (np.isfinite(a).all() and np.isfinite(b).all()):
            raise ValueError(
                "There is no order of numbers that are not finite. Expected finite ones: leave out others."
            )
        taus = np.array([pairs.taus(a, b) for pairs in self._sets])  # (sets, 1 + resamples)
        there = ~np.isnan(taus)
        means = np.where(there, taus, 0).sum(axis=0) / np.maximum(there.sum(axis=0), 1)
        tau, drawn = float(means[0]), means[1:]
        low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
        beyond = 1 + min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
        return Ranked(Interval(tau, float(low), float(high), len(a)), min(1.0, 2 * beyond / (1 + len(drawn))))


class _Set:
    """The networks that stand in some pair of a set, and how often each cluster of theirs is drawn."""

    def __init__(self, pairs: Pairs, clusters: NDArray[np.int_], weights: NDArray[np.float32]) -> None:
        self.members = np.flatnonzero(pairs.any(axis=0))  # of a set within a group, few
        self.pairs = pairs[np.ix_(self.members, self.members)]
        kept, of = np.unique(clusters[self.members], return_inverse=True)
        self.clusters = np.eye(len(kept), dtype=np.float32)[of]  # (members, c): who is in which
        self.weights = weights[:, kept]
        self._forms: dict[bytes, NDArray[np.float64]] = {}

    def taus(self, a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
        """Tau-b over the pairs, of the networks themselves and of every draw; NaN where none can be ordered."""
        signs = [np.sign(one[self.members, None] - one[None, self.members]) * self.pairs for one in (a, b)]
        concordant, *untied = (self._form(one) for one in (signs[0] * signs[1], *map(np.abs, signs)))
        ordered = np.sqrt(untied[0] * untied[1])
        return np.divide(concordant, ordered, out=np.full(len(ordered), np.nan), where=ordered > 0)

    def _form(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The sum of the values of all pairs of every draw; remembered, since numbers without ties share theirs."""
        between = self.clusters.T @ values.astype(np.float32) @ self.clusters  # whole numbers: exact in any order
        key = between.tobytes()
        if key not in self._forms:
            form = np.einsum("rc,rc->r", self.weights @ between, self.weights)
            self._forms[key] = form.astype(np.float64)
        return self._forms[key]
