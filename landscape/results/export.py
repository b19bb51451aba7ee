"""Landscapes in the formats of other programs, by the suffix of the file.

- ``.csv``: a row a point: x, y, then the loss and accuracy of each split (``train_loss``, ``train_accuracy``, ...).
- ``.npz``: the same names as arrays; ``train_loss[i, j]`` is at (x[i], y[j]).
- ``.vts``: a structured grid for ParaView (VTK XML, as text), raised to the loss of the first surface. Where that is
  not finite the grid is level with its highest point, and the points are marked hidden (``vtkGhostType``).
- ``.h5``: the layout of the loss-landscape scripts of Li et al. 2018, whose plotting scripts read it. There losses are
  ``train_loss[j, i]`` and accuracies ``train_acc`` in percent. Needs h5py: ``pip install "landscape-geometry[h5]"``.

Of a refined plane the CSV has a row for each point that was measured; the others have the whole grid, and ``measured``
says where it is not interpolated.

``read_h5`` reads what those scripts wrote. Their coordinates are multiples of their directions, ours are displacements.
"""

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
import pandas as pd

from landscape.files import whole
from landscape.reading import FileError, reading, require_file, require_room
from landscape.results.surface import Line, Plane
from landscape.text import printable

Surface = Line | Plane
_HIDDEN = 2  # vtkDataSetAttributes::HIDDENPOINT
_READ = ("xcoordinates", "ycoordinates", "train_loss", "train_acc", "test_loss", "test_acc", "dir_file")
_NOT_YET = -1  # what the scripts of Li et al. hold for a point that they have not come to


def export(surfaces: Surface | Sequence[Surface], path: str | Path) -> Path:
    """Write a surface, or those of several splits on one grid, in the format that the suffix of ``path`` names.

    The file is written whole or not at all. Returns its path.

    Raises:
        ValueError: for another suffix, surfaces that share no grid or a split, a line as ``.vts``, or h5py missing.

    Example:
        >>> import tempfile
        >>> line = Line(np.array([-1.0, 0.0, 1.0]), np.array([2.0, 1.0, np.inf]), None, "train")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     print(export(line, f"{folder}/line.csv").read_text())
        x,train_loss
        -1.0,2.0
        0.0,1.0
        1.0,inf
        <BLANKLINE>
    """
    path = Path(path)
    surfaces = [surfaces] if isinstance(surfaces, Surface) else list(surfaces)
    if path.suffix not in _WRITERS:
        raise ValueError(f"{path}: the suffix is {path.suffix!r}. Expected one of: {', '.join(_WRITERS)}.")
    _require_one_grid(surfaces)
    with whole(path) as part:
        _WRITERS[path.suffix](surfaces, part)
    return path


def read_h5(path: str | Path) -> list[Surface]:
    """The surfaces, one a split, of a file that ``export`` or the scripts of Li et al. 2018 wrote.

    Points that the scripts had not come to are NaN. ``details["dir_file"]`` is what the file says of its directions.

    Raises:
        FileError: where the file is no such file.
        ValueError: where h5py is missing.
    """
    path, h5py = Path(path), _h5py()
    with reading(path, "Expected an .h5 file of the loss-landscape scripts."):
        known = _known(h5py, path)
    splits = [name.removesuffix("_loss") for name in ("train_loss", "test_loss") if known.get(name) is not None]
    if known.get("xcoordinates") is None or not splits:
        names = ", ".join(sorted(map(str, known))) or "no arrays"
        raise FileError(f"{path}: holds {names}. Expected xcoordinates, and train_loss or test_loss.")
    axes = [
        np.asarray(known[name], dtype=float) for name in ("xcoordinates", "ycoordinates") if known.get(name) is not None
    ]
    if not all(axis.ndim == 1 and np.isfinite(axis).all() and (np.diff(axis) > 0).all() for axis in axes):
        raise FileError(f"{path}: its coordinates do not ascend. Expected those of a line or a grid.")
    where = known.get("dir_file", b"")
    words = where.decode(errors="replace") if isinstance(where, bytes) else str(where)
    details = {"source": str(path), "dir_file": words}
    kind: Any = Line if len(axes) == 1 else Plane
    surfaces = []
    for split in splits:
        loss, percent = (_from_h5(path, known.get(f"{split}_{name}"), axes) for name in ("loss", "acc"))
        surfaces.append(kind(*axes, loss, None if percent is None else percent / 100, split, dict(details)))
    return surfaces


def _known(h5py: Any, path: Path) -> dict[str, Any]:
    """The arrays that we read, of those that lie in the file itself, and its other names with nothing."""
    size = require_file(path)
    found: dict[str, Any] = {}
    with h5py.File(path, "r") as file:
        for name in file:
            found[name] = None
            if name in _READ and isinstance(file.get(name, getlink=True), h5py.HardLink):
                one = file[name]
                if one.is_virtual or one.external:  # which lie in other files
                    raise ValueError(f"{name} lies in another file")
                if not (name == "dir_file" and one.shape == ()) and one.dtype.kind not in "biuf":
                    raise ValueError(f"{name} is of {one.dtype}")
                require_room(max(one.nbytes, one.size), size)
                if one.chunks is None and one.nbytes > size:  # which is not packed
                    raise ValueError(f"{name} is larger than the file")
                found[name] = one[()]
    return found


def _require_one_grid(surfaces: Sequence[Surface]) -> None:
    if not surfaces:
        raise ValueError("There is no surface to write.")
    first = surfaces[0]
    for other in surfaces[1:]:
        alike = other.axes == first.axes and all(
            np.array_equal(getattr(other, axis), getattr(first, axis)) for axis in first.axes
        )
        if not alike or sum(surface.split == other.split for surface in surfaces) > 1:
            raise ValueError("Surfaces in one file are those of several splits on one grid. Write these one by one.")


