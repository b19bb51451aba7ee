"""What a picture of a plane marks beside its contours: other checkpoints, extrema, and where it was measured."""

import numpy as np
import pytest
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from landscape.figures.kinds.planes import axis_names, beyond, common_norm, contours, levels, notes
from landscape.results import Line, Plane

X = np.linspace(-2, 2, 9)
BOWL = X[:, None] ** 2 + X**2


def drawn(**details):
    plane = Plane(X, X, BOWL, None, "train", details)
    axes = Figure().add_subplot()
    contours(axes, plane, common_norm([plane]))
    return plane, axes


def extremum(x, y, on_edge):
    return {"x": x, "y": y, "on_edge": on_edge}


def test_extrema_inside_are_marked_and_those_on_the_edge_are_not():
    lows = [extremum(0.5, 1, False), extremum(1, -1, False)]
    _, axes = drawn(minima=lows, maxima=[extremum(-2, 2, True), extremum(-1, 0, False)])
    places = {(line.get_marker(), *np.ravel(line.get_data()).tolist()) for line in axes.lines}
    assert places == {("+", 0, 0), ("v", 0.5, 1), ("v", 1, -1), ("^", -1, 0)}


@pytest.mark.parametrize("seed", range(5))
def test_every_loss_is_within_the_levels_of_a_logarithmic_scale(seed):
    loss = np.exp(np.random.default_rng(seed).uniform(-6, 6, (9, 9)))
    norm = common_norm([Plane(X, X, loss, None, "train")])
    assert isinstance(norm, LogNorm)
    assert beyond(norm) == "neither"
    assert levels(norm)[[0, -1]].tolist() == [loss.min(), loss.max()]


def test_other_checkpoints_stand_where_they_lie_and_name_the_axes():
    marks = {"runs/sam/last.pt": {"at": [1.9, 0.0]}, "runs/gam/epoch-3.pt": {"at": [0.5, 1.8]}}
    plane, axes = drawn(directions="to", marks=marks, checkpoint={"path": "runs/sgd/last.pt"})
    assert [(text.get_text(), text.xy) for text in axes.texts] == [
        ("sam last", (1.9, 0.0)),
        ("gam epoch-3", (0.5, 1.8)),
        ("sgd last", (0, 0)),
    ]
    sides = [(text.get_ha(), text.get_va()) for text in axes.texts]
    assert sides == [("right", "bottom"), ("left", "top"), ("left", "bottom")]  # where there is room
    assert axis_names(plane) == ("towards sam last: displacement", "across: displacement")
    del marks["runs/gam/epoch-3.pt"]
    assert axis_names(Line(X, X**2, None, "train", plane.details))[0] == "towards sam last: displacement"


def test_points_of_a_refined_plane_are_dots_and_said():
    measured = np.zeros((9, 9), dtype=bool)
    measured[2, 7] = measured[4, 4] = True
    plane, axes = drawn(measured=measured, refine=True, num_forwards=2)
    dots = next(line for line in axes.lines if line.get_marker() == ".")
    assert list(zip(*dots.get_data(), strict=True)) == [(X[2], X[7]), (0, 0)]
    assert notes(plane) == ["2 points, linear between"]


@pytest.mark.parametrize("directions", ["random", "eigen"])
def test_directions_by_name(directions):
    plane, axes = drawn(directions=directions)
    assert axis_names(plane) == (f"{directions} 1: displacement", f"{directions} 2: displacement")
    assert [line.get_marker() for line in axes.lines] == ["+"]


@pytest.mark.parametrize("loss", [0.0, 1.0, -3.0])
def test_a_level_plane_is_drawn(loss):
    axis = np.linspace(-1, 1, 5)
    plane = Plane(axis, axis, np.full((5, 5), loss), None, "train")
    assert (np.diff(levels(common_norm([plane]))) > 0).all()
    contours(Figure().add_subplot(), plane, common_norm([plane]))
