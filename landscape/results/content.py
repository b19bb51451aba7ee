"""What the files of results must hold beside their schema: as far as figures, tables and reports rest on it.

Whatever other metrics keep among their details is free.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from landscape.forms import (
    AT_LEAST_0,
    BOOL,
    COUNT,
    NUMBER,
    OBJECT,
    POSITIVE,
    TEXT,
    Each,
    Kind,
    Maybe,
    misfit_arrays,
    recipe,
)
from landscape.reading import FileError
from landscape.results.measurement import ERROR_KINDS, Measurement

_CHECKPOINT: dict[str, Any] = {
    "path?": Maybe(TEXT),
    "sha256?": Maybe(TEXT),
    "epoch?": Maybe(COUNT),
    "step?": Maybe(COUNT),
}
_CHECKPOINT |= {"lr?": Maybe(NUMBER), "seconds?": Maybe(AT_LEAST_0), "recipe?": Maybe(recipe)}
_CHECKPOINT |= dict.fromkeys(("model?", "data?"), Maybe({"name": TEXT, "args?": OBJECT}))
_ENTRY: dict[str, Any] = {"value": Maybe(NUMBER), "std_error": Maybe(AT_LEAST_0), "converged": BOOL, "reason": TEXT}
_ENTRY |= {"error_kind?": Kind(" or ".join(map(repr, ERROR_KINDS)), lambda value: value in ERROR_KINDS)}
_ENTRY |= {"num_samples?": COUNT, "num_matvecs": COUNT, "num_gradients": COUNT, "seconds": Maybe(AT_LEAST_0)}
_ENTRY |= {"data_std_error?": Maybe(AT_LEAST_0)}
_NUMBERS: dict[str, dict[str, Any]] = {  # among the details, by metric
    "average_sharpness": {"sigma?": Maybe(NUMBER)},
    "effective_dimension": {"gamma?": Maybe(NUMBER)},
    "negative_share": {"gamma?": Maybe(NUMBER)},
    "zeroth_order_flatness": {"distance?": Maybe(NUMBER)},
    "first_order_flatness": {"distance?": Maybe(NUMBER)},
    "sam_ratio": {"num_flat_batches?": Maybe(COUNT)},
    "local_minima": {"floor?": Maybe(AT_LEAST_0), "noise_expectation?": Maybe(NUMBER), "evaluation?": TEXT},
    "spectral_density": {"log_threshold?": Maybe(POSITIVE)},
}
_NOT_NEGATIVE = ("bounds", "error", "histogram", "num_params")
_COUNTS = ("minima", "maxima", "raw_minima", "raw_maxima")
_ARRAYS: dict[str, dict[str, str]] = {  # their axes, likewise: see ``misfit_arrays``
    "top_eigenvalues": dict.fromkeys(("eigenvalues", "residuals", "bounds"), "k"),
    "layer_table": dict.fromkeys(
        ("num_params", "trace", "trace_std_error", "share", "gradient_norm", "lambda_max", "lambda_max_error"), "l"
    ),
    "local_minima": {**dict.fromkeys(_COUNTS, "n"), "losses": "nm", **{f"{key}_histogram": "h" for key in _COUNTS}},
    "spectral_density": {
        **{f"{kind}_{key}": kind[1] for kind in ("linear", "log") for key in ("eigenvalues", "density", "std_error")},
        "nodes": "rs",
        "weights": "rs",
    },
}
_TOGETHER = {  # what is drawn together is there together, or not at all
    "layer_table": (*_ARRAYS["layer_table"], "layers"),
    "local_minima": tuple(f"{key}_histogram" for key in _COUNTS),
    "spectral_density": ("log_eigenvalues", "log_density", "log_std_error"),
}
_ARRAYS["local_minima_minibatch"] = _ARRAYS["local_minima"]
_NUMBERS["local_minima_minibatch"] = _NUMBERS["local_minima"]
_OBJECTIVE: dict[str, Any] = {
    "num_params?": COUNT,
    "num_examples?": Each(COUNT),
    "params?": TEXT,
    "mode?": TEXT,
    "dtype?": TEXT,
}
_OBJECTIVE |= {"unused?": [TEXT], "compiled?": BOOL}
_PROVENANCE: dict[str, Any] = {
    "seconds?": AT_LEAST_0,
    "rel_error?": POSITIVE,
    "started?": TEXT,
    "command?": Maybe(TEXT),
}
_PROVENANCE |= {"tracking?": {"seconds": NUMBER, "training_seconds": NUMBER, "percent?": NUMBER}}


def _entries(value: Any) -> Any:
    """The form of the metrics of a split."""
    return {name: _ENTRY | _NUMBERS.get(name, {}) for name in value} if isinstance(value, dict) else OBJECT


ANALYSIS = {
    "splits": Each(_entries),
    "objective": _OBJECTIVE,
    "provenance": _PROVENANCE,
    "checkpoint": Maybe(_CHECKPOINT),
}
ROW = ANALYSIS | {"settings?": TEXT}
TRACKED_ROW = ROW | {"checkpoint": _CHECKPOINT | {"sha256": TEXT, "step": NUMBER}}

_EXTREMA = Maybe([{"x": NUMBER, "y": NUMBER, "on_edge?": BOOL}])
_CHECK = {"agrees?": Maybe(BOOL)}
_DETAILS: dict[str, Any] = {"checkpoint?": Maybe(_CHECKPOINT), "minima?": _EXTREMA, "maxima?": _EXTREMA, "mode?": TEXT}
_DETAILS |= {"marks?": Maybe(Each({"at": [NUMBER]})), "refine?": Maybe(BOOL), "num_forwards?": COUNT}
_DETAILS |= {"checks?": Maybe(Each(lambda value: [_CHECK] if isinstance(value, list) else _CHECK))}
_DETAILS |= {"noise_floor?": Maybe(NUMBER), "normalize?": Maybe(TEXT), "cosine?": Maybe(NUMBER)}
_DETAILS |= {"directions?": lambda value: [TEXT] if isinstance(value, list) else TEXT}
SURFACES = {
    "surfaces": [
        {
            "kind": Kind("'line' or 'plane'", lambda value: value in ("line", "plane")),
            "split": TEXT,
            "details": _DETAILS,
        }
    ]
}
_GRIDS = {
    "line": {"x": "n", "loss": "n", "accuracy": "n"},
    "plane": {"x": "n", "y": "m", "loss": "nm", "accuracy": "nm", "details/measured": "nm"}
    | {"details/path": "p2", "details/residuals": "p"},
}


def require_arrays(path: Path, measurement: Measurement, split: str) -> None:
    """Refuse details that are no arrays, or not of the shapes that the metric has. Raises FileError."""
    shapes, details = _ARRAYS.get(measurement.name, {}), measurement.details
    wrong = misfit_arrays(details, shapes)
    together = _TOGETHER.get(measurement.name, ())
    missing = [name for name in together if details.get(name) is None]
    if not wrong and missing and len(missing) < len(together):
        wrong = f"{missing[0]} is missing"
    for name in () if wrong else shapes:
        if name.endswith(_NOT_NEGATIVE) and name in details and (details[name] < 0).any():
            wrong = f"{name} is negative"
    if not wrong and measurement.name == "layer_table" and "layers" in details:
        names, lengths = details["layers"], {len(details[key]) for key in shapes if key in details}
        if not isinstance(names, np.ndarray) or names.dtype.kind != "U" or {names.shape} != {(n,) for n in lengths}:
            wrong = "layers are not one name a layer"
    if "log_density" in details and details.get("log_threshold") is None:
        wrong = wrong or "log_threshold is missing"
    if wrong:
        raise FileError(f"{path}: {split}, {measurement.name}: {wrong}. Measure again.")


def require_grid(path: Path, kind: str, arrays: Mapping[str, Any]) -> None:
    """Refuse a line or a plane whose arrays are not those of a grid. Raises FileError."""
    axes = ("x",) if kind == "line" else ("x", "y")
    missing = [name for name in (*axes, "loss") if name not in arrays]
    wrong = f"has no {', '.join(missing)}" if missing else misfit_arrays(arrays, _GRIDS[kind])
    for axis in axes:
        if not wrong and not (
            len(arrays[axis]) and np.isfinite(arrays[axis]).all() and (np.diff(arrays[axis]) > 0).all()
        ):
            wrong = f"{axis} does not ascend"
    if unknown := [name for name in arrays if name not in _GRIDS[kind] and not name.startswith("details/")]:
        wrong = wrong or f"has {', '.join(unknown)} that no {kind} has"
    if wrong:
        raise FileError(f"{path}: {wrong}. Measure again.")
