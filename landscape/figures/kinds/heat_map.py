"""Accuracy, trace and largest eigenvalue over learning rate x weight decay, an optimizer a column (SA-SAM, figs. 2, 3).

On corrupted test images where results hold them, otherwise on test. One colour scale a metric, so that the optimizers
can be compared; the number is in every cell. A setting that goes with the two, such as a radius that is the root of the
learning rate, makes no column of its own.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps, rcParams
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure

from landscape.figures.figure import TWO_COLUMNS, sized_figure
from landscape.figures.kind import kind
from landscape.figures.panels import in_decades, subject
from landscape.figures.pooled import MissingMeasurementError, Value, error_words, pooled, require
from landscape.figures.runs import Run, last_epochs, named
from landscape.results.measurement import quantity

_METRICS = ("accuracy", "trace")
_MORE = ("lambda_max",)  # drawn where it was measured
_ABREAST = 3  # optimizers in as many columns; more of them are rows
_SETTINGS = ("lr", "weight_decay")


@kind("heat-map", needs="accuracy and trace on test, at several learning rates and weight decays")
def heat_map(runs: Sequence[Run]) -> Figure:
    """Test accuracy, trace and lambda_max over learning rate x weight decay, by optimizer (SA-SAM figs. 2, 3)."""
    split = "corrupted" if any("corrupted" in run.splits for run in runs) else "test"
    runs = [run for run in last_epochs(require(runs, *_METRICS, split=split)) if run.recipe]
    metrics = [*_METRICS, *(metric for metric in _MORE if all(run.get(metric, split) for run in runs))]
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
            cells = [
                [[r for r in group if (r.setting("lr"), r.setting("weight_decay")) == (lr, wd)] for lr in rates]
                for wd in decays
            ]
            tables[name] = [[pooled(run.get(metric, split) for run in cell) for cell in line] for line in cells]
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
                axes.text(
                    x, y, _cell(v, most), ha="center", va="center", color=ink, fontsize="x-small", linespacing=0.95
                )
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


def _tied(runs: Sequence[Run]) -> list[str]:
    """Settings with one value a cell of the grid and optimizer."""
    cells: dict[tuple[Any, ...], list[Run]] = {}
    for run in runs:
        cells.setdefault((run.optimizer, *(run.setting(key) for key in _SETTINGS)), []).append(run)
    keys = {key for run in runs for key in run.recipe if key not in _SETTINGS}
    return sorted(
        key for key in keys if all(len({str(run.setting(key)) for run in cell}) == 1 for cell in cells.values())
    )


def _cell(value: Value, most: int) -> str:
    if not value.num_seeds:
        return "–"
    fewer = f"\n{value.num_seeds} of {most}" if value.num_seeds < most else ""
    shown = quantity(value.value, value.error) if value.error else f"{value.value:.3g}"
    return shown.replace(" ± ", "\n± ") + fewer
