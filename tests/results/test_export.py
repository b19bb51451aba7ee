"""Files as other programs read them: each is parsed here by other means than those that wrote it."""

import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from landscape.results import Line, Plane
from landscape.results.export import export, read_h5

X, Y = np.array([-1.0, 0.0, 1.0]), np.array([-0.2, -0.1, 0.0, 0.1])


def plane(split="train", accuracy=True, **details):
    loss = 1 / 3 + X[:, None] ** 2 + 10 * Y
    loss[2, 0], loss[0, 3] = np.nan, np.inf
    if split == "test":
        loss = 2 * loss
    return Plane(X, Y, loss, np.exp(-(X[:, None] ** 2) + Y) / 2 if accuracy else None, split, details)


def test_csv_has_a_row_a_point(tmp_path):
    surfaces = [plane(), plane("test", accuracy=False)]
    frame = pd.read_csv(export(surfaces, tmp_path / "new" / "plane.csv"), dtype=str, keep_default_na=False)
    assert list(frame) == ["x", "y", "train_loss", "train_accuracy", "test_loss"]
    assert len(frame) == 12
    for row in frame.map(float).itertuples():  # to the last digit, which pandas' own parser need not give
        i, j = np.flatnonzero(row.x == X).item(), np.flatnonzero(row.y == Y).item()
        np.testing.assert_array_equal(
            [row.train_loss, row.train_accuracy, row.test_loss],
            [surfaces[0].loss[i, j], surfaces[0].accuracy[i, j], surfaces[1].loss[i, j]],
        )
    line = pd.read_csv(export(Line(X, X**2, None, "test"), tmp_path / "line.csv"))
    assert line.to_dict("list") == {"x": [-1, 0, 1], "test_loss": [1, 0, 1]}


def test_npz_holds_the_arrays(tmp_path):
    with np.load(export(plane(), tmp_path / "plane.npz"), allow_pickle=False) as arrays:
        assert set(arrays) == {"x", "y", "train_loss", "train_accuracy"}
        np.testing.assert_array_equal(arrays["train_loss"], plane().loss)


def test_vts_is_a_grid_raised_to_the_loss(tmp_path):
    one = plane()
    grid = ElementTree.parse(export([one, plane("test")], tmp_path / "plane.vts")).getroot()
    assert grid.get("type") == "StructuredGrid"
    piece = grid.find("StructuredGrid/Piece")
    assert piece.get("Extent") == grid.find("StructuredGrid").get("WholeExtent") == "0 2 0 3 0 0"
    arrays = {
        array.get("Name"): np.array(array.text.split(), dtype=float).reshape(-1, int(array.get("NumberOfComponents")))
        for array in piece.iter("DataArray")
    }
    assert set(arrays) == {"train_loss", "train_accuracy", "test_loss", "test_accuracy", "vtkGhostType", "Points"}
    top = one.loss[np.isfinite(one.loss)].max()
    for place, (x, y, z) in enumerate(arrays["Points"]):
        i, j = place % 3, place // 3  # x runs fastest
        finite = np.isfinite(one.loss[i, j])
        assert (x, y, z) == (X[i], Y[j], one.loss[i, j] if finite else top)
        assert arrays["vtkGhostType"][place] == (0 if finite else 2)
        assert arrays["train_accuracy"][place] == one.accuracy[i, j]
        assert arrays["train_loss"][place] == z
    assert np.isfinite(arrays["test_loss"]).all()


def test_vts_of_a_plane_that_is_finite_nowhere(tmp_path):
    empty = Plane(X, Y, np.full((3, 4), np.nan), None, "train")
    text = export(empty, tmp_path / "plane.vts").read_text()
    assert "nan" not in text


@pytest.mark.parametrize(
    "surface", [plane(directions="random"), Line(X, X**2, None, "train", {"directions": "random"})]
)
def test_h5_comes_back_as_it_was(tmp_path, surface):
    pytest.importorskip("h5py")
    (found,) = read_h5(export(surface, tmp_path / "surface.h5"))
    assert (type(found), found.split, found.details["dir_file"]) == (type(surface), "train", "random")
    for name in (*surface.axes, "loss"):
        np.testing.assert_array_equal(getattr(found, name), getattr(surface, name))
    if surface.accuracy is None:
        assert found.accuracy is None
    else:
        np.testing.assert_allclose(found.accuracy, surface.accuracy, rtol=1e-15)


