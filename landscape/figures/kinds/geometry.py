"""Table 3 of CR-SAM (Wu, Luo & Wunsch 2024): gradient norm, trace and normalized trace on the test data."""

from collections.abc import Sequence

from landscape.figures.kind import kind
from landscape.figures.panels import subject
from landscape.figures.pooled import Value, pooled, require
from landscape.figures.runs import Run, last_epochs, named
from landscape.figures.table import Table

_METRICS = ("gradient_norm", "trace", "normalized_trace")


@kind("geometry", needs="gradient_norm, trace and normalized_trace on test")
def geometry(runs: Sequence[Run]) -> Table:
    """Gradient norm, trace and normalized trace on test, an optimizer a row (CR-SAM table 3)."""
    runs = last_epochs(require(runs, *_METRICS, split="test"))
    rows: list[list[str | Value]] = [
        [name, *(pooled(run.get(metric, "test") for run in group) for metric in _METRICS)]
        for name, group in named(runs).items()
    ]
    caption = f"Model geometry, {subject(runs)}, on the test set.".replace(", ,", ",")
    return Table(["optimizer", *_METRICS], rows, caption, dict.fromkeys(_METRICS, "min"))
