"""Curvature by epoch (CR-SAM, Wu, Luo & Wunsch 2024, figs. 1 and 2): train solid, test dashed.

One panel a metric instead of the paper's several axes in one: its scales differ by orders of magnitude.
"""

import warnings
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from landscape.figures.kinds.kind import kind
from landscape.figures.kinds.panels import colours, in_decades, legend, panels, split_style
from landscape.figures.kinds.style import in_powers
from landscape.figures.runs.pooled import MissingMeasurementError, Value, command, error_words, pooled, require
from landscape.figures.runs.run import Run, metrics_of, named, splits_of, subject

METRICS = ("sam_ratio", "trace", "lambda_max", "normalized_trace")


@kind("curves", needs="sam_ratio, trace, lambda_max, normalized_trace at two epochs or more")
def curves(runs: Sequence[Run]) -> Figure:
    """Ratio, trace, lambda_max and normalized trace by epoch, with bands (CR-SAM figs. 1, 2)."""
    found = [metric for metric in METRICS if any(metric in m for run in runs for m in run.splits.values())]
    if not found:
        require(runs, *METRICS)
    if absent := [metric for metric in METRICS if metric not in found]:
        warnings.warn(f"Not measured, and not in curves: {', '.join(absent)}. {command(runs, absent)}", stacklevel=2)
    runs = [run for run in runs if run.epoch is not None and set(found) & set(metrics_of([run.analysis]))]
    if len({run.epoch for run in runs}) < 2:
        raise MissingMeasurementError(
            f"All results are of epoch {runs[0].epoch if runs else 'unknown'}. Curves need two or more: train with "
            f"--checkpoint-every 1, and {command(runs, found).replace('last.pt', 'epoch-*.pt')}"
        )
    groups, splits = named(runs), splits_of(runs)
    colour = colours(groups)
    figure, axes = panels(len(found), sharex=True)
    drawn: list[Value] = []
    for panel, metric in zip(axes, found, strict=True):
        values: list[Value] = []
        for name, group in groups.items():
            for split in splits:
                values += _curve(panel, group, metric, split, colour[name])
        finite = [v.value for v in values]
        if metric != "sam_ratio" and in_decades(finite):
            panel.set_ylim(0.7 * min(finite), 1.4 * max(finite))
            panel.set_yscale("log")
            in_powers(panel.yaxis)
        panel.set_ylabel(metric)
        panel.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        drawn += values
    for panel in axes[-2:]:
        panel.set_xlabel("epoch")
        panel.tick_params(labelbottom=True)
    figure.align_ylabels(axes)
    figure.suptitle(subject(runs))
    legend(figure, colour, splits, f"band: {error_words(drawn)}")
    return figure


@kind("ratio", needs="sam_ratio and normalized_trace on train")
def ratio(runs: Sequence[Run]) -> Figure:
    """SAM ratio against normalized trace, a point an epoch, joined in their order (CR-SAM fig. 2d)."""
    runs = require(runs, "sam_ratio", "normalized_trace", split="train")
    groups = named(runs)
    colour = colours(groups)
    figure, (axes,) = panels(1, height=2.2)
    drawn, xs = [], []
    for name, group in groups.items():
        epochs = sorted({run.epoch or 0 for run in group})
        at = {epoch: [run for run in group if (run.epoch or 0) == epoch] for epoch in epochs}
        x = [pooled(run.get("normalized_trace", "train") for run in at[epoch]) for epoch in epochs]
        y = [pooled(run.get("sam_ratio", "train") for run in at[epoch]) for epoch in epochs]
        places, bars = ([v.value for v in x], [v.value for v in y]), ([v.bar for v in y], [v.bar for v in x])
        thin: dict[str, Any] = {"marker": "o", "markersize": 3, "linewidth": 0.6, "elinewidth": 0.6}
        axes.errorbar(*places, *bars, color=colour[name], **thin)
        axes.plot(x[-1].value, y[-1].value, "o", color=colour[name], markersize=6)
        drawn += [*x, *y]
        xs += [v.value for v in x]
    if in_decades(xs):
        axes.set_xscale("log")
        in_powers(axes.xaxis)
    axes.set_xlabel("normalized_trace (train)")
    axes.set_ylabel("sam_ratio (train)")
    figure.suptitle(subject(runs))
    legend(figure, colour, [], f"bars: {error_words(drawn)}; large: last epoch")
    return figure


def _curve(axes: Axes, group: Sequence[Run], metric: str, split: str, colour: str) -> list[Value]:
    at: dict[int, list[Run]] = {}
    for run in group:
        if run.epoch is not None and run.get(metric, split) is not None:
            at.setdefault(run.epoch, []).append(run)
    epochs = sorted(at)
    values = [pooled(run.get(metric, split) for run in at[epoch]) for epoch in epochs]
    below, above = [v.value - v.bar for v in values], [v.value + v.bar for v in values]
    axes.plot(epochs, [v.value for v in values], color=colour, linestyle=split_style(split), marker="o", markersize=2)
    axes.fill_between(epochs, below, above, color=colour, alpha=0.2, linewidth=0)
    return [v for v in values if v.num_seeds]
