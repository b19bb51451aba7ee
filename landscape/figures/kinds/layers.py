"""Where in the network the curvature is: trace and largest eigenvalue of each layer's block, as bars and as a table."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from matplotlib import rcParams
from matplotlib.figure import Figure

from landscape.figures.kinds.kind import kind
from landscape.figures.kinds.panels import ERROR_BAR, colours, legend, panels
from landscape.figures.kinds.table import Table
from landscape.figures.runs.pooled import Value, require
from landscape.figures.runs.run import Run, last_epochs, named, subject
from landscape.results import Measurement
from landscape.text import printable

_ARRAYS = ("num_params", "gradient_norm", "trace", "trace_std_error", "share", "lambda_max", "lambda_max_error")


class Layer(NamedTuple):
    """One row of the table, each number with what its error is."""

    name: str
    num_params: int
    gradient_norm: Value
    trace: Value
    share: float  # of the trace of all layers
    lambda_max: Value

    def bar(self, longest: float) -> float:
        """The length of a bar for the share, if that of a layer with all of the trace is the longest."""
        return 0.0 if math.isnan(self.share) else round(longest * min(max(self.share, 0.0), 1.0), 2)


def layers_of(table: Measurement) -> list[Layer]:
    """The rows of a ``layer_table``."""
    d = table.details

    def value(key: str, i: int, error: str = "", **kind: Any) -> Value:
        return Value.of(Measurement(key, float(d[key][i]), float(d[error][i]) if error else 0.0, **kind))

    return [
        Layer(
            printable(str(name)),
            int(d["num_params"][i]),
            value("gradient_norm", i),
            value("trace", i, "trace_std_error", num_samples=table.num_samples),
            float(d["share"][i]),
            value("lambda_max", i, "lambda_max_error", error_kind="bound"),
        )
        for i, name in enumerate(d["layers"] if all(key in d for key in ("layers", *_ARRAYS)) else ())
    ]


@kind("layers", needs="layer_table on train")
def layers(runs: Sequence[Run]) -> Figure:
    """Trace and lambda_max of each layer's block of the Hessian, as bars."""
    tables = _tables(runs)
    colour = colours(tables)
    names = list(dict.fromkeys(layer.name for table in tables.values() for layer in table))
    figure, axes = panels(2, height=0.4 + 0.16 * len(names) * max(len(tables), 2), sharey=True)
    height = 0.8 / len(tables)
    error = ERROR_BAR | {"ecolor": rcParams["text.color"]}
    for panel, key in zip(axes, ("trace", "lambda_max"), strict=True):
        for index, (name, table) in enumerate(tables.items()):
            y = [names.index(layer.name) + height * (index - (len(tables) - 1) / 2) for layer in table]
            found: list[Value] = [getattr(layer, key) for layer in table]
            bars = [v.bar for v in found]
            panel.barh(y, [v.value for v in found], 0.9 * height, xerr=bars, color=colour[name], error_kw=error)
        panel.set_xlabel(f"{key} (train)")
    axes[0].set_yticks(range(len(names)), names)
    axes[0].invert_yaxis()
    figure.suptitle(subject(runs))
    legend(figure, colour, [], "bars: 95 % interval")
    return figure


@kind("layer-table", needs="layer_table on train")
def layer_table(runs: Sequence[Run]) -> Table:
    """Parameters, gradient norm, trace, its share and lambda_max of each layer."""
    rows: list[list[str | Value]] = []
    for run, table in _tables(runs).items():
        for layer in table:
            share = Value(100 * layer.share, 0.0)
            names = [run, layer.name, f"{layer.num_params:,}"]
            rows.append([*names, layer.gradient_norm, layer.trace, share, layer.lambda_max])
    header = ["run", "layer", "parameters", "gradient_norm", "trace", "share of trace (%)", "lambda_max"]
    return Table(header, rows, f"Curvature by layer, {subject(runs)}, on the training set.", {})


def _tables(runs: Sequence[Run]) -> dict[str, list[Layer]]:
    """Of the last epoch and the first seed of each name."""
    groups = named(last_epochs(require(runs, "layer_table", split="train", arrays=["layers", *_ARRAYS])))
    return {name: layers_of(group[0].splits["train"]["layer_table"]) for name, group in groups.items()}
