"""``line`` and ``plane``: the loss on a grid of points around the weights (Li et al. 2018, arXiv:1712.09913).

    L(w + x d1/||d1|| + y d2/||d2||),    x from -span ||d1|| to span ||d1||, likewise y

Axis values are true displacements. A grid is symmetric and has the weights in its middle, so the number of points along
an axis is odd: an even one gets one more. Two directions that are not orthogonal make an oblique plane, of which the
cosine is told. What the result is held against is in ``landscape.surface.checks``.
"""

import math
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypedDict, Unpack, overload

import numpy as np
import torch
from torch import Tensor

from landscape import __version__
from landscape.measure.analysis import device_name
from landscape.objective import Objective
from landscape.results import Line, Plane
from landscape.surface.checks import centre_check, curvature_check, noise_floor
from landscape.surface.directions import Directions, find_directions
from landscape.surface.rows import Rows, run_key
from landscape.surface.walk import Walk

Progress = Callable[[int, int, float], None]
_MODES = {
    "eval": "batch-normalization statistics as they are at the weights",
    "reestimate": "batch-normalization statistics estimated anew at every point",
}


class _Options(TypedDict, total=False):
    normalize: str | None
    num_points: int
    span: float
    seed: int
    biases: bool
    mode: str
    progress: Progress | None


class _LineOptions(_Options, total=False):
    direction: str | Directions | Tensor


class _PlaneOptions(_Options, total=False):
    directions: str | Directions | Sequence[Tensor]
    orthogonalize: bool
    rows: str | Path | None


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
    seed: int = 0,
    biases: bool = False,
    mode: str = "eval",
    progress: Progress | None = None,
) -> Line | dict[str, Line]:
    """The loss along one direction. One forward pass a point, and what its checks cost.

    The arguments are those of ``plane``, but for ``direction``: "random", "eigen" (of the largest eigenvalue),
    "gradient", a vector (d,), or ``Directions`` of one.

    Example:
        >>> model = torch.nn.Linear(1, 1, bias=False)
        >>> _ = torch.nn.init.constant_(model.weight, 3.0)
        >>> objective = Objective(model, torch.nn.MSELoss(), [(torch.ones(1, 1), torch.zeros(1, 1))])
        >>> found = line(objective, direction=torch.tensor([2.0]), num_points=3)
        >>> found.x, found.loss  # (3 + x)^2
        (array([-2.,  0.,  2.]), array([ 1.,  9., 25.]))
    """
    objectives = _objectives(objective, mode)
    first = next(iter(objectives.values()))
    found = find_directions(first, direction, num=1, normalize=normalize, seed=seed, biases=biases)
    x = _axis(found.norms[0], span, num_points)
    asked = {"span": span, "seed": seed, "mode": mode}
    grids = _measure(objectives, found, [x], asked, None, progress)
    lines = {
        split: Line(x, loss[0], None if acc is None else acc[0], split, details)
        for split, (loss, acc, details) in grids.items()
    }
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
    seed: int = 0,
    orthogonalize: bool = False,
    biases: bool = False,
    mode: str = "eval",
    rows: str | Path | None = None,
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
        seed: of random directions and Krylov spaces.
        orthogonalize: take from the second direction its part along the first.
        biases: whether biases and normalization layers move too, in normalized directions.
        mode: "eval", or "reestimate": batch-normalization statistics are estimated anew at every point, from the data
            of "train" (the first).
        rows: a directory in which finished rows are kept. The same call again takes up from them.
        progress: called with (rows done, rows in all, seconds left) after each row.

    ``details`` says what was done: "directions", "normalize", "norms", "cosine", "excluded" (parameters that stay),
    "checks" (the centre against the measured loss, the curvature of both slices against products with the Hessian),
    "noise_floor", "mode", "num_forwards", "seconds", "provenance"; "eigenvalues", "path" or "marks" where there are
    such.

    Raises:
        ValueError: for an argument out of its range, or objectives of different weights.
        MeasurementError: where eigenvectors or the gradient cannot be computed.

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
    objectives = _objectives(objective, mode)
    first = next(iter(objectives.values()))
    found = find_directions(first, directions, num=2, normalize=normalize, seed=seed, biases=biases)
    if orthogonalize:
        found = found.orthogonalized()
    x, y = (_axis(norm, span, num_points) for norm in found.norms)
    asked = {"span": span, "seed": seed, "mode": mode, "orthogonalize": orthogonalize}
    kept = None
    if rows is not None:
        # Vectors that are computed are the same in another run but for rounding, which a hash would not forgive.
        given = [] if found.kind in ("random", "eigen", "gradient") else list(found.vectors)
        counts = {split: [one.num_examples, one.total_weight] for split, one in objectives.items()}
        settings = [__version__, found.kind, found.normalize, biases, num_points, asked, counts, str(first.dtype)]
        kept = Rows(rows, run_key([first.vector(), *given], settings))
    grids = _measure(objectives, found, [x, y], asked, kept, progress)
    planes = {split: Plane(x, y, loss, acc, split, details) for split, (loss, acc, details) in grids.items()}
    return planes["train"] if isinstance(objective, Objective) else planes


