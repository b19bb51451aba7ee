"""Every metric side by side, a column a run: ``landscape.figures.comparison`` as a kind."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from landscape.figures.comparison import draw_comparison
from landscape.figures.kind import kind
from landscape.figures.pooled import require
from landscape.figures.runs import Run, last_epochs, named


@kind("comparison", needs="any metric")
def all_metrics(runs: Sequence[Run]) -> Figure:
    """Every metric of every run, with its 95 % interval."""
    measured = last_epochs([run for run in runs if run.splits]) or require(runs, "loss")
    groups = named(measured).items()
    names = {
        name if len(group) == 1 else f"{name}, seed {run.setting('seed')}": run
        for name, group in groups
        for run in group
    }
    return draw_comparison({name: run.analysis for name, run in names.items()})
