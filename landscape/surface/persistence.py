"""Minima and maxima of a plane, by the persistence of its sub-level sets in dimension 0 (Edelsbrunner et al. 2002).

Let the water rise, {L <= t}. A component is born at a minimum, and dies at the saddle where it meets one that was born
lower; the difference is the prominence of the minimum, and what does not exceed the noise of the evaluation is noise.
What a component grew to before it first met another one that counts is its volume. Maxima are the minima of -L.

A point has 8 neighbours by default, or 4; on a refined plane those of a triangulation of the points that were measured.
Ties are broken by position, row by row, so that a plateau is one minimum. A NaN is never entered, and may part a plane
in several; +inf is a plateau above everything, and so a maximum.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite, isnan, nan
from typing import Any

import numpy as np
from scipy.spatial import Delaunay

from landscape.results import Plane

_STEPS = {4: [(0, 1), (1, 0), (0, -1), (-1, 0)], 8: [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j]}


@dataclass(frozen=True)
class Extremum:
    """A minimum (or, upside down, a maximum) of a grid.

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

    "minima" and "maxima", and the "prominence_threshold" and "neighbours" with which they were found. The columns are
    those of ``Extremum``. None stands for what is not there or not finite, as the prominence of the lowest minimum.

    Args:
        plane: the losses.
        threshold: the prominence to exceed, in loss units; by default the noise floor that the plane states.
        neighbours: 8 or 4; a refined plane has those of its triangulation.

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
    how: dict[str, Any] = {"x": plane.x, "y": plane.y, "threshold": threshold, "neighbours": neighbours}
    how["measured"] = plane.details.get("measured")
    lows, tops = minima(plane.loss, **how), maxima(plane.loss, **how)
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
    measured: np.ndarray | None = None,  # (n, m)
) -> list[Extremum]:
    """The minima whose prominence exceeds the threshold, the lowest first; x and y are 0, 1, 2, ... by default.

    With ``measured``, the points where it is true, joined by the edges of their Delaunay triangulation.

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
    ticks = [_ticks(axis, size) for axis, size in ((x, num_rows), (y, num_columns))]
    if measured is None:
        points, adjacent = np.arange(values.size), _lattice(values.shape, neighbours)
        areas = np.outer(*(_lengths(t, axis is None) for t, axis in zip(ticks, (x, y), strict=True))).ravel().tolist()
    else:
        points = np.flatnonzero(measured)
        areas, adjacent = _triangulated(*np.divmod(points, num_columns), *ticks)
    flat = values.ravel()[points]
    found = _basins(flat, areas, adjacent, threshold)

    def at(point: int) -> tuple[int, int]:
        i, j = divmod(int(points[point]), num_columns)
        return i, j

    rank = {basin.root: position for position, basin in enumerate(found)}
    return [
        Extremum(
            index=at(basin.root),
            birth=flat[basin.root].item(),
            death=basin.death,
            saddle=None if basin.saddle is None else at(basin.saddle),
            parent=None if basin.parent is None else rank[basin.parent],
            level=basin.level,
            volume=basin.volume,
            on_edge=any(i in (0, size - 1) for i, size in zip(at(basin.root), values.shape, strict=True)),
        )
        for basin in found
    ]


def maxima(loss: np.ndarray, **options: Any) -> list[Extremum]:
    """The maxima whose prominence exceeds the threshold, the highest first: the minima of -loss, signs put back.

    Options, and errors raised, are those of ``minima``.

    Example:
        >>> [(top.birth, top.death) for top in maxima(np.array([[0.0, 5.0, 2.0, 4.0, 3.0]]))]
        [(5.0, -inf), (4.0, 2.0)]
    """
    found = minima(-np.asarray(loss, dtype=float), **options)
    return [replace(top, birth=-top.birth, death=-top.death, level=-top.level) for top in found]


@dataclass
class _Basin:
    """What ``Extremum`` says of a component, with points in place of (i, j)."""

    root: int  # the point that is its minimum
    area: float = 0.0  # of all that it holds
    death: float = inf
    saddle: int | None = None
    parent: int | None = None  # the root of the one met there
    level: float = inf
    volume: float = nan  # until it first meets another one that counts


def _basins(
    values: np.ndarray, areas: Sequence[float], adjacent: Callable[[int], Iterable[int]], threshold: float
) -> list[_Basin]:
    """The components of sub-level sets whose prominence exceeds the threshold, in the order of their birth.

    Example:
        >>> path, values = [[1], [0, 2], [1, 3], [2]], np.array([0.0, 3, 1, 2])
        >>> [(low.root, low.death, low.volume) for low in _basins(values, [1.0] * 4, path.__getitem__, 0)]
        [(0, inf, 1.0), (2, 3.0, 2.0)]
    """
    order = np.argsort(values, kind="stable")[: (~np.isnan(values)).sum()].tolist()  # NaN is sorted last
    levels = values.tolist()
    above: dict[int, int] = {}  # a point under water -> another of its component, or itself: the forest of union-find
    alive: dict[int, _Basin] = {}
    counted: list[_Basin] = []

    def root(point: int) -> int:
        while above[point] != point:
            above[point] = above[above[point]]
            point = above[point]
        return point

    def age(basin: _Basin) -> tuple[float, int]:
        return levels[basin.root], basin.root

    for point in order:
        touched = {root(q) for q in adjacent(point) if q in above}
        above[point] = point
        if not touched:
            alive[point] = _Basin(point, areas[point])
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


def _lattice(shape: tuple[int, ...], neighbours: int) -> Callable[[int], Iterable[int]]:
    """The points next to a point of a grid, all counted row by row."""
    num_rows, num_columns = shape

    def adjacent(point: int) -> list[int]:
        i, j = divmod(point, num_columns)
        around = [(i + di, j + dj) for di, dj in _STEPS[neighbours]]
        return [i * num_columns + j for i, j in around if 0 <= i < num_rows and 0 <= j < num_columns]

    return adjacent


def _triangulated(
    rows: np.ndarray, columns: np.ndarray, x: np.ndarray, y: np.ndarray
) -> tuple[list[float], Callable[[int], Iterable[int]]]:
    """A third of the triangles around each point of a refined grid, and the points next to one."""
    triangulation = Delaunay(np.column_stack([rows, columns]))
    corners = np.column_stack([x[rows], y[columns]])[triangulation.simplices]  # (triangles, 3, 2)
    (ax, ay), (bx, by) = (corners[:, 1] - corners[:, 0]).T, (corners[:, 2] - corners[:, 0]).T
    areas = np.zeros(len(rows))
    np.add.at(areas, triangulation.simplices, np.abs(ax * by - ay * bx)[:, None] / 6)
    starts, others = triangulation.vertex_neighbor_vertices
    return areas.tolist(), lambda point: others[starts[point] : starts[point + 1]].tolist()


def _ticks(axis: Sequence[float] | np.ndarray | None, size: int) -> np.ndarray:
    ticks = np.arange(size, dtype=float) if axis is None else np.asarray(axis, dtype=float)
    if ticks.shape != (size,):
        raise ValueError(f"An axis has shape {ticks.shape}, and the grid {size} points along it.")
    return ticks


def _lengths(ticks: np.ndarray, counted: bool) -> np.ndarray:
    """What each point of an axis stands for: half the way to each of its neighbours; they add up to the whole axis."""
    if counted or len(ticks) == 1:
        return np.ones(len(ticks))
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
