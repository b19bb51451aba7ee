"""Where in the network the curvature is: trace and largest eigenvalue of each layer's block, as bars and as a table."""

from collections.abc import Sequence

import numpy as np
from matplotlib import rcParams
from matplotlib.figure import Figure

from landscape.figures.kind import kind
from landscape.figures.panels import colours, legend, panels, subject
from landscape.figures.pooled import Value, require
from landscape.figures.runs import Run, last_epochs, named
from landscape.figures.table import Table
from landscape.results import Measurement

_NORMAL_95 = 1.96


@kind("layers", needs="layer_table on train")
def layers(runs: Sequence[Run]) -> Figure:
    """Trace and lambda_max of each layer's block of the Hessian, as bars."""
    runs = last_epochs(require(runs, "layer_table", split="train"))
    groups = named(runs)
    colour = colours(groups)
    names = list(dict.fromkeys(str(name) for run in runs for name in _table(run).details["layers"]))
    figure, axes = panels(2, height=0.4 + 0.16 * len(names) * max(len(groups), 2), sharey=True)
    height = 0.8 / len(groups)
    for panel, key, error_key, factor in zip(
        axes, ("trace", "lambda_max"), ("trace_std_error", "lambda_max_error"), (_NORMAL_95, 1.0), strict=True
    ):
        for index, (name, group) in enumerate(groups.items()):
            details = _table(group[0]).details
            y = np.array([names.index(str(layer)) for layer in details["layers"]])
            y = y + height * (index - (len(groups) - 1) / 2)
            bar = {"elinewidth": 0.8, "capsize": 1.5, "capthick": 0.8, "ecolor": rcParams["text.color"]}
            panel.barh(
                y, details[key], 0.9 * height, xerr=factor * details[error_key], color=colour[name], error_kw=bar
            )
        panel.set_xlabel(f"{key} (train)")
    axes[0].set_yticks(range(len(names)), names)
    axes[0].invert_yaxis()
    figure.suptitle(subject(runs))
    legend(figure, colour, [], "bars: 95 % interval")
    return figure


@kind("layer-table", needs="layer_table on train")
def layer_table(runs: Sequence[Run]) -> Table:
    """Parameters, gradient norm, trace, its share and lambda_max of each layer."""
    runs = last_epochs(require(runs, "layer_table", split="train"))
    rows: list[list[str | Value]] = []
    for name, group in named(runs).items():
        d = _table(group[0]).details
        for i, layer in enumerate(d["layers"]):
            values = [
                Value(float(d["gradient_norm"][i]), 0.0),
                Value(float(d["trace"][i]), _NORMAL_95 * float(d["trace_std_error"][i])),
                Value(100 * float(d["share"][i]), 0.0),
                Value(float(d["lambda_max"][i]), float(d["lambda_max_error"][i])),
            ]
            rows.append([name, str(layer), f"{d['num_params'][i]:,}", *values])
    header = ["run", "layer", "parameters", "gradient_norm", "trace", "share of trace (%)", "lambda_max"]
    return Table(header, rows, f"Curvature by layer, {subject(runs)}, on the training set.", {})


def _table(run: Run) -> Measurement:
    return run.splits["train"]["layer_table"]
