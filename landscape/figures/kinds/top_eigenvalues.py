"""Histograms of the largest eigenvalues of the Hessian, with its trace (GAM, Zhang et al. 2023, fig. 3)."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from landscape.figures.figure import TWO_COLUMNS, sized_figure
from landscape.figures.kind import kind
from landscape.figures.panels import colours, subject
from landscape.figures.pooled import Value, error_words, pooled, require
from landscape.figures.runs import Run, named
from landscape.results.measurement import quantity

_BINS = 24


@kind("top-eigenvalues", needs="top_eigenvalues and trace on train")
def top_eigenvalues(runs: Sequence[Run]) -> Figure:
    """Histograms of the top eigenvalues and the trace, an optimizer a column, an epoch a row (GAM fig. 3)."""
    runs = require(runs, "top_eigenvalues", "trace", split="train")
    groups, epochs = named(runs), sorted({run.epoch or 0 for run in runs})
    colour = colours(groups)
    spectra = {id(run): run.splits["train"]["top_eigenvalues"].details["eigenvalues"] for run in runs}
    every = np.concatenate(list(spectra.values()))
    edges = np.linspace(min(0.0, every.min()), every.max(), _BINS + 1)
    figure = sized_figure(TWO_COLUMNS, 1.5 * len(epochs) + 0.5)
    grid = figure.subplots(len(epochs), len(groups), squeeze=False, sharex=True, sharey=True)
    traces: list[Value] = []
    for row, epoch in zip(grid, epochs, strict=True):
        for axes, (name, group) in zip(row, groups.items(), strict=True):
            here = [run for run in group if (run.epoch or 0) == epoch]
            if not here:
                axes.text(0.5, 0.5, "not measured", ha="center", va="center", transform=axes.transAxes)
                continue
            counts = [np.histogram(spectra[id(run)], edges)[0] for run in here]
            axes.stairs(np.mean(counts, axis=0), edges, fill=True, color=colour[name])
            for run in here:
                axes.plot(
                    spectra[id(run)],
                    np.full(len(spectra[id(run)]), -0.06),
                    "|",
                    color=colour[name],
                    ms=4,
                    mew=0.4,
                    transform=axes.get_xaxis_transform(),
                    clip_on=False,
                )
            trace = pooled(run.get("trace", "train") for run in here)
            traces.append(trace)
            largest = pooled(run.get("top_eigenvalues", "train") for run in here)
            words = f"trace {quantity(trace.value, trace.error)}\nlargest {quantity(largest.value, largest.error)}"
            axes.text(0.98, 0.95, words, ha="right", va="top", transform=axes.transAxes, fontsize="small")
            axes.set_title(f"{name}, epoch {epoch}")
            axes.tick_params(axis="x", pad=6)
    for axes in grid[:, 0]:
        axes.set_ylabel("number")
    for axes in grid[-1]:
        axes.set_xlabel("eigenvalue")
    num = min(len(one) for one in spectra.values())
    figure.suptitle(f"{subject(runs)}: the {num} largest eigenvalues on train; ± {error_words(traces)}")
    return figure
