"""A plane whose points are spent where it curves: more exact for as many points, honest about them, and resumable."""

import numpy as np
import pytest
import torch
from scipy.interpolate import RegularGridInterpolator
from scipy.spatial import Delaunay

from landscape import Objective
from landscape.results import load_surfaces, save_surfaces
from landscape.results.export import export, read_h5
from landscape.surface import plane
from landscape.surface.persistence import minima
from landscape.surface.walk import Walk
from tests.cases import make
from tests.measure.quadratics import Point
from tests.surface.test_points import calls as calls
from tests.surface.test_points import stop_after

AXES = tuple(torch.eye(2))


def valley(x, y):
    """A narrow, curved valley in a bowl: sharp along a line, and smooth elsewhere."""
    return x**2 + y**2 - 2 / (1 + 200 * (y - x**2) ** 2)


def objective():
    def losses(model, batch):
        return valley(*model()) + 0 * batch[0]

    return Objective(Point(torch.zeros(2, dtype=torch.float64)), losses, [(torch.ones(3),)], dtype=torch.float64)


@pytest.fixture(scope="module")
def refined():
    return plane(objective(), directions=AXES, num_points=31, refine=True)


def test_as_many_points_tell_more_of_a_sharp_valley(refined):
    regular = plane(objective(), directions=AXES, num_points=31)
    places = np.random.default_rng(0).uniform(-1, 1, (4000, 2))

    def error(found):
        off = RegularGridInterpolator((found.x, found.y), found.loss)(places) - valley(*places.T)
        return np.abs(off).mean()

    assert 31**2 - 4 <= refined.details["num_forwards"] <= 31**2 == regular.details["num_forwards"]
    assert error(refined) < 0.6 * error(regular)


def test_it_says_where_it_was_measured(refined):
    measured = refined.details["measured"]
    assert measured.shape == refined.loss.shape == (len(refined.x), len(refined.y))
    assert measured.sum() == refined.details["num_forwards"] < refined.loss.size / 10
    exact = valley(refined.x[:, None], refined.y)
    np.testing.assert_allclose(refined.loss[measured], exact[measured], rtol=1e-12)
    assert not np.allclose(refined.loss[~measured], exact[~measured], rtol=1e-6)
    assert refined.centre == pytest.approx(valley(0, 0))
    assert refined.details["checks"]["centre"]["agrees"] is True


def test_files_keep_it(refined, tmp_path):
    save_surfaces(tmp_path, [refined])
    np.testing.assert_array_equal(load_surfaces(tmp_path)[0].details["measured"], refined.details["measured"])
    rows = export(refined, tmp_path / "plane.csv").read_text().splitlines()
    assert len(rows) == 1 + refined.details["num_forwards"]  # what was measured, and nothing else
    x, y, loss = map(float, rows[100].split(","))
    assert loss == pytest.approx(valley(x, y))
    with np.load(export(refined, tmp_path / "plane.npz")) as file:
        np.testing.assert_array_equal(file["measured"], refined.details["measured"])
    assert 'Name="measured"' in export(refined, tmp_path / "plane.vts").read_text()
    h5py = pytest.importorskip("h5py")
    path = export(refined, tmp_path / "plane.h5")
    np.testing.assert_array_equal(read_h5(path)[0].loss, refined.loss)
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["measured"][()], refined.details["measured"].T)


def test_minima_are_those_of_the_points_not_of_what_is_drawn_between_them(refined):
    measured = set(zip(*np.nonzero(refined.details["measured"]), strict=True))
    found = minima(refined.loss, x=refined.x, y=refined.y, measured=refined.details["measured"])
    assert {low.index for low in found} <= measured
    assert found[0].volume < 4
    whole = minima(refined.loss * 0, x=refined.x, y=refined.y, measured=refined.details["measured"])
    assert [low.volume for low in whole] == [pytest.approx(4)]  # the area of the plane


def test_gudhi_has_the_same_pairs_on_the_triangulation(refined):
    gudhi = pytest.importorskip("gudhi")
    places = np.argwhere(refined.details["measured"])
    values = refined.loss[refined.details["measured"]]
    tree = gudhi.SimplexTree()
    for point, value in enumerate(values):
        tree.insert([point], value)
    for triangle in Delaunay(places).simplices:
        for a, b in ((0, 1), (1, 2), (0, 2)):
            tree.insert([triangle[a], triangle[b]], values[triangle[[a, b]]].max())
    tree.compute_persistence()
    pairs = tree.persistence_intervals_in_dimension(0)
    threshold = refined.details["prominence_threshold"]
    expected = sorted((birth, death - birth) for birth, death in pairs if threshold < death - birth < np.inf)
    found = sorted((low["loss"], low["prominence"]) for low in refined.details["minima"] if low["prominence"])
    assert len(found) > 5
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.fixture
def network():
    case = make("mlp_tanh")
    one = Objective(case.model, case.criterion, case.batches())
    return {"train": one, "test": Objective(case.model, case.criterion, case.batches()[:1])}


def test_a_killed_run_goes_on_to_the_same_points(network, calls, tmp_path):
    whole = plane(network, num_points=9, refine=True)
    num_calls = len(calls)
    calls.clear()
    with pytest.raises(KeyboardInterrupt):
        plane(network, num_points=9, refine=True, rows=tmp_path, progress=stop_after(7))
    done = len(calls)
    assert 0 < done < num_calls
    again = plane(network, num_points=9, refine=True, rows=tmp_path)
    assert len(calls) == num_calls
    for split in network:
        np.testing.assert_array_equal(again[split].loss, whole[split].loss)
        np.testing.assert_array_equal(again[split].accuracy, whole[split].accuracy)
        np.testing.assert_array_equal(again[split].details["measured"], whole["train"].details["measured"])
    calls.clear()
    plane(network, num_points=9, rows=tmp_path)  # a regular grid is another run
    assert calls == [9] * 18


def test_other_splits_are_measured_at_the_same_points(network):
    found = plane(network, num_points=9, refine=True)["test"]
    walk = Walk(network["test"], [torch.from_numpy(v) for v in _random(network["train"])])
    i, j = np.nonzero(found.details["measured"])
    losses, accuracies = walk(np.column_stack([found.x[i], found.y[j]]))
    np.testing.assert_allclose(found.loss[i, j], losses, rtol=1e-5)
    np.testing.assert_allclose(found.accuracy[i, j], accuracies)


def _random(one):
    from landscape.surface.directions import random

    return [v.numpy() for v in random(one).vectors]
