"""Runs side by side: one panel a metric, one column a run, train filled and test open; and as a table."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.markers import MarkerStyle
from matplotlib.patches import Patch

from landscape.figures.kinds.kind import kind
from landscape.figures.kinds.panels import (
    arrow_up,
    error_handles,
    legend_below,
    metric_axis,
    metric_panels,
    split_marker,
)
from landscape.figures.kinds.style import styled
from landscape.figures.kinds.table import Table
from landscape.figures.runs.compared import compared
from landscape.figures.runs.pooled import Value, pooled, require
from landscape.figures.runs.run import Run, last_epochs, made_of, measurements_of, named
from landscape.results import Analysis

_APART = 0.24  # of the splits of one run, where the runs are 1 apart


@kind("comparison", needs="any metric")
def all_metrics(runs: Sequence[Run]) -> Figure:
    """Every metric of every run, with its 95 % interval."""
    measured = last_epochs([run for run in runs if run.splits]) or require(runs, "loss")
    named_apart = [
        (name if len(group) == 1 else f"{name}, seed {run.setting('seed')}", run.analysis)
        for name, group in named(measured).items()
        for run in group
    ]
    return _figure(dict(named_apart))


def comparison(analyses: Mapping[str, Analysis], *, style: str = "paper") -> Figure:
    """Draw every metric of every run, with its 95 % interval, or an arrow on a lower bound.

    A star stands beside a value that did not reach its accuracy; one that could not be measured says so.

    Args:
        analyses: the runs, in order, by the names that they go by in the figure.
        style: "paper", "slides" or "dark".

    Raises:
        ValueError: where there is nothing to draw.

    Example:
        >>> from landscape.results import Measurement
        >>> run = Analysis({"train": {"loss": Measurement("loss", 0.5)}, "test": {"loss": Measurement("loss", 0.6)}})
        >>> [axes.get_ylabel() for axes in comparison({"SGD": run, "SAM": run}).axes]
        ['loss']
    """
    with styled(style):
        return _figure(analyses)


def comparison_table(analyses: Mapping[str, Analysis]) -> Table:
    """The rows as a table: metric, split, every value with its error bar, and the differences in words."""
    first, *others = analyses
    rows: list[list[str | Value]] = [
        [
            row.metric,
            row.split,
            *(pooled([m]) for m in row.values.values()),
            *(row.differences[n].words for n in others),
        ]
        for row in compared(analyses)
    ]
    header = ["metric", "split", *analyses, *(f"{name} against {first}" for name in others)]
    return Table(header, rows, "p: Welch's test; for bounds, whether 95 % intervals meet.", {})


def _figure(analyses: Mapping[str, Analysis]) -> Figure:
    figure, grid, splits = metric_panels(analyses.values())
    for metric, axes in grid.items():
        _draw(axes, metric, analyses, splits)
    figure.suptitle("\n".join(dict.fromkeys(map(_describe, analyses.values()))))
    legend_below(figure, _legend(analyses, splits), columns=(2, 5))
    return figure


def _draw(axes: Axes, metric: str, analyses: Mapping[str, Analysis], splits: list[str]) -> None:
    for column, analysis in enumerate(analyses.values()):
        for index, split in enumerate(splits):
            m = analysis.splits.get(split, {}).get(metric)
            if m is None:
                continue
            x = column + _APART * (index - (len(splits) - 1) / 2)
            if not math.isfinite(m.value):
                middle: dict[str, Any] = {"ha": "center", "va": "center", "transform": axes.get_xaxis_transform()}
                axes.text(x, 0.5, "not finite", rotation=90, **middle)
                continue
            value = Value.of(m)
            axes.errorbar(x, m.value, value.bar, color=f"C{column}", capsize=2, clip_on=False, **split_marker(index))
            arrow_up(axes, x, value, f"C{column}")
            if words := ("" if m.converged else "*") + ("?" if value.unknown else ""):
                axes.annotate(words, (x, m.value), (4, 2), textcoords="offset points")
    axes.set_xticks(range(len(analyses)), list(analyses))
    axes.set_xlim(-0.5, len(analyses) - 0.5)
    axes.margins(y=0.15)
    metric_axis(axes, metric)


def _legend(analyses: Mapping[str, Analysis], splits: list[str]) -> list[Line2D | Patch]:
    blank: dict[str, Any] = {"color": rcParams["text.color"], "linestyle": ""}
    interval = Line2D([], [], **blank, marker="|", markersize=9, label="95 % interval")
    marks = [Line2D([], [], **blank, label=split, **split_marker(index)) for index, split in enumerate(splits)]
    return [
        *marks,
        *error_handles([Value.of(m) for m in measurements_of(analyses.values())], interval, MarkerStyle((5, 2, 0))),
    ]


def _describe(analysis: Analysis) -> str:
    facts = [made_of([analysis.checkpoint or {}])]
    if "num_params" in analysis.objective:
        facts.append(f"{analysis.objective['num_params']:,} parameters")
    facts += [f"{n:,} {split} examples" for split, n in analysis.objective.get("num_examples", {}).items()]
    return ", ".join(fact for fact in facts if fact)
