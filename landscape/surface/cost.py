"""What a line or plane will cost, before it is paid: from one timed row of five points."""

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from landscape.objective import Objective
from landscape.surface.directions import random
from landscape.surface.walk import Walk

_POINTS = 5  # enough to share what a call costs by itself


def foresee(
    objectives: Mapping[str, Objective], *, num_points: int = 51, mode: str = "eval", num_axes: int = 2
) -> dict[str, Any]:
    """Points and seconds of a plane, or a line, by split, and together. Directions and checks are not in it.

    Example:
        >>> import torch
        >>> objective = Objective(torch.nn.Linear(2, 1), torch.nn.MSELoss(), [(torch.eye(2), torch.zeros(2, 1))])
        >>> cost = foresee({"train": objective}, num_points=50)
        >>> cost["num_points"], cost["splits"]["train"]["num_forwards"]  # with the middle
        (51, 2601)
    """
    num_points += 1 - num_points % 2
    first = next(iter(objectives.values()))
    vectors = random(first, num=num_axes).vectors
    splits = {}
    for split, one in objectives.items():
        walk = Walk(one, vectors, statistics=first if mode == "reestimate" else None)
        points = np.zeros((_POINTS if walk.points_at_once == 1 else num_points, num_axes))
        walk(points)
        start = time.perf_counter()
        walk(points)
        seconds = (time.perf_counter() - start) / len(points)
        splits[split] = {
            "num_examples": one.num_examples,
            "num_forwards": num_points**num_axes,
            "points_at_once": walk.points_at_once,
            "seconds_per_point": seconds,
            "seconds": seconds * num_points**num_axes,
        }
    return {
        "num_points": num_points,
        "num_axes": num_axes,
        "num_params": first.num_params,
        "splits": splits,
        "seconds": sum(cost["seconds"] for cost in splits.values()),
    }
