"""The spectrum of the Hessian: its density (Ghorbani et al. 2019; Yao et al. 2020), and the largest eigenvalues.

The axis of the density is linear about 0, and on either side logarithmic beyond a thousandth of the largest eigenvalue;
the density is a decade there. The largest eigenvalues are histograms (GAM, Zhang et al. 2023, fig. 3).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from landscape.figures.kinds.kind import kind
from landscape.figures.kinds.panels import colours, legend, panels
from landscape.figures.kinds.style import TWO_COLUMNS, in_powers, sized_figure
from landscape.figures.runs.pooled import Value, error_words, pooled, require
from landscape.figures.runs.run import Run, last_epochs, named, splits_of, subject
from landscape.results import Measurement
from landscape.statistics import half_width

DEEPEST = 1e-5  # of the highest density: below, it is the smoothing's tail
_BINS = 24
_DENSITY = ("log_eigenvalues", "log_density", "log_std_error", "log_threshold")


@kind("spectrum", needs="spectral_density")
def spectrum(runs: Sequence[Run]) -> Figure:
    """Spectral density of the Hessian on logarithmic axes, with its error band."""
    runs = last_epochs(require(runs, "spectral_density", arrays=_DENSITY))
    splits = [s for s in splits_of(runs) if any(run.get("spectral_density", s) for run in runs)]
    groups = named(runs)
    colour = colours(groups)
    figure, axes = panels(len(splits), height=2.3, sharex=True, sharey=True)
    highest, threshold = 0.0, 0.0
    inside: list[float] = []
    for panel, split in zip(axes, splits, strict=True):
        for name, group in groups.items():
            for m in filter(None, (run.get("spectral_density", split) for run in group)):
                x, y = draw_density(panel, m, colour[name])
                highest, threshold = max(highest, y.max()), max(threshold, float(m.details["log_threshold"]))
                inside += [float(edge) for edge in x[y > DEEPEST * y.max()][[0, -1]]]
        panel.set_title(split)
        panel.set_xlabel("eigenvalue")
    for panel in axes:
        panel.set_xscale("symlog", linthresh=threshold)
        panel.set_yscale("log")
        in_powers(panel.xaxis)
        in_powers(panel.yaxis)
        panel.set_ylim(DEEPEST * highest, 2 * highest)
        panel.axvspan(-threshold, threshold, color="0.5", alpha=0.1, linewidth=0)
        exponent = int(np.ceil(np.log10(threshold)))
        low, high = 1.3 * min(inside), 1.3 * max(inside)
        panel.set_xlim(low, high)
        ticks = [0.0, *(s * 10.0**e for s in (-1, 1) for e in range(exponent, 8, 2))]
        panel.set_xticks([tick for tick in ticks if low <= tick <= high])
        panel.minorticks_off()
    axes[0].set_ylabel("density (a decade)")
    figure.suptitle(subject(runs))
    legend(figure, colour, [], "95 % interval; axis linear in the grey strip")
    return figure


def draw_density(axes: Axes, m: Measurement, colour: str, **line: Any) -> tuple[np.ndarray, np.ndarray]:
    """Draw a ``spectral_density`` with its 95 % band over starts of Lanczos runs; its eigenvalues and density."""
    x, y, std_error = (np.asarray(m.details[f"log_{key}"]) for key in ("eigenvalues", "density", "std_error"))
    axes.plot(x, y, color=colour, **line)
    if np.isfinite(half := half_width(1.0, m.num_samples)):  # of one run it is not known
        axes.fill_between(x, y - half * std_error, y + half * std_error, color=colour, alpha=0.2, linewidth=0)
    return x, y


@kind("top-eigenvalues", needs="top_eigenvalues and trace on train")
def top_eigenvalues(runs: Sequence[Run]) -> Figure:
    """Histograms of the top eigenvalues and the trace, an optimizer a column, an epoch a row (GAM fig. 3)."""
    runs = require(runs, "top_eigenvalues", "trace", split="train", arrays=["eigenvalues"])
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
            below: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "clip_on": False}
            for values in (spectra[id(run)] for run in here):
                axes.plot(values, np.full(len(values), -0.06), "|", color=colour[name], ms=4, mew=0.4, **below)
            trace = pooled(run.get("trace", "train") for run in here)
            traces.append(trace)
            largest = pooled(run.get("top_eigenvalues", "train") for run in here)
            words = f"trace {trace.text}\nlargest {largest.text}"
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
