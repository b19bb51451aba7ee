"""What each optimizer ends with: accuracy and curvature as bars, over lr x weight decay, and as tables.

The heat map is of corrupted test images where results hold them, otherwise of test, with one colour scale a metric. A
setting that goes with the two, such as a radius that is the root of the learning rate, makes no column of its own.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps, rcParams
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from landscape.figures.kinds.kind import kind
from landscape.figures.kinds.panels import ERROR_BAR, colours, in_decades, panels, split_marker
from landscape.figures.kinds.style import TWO_COLUMNS, in_powers, sized_figure
from landscape.figures.kinds.table import Table
from landscape.figures.runs.pooled import MissingMeasurementError, Value, error_words, pooled, require
from landscape.figures.runs.run import Run, last_epochs, named, splits_of, subject

_METRICS = ("accuracy", "trace", "lambda_max")
_GRID, _MORE = _METRICS[:2], _METRICS[2:]  # of the heat map: those it needs, and those drawn where they were measured
_GEOMETRY = ("gradient_norm", "trace", "normalized_trace")
_WIDEST = 20  # characters of all names together that still stand side by side
_HATCHES = ("", "////", "....")
_ABREAST = 3  # optimizers of a heat map in as many columns; more of them are rows
_SETTINGS = ("lr", "weight_decay")


@kind("optimizers", needs="accuracy, trace and lambda_max")
def optimizers(runs: Sequence[Run]) -> Figure:
    """Accuracy, trace and lambda_max at the end of training, an optimizer a bar (SA-SAM figs. 1, 4, 5)."""
    runs = last_epochs(require(runs, *_METRICS))
    groups = named(runs)
    splits = splits_of(runs)
    colour = colours(groups)
    figure, axes = panels(len(_METRICS), columns=3, height=2.0)
    width, drawn = 0.8 / len(splits), []
    paper = rcParams["axes.facecolor"]
    for panel, metric in zip(axes, _METRICS, strict=True):
        heights = []
        for column, (name, group) in enumerate(groups.items()):
            for index, split in enumerate(splits):
                value = pooled(run.get(metric, split) for run in group)
                x = column + width * (index - (len(splits) - 1) / 2)
                if metric == "accuracy":  # a bar that does not begin at 0 would lie
                    reach = [[value.bar], [min(value.bar, 1 - value.value)]]  # none is better than all right
                    panel.errorbar(x, value.value, reach, color=colour[name], **split_marker(index), **ERROR_BAR)
                else:
                    hatch = _HATCHES[index % 3]
                    bar = {"color": colour[name], "hatch": hatch, "edgecolor": paper, "linewidth": 0}
                    error = ERROR_BAR | {"ecolor": rcParams["text.color"]}
                    panel.bar(x, value.value, 0.9 * width, yerr=value.bar, error_kw=error, **bar)
                if not value.num_seeds:
                    panel.text(x, 0, "not measured", rotation=90, ha="center", va="bottom", fontsize="x-small")
                heights.append(value.value)
                drawn.append(value)
        if metric != "accuracy" and in_decades(heights):
            panel.set_yscale("log")
            in_powers(panel.yaxis)
        panel.set_xlim(-0.6, len(groups) - 0.4)
        panel.set_xticks(range(len(groups)), list(groups))
        if len("".join(groups)) > _WIDEST:
            panel.tick_params(axis="x", rotation=30)
        panel.set_ylabel(metric)
    figure.suptitle(f"{subject(runs)}; bars: {error_words(drawn)}")
    hatches = zip(splits, itertools.cycle(_HATCHES), strict=False)
    marks = [Patch(facecolor="0.6", edgecolor=paper, hatch=hatch, label=split) for split, hatch in hatches]
    figure.legend(handles=marks, loc="outside lower center", ncols=4)
    return figure


@kind("heat-map", needs="accuracy and trace on test, at several learning rates and weight decays")
def heat_map(runs: Sequence[Run]) -> Figure:
    """Test accuracy, trace and lambda_max over learning rate x weight decay, by optimizer (SA-SAM figs. 2, 3)."""
    split = "corrupted" if any("corrupted" in run.splits for run in runs) else "test"
    runs = [run for run in last_epochs(require(runs, *_GRID, split=split)) if run.recipe]
    metrics = [*_GRID, *(metric for metric in _MORE if all(run.get(metric, split) for run in runs))]
    rates, decays = (sorted({run.setting(key) for run in runs}) for key in _SETTINGS)
    if len(rates) < 2 or len(decays) < 2:
        raise MissingMeasurementError(
            f"The results are of {len(rates)} learning rates and {len(decays)} weight decays. Expected two or more of "
            "each: landscape train --lr X --weight-decay Y --out runs/X, and landscape analyze runs/*/last.pt --out DIR"
        )
    groups = named(runs, apart_from=[*_SETTINGS, *_tied(runs)])
    most = len({run.setting("seed") for run in runs})
    down = len(groups) > _ABREAST  # one below the other, so that the numbers can be read
    if down:
        figure = sized_figure(TWO_COLUMNS, 1.3 * len(groups) + 0.8)
        grid = figure.subplots(len(groups), len(metrics), squeeze=False, sharex=True, sharey=True).T
    else:
        figure = sized_figure(max(TWO_COLUMNS * len(groups) / 3, TWO_COLUMNS / 2), 1.9 * len(metrics) + 0.4)
        grid = figure.subplots(len(metrics), len(groups), squeeze=False, sharex=True, sharey=True)
    drawn: list[Value] = []
    for row, metric in zip(grid, metrics, strict=True):
        tables = {}
        for name, group in groups.items():
            at = [(tuple(run.setting(key) for key in _SETTINGS), run.get(metric, split)) for run in group]
            tables[name] = [[pooled(m for place, m in at if place == (x, y)) for x in rates] for y in decays]
        values = np.array([[[v.value for v in line] for line in table] for table in tables.values()])
        norm_of: Any = LogNorm if in_decades(list(values.ravel())) else Normalize
        norm = norm_of(np.nanmin(values), np.nanmax(values))
        colours = colormaps["cividis" if metric == "accuracy" else "cividis_r"]  # bright is good, in both
        for axes, (name, table) in zip(row, tables.items(), strict=True):
            image = axes.imshow(
                [[v.value for v in line] for line in table], norm=norm, cmap=colours, aspect="auto", origin="lower"
            )
            for (y, x), v in np.ndenumerate(np.array(table, dtype=object)):
                dark = v.num_seeds and sum(colours(norm(v.value))[:3]) < 1.5
                ink = "white" if dark else "black" if v.num_seeds else rcParams["text.color"]
                middle: Any = {"ha": "center", "va": "center", "fontsize": "x-small", "linespacing": 0.95}
                axes.text(x, y, _cell(v, most), color=ink, **middle)
            axes.set_xticks(range(len(rates)), [f"{rate:g}" for rate in rates])
            axes.set_yticks(range(len(decays)), [f"{decay:g}" for decay in decays])
            axes.tick_params(length=0)
            axes.spines[:].set_visible(False)
            axes.set_title(name if down or metric == metrics[0] else "")
            drawn += [v for line in table for v in line]
        where: Any = {"location": "top", "aspect": 30} if down else {"pad": 0.01}
        bar = figure.colorbar(image, ax=list(row), label=f"{metric} ({split})", **where)
        bar.outline.set_visible(False)
    left, below = (grid[0], grid[:, -1]) if down else (grid[:, 0], grid[-1])
    for axes in left:
        axes.set_ylabel("weight_decay")
    for axes in below:
        axes.set_xlabel("lr")
    figure.suptitle(f"{subject(runs)}; ± {error_words(drawn)}")
    return figure


@kind("accuracy", needs="accuracy on test")
def accuracy(runs: Sequence[Run]) -> Table:
    """Test accuracy in %, a model and optimizer a row, a data set a column (CurvSAM table 1)."""
    runs = last_epochs(require(runs, "accuracy", split="test"))
    models, sets = ({_name(run, key): None for run in runs} for key in ("model", "data"))
    rows: list[list[str | Value]] = []
    for model in models:
        of_model = [run for run in runs if _name(run, "model") == model]
        for name, group in named(of_model, apart_from=["model", "data"]).items():
            cells = [pooled(run.get("accuracy", "test") for run in group if _name(run, "data") == one) for one in sets]
            rows.append([model, name, *(cell.times(100) for cell in cells)])
    best = dict.fromkeys(sets, "max") if len(models) == 1 else {}
    return Table(["model", "optimizer", *sets], rows, "Test accuracy in %.", best)


@kind("geometry", needs="gradient_norm, trace and normalized_trace on test")
def geometry(runs: Sequence[Run]) -> Table:
    """Gradient norm, trace and normalized trace on test, an optimizer a row (CR-SAM table 3)."""
    runs = last_epochs(require(runs, *_GEOMETRY, split="test"))
    rows: list[list[str | Value]] = [
        [name, *(pooled(run.get(metric, "test") for run in group) for metric in _GEOMETRY)]
        for name, group in named(runs).items()
    ]
    caption = f"Model geometry, {subject(runs)}, on the test set.".replace(", ,", ",")
    return Table(["optimizer", *_GEOMETRY], rows, caption, dict.fromkeys(_GEOMETRY, "min"))


def _tied(runs: Sequence[Run]) -> list[str]:
    """Settings with one value a cell of the grid and optimizer."""
    cells: dict[tuple[Any, ...], list[Run]] = {}
    for run in runs:
        cells.setdefault((run.optimizer, *(run.setting(key) for key in _SETTINGS)), []).append(run)
    keys = {key for run in runs for key in run.recipe if key not in _SETTINGS}
    return sorted(k for k in keys if all(len({str(run.setting(k)) for run in cell}) == 1 for cell in cells.values()))


def _cell(value: Value, most: int) -> str:
    if not value.num_seeds:
        return "–"
    fewer = f"\n{value.num_seeds} of {most}" if value.num_seeds < most else ""
    shown = value.text if value.error else f"{value.value:.3g}"
    return shown.replace(" ± ", "\n± ") + fewer


def _name(run: Run, key: str) -> str:
    return str((run.checkpoint.get(key) or {}).get("name", "–"))
