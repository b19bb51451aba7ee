"""Landscapes on common scales (CR-SAM fig. 4, GAM fig. 5): from above, in perspective, along lines, with a path."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps, rcParams
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from landscape.figures.kinds.kind import kind
from landscape.figures.kinds.panels import colours, in_decades, legend, panels, split_style
from landscape.figures.kinds.planes import (
    COLOURS,
    axis_names,
    beyond,
    common_norm,
    contours,
    label,
    notes,
    planes_of,
    remarks,
    surface_command,
)
from landscape.figures.kinds.style import COLUMN, SUPERSCRIPTS, TWO_COLUMNS, in_powers, sized_figure
from landscape.figures.runs.pooled import MissingMeasurementError
from landscape.figures.runs.run import Run, last_epochs, named, subject
from landscape.results import Line, Plane

_COLUMNS = 3


@kind("landscapes", needs="a plane of each run: landscape surface")
def landscapes(runs: Sequence[Run]) -> Figure:
    """Landscapes side by side from above, one scale for colours and axes (CR-SAM fig. 4, GAM fig. 5)."""
    planes = _by_name(runs)
    norm = common_norm(list(planes.values()))
    columns, rows = _shape(len(planes))
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
    _colour_bar(figure, image, grid.flat[: len(planes)], list(planes.values()), pad=0.02, extend=beyond(norm))
    figure.suptitle(subject(runs))
    return figure


@kind("landscapes-3d", needs="a plane of each run: landscape surface")
def landscapes_3d(runs: Sequence[Run]) -> Figure:
    """Landscapes side by side as surfaces, one scale for colours and axes (CR-SAM fig. 4, GAM fig. 5)."""
    planes = _by_name(runs)
    norm = common_norm(list(planes.values()))
    height = np.log10 if isinstance(norm, LogNorm) else np.asarray
    low, high = (float(height(bound)) for bound in norm.inverse(np.array([0.0, 1.0])))
    columns, rows = _shape(len(planes))
    figure = sized_figure(TWO_COLUMNS * max(columns, 1.5) / _COLUMNS, 2.1 * rows + 0.3)
    grid = figure.subplots(rows, columns, squeeze=False, subplot_kw={"projection": "3d", "computed_zorder": False})
    for axes, (name, plane) in zip(grid.flat, planes.items(), strict=False):
        z = height(np.clip(plane.loss, norm.vmin, norm.vmax))
        x, y = np.meshgrid(plane.x, plane.y, indexing="ij")
        mesh: dict[str, Any] = {"rcount": 61, "ccount": 61, "linewidth": 0.1, "edgecolor": (1, 1, 1, 0.3)}
        axes.plot_surface(x, y, z, facecolors=colormaps[COLOURS](norm(plane.loss)), shade=False, **mesh)
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
            axes.zaxis.set_major_formatter(FuncFormatter(lambda power, _: f"10{f'{power:g}'.translate(SUPERSCRIPTS)}"))
    for axes in grid.flat[len(planes) :]:
        axes.remove()
    shades = ScalarMappable(norm, colormaps[COLOURS])
    _colour_bar(figure, shades, grid.flat[: len(planes)], list(planes.values()), pad=0.04, shrink=0.7)
    cut = any(np.nanmax(plane.loss) > float(norm.vmax or 0.0) for plane in planes.values())
    figure.suptitle(subject(runs) + (f"; flat tops are losses above {norm.vmax:.3g}" if cut else ""))
    return figure


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
    names = {id(run): name for name, group in named([run for run, _ in found]).items() for run in group}
    found.sort(key=lambda pair: list(names).index(id(pair[0])))
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
    bar = _colour_bar(figure, image, grid, [plane for _, plane in found], pad=0.02, extend=beyond(norm))
    bar.outline.set_edgecolor(rcParams["axes.edgecolor"])
    figure.suptitle(subject(runs))
    return figure


@kind("lines", needs="a line of each run: landscape surface --line")
def lines(runs: Sequence[Run]) -> Figure:
    """Loss and accuracy along a line through the weights, train solid, test dashed; dotted, what it goes through."""
    all_runs, runs = runs, [run for run in last_epochs(runs) if any(isinstance(one, Line) for one in run.surfaces)]
    if not runs:
        raise MissingMeasurementError(f"No result holds a line. Measure it: {surface_command(all_runs, '--line')}")
    groups = named(runs)
    colour = colours(groups)
    every = [(name, one) for name, group in groups.items() for run in group for one in run.surfaces]
    found = [(name, line) for name, line in every if isinstance(line, Line)]
    others = {mark["at"][0] for _, line in found for mark in line.details.get("marks", {}).values()}
    whats = ["loss", "accuracy"] if any(line.accuracy is not None for _, line in found) else ["loss"]
    figure, axes = panels(len(whats), height=2.0, sharex=True)
    for panel, what in zip(axes, whats, strict=True):
        drawn: list[float] = []
        for name, line in found:
            values = getattr(line, what)
            if values is not None:
                panel.plot(line.x, np.ma.masked_invalid(values), color=colour[name], linestyle=split_style(line.split))
                drawn += list(values)
        for at in {0.0, *others}:
            panel.axvline(at, color="0.5", linewidth=0.6, linestyle=":")
        if what == "loss" and in_decades(drawn):
            panel.set_yscale("log")
            in_powers(panel.yaxis)
        panel.set_ylabel(what)
        panel.set_xlabel(axis_names(found[0][1])[0].replace(" 1:", ":"))
    said = sorted({f"{name}: {remark}" for name, line in found for remark in remarks(line)})
    figure.suptitle("\n".join([subject(runs), *said]))
    legend(figure, colour, list(dict.fromkeys(line.split for _, line in found)), "")
    return figure


def _by_name(runs: Sequence[Run]) -> dict[str, Plane]:
    """One plane a name: of the last epoch, and of the first seed."""
    of = {id(run): plane for run, plane in reversed(planes_of(runs))}
    groups = named(last_epochs([run for run in runs if id(run) in of]))
    return {name: of[id(group[0])] for name, group in groups.items()}


def _shape(num: int) -> tuple[int, int]:
    """Columns and rows of so many panels."""
    columns = 2 if num == 4 else min(_COLUMNS, num)
    return columns, -(-num // columns)


def _colour_bar(figure: Figure, image: ScalarMappable, axes: Any, planes: Sequence[Plane], **how: Any) -> Any:
    """A colour bar of the losses beside these panels, with plain numbers."""
    bar = figure.colorbar(image, ax=list(axes), label=f"loss ({planes[0].split})", **how)
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    bar.ax.yaxis.set_minor_formatter(FuncFormatter(lambda *_: ""))
    if not isinstance(image.norm, LogNorm):
        bar.ax.yaxis.set_major_locator(MaxNLocator(5))
    return bar
