"""One number for the runs of one name, with its error bar.

One run: its value and the half-width of its 95 % interval: of the estimate, or for loss and accuracy of a sample of
that many examples. Several seeds: their mean and the standard deviation over them, as the papers print them.
"""

import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from landscape.figures.runs.run import Run
from landscape.results import Measurement
from landscape.results.measurement import quantity


class MissingMeasurementError(ValueError):
    """A figure needs what no result holds; the message says what, and the command that measures it."""


@dataclass(frozen=True)
class Value:
    """A number, half its error bar, and of how many seeds it is the mean.

    Attributes:
        value: the number; NaN where there is none.
        error: half the bar; infinite where it is not known, and of a lower bound, which has no upper end.
        num_seeds: how many it is the mean of; 0 where there is none.
        converged: whether all of them reached their accuracy.
        lower_bound: whether the number is the value or anything above it.

    Example:
        >>> Value(12.0, 1.0).text, Value(12.0, math.inf).text, Value(12.0, math.inf, lower_bound=True).text
        ('12.0 ± 1.0', '12.00 ± ?', '≥ 12.00')
    """

    value: float
    error: float
    num_seeds: int = 1
    converged: bool = True
    lower_bound: bool = False

    @classmethod
    def of(cls, m: Measurement) -> "Value":
        """One measurement, with half of its 95 % interval."""
        return cls(m.value, m.half_width(), 1, m.converged, m.error_kind == "lower bound")

    @property
    def text(self) -> str:
        """The number and its error, as ``Measurement.text``; a dash where there is none."""
        if not self.num_seeds:
            return "–"
        return f"≥ {quantity(self.value)}" if self.lower_bound else quantity(self.value, self.error)

    @property
    def bar(self) -> float:
        """What is drawn of the error: NaN, which draws nothing, where it is infinite."""
        return self.error if math.isfinite(self.error) else math.nan

    @property
    def unknown(self) -> bool:
        """Whether nothing is known of the error of a number that is there."""
        return math.isfinite(self.value) and math.isnan(self.bar) and not self.lower_bound

    def times(self, factor: float) -> "Value":
        """The number and its error in another unit."""
        return replace(self, value=factor * self.value, error=factor * self.error)


def pooled(measurements: Iterable[Measurement | None]) -> Value:
    """The value of one run, or the mean of several; NaN where there is none.

    Example:
        >>> pooled([Measurement("trace", 10.0), Measurement("trace", 14.0)])
        Value(value=12.0, error=2.8284271247461903, num_seeds=2, converged=True, lower_bound=False)
    """
    found = [m for m in measurements if m is not None and math.isfinite(m.value)]
    if not found:
        return Value(math.nan, math.nan, 0)
    if len(found) == 1:
        return Value.of(found[0].of_fresh_data())
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


def require(runs: Sequence[Run], *metrics: str, split: str | None = None, arrays: Sequence[str] = ()) -> list[Run]:
    """The runs that have all of the metrics, on that split or any, and of the first one these arrays.

    Raises:
        MissingMeasurementError: where none has.
    """

    def is_there(metric: str, found: Mapping[str, Measurement]) -> bool:
        return metric in found and (metric != metrics[0] or all(name in found[metric].details for name in arrays))

    def lacks(run: Run) -> list[str]:
        splits = [run.splits.get(split, {})] if split else list(run.splits.values())
        return [metric for metric in metrics if not any(is_there(metric, found) for found in splits)]

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
