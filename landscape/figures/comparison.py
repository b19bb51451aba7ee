"""Runs side by side: one panel a metric, one column a run, train and test as filled and open markers."""

import math
from collections.abc import Mapping
from typing import Any

from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from landscape.figures.figure import TWO_COLUMNS, sized_figure, style
from landscape.results import Analysis

_PANEL_HEIGHT = 1.6  # inches
_PANELS_A_ROW = 3
_APART = 0.24  # of the splits of one run, where the runs are 1 apart


def comparison(analyses: Mapping[str, Analysis], *, look: str = "paper") -> Figure:
    """Draw every metric of every run, with 95 % error bars of the measurement where they are larger than the marker.

    A star marks a value that did not reach its accuracy; one that could not be measured is left out and says so.

    Args:
        analyses: the runs, in order, by the names that they go by in the figure.
        look: the style: "paper", "slides" or "dark".

    Raises:
        ValueError: where there is nothing to draw.

    Example:
        >>> run = Analysis({"train": {"loss": Measurement("loss", 0.5)}, "test": {"loss": Measurement("loss", 0.6)}})
        >>> [axes.get_ylabel() for axes in comparison({"SGD": run, "SAM": run}).axes]
        ['loss']
    """
    with style(look):
        return draw_comparison(analyses)


def draw_comparison(analyses: Mapping[str, Analysis]) -> Figure:
    """The same in the style that is on."""
    metrics = list(dict.fromkeys(name for a in analyses.values() for split in a.splits.values() for name in split))
    splits = list(dict.fromkeys(split for a in analyses.values() for split in a.splits))
    if not metrics:
        raise ValueError("No measurement to draw. Expected at least one analysis with at least one metric.")
    columns = min(len(metrics), _PANELS_A_ROW)
    rows = math.ceil(len(metrics) / columns)
    figure = sized_figure(TWO_COLUMNS * columns / _PANELS_A_ROW, _PANEL_HEIGHT * rows + 0.5)
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes, metric in zip(panels, metrics, strict=False):
        _draw(axes, metric, analyses, splits)
    for axes in panels[len(metrics) :]:
        axes.remove()
    figure.align_ylabels(panels[: len(metrics)])
    figure.suptitle(_title(analyses))
    figure.legend(handles=_legend(analyses, splits), loc="outside lower center", ncols=4)
    return figure


def _draw(axes: Axes, metric: str, analyses: Mapping[str, Analysis], splits: list[str]) -> None:
    lowest = math.inf
    for column, analysis in enumerate(analyses.values()):
        for index, split in enumerate(splits):
            m = analysis.splits.get(split, {}).get(metric)
            if m is None:
                continue
            x = column + _APART * (index - (len(splits) - 1) / 2)
            if not math.isfinite(m.value):
                axes.text(
                    x, 0.5, "not finite", rotation=90, ha="center", va="center", transform=axes.get_xaxis_transform()
                )
                continue
            bar = m.half_width() if m.error_kind != "lower bound" else 0.0
            marker = _marker(index)
            axes.errorbar(x, m.value, bar, color=f"C{column}", capsize=2, clip_on=False, **marker)
            lowest = min(lowest, m.value - (bar if math.isfinite(bar) else 0))
            if not m.converged:
                axes.annotate("*", (x, m.value), (4, 2), textcoords="offset points")
    axes.set_xticks(range(len(analyses)), list(analyses))
    axes.set_xlim(-0.5, len(analyses) - 0.5)
    axes.set_ylabel(metric)
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.margins(y=0.15)
    if metric != "accuracy" and lowest >= 0:
        axes.set_ylim(bottom=0)


def _legend(analyses: Mapping[str, Analysis], splits: list[str]) -> list[Line2D]:
    grey = rcParams["text.color"]
    handles = [
        Line2D([], [], color=grey, linestyle="", label=split, **_marker(index)) for index, split in enumerate(splits)
    ]
    measurements = [m for a in analyses.values() for split in a.splits.values() for m in split.values()]
    if any(m.std_error for m in measurements):
        handles.append(Line2D([], [], color=grey, linestyle="", marker="|", markersize=9, label="95 % interval"))
    if not all(m.converged for m in measurements):
        handles.append(Line2D([], [], color=grey, linestyle="", marker="$*$", label="accuracy asked for not reached"))
    return handles


def _marker(index: int) -> dict[str, Any]:
    """Filled for the first split, open for the second."""
    return {"marker": "s", "markerfacecolor": rcParams["axes.facecolor"]} if index % 2 else {"marker": "o"}


def _title(analyses: Mapping[str, Analysis]) -> str:
    """What was measured; one line where the runs agree, and one for each kind where they do not."""
    return "\n".join(dict.fromkeys(_describe(analysis) for analysis in analyses.values()))


def _describe(analysis: Analysis) -> str:
    made_of = [(analysis.checkpoint or {}).get(key) for key in ("model", "data")]
    facts = [" on ".join(spec["name"] for spec in made_of if spec)]
    if "num_params" in analysis.objective:
        facts.append(f"{analysis.objective['num_params']:,} parameters")
    facts += [f"{n:,} {split} examples" for split, n in analysis.objective.get("num_examples", {}).items()]
    return ", ".join(fact for fact in facts if fact)
