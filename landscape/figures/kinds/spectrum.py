"""The density of the Hessian's eigenvalues (Ghorbani et al. 2019; Yao et al. 2020), logarithmic both ways.

The axis is linear about 0 and logarithmic beyond a thousandth of the largest eigenvalue, on either side; the density
is a decade there. The band is the 95 % interval over Lanczos runs.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from landscape.figures.kind import kind
from landscape.figures.panels import colours, legend, panels, subject
from landscape.figures.pooled import require
from landscape.figures.runs import Run, last_epochs, named

_DEEPEST = 1e-5  # of the highest density: below, it is the smoothing's tail


@kind("spectrum", needs="spectral_density")
def spectrum(runs: Sequence[Run]) -> Figure:
    """Spectral density of the Hessian on logarithmic axes, with its error band."""
    runs = last_epochs(require(runs, "spectral_density"))
    splits = [
        s
        for s in dict.fromkeys(s for run in runs for s in run.splits)
        if any(run.get("spectral_density", s) for run in runs)
    ]
    groups = named(runs)
    colour = colours(groups)
    figure, axes = panels(len(splits), height=2.3, sharex=True, sharey=True)
    highest, threshold = 0.0, 0.0
    inside: list[float] = []
    for panel, split in zip(axes, splits, strict=True):
        for name, group in groups.items():
            for m in filter(None, (run.get("spectral_density", split) for run in group)):
                x, y, error = (m.details[f"log_{key}"] for key in ("eigenvalues", "density", "std_error"))
                highest, threshold = max(highest, y.max()), max(threshold, float(m.details["log_threshold"]))
                panel.plot(x, y, color=colour[name])
                inside += [float(edge) for edge in x[y > _DEEPEST * y.max()][[0, -1]]]
                panel.fill_between(x, y - 1.96 * error, y + 1.96 * error, color=colour[name], alpha=0.2, linewidth=0)
        panel.set_title(split)
        panel.set_xlabel("eigenvalue")
    for panel in axes:
        panel.set_xscale("symlog", linthresh=threshold)
        panel.set_yscale("log")
        panel.set_ylim(_DEEPEST * highest, 2 * highest)
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
