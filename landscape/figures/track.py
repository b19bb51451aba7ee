"""Curvature over training: one panel a metric against the step, train solid, test dashed, with 95 % bands.

In the panel of lambda_max a dotted line is 2 / lr where the learning rate is known: above it plain gradient descent is
not stable (Cohen et al. 2021, arXiv:2103.00065). What is drawn is in the analyses alone: ``checkpoint`` holds "step",
"lr" and "path", whose folder tells runs apart.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from landscape.figures.comparison import error_bar
from landscape.figures.figure import style
from landscape.results import Analysis

_WIDTH, _PANEL_HEIGHT = 6.75, 1.6  # inches; the width is that of two columns of a paper
_PANELS_A_ROW = 3
_LINES: tuple[Literal["-", "--", "-."], ...] = ("-", "--", "-.")  # by split
_HEADROOM = 1.6  # how far above the values the line of 2/lr may draw the axis up
_MANY = 12  # points, beyond which each has no marker of its own


def track(analyses: Sequence[Analysis]) -> Figure:
    """Draw every metric of every run over the steps; a cross marks a value that did not reach its accuracy.

    Args:
        analyses: the points of each run in order.

    Raises:
        ValueError: where there is nothing to draw.

    Example:
        >>> from landscape.results import Measurement
        >>> points = [Analysis({"train": {"loss": Measurement("loss", 1 / n)}}, checkpoint={"step": n}) for n in (1, 2)]
        >>> axes = track(points).axes[0]
        >>> axes.get_ylabel(), axes.lines[0].get_ydata()
        ('loss', array([1. , 0.5]))
    """
    metrics = list(dict.fromkeys(name for a in analyses for split in a.splits.values() for name in split))
    splits = list(dict.fromkeys(split for a in analyses for split in a.splits))
    if not metrics:
        raise ValueError("No measurement to draw. Expected at least one analysis with at least one metric.")
    runs: dict[str, list[Analysis]] = {}
    for analysis in analyses:
        runs.setdefault(_run(analysis), []).append(analysis)
    columns = min(len(metrics), _PANELS_A_ROW)
    rows = math.ceil(len(metrics) / columns)
    with style():
        figure = Figure(figsize=(max(_WIDTH * columns / _PANELS_A_ROW, 3.25), _PANEL_HEIGHT * rows + 0.6))
        panels = list(figure.subplots(rows, columns, squeeze=False).flat)
        edge = False
        for place, (axes, metric) in enumerate(zip(panels, metrics, strict=False)):
            for index, run in enumerate(runs.values()):
                for split, line in zip(splits, _LINES, strict=False):
                    _draw(axes, metric, split, run, {"color": f"C{index}", "linestyle": line})
            _set_axes(axes, metric, labelled=place >= len(metrics) - columns)
            if metric == "lambda_max":
                edge = _draw_edge(axes, list(runs.values()))
        for axes in panels[len(metrics) :]:
            axes.remove()
        figure.align_ylabels(panels[: len(metrics)])
        figure.legend(handles=_legend(analyses, list(runs), splits, edge=edge), loc="outside lower center", ncols=4)
    return figure


def _draw(axes: Axes, metric: str, split: str, run: list[Analysis], look: dict[str, Any]) -> None:
    points = [(_step(a), a.splits[split][metric]) for a in run if metric in a.splits.get(split, {})]
    if not points:
        return
    steps = [step for step, _ in points]
    values = np.array([m.value for _, m in points])  # NaN, where it could not be measured, breaks the line
    errors = np.array([error_bar(m) for _, m in points])
    axes.plot(steps, values, marker="." if len(points) <= _MANY else "", markersize=3, **look)
    if np.nansum(errors) > 0:
        axes.fill_between(steps, values - errors, values + errors, color=look["color"], alpha=0.2, linewidth=0)
    missed = [(step, m.value) for step, m in points if not m.converged and math.isfinite(m.value)]
    if missed:
        axes.plot(*zip(*missed, strict=True), linestyle="", marker="x", markersize=4, color=look["color"])


def _set_axes(axes: Axes, metric: str, *, labelled: bool) -> None:
    axes.set_ylabel(metric)
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10], integer=True))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlim(left=0)
    if labelled:
        axes.set_xlabel("step")
    if metric != "accuracy" and axes.dataLim.y0 >= 0:
        axes.set_ylim(bottom=0)


def _draw_edge(axes: Axes, runs: list[list[Analysis]]) -> bool:
    """Draw 2 / lr unless it is far above the values, which is said instead; whether it was drawn."""
    top, lowest = axes.get_ylim()[1], math.inf
    edges = []
    for index, run in enumerate(runs):
        known = [(_step(a), 2 / a.checkpoint["lr"]) for a in run if a.checkpoint and a.checkpoint.get("lr")]
        if known:
            edges.append((known, f"C{index}" if len(runs) > 1 else "0.3"))
            lowest = min(lowest, *(edge for _, edge in known))
    if not edges:
        return False
    if lowest > _HEADROOM * top:
        axes.text(0.98, 0.98, f"2/lr ≥ {lowest:.3g}", transform=axes.transAxes, ha="right", va="top", fontsize=7)
        return False
    for known, color in edges:
        axes.plot(*zip(*known, strict=True), color=color, linestyle=":", linewidth=1.2)
    axes.set_ylim(top=max(top, 1.2 * lowest))
    return True


def _legend(analyses: Sequence[Analysis], runs: list[str], splits: list[str], *, edge: bool) -> list[Line2D | Patch]:
    many = len(runs) > 1
    handles: list[Line2D | Patch] = [Patch(color=f"C{i}", label=run) for i, run in enumerate(runs) if many]
    color = "0.3" if many else "C0"
    handles += [
        Line2D([], [], color=color, linestyle=line, label=split) for split, line in zip(splits, _LINES, strict=False)
    ]
    measurements = [m for a in analyses for split in a.splits.values() for m in split.values()]
    if any(m.std_error > 0 for m in measurements):
        handles.append(Patch(color=color, alpha=0.2, linewidth=0, label="95 % interval"))
    if edge:
        handles.append(Line2D([], [], color="0.3", linestyle=":", linewidth=1.2, label="2/lr"))
    if not all(m.converged for m in measurements):
        handles.append(Line2D([], [], color="0.3", linestyle="", marker="x", label="accuracy asked for not reached"))
    return handles


def _step(analysis: Analysis) -> int:
    return int((analysis.checkpoint or {})["step"])


def _run(analysis: Analysis) -> str:
    return str(Path((analysis.checkpoint or {}).get("path") or ".").parent)
