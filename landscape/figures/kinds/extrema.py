"""How many local minima and maxima random directions have (GAM, Zhang et al. 2023, fig. 2): raw, and above the noise.

The dotted line is the raw count of independent noise. "local_minima_minibatch" is the same metric with a fresh
mini-batch at every point; where a result holds it too, both are drawn.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from landscape.figures.kinds.kind import kind
from landscape.figures.kinds.panels import ERROR_BAR, colours, legend, panels
from landscape.figures.runs.pooled import require
from landscape.figures.runs.run import Run, last_epochs, named, subject
from landscape.statistics import share_interval

_COUNTS = ("raw_minima", "raw_maxima", "minima", "maxima")
_ARRAYS = (*(f"{key}_histogram" for key in _COUNTS), "noise_expectation")
_WORDS = {"local_minima": "; all data", "local_minima_minibatch": "; fresh mini-batches"}


@kind("extrema", needs="local_minima on train")
def extrema(runs: Sequence[Run]) -> Figure:
    """Distributions of the numbers of local minima and maxima along random directions (GAM fig. 2)."""
    runs = last_epochs(require(runs, "local_minima", split="train", arrays=_ARRAYS))
    metrics = [name for name in _WORDS if all(run.get(name, "train") for run in runs)]
    groups = named(runs)
    colour = colours(groups)
    figure, axes = panels(4 * len(metrics), height=1.5 if len(metrics) == 1 else 1.3, sharex=True, sharey=True)
    for index, metric in enumerate(metrics):
        words = _WORDS[metric] if len(metrics) > 1 else ""
        for panel, key in zip(axes[4 * index :], _COUNTS, strict=False):
            _draw(panel, key, metric, groups, colour)
            raw, _, what = key.rpartition("_")
            panel.set_title(f"{what}, {'raw' if raw else 'above the noise floor'}{words}")
    for panel in axes[::2]:
        panel.set_ylabel("share of directions")
        panel.set_ylim(0, 1.05)
    for panel in axes[-2:]:
        panel.set_xlabel("number along a direction")
    sampled = runs[0].splits["train"]["local_minima"].details.get("evaluation", "dataset") != "dataset"
    loss = "a fresh mini-batch a point" if sampled else "all data"
    loss = loss if len(metrics) == 1 else f"{loss}, or of a fresh mini-batch a point"
    figure.suptitle(f"{subject(runs)} (train; loss of {loss})")
    legend(figure, colour, [], "bars: 95 % interval; dotted: noise alone")
    return figure


def _draw(panel: Axes, key: str, metric: str, groups: dict[str, list[Run]], colour: dict[str, str]) -> None:
    width = 0.8 / len(groups)
    for index, (name, group) in enumerate(groups.items()):
        details = [found.details for run in group if (found := run.get(metric, "train")) is not None]
        counts = np.sum([one[f"{key}_histogram"] for one in details], axis=0)
        shares = [share_interval(int(count), int(counts.sum())) for count in counts]
        x = np.arange(len(counts)) + width * (index - (len(groups) - 1) / 2)
        errors = [[s.value - s.low for s in shares], [s.high - s.value for s in shares]]
        bar = ERROR_BAR | {"ecolor": rcParams["text.color"]}
        panel.bar(x, [s.value for s in shares], width, yerr=errors, color=colour[name], error_kw=bar)
        if key.startswith("raw"):
            panel.axvline(details[0]["noise_expectation"], color=rcParams["text.color"], ls=":", lw=0.8)
    panel.set_xticks(range(len(counts)))
