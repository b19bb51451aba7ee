"""Curvature over training: one panel a metric against the step, train solid, test dashed, with 95 % bands.

In the panel of lambda_max a dotted line is the edge of stability of the checkpoint's optimizer (``landscape.edge``)
where the learning rate is known; Adam, which scales the gradient, has none there. What is drawn is in the analyses
alone: ``checkpoint`` holds "step", "lr" and "path", whose folder tells runs apart.
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

from landscape.edge import Edge, edge_of
from landscape.figures.kinds.kind import kind
from landscape.figures.kinds.panels import (
    NICE_STEPS,
    arrow_up,
    error_handles,
    legend_below,
    metric_axis,
    metric_panels,
)
from landscape.figures.kinds.style import styled
from landscape.figures.runs.pooled import MissingMeasurementError, Value
from landscape.figures.runs.run import Run, measurements_of, subject
from landscape.results import Analysis

_LINES: tuple[Literal["-", "--", "-."], ...] = ("-", "--", "-.")  # by split
_HEADROOM = 3  # how far above the values the line of the edge may draw the axis up
_MANY = 12  # points, beyond which each has no marker of its own


@kind("track", needs="any metric at two steps or more of a run: landscape track")
def track(runs: Sequence[Run]) -> Figure:
    """Every metric over the steps of training, with its 95 % band, a colour a run; lambda_max beside its edge."""
    points = []
    for run in runs:
        if run.splits and run.checkpoint.get("step") is not None:
            path = run.checkpoint.get("path") or str(run.path / "live")  # what measures while it trains has no files
            points.append(run.analysis.with_checkpoint({**run.checkpoint, "path": path}))
    points.sort(key=step_of)
    if all(len(of_one) < 2 for of_one in by_run(points).values()):
        folders = [str(Path(run.checkpoint["path"]).parent) for run in runs if run.checkpoint.get("path")][:1]
        raise MissingMeasurementError(
            "No run has results at two steps or more. Train with --checkpoint-every 1, and measure them: "
            f"landscape track {(folders or ['RUN'])[0]} --out DIR"
        )
    figure = _figure(points)
    figure.suptitle(subject(runs))
    return figure


def track_figure(analyses: Sequence[Analysis], *, style: str = "paper") -> Figure:
    """Draw every metric of every run over the steps; a cross marks a value that did not reach its accuracy.

    Args:
        analyses: the points of each run in order.
        style: "paper", "slides" or "dark".

    Raises:
        ValueError: where there is nothing to draw.

    Example:
        >>> from landscape.results import Measurement
        >>> points = [Analysis({"train": {"loss": Measurement("loss", 1 / n)}}, checkpoint={"step": n}) for n in (1, 2)]
        >>> axes = track_figure(points).axes[0]
        >>> axes.get_ylabel(), axes.lines[0].get_ydata()
        ('loss', array([1. , 0.5]))
    """
    with styled(style):
        return _figure(analyses)


def by_run(analyses: Sequence[Analysis]) -> dict[str, list[Analysis]]:
    """The points of each run by its folder, of which what all have in common is left out."""
    folders = [str(Path((analysis.checkpoint or {}).get("path") or ".").parent) for analysis in analyses]
    common = os.path.commonpath(set(folders)) if len(set(folders)) > 1 else ""
    runs: dict[str, list[Analysis]] = {}
    for folder, analysis in zip(folders, analyses, strict=True):
        runs.setdefault(os.path.relpath(folder, common) if common else folder, []).append(analysis)
    return runs


def edge_of_stability(analysis: Analysis) -> Edge | None:
    """The limit of lambda_max here; None where the rate is not known, or the optimizer's is of another metric."""
    edge = edge_of(analysis.checkpoint)
    return edge if edge and edge.metric == "lambda_max" else None


