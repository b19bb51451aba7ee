"""The figures of an arena: accuracy against flatness against gradients, and flatness over the radius.

Bars and bands are 95 % t-intervals over the seeds that are reported, of logarithms where the axis is logarithmic.
"""

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from landscape.figures.kinds.panels import colours, legend_below
from landscape.figures.kinds.style import TWO_COLUMNS, PlainPowers, sized_figure, styled
from landscape.statistics import Interval, mean_interval
from landscape.studies.arena.trials import ACCURACY, Trials

_WORDS = {"epochs": "for as many epochs", "gradients": "for as many gradients"}
_MARKERS = "osD^v<>Pp*hX"
_DECADES = 300  # largest over smallest value at which 1, 2 and 5 still fit an axis
_LINESTYLES = ("-", "--", ":")


def in_words(condition: str) -> str:
    """A condition of an arena as it is said.

    Example:
        >>> in_words("20 % noise, epochs")
        '20 % noise, for as many epochs'
    """
    benchmark, comma, budget = condition.rpartition(", ")
    return f"{benchmark}{comma}{_WORDS[budget]}"


def pareto(trials: Trials, flatness: str) -> Figure:
    """Accuracy against flatness at each arm's chosen point, and the others; a row a budget where there are benchmarks.

    Of one benchmark a last panel has the accuracy against the gradients of a training.

    Args:
        trials: of the study.
        flatness: one of its columns.
    """
    arena = trials.plan.arena
    several = len(arena.benchmarks) > 1
    shape = (len(arena.budgets), len(arena.benchmarks)) if several else (1, len(arena.budgets) + 1)
    with styled():
        figure = sized_figure(TWO_COLUMNS, 0.8 + 2.0 * shape[0])
        grid = figure.subplots(*shape, sharey="col" if several else True, squeeze=False)
        styles = _styles(trials)
        for panel, condition in zip(grid.flat, arena.conditions, strict=False):
            for arm, style in styles.items():
                _cloud(panel, trials, arm, condition, flatness, style)
            panel.set_xscale("log")
            _ticks(panel.xaxis)
            panel.set_xlabel(_axis(trials, flatness))
            panel.set_title(in_words(condition).replace(", ", "\n"))
        for row in grid:
            row[0].set_ylabel(f"{trials.columns[ACCURACY][1]} accuracy")
        handles = [Line2D([], [], **style, label=arm) for arm, style in styles.items()]
        grey: dict[str, Any] = {"color": "0.5", "linestyle": ""}
        handles += [Line2D([], [], **grey, marker="o", markersize=2.5, label="other points")]
        if not several:
            _costs(grid[0, -1], trials, flatness, styles)
            if len(arena.budgets) > 1:
                hollow: dict[str, Any] = {"markerfacecolor": rcParams["axes.facecolor"], "marker": "o"}
                handles += [Line2D([], [], **grey, **hollow, label="right: as many gradients")]
        title = f"large: {_large(trials)}; bars: 95 % over {_seeds(trials)}"
        legend_below(figure, handles, columns=(3, 6), title=title)
    return figure


def curves(trials: Trials) -> Figure:
    """Each number of flatness over the radius ||e||, a column a benchmark, or a budget; arms without one are levels."""
    arena = trials.plan.arena
    columns = len(arena.benchmarks) if len(arena.benchmarks) > 1 else len(arena.budgets)
    panels = [(name, condition) for name in arena.flatness for condition in arena.conditions]
    with styled():
        rows = len(panels) // columns
        figure = sized_figure(TWO_COLUMNS, 0.7 + 2.1 * rows)
        grid = figure.subplots(rows, columns, sharex=True, sharey="row", squeeze=False)
        styles, first = _styles(trials), _compared_first(trials)
        told = {
            (c.arm, c.budget, c.metric, c.radius)
            for c in trials.claims
            if c.verdict != "not told apart" and c.against == first.get(c.arm)
        }
        for panel, (name, condition) in zip(grid.flat, panels, strict=True):
            for arm, style in styles.items():
                _curve(panel, trials, (arm, condition, name), style, told)
            panel.set_xscale("log")
            panel.set_yscale("log")
            _ticks(panel.xaxis)
            _ticks(panel.yaxis)
            panel.set_title(in_words(condition).replace(", ", "\n"))
        for row, (name, _) in zip(grid, panels[::columns], strict=True):
            row[0].set_ylabel(_axis(trials, name))
        for panel in grid[-1]:
            panel.set_xlabel("radius ‖e‖" if arena.over == "radius" else "learning rate")
        handles = [Line2D([], [], **style, label=arm) for arm, style in styles.items()]
        others = dict.fromkeys(first.values())
        title = f"filled: told apart from {' or else '.join(others)} there; bands: 95 % over {_seeds(trials)}"
        legend_below(figure, handles, columns=(2, 4), title=title)
    return figure


def _costs(panel: Axes, trials: Trials, flatness: str, styles: dict[str, dict[str, Any]]) -> None:
    """Accuracy against gradients; arms far below those that learned are named, and not drawn."""
    learned = trials.compared.dropna(subset=[flatness]).groupby(["arm", "budget", "point"])[ACCURACY].mean()
    lowest = learned.min() - (learned.max() - learned.min()) / 4
    below: list[str] = []
    for arm, style in styles.items():
        for condition in trials.plan.arena.conditions:
            rows = _at(trials, arm, condition, trials.chosen[arm, condition])
            accuracy = mean_interval(rows[ACCURACY].dropna().to_numpy())
            if accuracy.value <= lowest:
                below.append(f"{arm} {accuracy.value:.2f}")
                continue
            fill = style["color"] if condition.endswith("epochs") else rcParams["axes.facecolor"]
            mark = {**style, "markerfacecolor": fill, "capsize": 1.5, "elinewidth": 0.8}
            panel.errorbar(rows["gradients"].mean(), accuracy.value, accuracy.half, **mark)
    panel.set_ylim(bottom=lowest)
    if below:
        words = "below: " + ", ".join(dict.fromkeys(below))
        panel.annotate(words, (0.98, 0.02), xycoords="axes fraction", ha="right", fontsize="x-small", wrap=True)
    panel.set_xlabel("gradients of a training")
    panel.set_title("what it cost")