def _objectives(objective: Objective | Mapping[str, Objective], mode: str) -> dict[str, Objective]:
    """By split, all around the same weights."""
    if mode not in _MODES:
        raise ValueError(f"mode={mode!r}. Expected one of: {', '.join(_MODES)}.")
    objectives = dict(objective) if isinstance(objective, Mapping) else {"train": objective}
    if not objectives:
        raise ValueError("There is no objective. Expected at least one split.")
    first, *others = (one.vector() for one in objectives.values())
    if not all(other.shape == first.shape and torch.equal(other, first) for other in others):
        raise ValueError(f"{', '.join(objectives)} have different weights. Give objectives of one model.")
    return objectives


def _axis(norm: float, span: float, num_points: int) -> np.ndarray:
    """Displacements from -span norm to span norm, 0 exactly in the middle."""
    if num_points < 3:
        raise ValueError(f"num_points={num_points}. Expected at least 3 along an axis.")
    if not (math.isfinite(span) and span > 0):
        raise ValueError(f"span={span}. Expected a positive number.")
    half = num_points // 2
    return np.arange(-half, half + 1) * (span * norm / half)


_Grids = dict[str, tuple[np.ndarray, np.ndarray | None, dict[str, Any]]]


def _measure(
    objectives: Mapping[str, Objective],
    found: Directions,
    axes: Sequence[np.ndarray],
    asked: Mapping[str, Any],
    kept: Rows | None,
    progress: Progress | None,
) -> _Grids:
    """Losses, accuracies and details by split, (rows, points of a row): a row is an x, or all of a line."""
    started, start = datetime.now(UTC), time.perf_counter()
    first = next(iter(objectives.values()))
    statistics = first if asked["mode"] == "reestimate" else None
    walks = {split: Walk(one, found.vectors, statistics=statistics) for split, one in objectives.items()}
    rows = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)  # (n, n, 2), or (n, 1) of a line: all in one row
    rows = rows if len(axes) == 2 else rows[None]
    results = dict(kept.finished) if kept else {}
    num_all, num_new, begun = len(rows) * len(walks), 0, time.perf_counter()
    for index, points in enumerate(rows):
        for split, walk in walks.items():
            if (split, index) in results:
                continue
            results[split, index] = walk(points)
            num_new += 1
            if kept:
                kept.add(split, index, *results[split, index])
            if progress:
                left = num_all - len(results)
                progress(len(results), num_all, (time.perf_counter() - begun) / num_new * left)
    seconds = time.perf_counter() - begun

    grids: _Grids = {}
    reach, steps = [axis[-1] for axis in axes], [axis[len(axis) // 2 + 1] for axis in axes]
    for split, one in objectives.items():
        loss = np.stack([results[split, i][0] for i in range(len(rows))])
        accuracies = [row for i in range(len(rows)) if (row := results[split, i][1]) is not None]
        middle = loss[len(loss) // 2, loss.shape[1] // 2]
        floor, floor_reason = noise_floor(one, found.vectors, steps)
        curvature = curvature_check(one, found.vectors, reach)
        details = {
            "directions": found.kind,
            "normalize": found.normalize,
            "norms": found.norms,
            "cosine": found.cosine,
            **found.details,
            **asked,
            "mode_means": _MODES[asked["mode"]],
            "checks": {"centre": centre_check(float(middle), one, asked["mode"]), "curvature": curvature},
            "noise_floor": floor,
            "noise_floor_reason": floor_reason,
            "num_params": one.num_params,
            "num_examples": one.num_examples,
            "dtype": str(one.dtype).removeprefix("torch."),
            "num_forwards": loss.size,
            "points_at_once": walks[split].points_at_once,
            "resumed_rows": len(rows) - num_new // len(walks),
            "provenance": {
                "landscape": __version__,
                "torch": torch.__version__,
                "python": platform.python_version(),
                "device": device_name(one.device),
                "num_threads": torch.get_num_threads(),
                "command": " ".join(sys.argv),
                "started": started.isoformat(timespec="seconds"),
                "seconds_grid": seconds,
                "seconds": time.perf_counter() - start,
            },
        }
        grids[split] = loss, np.stack(accuracies) if accuracies else None, details
    return grids
