"""What the kinds share: a grid of panels with room for the legend, axes, colours, and how an error is drawn.

Every error is what the measurement says that it is: a bar or band over its 95 % interval; an arrow upwards, and nothing
else, from a lower bound; and nothing, which the legend says, where the error is not known.
"""

import math
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.markers import MarkerStyle
from matplotlib.patches import Patch
from matplotlib.text import Annotation
from matplotlib.ticker import MaxNLocator

from landscape.figures.kinds.style import COLUMN, TWO_COLUMNS, sized_figure
from landscape.figures.runs.pooled import Value
from landscape.figures.runs.run import metrics_of, splits_of
from landscape.results import Analysis

NICE_STEPS = (1, 2, 5, 10)
ERROR_BAR: dict[str, Any] = {"elinewidth": 0.8, "capsize": 1.5, "capthick": 0.8}
_DECADES = 1.5  # beyond, an axis is logarithmic
_ARROW = {"arrowstyle": "<|-", "linewidth": 0.8, "mutation_scale": 5, "shrinkA": 0, "shrinkB": 2}
_ARROW_LENGTH, _ARROW_ROOM = 11, 0.1  # in points, and in heights of a panel


def panels(num: int, *, columns: int = 2, height: float = 1.7, **shared: Any) -> tuple[Figure, list[Axes]]:
    """A figure of ``num`` panels, one column of a paper wide where it has one panel, and two otherwise."""
    columns = min(columns, num)
    rows = math.ceil(num / columns)
    figure = sized_figure(COLUMN if columns == 1 else TWO_COLUMNS, height * rows + 0.5)
    axes: list[Axes] = list(figure.subplots(rows, columns, squeeze=False, **shared).flat)
    for extra in axes[num:]:
        extra.remove()
    return figure, axes[:num]


def metric_panels(analyses: Collection[Analysis]) -> tuple[Figure, dict[str, Axes], list[str]]:
    """A figure with a panel a metric, in three columns; the panels by metric, and the splits.

    Raises:
        ValueError: where there is nothing to draw.
    """
    metrics = metrics_of(analyses)
    if not metrics:
        raise ValueError("No measurement to draw. Expected at least one analysis with at least one metric.")
    figure, grid = panels(len(metrics), columns=3, height=1.6)
    figure.align_ylabels(grid)
    return figure, dict(zip(metrics, grid, strict=True)), splits_of(analyses)


def metric_axis(axes: Axes, metric: str) -> None:
    """The metric's name, few round ticks, room for arrows; and 0 in sight, but for accuracy and values below it."""
    axes.set_ylabel(metric)
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=NICE_STEPS))
    axes.yaxis.set_major_formatter("{x:g}")
    if metric != "accuracy" and axes.dataLim.y0 >= 0:
        axes.set_ylim(bottom=0)
    if any(isinstance(text, Annotation) and text.arrow_patch for text in axes.texts):
        low, high = axes.get_ylim()
        axes.set_ylim(top=high + _ARROW_ROOM * (high - low))


def colours(names: Iterable[str]) -> dict[str, str]:
    """A colour of the cycle for each name, in order."""
    cycle = rcParams["axes.prop_cycle"].by_key()["color"]
    return {name: cycle[index % len(cycle)] for index, name in enumerate(names)}


def in_decades(values: Sequence[float]) -> bool:
    """Whether an axis with these values is better logarithmic."""
    finite = [value for value in values if math.isfinite(value)]
    return bool(finite) and min(finite) > 0 and math.log10(max(finite) / min(finite)) > _DECADES


def split_style(split: str) -> Any:
    """Solid for train, dashed for test, as in CR-SAM's figure 2, and dotted for any other."""
    return {"train": "-", "test": "--"}.get(split, ":")


def split_marker(index: int) -> dict[str, Any]:
    """Filled for the first split, open for the second."""
    return {"marker": "s", "markerfacecolor": rcParams["axes.facecolor"]} if index % 2 else {"marker": "o"}


def arrow_up(axes: Axes, x: float, value: Value, colour: Any) -> None:
    """From a lower bound, and from nothing else: the number is the value or anything above it."""
    if value.lower_bound and math.isfinite(value.value):
        arrow = _ARROW | {"color": colour}
        axes.annotate("", (x, value.value), (0, _ARROW_LENGTH), textcoords="offset points", arrowprops=arrow)


def error_handles(values: Sequence[Value], interval: Line2D | Patch, missed: str | MarkerStyle) -> list[Line2D | Patch]:
    """What the errors in a figure are: the interval, as it is drawn there, lower bounds, and errors not known.

    Args:
        values: all that is drawn.
        interval: what stands for it in the legend.
        missed: the marker of a value that did not reach its accuracy.
    """
    blank: dict[str, Any] = {"color": rcParams["text.color"], "linestyle": ""}
    found = {
        interval: any(v.bar > 0 for v in values),
        Line2D([], [], **blank, marker="^", markersize=4, label="lower bound"): any(v.lower_bound for v in values),
        Line2D([], [], **blank, label="no interval: error not known"): any(v.unknown for v in values),
        Line2D([], [], **blank, marker=missed, label="accuracy asked for not reached"): not all(
            v.converged for v in values
        ),
    }
    return [handle for handle, there in found.items() if there]


def legend(figure: Figure, names: dict[str, str], splits: Sequence[str], bars: str) -> None:
    """Below the panels: the names by colour, the splits by line, and what the error bars are."""
    grey = rcParams["text.color"]
    handles = [Line2D([], [], color=colour, label=name) for name, colour in names.items()]
    if len(splits) > 1:
        handles += [Line2D([], [], color=grey, linestyle=split_style(split), label=split) for split in splits]
    legend_below(figure, handles, columns=(3, 6), title=bars or None, title_fontsize=rcParams["legend.fontsize"])


def legend_below(figure: Figure, handles: Sequence[Line2D | Patch], *, columns: tuple[int, int], **title: Any) -> None:
    """Below the panels, in so many columns where the figure is a column of a paper wide, and where it is two."""
    narrow = figure.get_size_inches()[0] < rcParams["figure.figsize"][0] * 1.5
    figure.legend(handles=handles, loc="outside lower center", ncols=columns[not narrow], **title)