def test_h5_is_what_the_plotting_scripts_expect(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(export([plane(), plane("test")], tmp_path / "surface.h5"), "r") as file:
        names = {"dir_file", "xcoordinates", "ycoordinates", "train_loss", "train_acc", "test_loss", "test_acc"}
        assert set(file) == names
        x, y = np.meshgrid(file["xcoordinates"][:], file["ycoordinates"][:])  # as plot_2D.py and h52vtp.py do
        np.testing.assert_array_equal(file["train_loss"][:].shape, x.shape)
        shown = dict(zip(zip(x.ravel(), y.ravel(), strict=True), file["train_loss"][:].ravel(), strict=True))
        assert shown[1.0, 0.1] == plane().loss[2, 3]
        assert file["test_acc"][1, 2] == pytest.approx(100 * plane().accuracy[2, 1])


@pytest.mark.parametrize("num_y", [3, 4])
def test_h5_as_the_scripts_compute_it(tmp_path, num_y):
    h5py = pytest.importorskip("h5py")
    y = Y[:num_y]
    with h5py.File(tmp_path / "their.h5", "w") as file:
        file["dir_file"], file["xcoordinates"], file["ycoordinates"] = "model.t7_weights_xnorm=filter.h5", X, y
        losses = -np.ones((len(X), num_y))  # plot_surface.py: this shape,
        across, along = np.meshgrid(X, y)  # filled in this order
        losses.ravel()[:-1] = (across + 100 * along).ravel()[:-1] + 50  # the last one has not been computed
        file["train_loss"], file["train_acc"] = losses, losses
    (found,) = read_h5(tmp_path / "their.h5")
    expected = X[:, None] + 100 * y + 50
    expected[-1, -1] = np.nan
    np.testing.assert_array_equal(found.loss, expected)
    np.testing.assert_allclose(found.accuracy, expected / 100)
    assert found.details["dir_file"] == "model.t7_weights_xnorm=filter.h5"


def test_h5_files_of_others_are_refused(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["weights"] = X
    with pytest.raises(ValueError, match=r"other.h5: holds weights. Expected xcoordinates"):
        read_h5(tmp_path / "other.h5")
    (tmp_path / "text.h5").write_text("no")
    with pytest.raises(ValueError, match=r"text.h5: .*Expected an .h5 file"):
        read_h5(tmp_path / "text.h5")
    with h5py.File(tmp_path / "odd.h5", "w") as file:
        file["xcoordinates"], file["ycoordinates"], file["train_loss"] = X, Y, np.zeros((2, 2))
    with pytest.raises(ValueError, match=r"shape \(2, 2\), and its coordinates \(3, 4\)"):
        read_h5(tmp_path / "odd.h5")


def test_h5_without_h5py_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    for work in (lambda: export(plane(), tmp_path / "plane.h5"), lambda: read_h5(tmp_path / "plane.h5")):
        with pytest.raises(ValueError, match=r"landscape-geometry\[h5\]"):
            work()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("surfaces", "name", "message"),
    [
        ([plane()], "plane.vtk", r"suffix is '.vtk'. Expected one of: .csv, .npz, .vts, .h5"),
        ([plane(), plane()], "plane.csv", "one by one"),
        ([plane(), Plane(2 * X, Y, plane().loss, None, "test")], "plane.csv", "one by one"),
        ([plane(), Line(X, X, None, "test")], "plane.csv", "one by one"),
        ([Line(X, X, None, "train")], "line.vts", "this is a line"),
        ([], "plane.csv", "no surface"),
    ],
)
def test_refusals_leave_no_file(tmp_path, surfaces, name, message):
    with pytest.raises(ValueError, match=message):
        export(surfaces, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_exporting_needs_no_torch():
    code = "import sys, landscape.results.export; assert 'torch' not in sys.modules and 'h5py' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
