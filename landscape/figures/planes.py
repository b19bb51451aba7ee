"""Drawing planes: common scales for several of them, contours, and what has to be said beside the picture."""

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize

from landscape.figures.pooled import MissingMeasurementError
from landscape.figures.runs import Run
from landscape.results import Line, Plane

COLOURS = "viridis"
_LEVELS = 18
_STRIP = 2  # times as long as wide
_DECADES = 1.5
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


def surface_command(runs: Sequence[Run]) -> str:
    """The command that measures a landscape around the first of these checkpoints."""
    files = [str(run.checkpoint["path"]) for run in runs if "path" in run.checkpoint][:1] or ["CKPT"]
    return " ".join(["landscape surface", *files, "--out DIR"])


def common_norm(planes: Sequence[Plane]) -> Normalize:
    """One scale for all the losses: logarithmic where they span decades, otherwise up to the 90th percentile."""
    losses = np.concatenate([plane.loss[np.isfinite(plane.loss)] for plane in planes])
    low, high = float(losses.min()), float(losses.max())
    if low > 0 and np.log10(high / low) > _DECADES:
        return LogNorm(low, high)
    return Normalize(low, max(float(np.percentile(losses, _SHOWN)), np.nextafter(low, np.inf)))


def levels(norm: Normalize) -> np.ndarray:
    """Contours equally far apart in colour, the lowest and the highest loss among them."""
    return np.asarray(norm.inverse(np.linspace(0, 1, _LEVELS)))


def contours(axes: Axes, plane: Plane, norm: Normalize) -> ScalarMappable:
    """Draw a plane seen from above: its x to the right, its y up, to scale unless it is a strip."""
    loss = np.ma.masked_invalid(plane.loss.T)  # contours want rows along y
    axes.set_facecolor("0.6")  # where there is no finite loss
    axes.contourf(plane.x, plane.y, loss, levels(norm), norm=norm, cmap=COLOURS, extend="max")
    axes.contour(plane.x, plane.y, loss, levels(norm)[1::2], colors="white", linewidths=0.3, alpha=0.7)
    longer, shorter = sorted((np.ptp(plane.x), np.ptp(plane.y)), reverse=True)
    axes.set_aspect("equal" if longer < _STRIP * shorter else "auto")
    axes.plot(0, 0, "+", color="white")
    for low in plane.details.get("minima") or []:
        axes.plot(low["x"], low["y"], "v", color="white", markersize=3)
    return ScalarMappable(norm, colormaps[COLOURS])


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


def axis_names(surface: Line | Plane) -> tuple[str, str]:
    """The names of the axes: what the directions are, in units of displacement."""
    how = surface.details.get("directions", "direction")
    if isinstance(how, (list, tuple)) and len(how) == 2:
        return f"{how[0]}: displacement", f"{how[1]}: displacement"
    return f"{how} 1: displacement", f"{how} 2: displacement"
