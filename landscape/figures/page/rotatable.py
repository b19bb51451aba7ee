"""A plane as a surface that can be turned with a finger or the mouse: data for plotly.js, which the page carries once.

plotly is an extra (``pip install "landscape-geometry[html]"``); only the script that it brings is used, not its Python.
"""

import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import LogNorm

from landscape.figures.kinds.planes import axis_names, common_norm
from landscape.results import Plane

_DIGITS = 5  # of a loss, more than a screen shows


def plotly_script() -> str | None:
    """The text of plotly.js; None where the extra is not installed."""
    package = importlib.util.find_spec("plotly")
    if package is None or not package.submodule_search_locations:
        return None
    path = Path(package.submodule_search_locations[0], "package_data", "plotly.min.js")
    return path.read_text(encoding="utf-8") if path.is_file() else None


def surface_data(plane: Plane) -> dict[str, Any]:
    """What the script draws: x, y, heights in rows along x, and the scale; a point that is not finite is null.

    Example:
        >>> x = np.array([-1.0, 0.0, 1.0])
        >>> found = surface_data(Plane(x, x, np.array([[1, 2, 3], [1, 0, np.nan], [1, 2, 3]]), None, "train"))
        >>> found["z"], found["range"]  # z[j][i] is at (x[i], y[j])
        ([[1.0, 1.0, 1.0], [2.0, 0.0, 2.0], [3.0, None, 3.0]], [0.0, 3.0])
    """
    norm, (across, up) = common_norm([plane]), axis_names(plane)
    low, high = float(norm.vmin or 0), float(norm.vmax or 0)
    loss = np.where(plane.loss <= high, plane.loss, np.where(np.isfinite(plane.loss), high, np.nan))
    return {
        "x": _rounded(plane.x),
        "y": _rounded(plane.y),
        "z": [_rounded(row) for row in loss.T],
        "range": _rounded([low, high]),
        "log": isinstance(norm, LogNorm),
        "clipped": bool((plane.loss[np.isfinite(plane.loss)] > high).any()),
        "axes": [across.partition(":")[0], up.partition(":")[0], "loss"],
    }


def _rounded(values: Iterable[float]) -> list[float | None]:
    return [float(f"{value:.{_DIGITS}g}") if np.isfinite(value) else None for value in values]
