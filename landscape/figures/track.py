"""Curvature over training: one panel a metric against the step, train solid, test dashed, with 95 % bands.

In the panel of lambda_max a dotted line is 2 / lr where the learning rate is known: above it plain gradient descent is
not stable (Cohen et al. 2021, arXiv:2103.00065); Adam, which scales the gradient, has no such line. What is drawn is in
the analyses alone: ``checkpoint`` holds "step", "lr" and "path", whose folder tells runs apart.
"""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from landscape.figures.figure import style
from landscape.results import Analysis

_WIDTH, _PANEL_HEIGHT = 6.75, 1.6  # inches; the width is that of two columns of a paper
_PANELS_A_ROW = 3
_LINES: tuple[Literal["-", "--", "-."], ...] = ("-", "--", "-.")  # by split
_HEADROOM = 3  # how far above the values the line of 2/lr may draw the axis up
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
    runs = by_run(analyses)
    columns = min(len(metrics), _PANELS_A_ROW)
    rows = math.ceil(len(metrics) / columns)
    with style():
        figure = Figure(figsize=(max(_WIDTH * columns / _PANELS_A_ROW, 3.25), _PANEL_HEIGHT * rows + 0.6))
        panels = list(figure.subplots(rows, columns, squeeze=False).flat)
        edge = False
        for place, (axes, metric) in enumerate(zip(panels, metrics, strict=False)):
            edge |= panel(axes, metric, list(runs.values()), splits)
            axes.set_xlabel("step" if place >= len(metrics) - columns else "")
        for axes in panels[len(metrics) :]:
            axes.remove()
        figure.align_ylabels(panels[: len(metrics)])
        handles = legend_handles(analyses, list(runs), splits, edge=edge)
        figure.legend(handles=handles, loc="outside lower center", ncols=4)
    return figure


def by_run(analyses: Sequence[Analysis]) -> dict[str, list[Analysis]]:
    """The points of each run by its folder, of which what all have in common is left out."""
    folders = [str(Path((analysis.checkpoint or {}).get("path") or ".").parent) for analysis in analyses]
    common = os.path.commonpath(set(folders)) if len(set(folders)) > 1 else ""
    runs: dict[str, list[Analysis]] = {}
    for folder, analysis in zip(folders, analyses, strict=True):
        runs.setdefault(os.path.relpath(folder, common) if common else folder, []).append(analysis)
    return runs


def edge_of_stability(analysis: Analysis) -> float | None:
    """2 / lr at this point; None where the rate is not known, or Adam scales the gradient."""
    checkpoint = analysis.checkpoint or {}
    adam = "adam" in str((checkpoint.get("recipe") or {}).get("optimizer"))
    return 2 / checkpoint["lr"] if checkpoint.get("lr") and not adam else None


def panel(axes: Axes, metric: str, runs: Sequence[list[Analysis]], splits: Sequence[str]) -> bool:
    """Draw one metric, a colour a run or, of a single run, a split; whether the line of 2 / lr is there."""
    for index, run in enumerate(runs):
        for place, (split, line) in enumerate(zip(splits, _LINES, strict=False)):
            _draw(axes, metric, split, run, {"color": f"C{index if len(runs) > 1 else place}", "linestyle": line})
    axes.set_ylabel(metric)
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10], integer=True))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlim(left=0)
    if metric != "accuracy" and axes.dataLim.y0 >= 0:
        axes.set_ylim(bottom=0)
    return metric == "lambda_max" and _draw_edge(axes, runs)


def legend_handles(
    analyses: Sequence[Analysis], runs: Sequence[str], splits: Sequence[str], *, edge: bool
) -> list[Line2D | Patch]:
    """What the lines, bands and marks of ``panel`` stand for."""
    many, grey = len(runs) > 1, rcParams["text.color"]
    handles: list[Line2D | Patch] = [Patch(color=f"C{i}", label=run) for i, run in enumerate(runs) if many]
    handles += [
        Line2D([], [], color=grey if many else f"C{place}", linestyle=line, label=split)
        for place, (split, line) in enumerate(zip(splits, _LINES, strict=False))
    ]
    measurements = [m for a in analyses for split in a.splits.values() for m in split.values()]
    if any(m.std_error > 0 for m in measurements):
        handles.append(Patch(color=grey if many else "C0", alpha=0.2, linewidth=0, label="95 % interval"))
    if edge:
        handles.append(Line2D([], [], color=grey, linestyle=":", linewidth=1.2, label="2/lr"))
    if not all(m.converged for m in measurements):
        handles.append(Line2D([], [], color=grey, linestyle="", marker="x", label="accuracy asked for not reached"))
    return handles


def _draw(axes: Axes, metric: str, split: str, run: list[Analysis], look: dict[str, Any]) -> None:
    points = [(_step(a), a.splits[split][metric]) for a in run if metric in a.splits.get(split, {})]
    if not points:
        return
    steps = [step for step, _ in points]
    values = np.array([m.value for _, m in points])  # NaN, where it could not be measured, breaks the line
    errors = np.array([m.half_width() for _, m in points])
    axes.plot(steps, values, marker="." if len(points) <= _MANY else "", markersize=3, **look)
    if np.nansum(errors) > 0:
        axes.fill_between(steps, values - errors, values + errors, color=look["color"], alpha=0.2, linewidth=0)
    missed = [(step, m.value) for step, m in points if not m.converged and math.isfinite(m.value)]
    if missed:
        axes.plot(*zip(*missed, strict=True), linestyle="", marker="x", markersize=4, color=look["color"])


def _draw_edge(axes: Axes, runs: Sequence[list[Analysis]]) -> bool:
    """Draw 2 / lr unless it is far above the values, which is said instead; whether it was drawn."""
    top, lowest = axes.get_ylim()[1], math.inf
    edges = []
    for index, run in enumerate(runs):
        known = [(_step(a), edge) for a in run if (edge := edge_of_stability(a))]
        if known:
            edges.append((known, f"C{index}" if len(runs) > 1 else rcParams["text.color"]))
            lowest = min(lowest, *(edge for _, edge in known))
    if not edges:
        return False
    if lowest > _HEADROOM * top:
        axes.text(0.98, 0.98, f"2/lr ≥ {lowest:.3g}", transform=axes.transAxes, ha="right", va="top")
        return False
    for known, color in edges:
        axes.plot(*zip(*known, strict=True), color=color, linestyle=":", linewidth=1.2)
    axes.set_ylim(top=max(top, 1.2 * lowest))
    return True


def _step(analysis: Analysis) -> int:
    return int((analysis.checkpoint or {})["step"])
