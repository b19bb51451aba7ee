"""Analyses side by side: a row a metric and split, and how each run's value differs from the first one's."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from landscape.figures.runs.run import Run, metrics_of, named
from landscape.results import Analysis, Difference, Measurement, difference


@dataclass(frozen=True)
class Row:
    """One metric on one split: every run's measurement, and each difference from the first run that has one."""

    metric: str
    split: str
    values: Mapping[str, Measurement | None]
    differences: Mapping[str, Difference]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, with the 95 % interval of each; NaN where a run has no such measurement."""
        nothing = {"value": math.nan, "std_error": math.nan, "error_kind": None, "interval": [math.nan, math.nan]}
        values = {
            name: {key: getattr(m, key) for key in nothing if key != "interval"} | {"interval": list(m.interval())}
            if m
            else nothing
            for name, m in self.values.items()
        }
        differences = {name: {**asdict(found), "words": found.words} for name, found in self.differences.items()}
        return {"metric": self.metric, "split": self.split, "values": values, "differences": differences}


def compared(analyses: Mapping[str, Analysis]) -> list[Row]:
    """A row for every metric and split that two of the analyses or more hold.

    Example:
        >>> a, b = (Analysis({"train": {"trace": Measurement("trace", value)}}) for value in (4.0, 3.0))
        >>> [row] = compared({"SGD": a, "SAM": b})
        >>> row.metric, row.differences["SAM"].words
        ('trace', '25 % lower (exact)')
    """
    first, *others = analyses
    every = analyses.values()
    rows = []
    for metric in metrics_of(every):
        for split in dict.fromkeys(split for a in every for split, found in a.splits.items() if metric in found):
            values = {name: a.splits.get(split, {}).get(metric) for name, a in analyses.items()}
            if sum(m is not None for m in values.values()) > 1:
                rows.append(Row(metric, split, values, {n: difference(values[first], values[n]) for n in others}))
    return rows


def run_names(paths: Sequence[str | Path]) -> list[str]:
    """A name for each folder of an analysis: by its recipe where that tells them apart, otherwise the folder's."""
    folders = [Path(path) for path in paths]
    runs = [Run(folder, Analysis.load(folder).checkpoint or {}) for folder in folders]
    groups = named(runs)
    if len(groups) == len(folders):
        return [next(name for name, group in groups.items() if run in group) for run in runs]
    short = [folder.name for folder in folders]
    return short if len(set(short)) == len(short) else [str(folder) for folder in folders]
