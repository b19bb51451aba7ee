"""Landscapes as results: a ``Line`` or a ``Plane`` of losses, one a split, as JSON + npz.

``DIR/surface.json`` (schema ``landscape.surface/1``) says what was measured and how, ``DIR/surface.npz`` holds every
array, under ``index/name`` and ``index/details/name``. A loss that is NaN or infinite stays so in the arrays; the JSON
says how many there are, and why.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from landscape.files import write_document
from landscape.readers import read_arrays, read_document
from landscape.reading import reading
from landscape.results.analysis import reports_of
from landscape.results.content import SURFACES, require_grid

SCHEMA = "landscape.surface/1"
EXPORTS = ("csv", "vts", "h5")  # that may lie beside, as surface.csv


class _Surface:
    """What lines and planes share."""

    axes: ClassVar[tuple[str, ...]]
    loss: np.ndarray
    split: str
    details: dict[str, Any]

    @property
    def centre(self) -> float:
        """The loss at the weights themselves."""
        return float(self.loss[tuple(int(np.abs(getattr(self, axis)).argmin()) for axis in self.axes)])

    @property
    def num_nonfinite(self) -> int:
        """The number of points whose loss is NaN or infinite."""
        return int((~np.isfinite(self.loss)).sum())

    def save(self, directory: str | Path) -> Path:
        """Write ``surface.npz`` and ``surface.json`` into ``directory``, each whole or not at all."""
        return save_surfaces(directory, [self])

    @classmethod
    def load(cls, directory: str | Path) -> Self:
        """Read what ``save`` wrote. Raises ValueError where that is not one surface of this kind."""
        surfaces = load_surfaces(directory)
        if len(surfaces) != 1:
            splits = ", ".join(surface.split for surface in surfaces)
            raise ValueError(f"{directory}: holds {len(surfaces)} surfaces ({splits}). Read it with load_surfaces.")
        if not isinstance(surfaces[0], cls):
            found, expected = (kind.__name__.lower() for kind in (type(surfaces[0]), cls))
            raise ValueError(f"{directory}: holds a {found}. Expected a {expected}.")
        return surfaces[0]


@dataclass(frozen=True)
class Line(_Surface):
    """The loss along one direction through the weights.

    Attributes:
        x: signed displacements ||w' - w||, (n,), ascending, symmetric, with 0 in the middle.
        loss: at each of them, (n,); NaN and infinity are kept.
        accuracy: likewise, in [0, 1]; None where the loss is no classification.
        split: "train" or "test".
        details: how it was measured: direction, norms, checks, noise floor, cost, provenance.

    Example:
        >>> line = Line(np.array([-1.0, 0.0, 1.0]), np.array([2.0, 1.0, np.inf]), None, "train")
        >>> line.centre, line.num_nonfinite
        (1.0, 1)
    """

    axes: ClassVar[tuple[str, ...]] = ("x",)

    x: np.ndarray
    loss: np.ndarray
    accuracy: np.ndarray | None
    split: str
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Plane(_Surface):
    """The loss over a plane through the weights.

    Attributes:
        x: signed displacements along the first direction, (n,), ascending, symmetric, with 0 in the middle.
        y: likewise along the second one, (n,).
        loss: (n, n), ``loss[i, j]`` at (x[i], y[j]); NaN and infinity are kept.
        accuracy: likewise, in [0, 1]; None where the loss is no classification.
        split: "train" or "test".
        details: how it was measured: directions, their norms and cosine, checks, noise floor, cost, provenance; of a
            trajectory its "path" (m, 2) and "residuals" (m,).

    Example:
        >>> x = np.array([-1.0, 0.0, 1.0])
        >>> plane = Plane(x, 2 * x, x[:, None] ** 2 + (2 * x) ** 2, None, "train")
        >>> plane.loss[0, 1], plane.loss[1, 0], plane.centre  # at (-1, 0), at (0, -2), at the weights
        (np.float64(1.0), np.float64(4.0), 0.0)
    """

    axes: ClassVar[tuple[str, ...]] = ("x", "y")

    x: np.ndarray
    y: np.ndarray
    loss: np.ndarray
    accuracy: np.ndarray | None
    split: str
    details: dict[str, Any] = field(default_factory=dict)


_KINDS: dict[str, type[Line] | type[Plane]] = {"line": Line, "plane": Plane}


def save_surfaces(directory: str | Path, surfaces: Sequence[_Surface]) -> Path:
    """Write several surfaces, such as train and test over one grid, into one ``surface.json`` and ``surface.npz``.

    A ``report.html`` that shows the surfaces that were there is removed, and so are exports that say something else.
    """
    directory = Path(directory)
    arrays: dict[str, np.ndarray] = {}
    for index, surface in enumerate(surfaces):
        own = {name: getattr(surface, name) for name in (*surface.axes, "loss", "accuracy")}
        own |= {f"details/{name}": value for name, value in surface.details.items()}
        arrays |= {f"{index}/{name}": value for name, value in own.items() if isinstance(value, np.ndarray)}
    outdated = reports_of("surface.json", directory)
    if not _holds(directory, arrays):
        outdated += [directory / f"surface.{name}" for name in EXPORTS]
    return write_document(
        directory / "surface.json",
        surfaces_document(surfaces),
        (directory / "surface.npz", arrays),
        outdated=outdated,
    )


def load_surfaces(directory: str | Path) -> list[Line | Plane]:
    """Read what ``save_surfaces`` wrote, in its order.

    Raises:
        FileError: where a file is missing, is not what was written, has another schema, or is of another writing.
    """
    path = Path(directory) / "surface.json"
    document = read_document(path, SCHEMA, "landscape surface", form=SURFACES)
    entries, arrays_path = document["surfaces"], path.with_name("surface.npz")
    own: dict[str, dict[str, np.ndarray]] = {str(index): {} for index in range(len(entries))}
    remedy = f"Measure again: landscape surface CKPT --out {directory}."
    with reading(arrays_path, remedy):
        for key, value in read_arrays(arrays_path, document=document, remedy=remedy).items():
            index, _, name = key.partition("/")
            own[index][name] = value
    surfaces = []
    for entry, arrays in zip(entries, own.values(), strict=True):
        require_grid(arrays_path, entry["kind"], arrays)
        among = {name.removeprefix("details/"): arrays[name] for name in arrays if name.startswith("details/")}
        grid: dict[str, Any] = {"accuracy": None}
        grid |= {name: arrays[name] for name in arrays if not name.startswith("details/")}
        surfaces.append(_KINDS[entry["kind"]](**grid, split=entry["split"], details=entry["details"] | among))
    return surfaces


def surfaces_document(surfaces: Sequence[_Surface]) -> dict[str, Any]:
    """What ``surface.json`` says: everything but the arrays."""
    return {"schema": SCHEMA, "surfaces": [_entry(surface) for surface in surfaces]}


def _holds(directory: Path, arrays: dict[str, np.ndarray]) -> bool:
    """Whether a directory holds these arrays, and no others, and was not stopped while they were being replaced."""
    try:
        there = read_arrays(directory / "surface.npz", document=read_document(directory / "surface.json", SCHEMA, ""))
    except ValueError:
        return False
    return there.keys() == arrays.keys() and all(
        there[key].shape == value.shape and there[key].tobytes() == value.tobytes() for key, value in arrays.items()
    )


def _entry(surface: _Surface) -> dict[str, Any]:
    finite = surface.loss[np.isfinite(surface.loss)]
    num_nan, num_inf = int(np.isnan(surface.loss).sum()), int(np.isinf(surface.loss).sum())
    return {
        "kind": type(surface).__name__.lower(),
        "split": surface.split,
        "shape": list(surface.loss.shape),
        **{axis: [getattr(surface, axis)[0], getattr(surface, axis)[-1]] for axis in surface.axes},
        "loss": {
            "centre": surface.centre,
            "min": finite.min() if len(finite) else None,
            "max": finite.max() if len(finite) else None,
            "reason": f"NaN at {num_nan} points, infinite at {num_inf}" if num_nan + num_inf else "finite everywhere",
        },
        "details": {key: value for key, value in surface.details.items() if not isinstance(value, np.ndarray)},
    }
