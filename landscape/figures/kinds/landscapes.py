"""Landscapes of several optimizers on common scales, from above and in perspective (CR-SAM fig. 4, GAM fig. 5)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from landscape.figures.figure import TWO_COLUMNS, sized_figure
from landscape.figures.kind import kind
from landscape.figures.panels import subject
from landscape.figures.planes import COLOURS, axis_names, beyond, common_norm, contours, notes, planes_of
from landscape.figures.runs import Run, last_epochs, named
from landscape.results import Plane

_COLUMNS = 3


@kind("landscapes", needs="a plane of each run: landscape surface")
def landscapes(runs: Sequence[Run]) -> Figure:
    """Landscapes side by side from above, one scale for colours and axes (CR-SAM fig. 4, GAM fig. 5)."""
    planes = _by_name(runs)
    norm = common_norm(list(planes.values()))
    columns = 2 if len(planes) == 4 else min(_COLUMNS, len(planes))
    rows = -(-len(planes) // columns)
    width = TWO_COLUMNS * max(columns, 1.6) / _COLUMNS
    figure = sized_figure(width, (width - 1.1) / columns * rows + 0.8)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for axes, (name, plane) in zip(grid.flat, planes.items(), strict=False):
        image = contours(axes, plane, norm)
        axes.set_title("\n".join([name, *notes(plane)]))
    for axes in grid.flat[len(planes) :]:
        axes.remove()
    across, up = axis_names(next(iter(planes.values())))
    figure.supxlabel(across, fontsize="medium")
    figure.supylabel(up, fontsize="medium")
    bar = figure.colorbar(image, ax=list(grid.flat[: len(planes)]), label=_label(planes), pad=0.02, extend=beyond(norm))
    _plain_ticks(bar.ax.yaxis, norm)
    figure.suptitle(subject(runs))
    return figure


@kind("landscapes-3d", needs="a plane of each run: landscape surface")
def landscapes_3d(runs: Sequence[Run]) -> Figure:
    """Landscapes side by side as surfaces, one scale for colours and axes (CR-SAM fig. 4, GAM fig. 5)."""
    planes = _by_name(runs)
    norm = common_norm(list(planes.values()))
    height = np.log10 if isinstance(norm, LogNorm) else np.asarray
    low, high = (float(height(bound)) for bound in norm.inverse(np.array([0.0, 1.0])))
    columns = 2 if len(planes) == 4 else min(_COLUMNS, len(planes))
    rows = -(-len(planes) // columns)
    figure = sized_figure(TWO_COLUMNS * max(columns, 1.5) / _COLUMNS, 2.1 * rows + 0.3)
    grid = figure.subplots(rows, columns, squeeze=False, subplot_kw={"projection": "3d", "computed_zorder": False})
    for axes, (name, plane) in zip(grid.flat, planes.items(), strict=False):
        z = height(np.clip(plane.loss, norm.vmin, norm.vmax))
        x, y = np.meshgrid(plane.x, plane.y, indexing="ij")
        axes.plot_surface(
            x,
            y,
            z,
            facecolors=colormaps[COLOURS](norm(plane.loss)),
            rcount=61,
            ccount=61,
            linewidth=0.1,
            edgecolor=(1, 1, 1, 0.3),
            shade=False,
        )
        axes.set_zlim(low, high)
        axes.set_box_aspect((1, 1, 0.75), zoom=1.0)
        axes.view_init(elev=28, azim=-60)
        axes.set_title("\n".join([name, *notes(plane)]), y=1.0)
        for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
            axis.set_major_locator(MaxNLocator(3, integer=axis is axes.zaxis and isinstance(norm, LogNorm)))
            axis.set_pane_color((0, 0, 0, 0))
            axis._axinfo["grid"].update(linewidth=0.3)
        axes.tick_params(pad=-3, labelsize="x-small")
        if isinstance(norm, LogNorm):
            axes.zaxis.set_major_formatter(FuncFormatter(lambda power, _: f"$10^{{{power:g}}}$"))
    for axes in grid.flat[len(planes) :]:
        axes.remove()
    shades = ScalarMappable(norm, colormaps[COLOURS])
    bar = figure.colorbar(shades, ax=list(grid.flat[: len(planes)]), label=_label(planes), pad=0.04, shrink=0.7)
    _plain_ticks(bar.ax.yaxis, norm)
    cut = any(np.nanmax(plane.loss) > float(norm.vmax or 0.0) for plane in planes.values())
    figure.suptitle(subject(runs) + (f"; flat tops are losses above {norm.vmax:.3g}" if cut else ""))
    return figure


def _by_name(runs: Sequence[Run]) -> dict[str, Plane]:
    """One plane a name: of the last epoch, and of the first seed."""
    of = {id(run): plane for run, plane in reversed(planes_of(runs))}
    groups = named(last_epochs([run for run in runs if id(run) in of]))
    return {name: of[id(group[0])] for name, group in groups.items()}


def _label(planes: dict[str, Plane]) -> str:
    return f"loss ({next(iter(planes.values())).split})"


def _plain_ticks(axis: Any, norm: Any) -> None:
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    axis.set_minor_formatter(FuncFormatter(lambda *_: ""))
    if not isinstance(norm, LogNorm):
        axis.set_major_locator(MaxNLocator(5))
