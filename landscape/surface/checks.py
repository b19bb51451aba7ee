"""What a line or plane says of itself, and what it is held against: its centre, its curvature, the noise it stands on.

- the loss in the middle of the grid is the measured loss, to rounding;
- the slope of the slice along each direction u, (L(w + hu) - L(w - hu)) / 2h, agrees with u^T g, and its second
  difference, (L(w + hu) - 2 L(w) + L(w - hu)) / h^2, with u^T H u from an exact product, in float64. h is the step at
  which rounding is about to count. Kinks (ReLU, max-pool) make second differences that no Hessian sees: where the two
  differ and examples show kinks within h, the check says that it cannot tell;
- the noise floor: extrema that are shallower mean nothing.

The last two take as many of the examples as cost a small share of the grid's forward passes; fewer overstate the noise.
"""

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from landscape.derivatives import DerivativeError
from landscape.measure.analysis import fingerprint_of, provenance
from landscape.measure.rise import Rise
from landscape.objective import MeasurementError, Objective
from landscape.operators import Hessian
from landscape.results import Line, Plane
from landscape.surface.directions import Directions
from landscape.surface.points import Points
from landscape.surface.walk import Walk

MODES = {
    "eval": "batch-normalization statistics as they are at the weights",
    "reestimate": "batch-normalization statistics estimated anew at every point",
}

_EXAMPLES = 64  # at most, on which slices are compared: the fewer, the fewer kinks; and at least, for the noise
_FEWEST = 2  # on which slices are compared, whatever they cost
_SHARE = 0.02  # of the grid's forward passes, that a check may cost
_SLICES, _PRECISIONS = 300, 100  # forward passes an example that the checks cost, where float64 is ten times as slow
_LARGEST, _SMALLEST = 0.01 / 4, 0.01 / 4**10  # step h, in parts of the grid's reach
_REL_ERROR = 0.02  # within which the two must agree, beside the error of the difference
_CLEAN = 1e-3  # of the second difference: the rounding error at the step h
_SMOOTH = 0.05  # by how much an example's second difference may change from a step to the next, without a kink
_ROUNDING = 64  # times the eps of the dtype, relative to the loss
_MARGIN = 2  # on the spread of the rounding error


