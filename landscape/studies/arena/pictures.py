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
from matplotlib.ticker import LogLocator, NullFormatter

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
    """Accuracy against flatness, a panel a budget, and against gradients: each arm at its chosen point, and the others.

    Args:
        trials: of the study.
        flatness: one of its columns.
    """
    with styled():
        budgets = list(trials.plan.arena.conditions)
        columns = len(budgets) + 1 if len(budgets) < 4 else 4
        num_rows = -(-(len(budgets) + 1) // columns)
        figure = sized_figure(TWO_COLUMNS, 0.7 + 2.0 * num_rows)
        axes = list(figure.subplots(num_rows, columns, sharey=True, squeeze=False).flat)
        for extra in axes[len(budgets) + 1 :]:
            extra.remove()
        axes = axes[: len(budgets) + 1]
        styles = _styles(trials)
        for panel, budget in zip(axes, budgets, strict=False):
            for arm, style in styles.items():
                _cloud(panel, trials, arm, budget, flatness, style)
            panel.set_xscale("log")
            _ticks(panel.xaxis)
            panel.set_xlabel(_axis(trials, flatness))
            panel.set_title(in_words(budget))
        learned = trials.compared.dropna(subset=[flatness]).groupby(["arm", "budget", "point"])[ACCURACY].mean()
        lowest = learned.min() - (learned.max() - learned.min()) / 4
        below: list[str] = []
        for arm, style in styles.items():
            for budget in budgets:
                rows = _at(trials, arm, budget, trials.chosen[arm, budget])
                accuracy = mean_interval(rows[ACCURACY].dropna().to_numpy())
                fill = style["color"] if budget.endswith("epochs") else rcParams["axes.facecolor"]
                mark = {**style, "markerfacecolor": fill, "capsize": 1.5, "elinewidth": 0.8}
                if accuracy.value > lowest:
                    axes[-1].errorbar(rows["gradients"].mean(), accuracy.value, accuracy.half, **mark)
                else:
                    below.append(f"{arm} {accuracy.value:.2f}")
        axes[0].set_ylim(bottom=lowest)
        if below:
            words = "below: " + ", ".join(dict.fromkeys(below))
            axes[-1].annotate(words, (0.98, 0.02), xycoords="axes fraction", ha="right", fontsize="x-small", wrap=True)
        axes[-1].set_xlabel("gradients of a training")
        axes[-1].set_title("what it cost")
        for panel in axes[::columns]:
            panel.set_ylabel(f"{trials.columns[ACCURACY][1]} accuracy")
        handles = [Line2D([], [], **style, label=arm) for arm, style in styles.items()]
        grey: dict[str, Any] = {"color": "0.5", "linestyle": ""}
        handles += [Line2D([], [], **grey, marker="o", markersize=2.5, label="other points")]
        if len(trials.plan.arena.budgets) > 1:
            hollow: dict[str, Any] = {"markerfacecolor": rcParams["axes.facecolor"], "marker": "o"}
            handles += [Line2D([], [], **grey, **hollow, label="right: as many gradients")]
        legend_below(
            figure, handles, columns=(3, 6), title=f"large: {_large(trials)}; bars: 95 % over {_seeds(trials)}"
        )
    return figure


def curves(trials: Trials) -> Figure:
    """Each number of flatness over the radius ||e||, a panel a budget and number; arms without radius are levels."""
    with styled():
        budgets, names = list(trials.plan.arena.conditions), list(trials.plan.arena.flatness)
        figure = sized_figure(TWO_COLUMNS, 0.6 + 2.1 * len(names))
        grid = figure.subplots(len(names), len(budgets), sharex=True, sharey="row", squeeze=False)
        styles = _styles(trials)
        from_ = _compared_first(trials)
        told = {
            (c.arm, c.budget, c.metric, c.radius)
            for c in trials.claims
            if c.verdict != "not told apart" and c.against == from_.get(c.arm)
        }
        for row, name in zip(grid, names, strict=True):
            for panel, budget in zip(row, budgets, strict=True):
                for arm, style in styles.items():
                    _curve(panel, trials, (arm, budget, name), style, told)
                panel.set_xscale("log")
                panel.set_yscale("log")
                _ticks(panel.xaxis)
                _ticks(panel.yaxis)
            row[0].set_ylabel(_axis(trials, name))
        for panel, budget in zip(grid[0], budgets, strict=True):
            panel.set_title(in_words(budget))
        for panel in grid[-1]:
            panel.set_xlabel("radius ‖e‖" if trials.plan.arena.over == "radius" else "learning rate")
        handles = [Line2D([], [], **style, label=arm) for arm, style in styles.items()]
        others = dict.fromkeys(from_.values())
        title = f"filled: told apart from {' or else '.join(others)} there; bands: 95 % over {_seeds(trials)}"
        legend_below(figure, handles, columns=(2, 4), title=title)
    return figure


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
    few = high / low < _DECADES
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,)))
    axis.set_minor_formatter(NullFormatter())
    if few:
        axis.set_major_formatter("{x:g}")
    else:
        axis.set_major_formatter(PlainPowers())


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