def _compared_first(trials: Trials) -> dict[str, str]:
    """By arm, the one that it is compared with: the reference, where that is among several."""
    arena = trials.plan.arena
    found: dict[str, str] = {}
    for arm, other in sorted(arena.compared, key=lambda pair: pair[1] != arena.reference):
        if arm != arena.reference:
            found.setdefault(arm, other)
    return found


def _ticks(axis: Axis) -> None:
    """Ticks at 1, 2 and 5, or at powers of ten where these are many."""
    low, high = axis.get_view_interval()
    subs = (1.0, 2.0, 5.0) if high / low < _DECADES else (1.0,)
    ticks = LogLocator(subs=subs).tick_values(low, high)
    few = sum(low <= tick <= high for tick in ticks) < 2
    axis.set_major_locator(MaxNLocator(3, steps=(1, 2, 5, 10)) if few else LogLocator(subs=subs))
    axis.set_minor_formatter(NullFormatter())
    axis.set_major_formatter("{x:g}" if len(subs) > 1 else PlainPowers())


def _styles(trials: Trials) -> dict[str, dict[str, Any]]:
    """Colour, marker and line by arm; the same in all figures of the study."""
    names = [arm.name for arm in trials.plan.arena.arms]
    num = len(rcParams["axes.prop_cycle"])
    return {
        name: {
            "color": colour,
            "marker": _MARKERS[index % len(_MARKERS)],
            "linestyle": _LINESTYLES[index // num % len(_LINESTYLES)],
        }
        for index, (name, colour) in enumerate(colours(names).items())
    }


def _cloud(panel: Axes, trials: Trials, arm: str, budget: str, flatness: str, style: dict[str, Any]) -> None:
    """The arm's points, that of its choice large and with bars."""
    light = {**style, "markersize": 2.5, "linewidth": 0.5, "alpha": 0.4}
    means = [
        (_log_mean(rows[flatness]).value, rows[ACCURACY].mean())
        for point in sorted(trials.table["point"].unique())
        if len(rows := _at(trials, arm, budget, point).dropna(subset=[flatness]))
    ]
    if means:
        panel.plot(*zip(*means, strict=True), **light)
    rows = _at(trials, arm, budget, trials.chosen[arm, budget])
    x, y = _log_mean(rows[flatness]), mean_interval(rows[ACCURACY].dropna().to_numpy())
    reach = [[x.value - x.low], [x.high - x.value]]
    mark = {**style, "linestyle": "", "capsize": 1.5, "elinewidth": 0.8, "zorder": 3}
    panel.errorbar(x.value, y.value, y.half, reach, **mark)


def _curve(
    panel: Axes,
    trials: Trials,
    which: tuple[str, str, str],
    style: dict[str, Any],
    told: set[tuple[str, str, str, float | None]],
) -> None:
    arm, budget, name = which
    table = trials.compared
    some = table[(table["arm"] == arm) & (table["budget"] == budget)].dropna(subset=[name])
    points = [some[some["point"] == point] for point in some["point"].unique()]
    radii = [rows[trials.plan.arena.over].mean() for rows in points]
    values = [_log_mean(rows[name]) for rows in points]
    if not any(radii):
        for level in [_log_mean(some[some["point"] == trials.chosen[arm, budget]][name])] if len(some) else []:
            panel.axhline(level.value, color=style["color"], linestyle="--", linewidth=0.8)
        return
    order = np.argsort(radii)
    x = [radii[i] for i in order]
    plain = {key: style[key] for key in ("color", "linestyle")}
    panel.plot(x, [values[i].value for i in order], linewidth=0.8, **plain)
    band = {"color": style["color"], "alpha": 0.15, "linewidth": 0}
    panel.fill_between(x, [values[i].low for i in order], [values[i].high for i in order], **band)
    for radius, value in zip(radii, values, strict=True):
        fill = style["color"] if (arm, budget, name, radius) in told else rcParams["axes.facecolor"]
        panel.plot(radius, value.value, color=style["color"], marker=style["marker"], markerfacecolor=fill)


def _at(trials: Trials, arm: str, budget: str, point: float) -> pd.DataFrame:
    table = trials.compared
    return table[(table["arm"] == arm) & (table["budget"] == budget) & (table["point"] == point)]


def _log_mean(values: pd.Series) -> Interval:
    """The geometric mean with its interval."""
    logs = mean_interval(np.log(values[values > 0].to_numpy()))
    value, low, high = (math.exp(min(end, 50)) for end in (logs.value, logs.low, logs.high))
    return Interval(value, low, high, logs.num_samples)


def _axis(trials: Trials, name: str) -> str:
    return f"{name} on {trials.columns[name][1]}"


def _large(trials: Trials) -> str:
    return "as tuned" if trials.plan.tuning_seeds else f"at {trials.plan.arena.usual:g}, the usual point"


def _seeds(trials: Trials) -> str:
    return f"{trials.plan.num_seeds} seeds"
