"""The merge tree of a function on a graph, by union-find while the water rises (Edelsbrunner et al. 2002).

A component is born at a minimum, and dies at the saddle where it meets one that was born lower. What it grew to before
it first met another one that counts is its volume. Ties are broken by position; a NaN is never entered.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import inf, isnan, nan

import numpy as np


@dataclass
class Basin:
    """A component of the sub-level sets.

    Attributes:
        root: the point that is its minimum.
        area: of all that it holds.
        death: the value at the saddle where it meets a lower one; infinite where it meets none.
        saddle: that point, or None.
        parent: the root of the basin met there, or None.
        level: the value up to which it has met no other basin that counts.
        volume: its area below that level.
    """

    root: int
    area: float = 0.0
    death: float = inf
    saddle: int | None = None
    parent: int | None = None
    level: float = inf
    volume: float = nan  # until it first meets another one that counts


def basins(
    values: np.ndarray,  # (n,)
    areas: Sequence[float],  # (n,)
    adjacent: Callable[[int], Iterable[int]],
    *,
    threshold: float = 0.0,
) -> list[Basin]:
    """The basins whose prominence exceeds the threshold, in the order of their birth.

    Example:
        >>> path = [[1], [0, 2], [1, 3], [2]]
        >>> [(low.root, low.death, low.volume) for low in basins(np.array([0.0, 3, 1, 2]), [1.0] * 4, path.__getitem__)]
        [(0, inf, 1.0), (2, 3.0, 2.0)]
    """
    order = np.argsort(values, kind="stable")[: (~np.isnan(values)).sum()].tolist()  # NaN is sorted last
    levels = values.tolist()
    above: dict[int, int] = {}  # a point under water -> another of its component, or itself: the forest of union-find
    alive: dict[int, Basin] = {}
    counted: list[Basin] = []

    def root(point: int) -> int:
        while above[point] != point:
            above[point] = above[above[point]]
            point = above[point]
        return point

    def age(basin: Basin) -> tuple[float, int]:
        return levels[basin.root], basin.root

    for point in order:
        touched = {root(q) for q in adjacent(point) if q in above}
        above[point] = point
        if not touched:
            alive[point] = Basin(point, areas[point])
            continue
        eldest, *younger = sorted((alive.pop(r) for r in touched), key=age)
        for basin in younger:
            if levels[point] - levels[basin.root] > threshold:
                for joined in (eldest, basin):
                    if isnan(joined.volume):
                        joined.volume, joined.level = joined.area, levels[point]
                basin.death, basin.saddle, basin.parent = levels[point], point, eldest.root
                counted.append(basin)
            eldest.area += basin.area
            above[basin.root] = eldest.root
        above[point] = eldest.root
        eldest.area += areas[point]
        alive[eldest.root] = eldest
    counted += [basin for basin in alive.values() if levels[basin.root] < inf]
    for basin in counted:
        if isnan(basin.volume):
            basin.volume = basin.area
    return sorted(counted, key=age)
