"""What a line or plane says of itself: how it was made, what it was held against, and what it cost where."""

import platform
import time
from collections.abc import Mapping
from typing import Any

import torch

from landscape import __version__
from landscape.measure.analysis import command_line, device_name
from landscape.objective import Objective
from landscape.results import Line, Plane
from landscape.surface.checks import centre_check, curvature_check, noise_floor
from landscape.surface.directions import Directions
from landscape.surface.points import Points

MODES = {
    "eval": "batch-normalization statistics as they are at the weights",
    "reestimate": "batch-normalization statistics estimated anew at every point",
}


def details_of(
    surface: Line | Plane, objective: Objective, found: Directions, asked: Mapping[str, Any], points: Points
) -> dict[str, Any]:
    """The details of one split, with its checks and its noise floor.

    Args:
        surface: the losses.
        objective: what they are of.
        found: the directions.
        asked: the arguments, among them "mode".
        points: where it was measured.
    """
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
        "num_forwards": points.num_points,
        "points_at_once": points.walks[surface.split].points_at_once,
        "resumed_rows": points.num_resumed,
        "provenance": {
            "landscape": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "device": device_name(objective.device),
            "num_threads": torch.get_num_threads(),
            "command": command_line(),
            "started": points.started.isoformat(timespec="seconds"),
            "seconds_grid": points.seconds,
            "seconds": points.seconds + time.perf_counter() - start,
        },
    }
