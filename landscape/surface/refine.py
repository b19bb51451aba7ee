"""The points of a plane, spent where the surface curves.

A regular grid of about a quarter of the points comes first. Its cells are then quartered, those with the largest
estimated error of interpolation first, round after round. The estimate of a coarse cell is that of linear
interpolation, h^2 f''/8 by second differences; that of a quartered one is how far the surface was from the
interpolation at the new points around it, over 4, as the error falls with the square of the size.

What a coarse grid steps over altogether is not found. Between the points the surface is interpolated linearly, over a
Delaunay triangulation. No cell is quartered for a NaN or an infinity.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import isqrt

import numpy as np
from scipy.interpolate import LinearNDInterpolator

_DEPTH = 3  # times that a coarse cell may be halved
_LEAST = 25  # points: a coarse grid of 5 x 5
_NEW = np.array([(1, 0), (0, 1), (1, 1), (2, 1), (1, 2)])  # of a quartered cell, in half cells from its corner
_PART = 0.25  # of the largest estimate: what a round quarters at once


@dataclass(frozen=True)
class Refined:
    """A surface measured at scattered points, and interpolated on a regular grid that contains them all.

    Attributes:
        points: (k, 2), in the order in which they were measured; they lie on the grid.
        losses: (k,); NaN and infinity are kept.
        x: (n,) the axes of the grid, symmetric, with 0 in the middle.
        y: (n,)
        loss: (n, n) at (x[i], y[j]): measured where it was, elsewhere interpolated, NaN next to what is not finite.
        measured: (n, n), whether it was.
    """

    points: np.ndarray
    losses: np.ndarray
    x: np.ndarray
    y: np.ndarray
    loss: np.ndarray
    measured: np.ndarray

    def interpolate(self, values: np.ndarray) -> np.ndarray:
        """Other values (k,) at the points, such as the accuracy, on the grid (n, n)."""
        return _interpolated(self.points, values, self.x, self.y)


def refine(values: Callable[[np.ndarray], np.ndarray], *, span_x: float, span_y: float, num_points: int) -> Refined:
    """Measure a surface on [-span_x, span_x] x [-span_y, span_y] at no more than ``num_points`` points.

    Args:
        values: the losses (k,) at points (k, 2). It is called round by round, never twice at a point, and at the same
            points for the same losses: one that remembers them resumes a measurement that was stopped.
        span_x: half the width.
        span_y: half the height.
        num_points: the budget; up to 4 are left over, and more where the surface is flat.

    Raises:
        ValueError: for fewer than 25 points, a span that is not positive, or losses that are not one a point.

    Example:
        >>> found = refine(lambda points: points[:, 0] ** 2, span_x=1.0, span_y=2.0, num_points=200)
        >>> len(found.points) <= 200, found.x[[0, -1]], found.y[[0, -1]]
        (True, array([-1.,  1.]), array([-2.,  2.]))
        >>> bool(np.abs(found.loss - found.x[:, None] ** 2).max() < 0.02)
        True
    """
    if num_points < _LEAST:
        raise ValueError(f"num_points={num_points}. Expected at least {_LEAST}.")
    if not (span_x > 0 and span_y > 0):
        raise ValueError(f"The spans are {span_x} and {span_y}. Expected lengths above 0.")
    num_cells = max(4, 2 * (isqrt(num_points // 4) // 2))  # a side; an even number has a point in the middle
    side = 2**_DEPTH  # of a coarse cell, in steps of the finest grid
    n = num_cells * side + 1
    x, y = (span * (np.arange(n) - n // 2) / (n // 2) for span in (span_x, span_y))
    grid = np.full((n, n), np.nan)
    measured = np.zeros((n, n), dtype=bool)
    order: list[np.ndarray] = []

    def measure(indices: np.ndarray) -> None:  # (k, 2) of the finest grid, new ones
        losses = np.asarray(values(np.column_stack([x[indices[:, 0]], y[indices[:, 1]]])), dtype=float)
        if losses.shape != (len(indices),):
            raise ValueError(f"The losses of {len(indices)} points have shape {losses.shape}. Expected one a point.")
        grid[tuple(indices.T)], measured[tuple(indices.T)] = losses, True
        order.append(indices)

    coarse = np.stack(np.meshgrid(*2 * [np.arange(0, n, side)], indexing="ij"), axis=-1)  # (c + 1, c + 1, 2)
    measure(coarse.reshape(-1, 2))
    corners, sides = coarse[:-1, :-1].reshape(-1, 2), np.full(num_cells**2, side)
    errors = _coarse_errors(grid[::side, ::side])
    left = num_points - int(measured.sum())
    while True:
        chosen, new = _affordable(corners, sides, errors, measured, left)
        if not len(new):
            break
        measure(new)
        left -= len(new)
        parts, part_errors = _quartered(corners[chosen], sides[chosen], grid)
        corners = np.concatenate([np.delete(corners, chosen, axis=0), parts])
        sides = np.concatenate([np.delete(sides, chosen), np.repeat(sides[chosen] // 2, 4)])
        errors = np.concatenate([np.delete(errors, chosen), part_errors])
    indices = np.concatenate(order)
    points = np.column_stack([x[indices[:, 0]], y[indices[:, 1]]])
    losses = grid[tuple(indices.T)]
    return Refined(points, losses, x, y, _interpolated(points, losses, x, y), measured)


def _coarse_errors(losses: np.ndarray) -> np.ndarray:  # (c + 1, c + 1) -> (c * c,)
    """The largest |second difference| / 8 along either axis at the corners of each cell."""
    bends = np.zeros_like(losses)  # none at the ends, where the neighbour speaks for the cell
    for axis in (0, 1):
        along, inner = np.moveaxis(losses, axis, 0), np.moveaxis(bends, axis, 0)[1:-1]
        with np.errstate(invalid="ignore"):
            second = np.abs(along[2:] - 2 * along[1:-1] + along[:-2]) / 8
        np.maximum(inner, np.where(np.isfinite(second), second, 0), out=inner)
    bends[~np.isfinite(losses)] = np.nan  # and so is every cell that it touches
    corners = [bends[i : len(bends) - 1 + i, j : len(bends) - 1 + j] for i in (0, 1) for j in (0, 1)]
    return np.nan_to_num(np.max(corners, axis=0), nan=0).ravel()


def _affordable(
    corners: np.ndarray, sides: np.ndarray, errors: np.ndarray, measured: np.ndarray, budget: int
) -> tuple[list[int], np.ndarray]:
    """The cells to quarter next, and the points that this takes, no more than ``budget``."""
    open_ = np.flatnonzero((sides > 1) & (errors > 0))
    ranked = open_[np.argsort(-errors[open_], kind="stable")]
    chosen: list[int] = []
    new: dict[tuple[int, int], None] = {}
    for cell in ranked:
        if errors[cell] < _PART * errors[ranked[0]]:
            break
        wanted = [tuple(point) for point in (corners[cell] + _NEW * (sides[cell] // 2)).tolist()]
        added = [point for point in wanted if point not in new and not measured[point]]
        if len(new) + len(added) > budget:
            break
        new |= dict.fromkeys(added)
        chosen.append(int(cell))
    return chosen, np.array(list(new), dtype=int).reshape(-1, 2)


def _quartered(corners: np.ndarray, sides: np.ndarray, grid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The corners (4 k, 2) of the quarters of k cells, and their estimated errors (4 k,)."""
    half = sides // 2
    nodes = np.stack([[grid[tuple((corners + half[:, None] * (i, j)).T)] for j in range(3)] for i in range(3)])
    flat = nodes.copy()  # (3, 3, k); what bilinear interpolation between the four corners makes of it
    with np.errstate(invalid="ignore"):
        flat[1] = (nodes[0] + nodes[2]) / 2
        flat[:, 1] = (flat[:, 0] + flat[:, 2]) / 2
        surplus = np.abs(nodes - flat)
    parts, found = [], []
    for i in (0, 1):
        for j in (0, 1):
            parts.append(corners + half[:, None] * (i, j))
            own, values = surplus[i : i + 2, j : j + 2], nodes[i : i + 2, j : j + 2]
            found.append(np.where(np.isfinite(values).all((0, 1)), own.max((0, 1)) / 4, 0))
    return np.stack(parts, axis=1).reshape(-1, 2), np.stack(found, axis=1).ravel()


def _interpolated(points: np.ndarray, values: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """On the grid: the values where they were measured, linear between them, NaN next to one that is not finite."""
    i, j = np.searchsorted(x, points[:, 0]), np.searchsorted(y, points[:, 1])
    steps = np.column_stack([i, j])  # whole numbers: no rounding in the triangulation
    known = np.where(np.isfinite(values), values, np.nan)
    grid = LinearNDInterpolator(steps, known)(*np.meshgrid(np.arange(len(x)), np.arange(len(y)), indexing="ij"))
    grid[i, j] = values
    return grid
