"""Minima and maxima of a plane, by the persistence of its sub-level sets in dimension 0 (Edelsbrunner et al. 2002).

Let the water rise, {L <= t}. A component is born at a minimum, and dies at the saddle where it meets one that was born
lower; the difference is the prominence of the minimum, and what does not exceed the noise of the evaluation is noise.
Who died into whom is the merge tree. Maxima are the minima of -L.

A point has 8 neighbours by default (those across a corner too), or 4. Ties are broken by position, row by row, so that
a plateau is one minimum. A NaN is never entered, and may part a plane in several; +inf is a plateau above everything,
and so a maximum. A plane ends at its edge though the loss does not: each extremum says whether it lies on it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite, isnan, nan
from typing import Any

import numpy as np

from landscape.results import Plane

_STEPS = {4: [(0, 1), (1, 0), (0, -1), (-1, 0)], 8: [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j]}


@dataclass(frozen=True)
class Extremum:
    """A minimum (or, with everything upside down, a maximum) of a grid.

    Attributes:
        index: (i, j), where it is.
        birth: the loss there.
        death: the loss of the saddle where it meets a lower one; infinite for the lowest of all that are connected.
        saddle: (i, j) of that saddle, or None.
        parent: position in the list of the minimum met there, or None.
        level: the loss up to which the sub-level set around it holds no other minimum of the list.
        volume: the area of that set, below ``level``, in units of x times y.
        on_edge: whether it lies on the edge of the grid.
    """

    index: tuple[int, int]
    birth: float
    death: float
    saddle: tuple[int, int] | None
    parent: int | None
    level: float
    volume: float
    on_edge: bool

    @property
    def prominence(self) -> float:
        """The rise that parts it from lower ground; infinite where there is none."""
        return abs(self.death - self.birth)


def extrema(plane: Plane, *, threshold: float | None = None, neighbours: int = 8) -> dict[str, Any]:
    """What counts as a minimum and as a maximum of a plane, as tables for its ``details``.

    "minima" and "maxima", and the "prominence_threshold" and "neighbours" with which they were found. Of each extremum
    ``x``, ``y``, ``loss``, ``prominence``, ``saddle`` (x, y, loss), ``parent``, ``level``, ``volume`` and ``on_edge``:
    see ``Extremum``. None stands for what is not there or not finite, as the prominence of the lowest minimum.

    Args:
        plane: the losses.
        threshold: the prominence to exceed, in loss units; by default the noise floor that the plane states.
        neighbours: 8 or 4.

    Raises:
        ValueError: for a threshold below zero, a number of neighbours other than 4 and 8, or a plane without a floor.

    Example:
        >>> x = np.linspace(-2, 2, 41)
        >>> wells = (x[:, None] ** 2 - 1) ** 2 + 0.1 * x[:, None] + x**2  # one at x = -1, a shallower one at +1
        >>> found = extrema(Plane(x, x, wells, None, "train"), threshold=0.01)
        >>> [(round(float(low["x"]), 2), low["parent"]) for low in found["minima"]]
        [(-1.0, None), (1.0, 0)]
    """
    if threshold is None:
        threshold = plane.details.get("noise_floor")
        if threshold is None:
            raise ValueError("The plane does not state its noise floor. Give threshold=, in units of the loss.")
    lows = minima(plane.loss, x=plane.x, y=plane.y, threshold=threshold, neighbours=neighbours)
    tops = maxima(plane.loss, x=plane.x, y=plane.y, threshold=threshold, neighbours=neighbours)
    return {
        "minima": [_row(low, plane) for low in lows],
        "maxima": [_row(top, plane) for top in tops],
        "prominence_threshold": float(threshold),
        "neighbours": neighbours,
    }


def minima(
    loss: np.ndarray,  # (n, m)
    *,
    x: Sequence[float] | np.ndarray | None = None,  # (n,)
    y: Sequence[float] | np.ndarray | None = None,  # (m,)
    threshold: float = 0.0,
    neighbours: int = 8,
) -> list[Extremum]:
    """The minima whose prominence exceeds the threshold, the lowest first; x and y are 0, 1, 2, ... by default.

    Raises:
        ValueError: as ``extrema``, and where the shapes do not fit.

    Example:
        >>> [(low.birth, low.prominence) for low in minima(np.array([[0.0, 5.0, 2.0, 4.0, 3.0]]))]
        [(0.0, inf), (2.0, 3.0), (3.0, 1.0)]
    """
    values = np.asarray(loss, dtype=float)
    if values.ndim != 2:
        raise ValueError(f"loss has shape {values.shape}. Expected a grid (n, m).")
    if neighbours not in _STEPS:
        raise ValueError(f"neighbours={neighbours}. Expected 8 or 4.")
    if not threshold >= 0:
        raise ValueError(f"threshold={threshold}. Expected a prominence, 0 or more, in units of the loss.")
    num_rows, num_columns = values.shape
    areas = np.outer(_lengths(x, num_rows), _lengths(y, num_columns)).ravel().tolist()
    flat = values.ravel()
    order = np.argsort(flat, kind="stable")[: (~np.isnan(flat)).sum()]  # NaN is sorted last
    found = _merge(flat.tolist(), order.tolist(), areas, values.shape, threshold, _STEPS[neighbours])
    rank = {basin.root: position for position, basin in enumerate(found)}
    return [
        Extremum(
            index=divmod(basin.root, num_columns),
            birth=flat[basin.root].item(),
            death=basin.death,
            saddle=None if basin.saddle is None else divmod(basin.saddle, num_columns),
            parent=None if basin.parent is None else rank[basin.parent],
            level=basin.level,
            volume=basin.volume,
            on_edge=_on_edge(divmod(basin.root, num_columns), values.shape),
        )
        for basin in found
    ]


def maxima(
    loss: np.ndarray,  # (n, m)
    *,
    x: Sequence[float] | np.ndarray | None = None,
    y: Sequence[float] | np.ndarray | None = None,
    threshold: float = 0.0,
    neighbours: int = 8,
) -> list[Extremum]:
    """The maxima whose prominence exceeds the threshold, the highest first: the minima of -loss, signs put back.

    Raises:
        ValueError: as ``minima``.

    Example:
        >>> [(top.birth, top.death) for top in maxima(np.array([[0.0, 5.0, 2.0, 4.0, 3.0]]))]
        [(5.0, -inf), (4.0, 2.0)]
    """
    found = minima(-np.asarray(loss, dtype=float), x=x, y=y, threshold=threshold, neighbours=neighbours)
    return [
        Extremum(top.index, -top.birth, -top.death, top.saddle, top.parent, -top.level, top.volume, top.on_edge)
        for top in found
    ]


@dataclass
class _Basin:
    """A component while the water rises; ``root`` is its minimum."""

    root: int
    area: float = 0.0
    death: float = inf
    saddle: int | None = None
    parent: int | None = None
    level: float = inf
    volume: float = nan  # until it first meets another one that counts


def _merge(
    values: list[float],
    order: list[int],
    areas: list[float],
    shape: tuple[int, ...],
    threshold: float,
    steps: list[tuple[int, int]],
) -> list[_Basin]:
    """The basins whose prominence exceeds the threshold, in the order of their birth."""
    num_rows, num_columns = shape
    above: dict[int, int] = {}  # a point under water -> another of its component, or itself: the forest of union-find
    basins: dict[int, _Basin] = {}
    counted: list[_Basin] = []

    def root(point: int) -> int:
        while above[point] != point:
            above[point] = above[above[point]]
            point = above[point]
        return point

    for point in order:
        i, j = divmod(point, num_columns)
        around = [(i + di) * num_columns + j + dj for di, dj in steps if _inside(i + di, j + dj, num_rows, num_columns)]
        touched = {root(q) for q in around if q in above}
        above[point] = point
        if not touched:
            basins[point] = _Basin(point, areas[point])
            continue
        eldest, *younger = sorted((basins.pop(r) for r in touched), key=lambda basin: _age(basin, values))
        for basin in younger:
            if values[point] - values[basin.root] > threshold:
                for joined in (eldest, basin):
                    if isnan(joined.volume):
                        joined.volume, joined.level = joined.area, values[point]
                basin.death, basin.saddle, basin.parent = values[point], point, eldest.root
                counted.append(basin)
            eldest.area += basin.area
            above[basin.root] = eldest.root
        above[point] = eldest.root
        eldest.area += areas[point]
        basins[eldest.root] = eldest
    counted += [basin for basin in basins.values() if values[basin.root] < inf]
    for basin in counted:
        if isnan(basin.volume):
            basin.volume = basin.area
    return sorted(counted, key=lambda basin: _age(basin, values))


def _age(basin: _Basin, values: list[float]) -> tuple[float, int]:
    return values[basin.root], basin.root


def _inside(i: int, j: int, num_rows: int, num_columns: int) -> bool:
    return 0 <= i < num_rows and 0 <= j < num_columns


def _on_edge(index: tuple[int, int], shape: tuple[int, ...]) -> bool:
    return any(i in (0, size - 1) for i, size in zip(index, shape, strict=True))


def _lengths(axis: Sequence[float] | np.ndarray | None, size: int) -> np.ndarray:
    """What each point of an axis stands for: half the way to each of its neighbours; they add up to the whole axis."""
    if axis is None or len(axis) == 1:
        return np.ones(size)
    ticks = np.asarray(axis, dtype=float)
    if ticks.shape != (size,):
        raise ValueError(f"An axis has shape {ticks.shape}, and the grid {size} points along it.")
    return np.diff(np.concatenate([ticks[:1], (ticks[1:] + ticks[:-1]) / 2, ticks[-1:]]))


def _row(extremum: Extremum, plane: Plane) -> dict[str, Any]:
    def at(index: tuple[int, int]) -> tuple[float, float]:
        return float(plane.x[index[0]]), float(plane.y[index[1]])

    x, y = at(extremum.index)
    return {
        "x": x,
        "y": y,
        "loss": _finite(extremum.birth),
        "prominence": _finite(extremum.prominence),
        "saddle": None if extremum.saddle is None else [*at(extremum.saddle), _finite(extremum.death)],
        "parent": extremum.parent,
        "level": _finite(extremum.level),
        "volume": extremum.volume,
        "on_edge": extremum.on_edge,
    }


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None
