"""The SAM ratio against the normalized trace (CR-SAM, Wu, Luo & Wunsch 2024, fig. 2d): one falls, the other grows."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from landscape.figures.kind import kind
from landscape.figures.panels import colours, in_decades, legend, panels, subject
from landscape.figures.pooled import error_words, pooled, require
from landscape.figures.runs import Run, named


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
        axes.errorbar(
            [v.value for v in x],
            [v.value for v in y],
            [v.error for v in y],
            [v.error for v in x],
            color=colour[name],
            marker="o",
            markersize=3,
            linewidth=0.6,
            elinewidth=0.6,
        )
        axes.plot(x[-1].value, y[-1].value, "o", color=colour[name], markersize=6)
        drawn += [*x, *y]
        xs += [v.value for v in x]
    if in_decades(xs):
        axes.set_xscale("log")
    axes.set_xlabel("normalized_trace (train)")
    axes.set_ylabel("sam_ratio (train)")
    figure.suptitle(subject(runs))
    legend(figure, colour, [], f"bars: {error_words(drawn)}; large: last epoch")
    return figure
