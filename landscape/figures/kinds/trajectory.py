"""The path of training in the plane of its two principal components, and how far from that plane it ran."""

from collections.abc import Sequence

import numpy as np
from matplotlib import rcParams
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from landscape.figures.figure import COLUMN, sized_figure
from landscape.figures.kind import kind
from landscape.figures.panels import subject
from landscape.figures.planes import beyond, common_norm, contours, label, notes, planes_of
from landscape.figures.pooled import MissingMeasurementError
from landscape.figures.runs import Run, named


@kind("trajectory", needs="a plane with a path: landscape surface --directions pca")
def trajectory(runs: Sequence[Run]) -> Figure:
    """The path of training projected on its PCA plane, with what the projection leaves out."""
    found = [(run, plane) for run, plane in planes_of(runs) if "path" in plane.details]
    if not found:
        raise MissingMeasurementError(
            "No plane holds the path of a training. Measure it: "
            "landscape surface runs/sgd/epoch-*.pt --directions pca --out DIR"
        )
    norm = common_norm([plane for _, plane in found])
    figure = sized_figure(COLUMN * len(found), 3.2)
    grid = figure.subplots(1, len(found), squeeze=False)[0]
    order = {
        id(run): i for i, run in enumerate(run for group in named([run for run, _ in found]).values() for run in group)
    }
    found.sort(key=lambda pair: order[id(pair[0])])
    names = {id(run): name for name, group in named([run for run, _ in found]).items() for run in group}
    for axes, (run, plane) in zip(grid, found, strict=True):
        image = contours(axes, plane, norm)
        path, residuals = np.asarray(plane.details["path"]), np.asarray(plane.details["residuals"])
        axes.plot(*path.T, color="white", linewidth=2.2)
        axes.plot(*path.T, color="C1", marker="o", markersize=3, linewidth=1.2)
        for index, word in ((0, "first"), (len(path) - 1, "last")):
            label(axes, plane, word, (path[index, 0], path[index, 1]))
        length = float(np.linalg.norm(path[-1] - path[0]))
        axes.set_xlabel("component 1: displacement")
        axes.set_ylabel("component 2: displacement")
        left_out = f"up to {residuals.max():.2f} off the plane, {length:.2f} along it"
        axes.set_title("\n".join([names[id(run)], left_out, *notes(plane)]))
    bar = figure.colorbar(image, ax=list(grid), label=f"loss ({found[0][1].split})", pad=0.02, extend=beyond(norm))
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    bar.ax.yaxis.set_minor_formatter(FuncFormatter(lambda *_: ""))
    bar.outline.set_edgecolor(rcParams["axes.edgecolor"])
    figure.suptitle(subject(runs))
    return figure
