"""How many local minima and maxima random directions have (GAM, Zhang et al. 2023, fig. 2).

Above: the raw counts, as in the paper. Below: those above the noise floor of the evaluation. The dotted line is the
raw count that independent noise alone would have.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib import rcParams
from matplotlib.figure import Figure

from landscape.figures.kind import kind
from landscape.figures.panels import colours, legend, panels, subject
from landscape.figures.pooled import require
from landscape.figures.runs import Run, last_epochs, named


@kind("extrema", needs="local_minima on train")
def extrema(runs: Sequence[Run]) -> Figure:
    """Distributions of the numbers of local minima and maxima along random directions (GAM fig. 2)."""
    runs = last_epochs(require(runs, "local_minima", split="train"))
    groups = named(runs)
    colour = colours(groups)
    figure, axes = panels(4, height=1.5, sharex=True, sharey=True)
    width = 0.8 / len(groups)
    for panel, key in zip(axes, ("raw_minima", "raw_maxima", "minima", "maxima"), strict=True):
        for index, (name, group) in enumerate(groups.items()):
            details = [found.details for run in group if (found := run.get("local_minima", "train")) is not None]
            counts = np.sum([one[f"{key}_histogram"] for one in details], axis=0)
            share, num = counts / counts.sum(), counts.sum()
            x = np.arange(len(counts)) + width * (index - (len(groups) - 1) / 2)
            error = 1.96 * np.sqrt(share * (1 - share) / num)
            bar = {"elinewidth": 0.6, "capsize": 1.5, "capthick": 0.6, "ecolor": rcParams["text.color"]}
            panel.bar(x, share, width, yerr=[np.minimum(error, share), error], color=colour[name], error_kw=bar)
            if key.startswith("raw"):
                panel.axvline(details[0]["noise_expectation"], color=rcParams["text.color"], ls=":", lw=0.8)
        raw, _, what = key.rpartition("_")
        panel.set_title(f"{what}, {'raw' if raw else 'above the noise floor'}")
        panel.set_xticks(range(len(counts)))
    for panel in axes[::2]:
        panel.set_ylabel("share of directions")
        panel.set_ylim(0, 1.05)
    for panel in axes[2:]:
        panel.set_xlabel("number along a direction")
    evaluation = details[0].get("evaluation", "dataset")
    figure.suptitle(
        f"{subject(runs)} (train; loss of {'all data' if evaluation == 'dataset' else 'a fresh mini-batch a point'})"
    )
    legend(figure, colour, [], "bars: 95 % interval; dotted: noise alone")
    return figure
