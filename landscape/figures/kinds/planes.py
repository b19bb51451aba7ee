"""Drawing planes: common scales for several of them, contours, and what has to be said beside the picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.patheffects import withStroke

from landscape.figures.kinds.panels import in_decades
from landscape.figures.runs.pooled import MissingMeasurementError
from landscape.figures.runs.run import Run
from landscape.results import Line, Plane

COLOURS = "viridis"
_WHITE: dict[str, Any] = {
    "color": "white",
    "fontsize": "x-small",
    "textcoords": "offset points",
    "path_effects": [withStroke(linewidth=1.5, foreground="0.2")],  # read on the darkest and on the brightest colour
}
_LEVELS = 18
_LONGEST = 24  # letters of a name in a picture
_STRIP = 2  # times as long as wide
_SHOWN = 90  # percentile of the losses to which a linear scale reaches


def planes_of(runs: Sequence[Run]) -> list[tuple[Run, Plane]]:
    """Every plane with its run; the training split where there are several.

    Raises:
        MissingMeasurementError: where there is none.
    """
    found = [(run, plane) for run in runs for plane in run.surfaces if isinstance(plane, Plane)]
    if not found:
        raise MissingMeasurementError(f"No result holds a plane. Measure it: {surface_command(runs)}")
    splits = [plane.split for _, plane in found]
    shown = "train" if "train" in splits else splits[0]
    return [(run, plane) for run, plane in found if plane.split == shown]


def surface_command(runs: Sequence[Run], *options: str) -> str:
    """The command that measures a landscape around the first of these checkpoints."""
    files = [str(run.checkpoint["path"]) for run in runs if "path" in run.checkpoint][:1] or ["CKPT"]
    return " ".join(["landscape surface", *files, *options, "--out DIR"])


def common_norm(planes: Sequence[Plane]) -> Normalize:
    """One scale for all the losses: logarithmic where they span decades, otherwise up to the 90th percentile."""
    losses = np.concatenate([plane.loss[np.isfinite(plane.loss)] for plane in planes])
    low, high = float(losses.min()), float(losses.max())
    if in_decades([low, high]):
        return LogNorm(low, high)
    least = low + 1e-6 * max(abs(low), 1e-12)  # of a plane that is level all over, which has contours all the same
    return Normalize(low, max(float(np.percentile(losses, _SHOWN)), least))


def levels(norm: Normalize) -> np.ndarray:
    """Contours equally far apart in colour, the lowest and the highest loss among them."""
    found = np.asarray(norm.inverse(np.linspace(0, 1, _LEVELS)))
    found[[0, -1]] = norm.vmin, norm.vmax  # not next to them by rounding, where points would be left out
    return found


def beyond(norm: Normalize) -> Literal["neither", "max"]:
    """Whether losses lie beyond the scale: a linear one is cut off, a logarithmic one holds them all."""
    return "neither" if isinstance(norm, LogNorm) else "max"


def contours(axes: Axes, plane: Plane, norm: Normalize) -> ScalarMappable:
    """Draw a plane seen from above: its x to the right, its y up, to scale unless it is a strip."""
    loss = np.ma.masked_invalid(plane.loss.T)  # contours want rows along y
    axes.set_facecolor("0.6")  # where there is no finite loss
    axes.contourf(plane.x, plane.y, loss, levels(norm), norm=norm, cmap=COLOURS, extend=beyond(norm))
    axes.contour(plane.x, plane.y, loss, levels(norm)[1::2], colors="white", linewidths=0.3, alpha=0.7)
    longer, shorter = sorted((np.ptp(plane.x), np.ptp(plane.y)), reverse=True)
    axes.set_aspect("equal" if longer < _STRIP * shorter else "auto")
    if plane.details.get("measured") is not None:
        i, j = np.nonzero(plane.details["measured"])
        axes.plot(plane.x[i], plane.y[j], ".", color="white", markersize=0.9, markeredgewidth=0, alpha=0.8)
    axes.plot(0, 0, "+", color="white", markersize=4)
    for key, marker in (("minima", "v"), ("maxima", "^")):
        for one in plane.details.get(key) or []:
            if not one.get("on_edge"):  # where the plane ends, and not the loss
                axes.plot(one["x"], one["y"], marker, markerfacecolor="none", markeredgecolor="white", markersize=8)
    places = {name: (mark["at"][0], mark["at"][1]) for name, mark in (plane.details.get("marks") or {}).items()}
    for name, at in places.items():
        axes.plot(*at, "o", color="white", markeredgecolor="0.2", markersize=4)
        label(axes, plane, short(name), at)
    own = (plane.details.get("checkpoint") or {}).get("path")
    if places and own:
        label(axes, plane, short(own), (0, 0))
    return ScalarMappable(norm, colormaps[COLOURS])


def label(axes: Axes, plane: Plane, words: str, at: tuple[float, float]) -> None:
    """Write beside a place in the plane, on the side where there is room."""
    right, high = (place > ticks[0] + 0.75 * np.ptp(ticks) for place, ticks in zip(at, (plane.x, plane.y), strict=True))
    beside: dict[str, Any] = {"ha": "right" if right else "left", "va": "top" if high else "bottom"}
    axes.annotate(words, at, (-5 if right else 5, -4 if high else 4), **beside, **_WHITE)


def short(path: str) -> str:
    """The path of a checkpoint in two words: its folder, and its name there."""
    return f"{Path(path).parent.name} {Path(path).stem}".strip()[-_LONGEST:]


def remarks(surface: Line | Plane) -> list[str]:
    """What a reader must know: checks that failed, points that are not finite, how BatchNorm was treated."""
    found = []
    for name, checks in (surface.details.get("checks") or {}).items():
        if any(check.get("agrees") is False for check in (checks if isinstance(checks, list) else [checks])):
            found.append(f"CHECK FAILED: {name}")
    if surface.num_nonfinite:
        found.append(f"{surface.num_nonfinite} points are not finite (grey)")
    if surface.details.get("mode", "eval") != "eval":
        found.append(f"BatchNorm: {surface.details['mode']}")
    return found


def notes(surface: Line | Plane) -> list[str]:
    """The remarks, and what has to be said of a surface that nothing is wrong with: that it is interpolated."""
    refined = surface.details.get("refine")
    return remarks(surface) + ([f"{surface.details['num_forwards']:,} points, linear between"] if refined else [])


def axis_names(surface: Line | Plane) -> tuple[str, str]:
    """The names of the axes: what the directions are, in units of displacement."""
    how = surface.details.get("directions", "direction")
    if isinstance(how, (list, tuple)) and len(how) == 2:
        return f"{how[0]}: displacement", f"{how[1]}: displacement"
    if marks := list(surface.details.get("marks") or {}):
        beside = "across" if len(marks) > 1 else "random, across"
        return f"towards {short(marks[0])}: displacement", f"{beside}: displacement"
    return f"{how} 1: displacement", f"{how} 2: displacement"
