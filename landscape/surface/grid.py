"""``line`` and ``plane``: the loss on a grid of points around the weights (Li et al. 2018, arXiv:1712.09913).

    L(w + x d1/||d1|| + y d2/||d2||),    x from -span ||d1|| to span ||d1||, likewise y

Axis values are true displacements. A grid is symmetric and has the weights in its middle. Two directions that are not
orthogonal make an oblique plane, of which the cosine is told. ``landscape.surface.checks`` says how it is checked.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict, Unpack, overload

import numpy as np
import torch
from torch import Tensor

from landscape import __version__
from landscape.errors import NonFiniteError
from landscape.measure.analysis import fingerprint_of
from landscape.objective import Objective
from landscape.results import Line, Plane
from landscape.surface.checks import MODES, details_of
from landscape.surface.directions import Directions, find_directions
from landscape.surface.persistence import extrema
from landscape.surface.points import FinishedRows, Points, Progress, run_key
from landscape.surface.refine import refine as refined

_LINE_PART = 8  # points of a line that a kill loses at most; of a plane, a row
_LEAST_REFINED = 5  # points along an axis: the coarse grid that refining begins with


class _Options(TypedDict, total=False):
    normalize: str | None
    num_points: int
    span: float
    seed: int
    biases: bool
    mode: str
    rows: str | Path | None
    overwrite: bool
    progress: Progress | None


class _LineOptions(_Options, total=False):
    direction: str | Directions | Tensor
    reach: float | None


class _PlaneOptions(_Options, total=False):
    directions: str | Directions | Sequence[Tensor]
    reach: Sequence[float] | None
    orthogonalize: bool
    refine: bool


@overload
def line(objective: Objective, **options: Unpack[_LineOptions]) -> Line: ...
@overload
def line(objective: Mapping[str, Objective], **options: Unpack[_LineOptions]) -> dict[str, Line]: ...
def line(
    objective: Objective | Mapping[str, Objective],
    *,
    direction: str | Directions | Tensor = "random",
    normalize: str | None = None,
    num_points: int = 51,
    span: float = 1.0,
    reach: float | None = None,
    seed: int = 0,
    biases: bool = False,
    mode: str = "eval",
    rows: str | Path | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Line | dict[str, Line]:
    """The loss along one direction. One forward pass a point, and what its checks cost.

    The arguments are those of ``plane``, but for ``direction``: "random", "eigen" (of the largest eigenvalue),
    "gradient", a vector (d,), or ``Directions`` of one; and ``reach``, one number.

    Example:
        >>> model = torch.nn.Linear(1, 1, bias=False)
        >>> _ = torch.nn.init.constant_(model.weight, 3.0)
        >>> objective = Objective(model, torch.nn.MSELoss(), [(torch.ones(1, 1), torch.zeros(1, 1))])
        >>> found = line(objective, direction=torch.tensor([2.0]), num_points=3)
        >>> found.x, found.loss  # (3 + x)^2
        (array([-2.,  0.,  2.]), array([ 1.,  9., 25.]))
    """
    objectives, first = _objectives(objective, mode)
    found = find_directions(first, direction, num=1, normalize=normalize, seed=seed, biases=biases)
    (x,), spans = _axes(found, span, None if reach is None else [reach], num_points)
    asked = {"span": spans[0], "seed": seed, "mode": mode}
    points = _points(objectives, found, asked, len(x), biases, rows, overwrite, progress)
    points(x[:, None])
    lines = {}
    for split, one in objectives.items():
        bare = Line(x, *points.found(split), split)
        lines[split] = replace(bare, details=details_of(bare, one, found, asked, points))
    return lines["train"] if isinstance(objective, Objective) else lines


@overload
def plane(objective: Objective, **options: Unpack[_PlaneOptions]) -> Plane: ...
@overload
def plane(objective: Mapping[str, Objective], **options: Unpack[_PlaneOptions]) -> dict[str, Plane]: ...
def plane(
    objective: Objective | Mapping[str, Objective],
    *,
    directions: str | Directions | Sequence[Tensor] = "random",
    normalize: str | None = None,
    num_points: int = 51,
    span: float = 1.0,
    reach: Sequence[float] | None = None,
    seed: int = 0,
    orthogonalize: bool = False,
    refine: bool = False,
    biases: bool = False,
    mode: str = "eval",
    rows: str | Path | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Plane | dict[str, Plane]:
    """The loss, and accuracy, over a plane. ``num_points``^2 forward passes a split, and what its checks cost.

    Args:
        objective: one (its plane is called "train"), or {"train": ..., "test": ...} of the same weights, over one grid;
            eigenvectors and the gradient are then those of the first.
        directions: "random", "eigen" (of the two largest eigenvalues), "gradient" (and the top eigenvector), two
            vectors (d,), or what a function of ``landscape.surface.directions`` gives.
        normalize: "filter", "layer", "model" or "none"; by default "filter" for random directions, whose length means
            nothing, and "none" for others. Rescaled part by part, an eigenvector is none any more.
        num_points: along each axis; an even number gets one more, the middle.
        span: how far the grid goes to each side, in lengths of the direction.
        reach: how far it goes along each axis as a displacement, in place of ``span``, so that planes of checkpoints
            whose directions differ in length have one scale.
        seed: of random directions and Krylov spaces.
        orthogonalize: take from the second direction its part along the first.
        refine: spend as many points, but where the loss on the first split curves (``landscape.surface.refine``). The
            result is a finer grid, linear between the points that were measured, ``details["measured"]`` (n, n).
        biases: whether biases and normalization layers move too, in normalized directions.
        mode: "eval", or "reestimate": batch-normalization statistics are estimated anew at every point, from the data
            of "train" (the first).
        rows: a directory in which finished rows are kept. The same call again takes up from them.
        overwrite: rows there of other data, another loss or another model are measured anew, and not refused.
        progress: called with (rows done, rows in all, seconds left) after each row.

    ``details`` says what was done: "directions", "normalize", "norms", "cosine", "excluded" (parameters that stay),
    "checks" and "noise_floor" (``landscape.surface.checks``), "mode", "num_forwards", "provenance"; "eigenvalues",
    "path" or "marks" where there are such; the extrema (``landscape.surface.persistence.extrema``).

    Raises:
        ValueError: for an argument out of its range, objectives of different weights, or rows of something else.
        MeasurementError: where eigenvectors or the gradient cannot be computed, or the weights are not finite.

    Example:
        >>> model = torch.nn.Linear(2, 1, bias=False)
        >>> _ = torch.nn.init.zeros_(model.weight)
        >>> batch = (torch.diag(torch.tensor([1.0, 3.0])), torch.zeros(2, 1))
        >>> objective = Objective(model, torch.nn.MSELoss(), [batch])
        >>> found = plane(objective, directions=tuple(torch.eye(2)), num_points=3)
        >>> found.loss  # (x^2 + 9 y^2) / 2
        array([[5. , 0.5, 5. ],
               [4.5, 0. , 4.5],
               [5. , 0.5, 5. ]])
        >>> [check["agrees"] for check in found.details["checks"]["curvature"]]
        [True, True]
    """
    if refine and num_points < _LEAST_REFINED:
        raise ValueError(f"num_points={num_points}. Expected at least {_LEAST_REFINED} along an axis to refine.")
    objectives, first = _objectives(objective, mode)
    found = find_directions(first, directions, num=2, normalize=normalize, seed=seed, biases=biases)
    if orthogonalize:
        found = found.orthogonalized()
    (x, y), spans = _axes(found, span, reach, num_points)
    asked = {"span": span if reach is None else spans, "seed": seed, "mode": mode}
    asked |= {"orthogonalize": orthogonalize, "refine": refine}
    n = len(x)
    points = _points(objectives, found, asked, n, biases, rows, overwrite, progress)
    on_grid: Callable[[np.ndarray], np.ndarray]
    if refine:
        spent = refined(points, span_x=x[-1], span_y=y[-1], num_points=n**2)
        x, y, on_grid, measured = spent.x, spent.y, spent.interpolate, {"measured": spent.measured}
    else:
        points(np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1).reshape(-1, 2))
        on_grid, measured = (lambda values: values.reshape(n, n)), {}
    planes = {}
    for split, one in objectives.items():
        loss, accuracy = points.found(split)
        bare = Plane(x, y, on_grid(loss), None if accuracy is None else on_grid(accuracy), split)
        details = details_of(bare, one, found, asked, points) | measured
        planes[split] = replace(bare, details=details)
        if details["noise_floor"] >= 0:
            planes[split] = replace(bare, details=details | extrema(planes[split]))
    return planes["train"] if isinstance(objective, Objective) else planes


def _objectives(objective: Objective | Mapping[str, Objective], mode: str) -> tuple[dict[str, Objective], Objective]:
    """By split, all around the same weights, and the first of them."""
    if mode not in MODES:
        raise ValueError(f"mode={mode!r}. Expected one of: {', '.join(MODES)}.")
    objectives = dict(objective) if isinstance(objective, Mapping) else {"train": objective}
    if not objectives:
        raise ValueError("There is no objective. Expected at least one split.")
    require_finite(objectives)
    first, *others = (one.vector() for one in objectives.values())
    if not all(other.shape == first.shape and torch.equal(other, first) for other in others):
        raise ValueError(f"{', '.join(objectives)} have different weights. Give objectives of one model.")
    return objectives, next(iter(objectives.values()))


def require_finite(objectives: Mapping[str, Objective]) -> None:
    """Refuse weights that are not finite.

    Raises:
        NonFiniteError: in the words of the loss, where that is not finite either.
    """
    first = next(iter(objectives.values()))
    for name, piece in zip(first.names, first.layout.split(first.vector()), strict=True):
        if not torch.isfinite(piece).all():
            first.value()
            raise NonFiniteError(f"The weights are not finite, first in parameter {name!r}.")


def _axes(
    found: Directions, span: float, reach: Sequence[float] | None, num_points: int
) -> tuple[list[np.ndarray], list[float]]:
    """Displacements from -reach to reach, 0 exactly in the middle; and the reach in lengths of the direction."""
    if num_points < 3:
        raise ValueError(f"num_points={num_points}. Expected at least 3 along an axis.")
    if not (math.isfinite(span) and span > 0):
        raise ValueError(f"span={span}. Expected a positive number.")
    spans = [span for _ in found.norms]
    if reach is not None:
        if len(reach) != len(spans) or not all(math.isfinite(far) and far > 0 for far in reach):
            raise ValueError(f"reach={list(reach)}. Expected {len(spans)} positive displacements.")
        spans = [far / norm for far, norm in zip(reach, found.norms, strict=True)]
    far = reach if reach is not None else [span * norm for norm in found.norms]
    half = num_points // 2
    return [np.arange(-half, half + 1) * (one / half) for one in far], spans


def _points(
    objectives: Mapping[str, Objective],
    found: Directions,
    asked: Mapping[str, Any],
    n: int,
    biases: bool,
    rows: str | Path | None,
    overwrite: bool,
    progress: Progress | None,
) -> Points:
    """The points of a grid of n along each axis, with the finished parts of the same run."""
    first, kept, num_axes = next(iter(objectives.values())), None, len(found.vectors)
    if rows is not None:
        # Vectors that are computed are the same in another run but for rounding, which a hash would not forgive.
        given = [] if found.kind in ("random", "eigen", "gradient") else list(found.vectors)
        counts = {split: [one.num_examples, one.total_weight] for split, one in objectives.items()}
        spans = [f"{one:.9g}" for one in np.atleast_1d(asked["span"])]  # likewise
        told = {**asked, "biases": biases, "points": n, "span": spans}
        settings = [__version__, found.kind, found.normalize, num_axes, told, counts, str(first.dtype)]
        fingerprint = fingerprint_of(objectives) | {"state": first.state_hash()}
        kept = FinishedRows(rows, run_key([first.vector(), *given], settings), fingerprint, overwrite=overwrite)
    return Points(
        objectives,
        found.vectors,
        statistics=first if asked["mode"] == "reestimate" else None,
        kept=kept,
        part=_LINE_PART if num_axes == 1 else n,
        num_points=n**num_axes,
        progress=progress,
    )