def details_of(
    surface: Line | Plane, objective: Objective, found: Directions, asked: Mapping[str, Any], points: Points
) -> dict[str, Any]:
    """What is told of one split: the directions, the arguments ``asked``, its checks and its noise floor."""
    start, axes = time.perf_counter(), [getattr(surface, axis) for axis in surface.axes]
    steps, num_points = [axis[len(axis) // 2 + 1] for axis in axes], points.num_points
    floor, floor_reason = noise_floor(objective, found.vectors, steps, num_points=num_points)
    checks = {
        "centre": centre_check(surface.centre, objective, asked["mode"]),
        "curvature": curvature_check(objective, found.vectors, [axis[-1] for axis in axes], num_points=num_points),
    }
    return {
        "directions": found.kind,
        "normalize": found.normalize,
        "norms": found.norms,
        "cosine": found.cosine,
        **found.details,
        **asked,
        "mode_means": MODES[asked["mode"]],
        "checks": checks,
        "noise_floor": floor,
        "noise_floor_reason": floor_reason,
        "num_params": objective.num_params,
        "num_examples": objective.num_examples,
        "dtype": str(objective.dtype).removeprefix("torch."),
        "fingerprint": fingerprint_of({surface.split: objective}),
        "num_forwards": points.num_points,
        "points_at_once": points.walks[surface.split].points_at_once,
        "resumed_rows": points.num_resumed,
        "provenance": provenance(objective.device, points.started)
        | {"seconds_grid": points.seconds, "seconds": points.seconds + time.perf_counter() - start},
    }


def centre_check(found: float, objective: Objective, mode: str) -> dict[str, Any]:
    """Whether the loss in the grid's middle is the measured one, to rounding.

    Statistics that are estimated anew there give another loss than those of the model: then ``agrees`` is None.
    """
    try:
        measured = objective.value()
    except MeasurementError as error:
        return {"found": found, "measured": math.nan, "agrees": not math.isfinite(found), "reason": str(error)}
    agrees: bool | None = abs(found - measured) <= _ROUNDING * torch.finfo(objective.dtype).eps * abs(measured)
    reason = f"{found:.9g} on the grid, {measured:.9g} measured"
    if mode != "eval":
        agrees, reason = None, f"{reason}, with other batch-normalization statistics"
    return {"found": found, "measured": measured, "agrees": agrees, "reason": reason}


def curvature_check(
    objective: Objective, vectors: Sequence[Tensor], reach: Sequence[float], *, num_points: int
) -> list[dict[str, Any]]:
    """Along each direction, u^T H u ("product") beside the "second_difference" and its "error"; likewise "slope".

    ``agrees`` is whether both do; None, with the reason, where that cannot be told or not be computed. ``reach`` is how
    far the grid goes along each, ``num_points`` what it takes.
    """
    try:
        some = _some(objective, max(_FEWEST, min(_affordable(objective, num_points, _SLICES), _EXAMPLES)))
        wide = objective.over(some, dtype=objective.accumulation_dtype)
        walk = Walk(wide, vectors, points_at_once=1)
        units = torch.stack([(v / v.norm()).to(wide.device, wide.dtype) for v in vectors], dim=1)
        slopes = (units.T @ wide.gradient()).tolist()
        products = (units * (Hessian(wide) @ units)).sum(0).tolist()
        centre = _losses(walk, 0, 0.0)
        slices = [_slice(walk, axis, far, centre, products[axis]) for axis, far in enumerate(reach)]
    except DerivativeError as error:
        return [{"agrees": False, "reason": str(error)} for _ in vectors]
    except (MeasurementError, RuntimeError, ValueError) as error:
        return [{"agrees": None, "reason": f"not checked: {str(error).splitlines()[0]}"} for _ in vectors]
    return [
        {**_compare(found, slope, product), "num_examples": wide.num_examples}
        for found, slope, product in zip(slices, slopes, products, strict=True)
    ]


def noise_floor(
    objective: Objective, vectors: Sequence[Tensor], steps: Sequence[float], *, num_points: int
) -> tuple[float, str]:
    """Twice the spread of the rounding error at the centre and a step along each direction, and how it was found.

    NaN where the loss cannot be computed in another precision, or is not finite.
    """
    num_examples = max(_EXAMPLES, _affordable(objective, num_points, _PRECISIONS))
    try:
        if num_examples < objective.num_examples:
            objective = objective.over(_some(objective, num_examples))
        rise = Rise(objective)
        moves = [(v / v.norm() * t).to(rise.origin) for v, t in zip(vectors, steps, strict=True)]
        errors = [0.0, *(rise.rounding_error(u) for v in moves for u in (v, -v))]  # none at the centre
    except (MeasurementError, ValueError) as error:
        return math.nan, f"not measured: {error}"
    return _MARGIN * float(np.ptp(errors)), (
        f"twice the spread of the rounding error at {len(errors)} points on {objective.num_examples} examples"
    )


def _affordable(objective: Objective, num_points: int, cost: int) -> int:
    return int(_SHARE * num_points * objective.num_examples / cost)


def _some(objective: Objective, num_examples: int) -> list[Any]:
    """Batches of so many examples, or the first where it cannot be cut."""
    try:
        return next(objective.recut(num_examples))
    except ValueError:
        return [next(batch for _, batch in objective.batches())]


class _Slice(NamedTuple):
    slope: float
    second: float
    error: float  # of the second difference: rounding, and what a step of four times the length makes of it
    kinked: int  # examples whose second differences at the two steps tell a kink


def _slice(walk: Walk, axis: int, reach: float, centre: np.ndarray, product: float) -> _Slice:
    """Slope and second difference at the step at which rounding changes ``product`` by the part ``_CLEAN`` of it."""
    objective = walk.objective
    rounding = 4 * torch.finfo(objective.dtype).eps * np.maximum(np.abs(centre), 1.0)  # (n,), times 1 / h^2
    noise = rounding.sum() / objective.total_weight / np.sqrt(len(centre))
    h = np.sqrt(noise / (_CLEAN * max(abs(product), 1e-300)))
    h = float(np.clip(h, _SMALLEST * reach, _LARGEST * reach))
    steps = np.array([4 * h, h])
    plus, minus = (np.stack([_losses(walk, axis, sign * step) for step in steps]) for sign in (1, -1))  # (2, n)
    second = (plus - 2 * centre + minus) / steps[:, None] ** 2
    before, mean = second.sum(1) / objective.total_weight
    change, scale = np.abs(second[1] - second[0]), np.abs(second[1]).mean()
    return _Slice(
        slope=(plus[1] - minus[1]).sum() / (2 * h) / objective.total_weight,
        second=mean,
        error=abs(mean - before) + noise / h**2,
        kinked=int((change > _SMOOTH * (np.abs(second[1]) + scale) + 10 * rounding / h**2).sum()),
    )


def _losses(walk: Walk, axis: int, t: float) -> np.ndarray:
    point = np.zeros(walk.num_directions)
    point[axis] = t
    return walk.objective.losses(at=walk.point(point)).cpu().double().numpy()


def _compare(found: _Slice, slope: float, product: float) -> dict[str, Any]:
    # A slope is compared on the scale of what it changes by over the step, so that one near zero is not held to itself.
    same_slope = abs(found.slope - slope) <= _REL_ERROR * abs(slope) + _CLEAN * (abs(product) + 1e-6)
    near = abs(found.second - product) <= _REL_ERROR * abs(product) + 2 * found.error
    told = found.error <= max(abs(found.second), abs(product))
    agrees: bool | None = bool(same_slope and near)
    reason = f"{found.second:.4g} ± {found.error:.2g} by differences, {product:.4g} by a product"
    if not same_slope:
        reason = f"slope {found.slope:.4g} by differences, {slope:.4g} by the gradient"
    elif not near and found.kinked:
        agrees, reason = None, f"cannot tell: {reason}, with kinks in {found.kinked} examples"
    elif not told:
        agrees, reason = None, f"cannot tell: {reason}"
    return {
        "agrees": agrees,
        "product": product,
        "second_difference": float(found.second),
        "error": float(found.error),
        "slope": float(found.slope),
        "gradient": slope,
        "reason": reason,
    }
