"""Accuracy, trace and largest eigenvalue, a bar an optimizer (SA-SAM, figs. 1, 4 and 5)."""

from collections.abc import Sequence
from typing import Any

from matplotlib import rcParams
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from landscape.figures.kind import kind
from landscape.figures.panels import colours, in_decades, panels, subject
from landscape.figures.pooled import error_words, pooled, require
from landscape.figures.runs import Run, last_epochs, named

_METRICS = ("accuracy", "trace", "lambda_max")
_WIDEST = 20  # characters of all names together that still stand side by side
_HATCHES = ("", "////", "....")


@kind("optimizers", needs="accuracy, trace and lambda_max")
def optimizers(runs: Sequence[Run]) -> Figure:
    """Accuracy, trace and lambda_max at the end of training, an optimizer a bar (SA-SAM figs. 1, 4, 5)."""
    runs = last_epochs(require(runs, *_METRICS))
    groups = named(runs)
    splits = list(dict.fromkeys(split for run in runs for split in run.splits))
    colour = colours(groups)
    figure, axes = panels(len(_METRICS), columns=3, height=2.0)
    width, drawn = 0.8 / len(splits), []
    grey, paper = rcParams["text.color"], rcParams["axes.facecolor"]
    for panel, metric in zip(axes, _METRICS, strict=True):
        heights = []
        for column, (name, group) in enumerate(groups.items()):
            for index, split in enumerate(splits):
                value = pooled(run.get(metric, split) for run in group)
                x = column + width * (index - (len(splits) - 1) / 2)
                error: dict[str, Any] = {"elinewidth": 0.8, "capsize": 2, "capthick": 0.8}
                if metric == "accuracy":  # a bar that does not begin at 0 would lie
                    marker: dict[str, Any] = {"marker": "s", "mfc": paper} if index % 2 else {"marker": "o"}
                    reach = [[value.error], [min(value.error, 1 - value.value)]]  # none is better than all right
                    panel.errorbar(x, value.value, reach, color=colour[name], **marker, **error)
                else:
                    hatch = _HATCHES[index % 3]
                    bar = {"color": colour[name], "hatch": hatch, "edgecolor": paper, "linewidth": 0}
                    panel.bar(x, value.value, 0.9 * width, yerr=value.error, error_kw=error | {"ecolor": grey}, **bar)
                if not value.num_seeds:
                    panel.text(x, 0, "not measured", rotation=90, ha="center", va="bottom", fontsize="x-small")
                heights.append(value.value)
                drawn.append(value)
        if metric != "accuracy" and in_decades(heights):
            panel.set_yscale("log")
        panel.set_xlim(-0.6, len(groups) - 0.4)
        panel.set_xticks(range(len(groups)), list(groups))
        if len("".join(groups)) > _WIDEST:
            panel.tick_params(axis="x", rotation=30)
        panel.set_ylabel(metric)
    figure.suptitle(f"{subject(runs)}; bars: {error_words(drawn)}")
    marks = [
        Patch(facecolor="0.6", edgecolor=rcParams["axes.facecolor"], hatch=_HATCHES[i % 3], label=split)
        for i, split in enumerate(splits)
    ]
    figure.legend(handles=marks, loc="outside lower center", ncols=4)
    return figure
