"""The setting at which a tool is compared: the cheapest one of a ladder with which it is right for every seed tried.

No user has that knowledge: it takes the exact answer. Tools that cannot tell when they are right are given it all the
same, so that the comparison is with the best they could do.
"""

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from benchmarks.race import Contender, Found


@dataclass
class Rung:
    """One setting of a tool: how to run it with a seed."""

    setting: str
    work: Callable[[int], Found]


def cheapest(
    tool: str,
    rungs: Sequence[Rung],
    error: Callable[[Any], float],
    *,
    limit: float,
    seeds: int,
    over_seeds: Callable[[Sequence[float]], float] = max,
) -> tuple[Contender | None, list[tuple[float, float]]]:
    """The first rung whose error over the seeds is within the limit, or None; and (seconds, error) of those tried."""
    curve = []
    for rung in rungs:
        times, errors = [], []
        for seed in range(seeds):
            gc.collect()
            start = time.perf_counter()
            found = rung.work(1000 + seed)
            times.append(time.perf_counter() - start)
            errors.append(error(found.value))
        curve.append((median(times), over_seeds(errors)))
        if curve[-1][1] <= limit:
            return Contender(tool, rung.setting, rung.work), curve
    return None, curve


def interval_95(errors: Sequence[float]) -> float:
    """1.96 times the root mean square: what 95 % of the errors are within, were they normal."""
    return 1.96 * float(np.sqrt(np.mean(np.square(errors))))