def _columns(surfaces: Sequence[Surface]) -> dict[str, np.ndarray]:
    columns = {}
    for surface in surfaces:
        name = printable(surface.split)
        columns[f"{name}_loss"] = surface.loss
        if surface.accuracy is not None:
            columns[f"{name}_accuracy"] = surface.accuracy
    return columns


def _measured(surface: Surface) -> dict[str, np.ndarray]:
    """Where a refined plane was measured; nothing of one that was measured everywhere."""
    return {"measured": surface.details["measured"]} if "measured" in surface.details else {}


def _write_csv(surfaces: Sequence[Surface], path: Path) -> None:
    first = surfaces[0]
    places = np.meshgrid(*(getattr(first, axis) for axis in first.axes), indexing="ij")
    columns = dict(zip(first.axes, places, strict=True)) | _columns(surfaces)
    rows = _measured(first).get("measured", np.ones(first.loss.shape, dtype=bool))
    frame = pd.DataFrame({name: values[rows].astype(float) for name, values in columns.items()})
    frame.to_csv(path, index=False, na_rep="nan", lineterminator="\n")


def _write_npz(surfaces: Sequence[Surface], path: Path) -> None:
    axes = {axis: getattr(surfaces[0], axis) for axis in surfaces[0].axes}
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **axes, **_columns(surfaces), **_measured(surfaces[0]))


def _write_vts(surfaces: Sequence[Surface], path: Path) -> None:
    first = surfaces[0]
    if not isinstance(first, Plane):
        raise ValueError("A .vts file holds a plane, and this is a line. Write it as .csv or .npz.")
    x, y = np.meshgrid(first.x, first.y, indexing="ij")
    points = np.stack([x, y, _not_nan(first.loss)], axis=-1)
    data = [_vts_array(name, _not_nan(values)) for name, values in _columns(surfaces).items()]
    data += [_vts_array(name, values.astype(np.uint8)) for name, values in _measured(first).items()]
    data.append(_vts_array("vtkGhostType", np.where(np.isfinite(first.loss), 0, _HIDDEN).astype(np.uint8)))
    extent = f"0 {len(first.x) - 1} 0 {len(first.y) - 1} 0 0"
    path.write_text(
        '<?xml version="1.0"?>\n<VTKFile type="StructuredGrid" version="1.0" byte_order="LittleEndian">\n'
        f'<StructuredGrid WholeExtent="{extent}">\n<Piece Extent="{extent}">\n'
        f"<PointData Scalars={quoteattr(f'{printable(first.split)}_loss')}>\n{''.join(data)}</PointData>\n"
        f"<Points>\n{_vts_array('Points', points)}</Points>\n</Piece>\n</StructuredGrid>\n</VTKFile>\n",
        encoding="utf-8",
    )


def _vts_array(name: str, values: np.ndarray) -> str:
    """One array of the file; x runs fastest there."""
    kind, width = ("UInt8", 1) if values.dtype == np.uint8 else ("Float64", 1 if values.ndim == 2 else values.shape[2])
    text = "\n".join(" ".join(map(repr, row)) for row in np.moveaxis(values, 0, 1).reshape(-1, width).tolist())
    return (
        f'<DataArray type="{kind}" Name={quoteattr(name)} NumberOfComponents="{width}" format="ascii">\n'
        f"{text}\n</DataArray>\n"
    )


def _not_nan(values: np.ndarray) -> np.ndarray:
    """What the text of a .vts file can hold: its readers stop at a word that is no number."""
    finite = np.isfinite(values)
    return np.where(finite, values, values[finite].max() if finite.any() else 0.0)


def _write_h5(surfaces: Sequence[Surface], path: Path) -> None:
    first, h5py = surfaces[0], _h5py()
    with h5py.File(path, "w", locking=False) as file:  # it is locked
        file["dir_file"] = str(first.details.get("dir_file", first.details.get("directions", "")))
        for axis in first.axes:
            file[f"{axis}coordinates"] = getattr(first, axis)
        for surface in surfaces:
            file[f"{surface.split}_loss"] = surface.loss.T
            if surface.accuracy is not None:
                file[f"{surface.split}_acc"] = 100 * surface.accuracy.T
        for name, values in _measured(first).items():
            file[name] = values.T


def _from_h5(path: Path, stored: Any, axes: Sequence[np.ndarray]) -> np.ndarray | None:
    """As we hold it, ``[i, j]`` at (x[i], y[j]).

    The scripts run through x for each y. Where a grid is not square they do so in an array that they shape the other
    way round, (len(x), len(y)), so it is the order of the numbers that counts.
    """
    if stored is None:
        return None
    values = np.asarray(stored, dtype=float)
    shape = tuple(len(axis) for axis in axes)
    if values.shape not in (shape, shape[::-1]):
        raise FileError(f"{path}: a surface has shape {values.shape}, and its coordinates {shape}. Write it again.")
    return np.where(values == _NOT_YET, np.nan, values).reshape(shape[::-1]).T


def _h5py() -> Any:
    try:
        return importlib.import_module("h5py")
    except ImportError as error:
        raise ValueError('h5 files need h5py: pip install "landscape-geometry[h5]".') from error


_WRITERS: dict[str, Callable[[Sequence[Surface], Path], None]] = {
    ".csv": _write_csv,
    ".npz": _write_npz,
    ".vts": _write_vts,
    ".h5": _write_h5,
}
