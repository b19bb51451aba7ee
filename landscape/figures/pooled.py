"""One number for the runs of one name, with its error bar.

One run: its value and the half-width of its 95 % interval: of the estimate, or for loss and accuracy of a sample of
that many examples. Several seeds: their mean and the standard deviation over them, as the papers print them.
"""

import math
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from landscape.figures.runs import Run
from landscape.results import Measurement


class MissingMeasurementError(ValueError):
    """A figure needs what no result holds; the message says what, and the command that measures it."""


@dataclass(frozen=True)
class Value:
    """A number, half its error bar, and of how many seeds it is the mean."""

    value: float
    error: float
    num_seeds: int = 1
    converged: bool = True


def pooled(measurements: Iterable[Measurement | None]) -> Value:
    """The value of one run, or the mean of several; NaN where there is none.

    Example:
        >>> pooled([Measurement("trace", 10.0), Measurement("trace", 14.0)])
        Value(value=12.0, error=2.8284271247461903, num_seeds=2, converged=True)
    """
    found = [m for m in measurements if m is not None and math.isfinite(m.value)]
    if not found:
        return Value(math.nan, math.nan, 0)
    if len(found) == 1:
        return Value(found[0].value, found[0].of_fresh_data().half_width(), 1, found[0].converged)
    values = np.array([m.value for m in found])
    converged = all(m.converged for m in found)
    return Value(float(values.mean()), float(values.std(ddof=1)), len(found), converged)


def error_words(values: Iterable[Value]) -> str:
    """What the error bars of a figure are."""
    seeds = sorted({value.num_seeds for value in values if value.num_seeds})
    if not seeds or seeds[-1] == 1:
        return "95 % interval"
    several = f"standard deviation over {seeds[-1] if seeds[0] == seeds[-1] else f'up to {seeds[-1]}'} seeds"
    return several if seeds[0] > 1 else f"{several}, 95 % interval of one"


def require(runs: Sequence[Run], *metrics: str, split: str | None = None) -> list[Run]:
    """The runs that have all of the metrics, on that split or any.

    Raises:
        MissingMeasurementError: where none has.
    """

    def lacks(run: Run) -> list[str]:
        splits = [run.splits.get(split, {})] if split else list(run.splits.values())
        return [metric for metric in metrics if not any(metric in found for found in splits)]

    whole = [run for run in runs if not lacks(run)]
    if not whole:
        fewest = min((lacks(run) for run in runs), key=len, default=list(metrics))
        on = f" on {split}" if split else ""
        raise MissingMeasurementError(
            f"{' and '.join(fewest)} was not measured{on} in any of {len(runs)} results. "
            f"Measure it: {command(runs, fewest)}"
        )
    return whole


def command(runs: Sequence[Run], metrics: Sequence[str]) -> str:
    """The command that measures the metrics on the checkpoints of these results, or on the first of many."""
    files = [str(run.checkpoint["path"]) for run in runs if "path" in run.checkpoint][:1] or ["CKPT"]
    folder = str(runs[0].path / "more") if runs else "DIR"
    return shlex.join(["landscape", "analyze", *files, "--metrics", ",".join(metrics), "--out", folder])