def panel(axes: Axes, metric: str, runs: Sequence[list[Analysis]], splits: Sequence[str]) -> str:
    """Draw one metric, a colour a run or, of a single run, a split; the rule of the edge, if that was drawn, or ""."""
    for index, run in enumerate(runs):
        for place, (split, line) in enumerate(zip(splits, _LINES, strict=False)):
            _draw(axes, metric, split, run, f"C{index if len(runs) > 1 else place}", line)
    metric_axis(axes, metric)
    axes.xaxis.set_major_locator(MaxNLocator(4, steps=NICE_STEPS, integer=True))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlim(left=0)
    return _draw_edge(axes, runs) if metric == "lambda_max" else ""


def legend_handles(
    analyses: Sequence[Analysis], runs: Sequence[str], splits: Sequence[str], *, edge: str
) -> list[Line2D | Patch]:
    """What the lines, bands and marks of ``panel`` stand for."""
    many, grey = len(runs) > 1, rcParams["text.color"]
    band = Patch(color=grey if many else "C0", alpha=0.2, linewidth=0, label="95 % interval")
    handles: list[Line2D | Patch] = [Patch(color=f"C{i}", label=run) for i, run in enumerate(runs) if many]
    handles += [
        Line2D([], [], color=grey if many else f"C{place}", linestyle=line, label=split)
        for place, (split, line) in enumerate(zip(splits, _LINES, strict=False))
    ]
    if edge:
        handles.append(Line2D([], [], color=grey, linestyle=":", linewidth=1.2, label=edge))
    return handles + error_handles([Value.of(m) for m in measurements_of(analyses)], band, "x")


def step_of(analysis: Analysis) -> int:
    """The step of training at which it was measured."""
    return int((analysis.checkpoint or {})["step"])


def _figure(analyses: Sequence[Analysis]) -> Figure:
    figure, grid, splits = metric_panels(analyses)
    runs = by_run(analyses)
    edges = [panel(axes, metric, list(runs.values()), splits) for metric, axes in grid.items()]
    for axes in list(grid.values())[-3:]:
        axes.set_xlabel("step")
    legend_below(figure, legend_handles(analyses, list(runs), splits, edge="".join(edges)), columns=(2, 4))
    return figure


def _draw(axes: Axes, metric: str, split: str, run: list[Analysis], colour: str, line: Any) -> None:
    points = [(step_of(a), Value.of(a.splits[split][metric])) for a in run if metric in a.splits.get(split, {})]
    if not points:
        return
    steps = [step for step, _ in points]
    values = np.array([v.value for _, v in points])  # NaN, where it could not be measured, breaks the line
    errors = np.array([v.bar for _, v in points])
    axes.plot(steps, values, color=colour, linestyle=line, marker="." if len(points) <= _MANY else "", markersize=3)
    if (errors > 0).any():
        axes.fill_between(steps, values - errors, values + errors, color=colour, alpha=0.2, linewidth=0)
    arrow_up(axes, *points[-1], colour)  # on every point they hide the curves
    missed = [(step, v.value) for step, v in points if not v.converged and math.isfinite(v.value)]
    if missed:
        axes.plot(*zip(*missed, strict=True), linestyle="", marker="x", markersize=4, color=colour)


def _draw_edge(axes: Axes, runs: Sequence[list[Analysis]]) -> str:
    """Draw the edge unless it is far above the values, which is said instead; its rule, if it was drawn, or ""."""
    top, lowest = axes.get_ylim()[1], math.inf
    edges, rules = [], set()
    for index, run in enumerate(runs):
        known = [(step_of(a), edge) for a in run if (edge := edge_of_stability(a))]
        if known:
            edges.append((known, f"C{index}" if len(runs) > 1 else rcParams["text.color"]))
            lowest = min(lowest, *(edge.value for _, edge in known))
            rules |= {edge.rule for _, edge in known}
    if not edges:
        return ""
    rule = rules.pop() if len(rules) == 1 else "edge of stability"
    if lowest > _HEADROOM * top:
        axes.text(0.98, 0.98, f"{rule} ≥ {lowest:.3g}", transform=axes.transAxes, ha="right", va="top")
        return ""
    for known, color in edges:
        steps, values = [step for step, _ in known], [edge.value for _, edge in known]
        axes.plot(steps, values, color=color, linestyle=":", linewidth=1.2)
    axes.set_ylim(top=max(top, 1.2 * lowest))
    return rule
