"""Timing side by side: contenders take turns, so that whatever else the machine does slows all of them alike.

One untimed turn each, to warm up; then ``repeats`` rounds, each contender once a round, in an order that rotates from
round to round. Seconds are wall-clock; the processor's own seconds are kept beside them, and tell a busy machine from a
slow tool.
"""

import gc
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Found(NamedTuple):
    """What a contender came back with."""

    value: Any
    num_products: int = 0


@dataclass
class Contender:
    """A tool at one setting: ``work(seed)`` goes from model and data to a number, as a user of the tool would.

    Attributes:
        factor: what the measured seconds and products are multiplied by, where the full run would take minutes.
        inner: repetitions inside one timed turn, for work of milliseconds.
    """

    tool: str
    setting: str
    work: Callable[[int], Found]
    factor: float = 1.0
    inner: int = 1


@dataclass
class Timing:
    """What a contender took, turn by turn."""

    tool: str
    setting: str
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    products: list[float] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)
    extrapolated: bool = False
    note: str = ""

    @property
    def median(self) -> float:
        """Median of the wall-clock seconds."""
        return statistics.median(self.seconds)

    @property
    def best(self) -> float:
        """Least of the wall-clock seconds."""
        return min(self.seconds)


def race(
    contenders: Sequence[Contender],
    *,
    repeats: int,
    error: Callable[[Any], float] | None = None,
    warm_up: bool = True,
) -> list[Timing]:
    """Time the contenders in turns; the seed of a turn is the number of its round."""
    timings = [Timing(c.tool, c.setting, extrapolated=c.factor != 1) for c in contenders]
    if warm_up:
        for contender in contenders:
            contender.work(0)
    for turn in range(repeats):
        shift = turn % len(contenders)
        for index in [*range(shift, len(contenders)), *range(shift)]:
            contender, timing = contenders[index], timings[index]
            gc.collect()
            start, cpu_start = time.perf_counter(), time.process_time()
            for _ in range(contender.inner):
                found = contender.work(turn)
            scale = contender.factor / contender.inner
            timing.cpu_seconds.append((time.process_time() - cpu_start) * scale)
            timing.seconds.append((time.perf_counter() - start) * scale)
            timing.products.append(found.num_products * contender.factor)
            timing.values.append(found.value)
            if error is not None:
                timing.errors.append(error(found.value))
    return timings


def machine() -> dict[str, Any]:
    """What the numbers were taken on."""
    model = "unknown"
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as lines:
            model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    return {"cpu": model, "cores": os.cpu_count(), "load": [round(load, 1) for load in os.getloadavg()]}
