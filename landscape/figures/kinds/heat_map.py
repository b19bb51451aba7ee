"""Test accuracy and trace over learning rate and weight decay, an optimizer a column (SA-SAM, figs. 2 and 3).

One colour scale a metric, so that the optimizers can be compared; the number is in every cell.
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

_METRICS = ("accuracy", "trace")
_SETTINGS = ("lr", "weight_decay")


@kind("heat-map", needs="accuracy and trace on test, at several learning rates and weight decays")
def heat_map(runs: Sequence[Run]) -> Figure:
    """Test accuracy and trace over learning rate x weight decay, by optimizer (SA-SAM figs. 2, 3)."""
    runs = [run for run in last_epochs(require(runs, *_METRICS, split="test")) if run.recipe]
    rates, decays = (sorted({run.setting(key) for run in runs}) for key in _SETTINGS)
    if len(rates) < 2 or len(decays) < 2:
        raise MissingMeasurementError(
            f"The results are of {len(rates)} learning rates and {len(decays)} weight decays. Expected two or more of "
            "each: landscape train --lr X --weight-decay Y --out runs/X, and landscape analyze runs/*/last.pt --out DIR"
        )
    groups = named(runs, apart_from=_SETTINGS)
    figure = sized_figure(max(TWO_COLUMNS * len(groups) / 3, TWO_COLUMNS / 2), 1.9 * len(_METRICS) + 0.4)
    grid = figure.subplots(len(_METRICS), len(groups), squeeze=False, sharex=True, sharey=True)
    drawn: list[Value] = []
    for row, metric in zip(grid, _METRICS, strict=True):
        tables = {}
        for name, group in groups.items():
            cells = [
                [[r for r in group if (r.setting("lr"), r.setting("weight_decay")) == (lr, wd)] for lr in rates]
                for wd in decays
            ]
            tables[name] = [[pooled(run.get(metric, "test") for run in cell) for cell in line] for line in cells]
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
                axes.text(x, y, _cell(v), ha="center", va="center", color=ink, fontsize="x-small", linespacing=0.95)
            axes.set_xticks(range(len(rates)), [f"{rate:g}" for rate in rates])
            axes.set_yticks(range(len(decays)), [f"{decay:g}" for decay in decays])
            axes.tick_params(length=0)
            axes.spines[:].set_visible(False)
            axes.set_title(name if metric == _METRICS[0] else "")
            drawn += [v for line in table for v in line]
        bar = figure.colorbar(image, ax=list(row), label=f"{metric} (test)", pad=0.01)
        bar.outline.set_visible(False)
    for axes in grid[:, 0]:
        axes.set_ylabel("weight_decay")
    for axes in grid[-1]:
        axes.set_xlabel("lr")
    figure.suptitle(f"{subject(runs)}; ± {error_words(drawn)}")
    return figure


def _cell(value: Value) -> str:
    if not value.num_seeds:
        return "–"
    return f"{value.value:.3g}" + (f"\n± {value.error:.2g}" if value.error else "")
