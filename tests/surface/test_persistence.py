"""Persistence against a flood computed anew at each level, gudhi, and a function of which everything is known."""

import json
from math import inf, nan

import numpy as np
import pytest
from scipy import ndimage

from landscape.results import Plane, load_surfaces
from landscape.surface.persistence import extrema, maxima, minima

SHAPES = {4: ndimage.generate_binary_structure(2, 1), 8: ndimage.generate_binary_structure(2, 2)}


def flooded(values, neighbours):
    """(birth, death) of every component, and its points just below its death, by labelling each sub-level set anew."""
    born, pairs = {}, []  # the first point of a component (value, position) -> its points at the last level
    for level in np.unique(values[~np.isnan(values)]):
        labels, count = ndimage.label(values <= level, SHAPES[neighbours])
        now = {}
        for label in range(1, count + 1):
            points = {divmod(p, values.shape[1]) for p in np.flatnonzero(labels == label)}
            inside = sorted(first for first in born if first[1] in points)
            if not inside:
                inside = [min((values[p], p) for p in points)]
            now[inside[0]] = points
            pairs += [(*first, level) for first in inside[1:]]
        born = now
    pairs += [(*first, inf) for first in born if first[0] < inf]
    return sorted(pairs)


def grids():
    generator = np.random.default_rng(0)
    for shape in [(1, 1), (1, 9), (6, 7), (12, 5)]:
        smooth = ndimage.gaussian_filter(generator.standard_normal(shape), 1.0)
        yield generator.standard_normal(shape)
        yield smooth
        yield generator.integers(0, 4, shape).astype(float)  # ties and plateaus
        holed = generator.integers(0, 6, shape).astype(float)
        holed[generator.random(shape) < 0.25] = nan
        holed[generator.random(shape) < 0.15] = inf
        yield holed


@pytest.mark.parametrize("neighbours", [4, 8])
def test_births_and_deaths_are_those_of_the_flood(neighbours):
    for values in grids():
        found = [(low.birth, low.index, low.death) for low in minima(values, neighbours=neighbours)]
        assert found == flooded(values, neighbours)


@pytest.mark.parametrize("neighbours", [4, 8])
def test_gudhi_has_the_same_pairs(neighbours):
    gudhi = pytest.importorskip("gudhi")
    for values in grids():
        kind = "top_dimensional_cells" if neighbours == 8 else "vertices"
        walled = np.where(np.isnan(values), inf, values)  # which gudhi has no word for
        cubes = gudhi.CubicalComplex(**{kind: walled})
        cubes.compute_persistence()
        finite = cubes.persistence_intervals_in_dimension(0)
        expected = sorted((birth, death) for birth, death in finite if birth < death < inf)
        found = minima(walled, neighbours=neighbours)
        assert sorted((low.birth, low.death) for low in found if low.death < inf) == expected


def two_wells(n=81):
    """(x^2 - 1)^2 + y^2 + tilt x: wells at x = -1 and 1 (to first order in the tilt), a saddle between them."""
    x, y = np.linspace(-2, 2, n), np.linspace(-1, 1, n // 2 + 1)
    tilt = 0.1
    roots = np.sort(np.roots([4, 0, -4, tilt]).real)
    height = (roots**2 - 1) ** 2 + tilt * roots
    return x, y, (x[:, None] ** 2 - 1) ** 2 + y**2 + tilt * x[:, None], roots, height


def test_two_wells_in_closed_form():
    x, y, loss, roots, (left, top, right) = two_wells(201)
    found = extrema(Plane(x, y, loss, None, "train", {"noise_floor": 1e-3}))
    deep, shallow = found["minima"]
    assert (found["prominence_threshold"], found["neighbours"]) == (1e-3, 8)
    assert [deep["x"], shallow["x"]] == pytest.approx([roots[0], roots[2]], abs=0.011)
    assert [deep["y"], shallow["y"]] == pytest.approx([0, 0], abs=0.01)
    assert [deep["loss"], shallow["loss"]] == pytest.approx([left, right], abs=1e-3)
    assert shallow["prominence"] == pytest.approx(top - right, abs=1e-3)
    assert shallow["saddle"] == pytest.approx([roots[1], 0, top], abs=0.01)
    assert (deep["parent"], deep["prominence"], deep["saddle"], shallow["parent"]) == (None, None, None, 0)
    assert not deep["on_edge"]
    assert not shallow["on_edge"]
    assert deep["level"] == shallow["level"] == pytest.approx(top, abs=1e-3)
    fine = np.linspace(-2, 2, 4001)
    below = np.clip(top - (fine**2 - 1) ** 2 - 0.1 * fine, 0, None) ** 0.5  # half the width in y at each x
    for well, side in ((deep, fine < roots[1]), (shallow, fine > roots[1])):
        area = 2 * np.minimum(below, 1)[side].sum() * (fine[1] - fine[0])
        assert well["volume"] == pytest.approx(area, rel=0.02)


def test_maxima_are_the_minima_of_the_negative():
    for values in grids():
        tops, lows = maxima(values), minima(-values)
        assert [(t.index, -t.birth, -t.death, t.saddle, t.parent, -t.level, t.volume) for t in tops] == [
            (low.index, low.birth, low.death, low.saddle, low.parent, low.level, low.volume) for low in lows
        ]
    hill = -np.abs(np.arange(-3.0, 4)[:, None]) - np.abs(np.arange(-2.0, 3))
    (top,) = maxima(hill)
    assert (top.index, top.birth, top.death, top.prominence, top.on_edge) == ((3, 2), 0, -inf, inf, False)
    assert len(minima(hill)) == 4  # its corners, and they say so
    assert all(low.on_edge for low in minima(hill))


@pytest.mark.parametrize("transform", [np.exp, np.arctan, lambda v: 3 * v - 7, lambda v: v**3])
def test_a_monotone_transform_moves_levels_only(transform):
    generator = np.random.default_rng(1)
    values = ndimage.gaussian_filter(generator.standard_normal((20, 20)), 1.5) * 4
    before, after = minima(values), minima(transform(values))
    assert len(before) > 3
    for one, other in zip(before, after, strict=True):
        assert (one.index, one.saddle, one.parent, one.volume) == (
            other.index,
            other.saddle,
            other.parent,
            other.volume,
        )
        assert (transform(one.birth), transform(one.level)) == pytest.approx((other.birth, other.level))


def test_turning_the_grid_turns_the_result():
    values = np.random.default_rng(2).standard_normal((7, 11))
    turned = [(low.index[::-1], low.death, low.volume) for low in minima(values.T)]
    assert turned == [(low.index, low.death, low.volume) for low in minima(values)]


def test_the_threshold_leaves_the_tree_of_what_exceeds_it():
    values = np.array([[0.0, 9, 5, 6, 4, 8, 1, 1.5, 1.25]])
    tree = minima(values)
    assert [(low.birth, low.prominence, low.parent) for low in tree] == [
        (0, inf, None),
        (1, 8, 0),
        (1.25, 0.25, 1),
        (4, 4, 1),
        (5, 1, 3),
    ]
    assert [low.birth for low in minima(values, threshold=0.25)] == [0, 1, 4, 5]  # it must be exceeded
    deep = minima(values, threshold=4)
    assert [(low.birth, low.parent, low.level, low.volume) for low in deep] == [(0, None, 9, 1), (1, 0, 9, 7)]


def test_a_plateau_is_one_minimum_and_equal_wells_die_the_later_one_first():
    flat = minima(np.ones((4, 5)))
    assert [(low.index, low.birth, low.volume, low.level) for low in flat] == [((0, 0), 1, 20, inf)]
    equal = minima(np.array([[1.0, 1, 2, 1, 1]]))
    assert [(low.index, low.death, low.parent) for low in equal] == [((0, 0), inf, None), ((0, 3), 2, 0)]


def test_corners_join_eight_neighbours_and_not_four():
    crossed = np.array([[0.0, 5], [5, 1]])
    assert [low.birth for low in minima(crossed)] == [0]
    assert [(low.birth, low.death) for low in minima(crossed, neighbours=4)] == [(0, inf), (1, 5)]


def test_nan_is_never_entered_and_inf_is_a_plateau_on_top():
    parted = minima(np.array([[1.0, nan, 2, 3]]))
    assert [(low.birth, low.death, low.parent, low.volume) for low in parted] == [(1, inf, None, 1), (2, inf, None, 2)]
    walled = np.array([[1.0, inf, 2, 3]])
    assert [(low.birth, low.prominence, low.parent, low.saddle) for low in minima(walled)] == [
        (1, inf, None, None),
        (2, inf, 0, (0, 1)),
    ]
    assert [(top.birth, top.index) for top in maxima(walled)] == [(inf, (0, 1)), (3, (0, 3))]
    assert minima(np.full((2, 2), nan)) == []
    assert minima(np.full((2, 2), inf)) == []


def test_volume_counts_the_length_each_point_stands_for():
    found = minima(np.array([[0.0, 1], [2, 3], [4, 5]]), x=[0.0, 1, 3], y=[-1.0, 1])
    assert found[0].volume == pytest.approx(3 * 2)  # the whole plane
    wells = minima(np.array([[0.0], [9], [1]]), x=[0.0, 1, 3], y=[0.0])
    assert [low.volume for low in wells] == [0.5, 1.0]


def test_the_table_survives_a_file(tmp_path):
    x, y, loss, _, _ = two_wells()
    loss[40] = inf  # a wall between the wells
    table = extrema(Plane(x, y, loss, None, "train"), threshold=0.0)
    json.dumps(table, allow_nan=False)
    Plane(x, y, loss, None, "train", table).save(tmp_path)
    assert load_surfaces(tmp_path)[0].details == table


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"neighbours": 6}, "Expected 8 or 4"),
        ({"threshold": -1.0}, "0 or more"),
        ({"threshold": nan}, "0 or more"),
        ({"x": [0.0, 1.0]}, r"\(2,\), and the grid 3"),
    ],
)
def test_refusals(args, message):
    with pytest.raises(ValueError, match=message):
        minima(np.zeros((3, 3)), **args)


def test_a_line_is_refused_and_so_is_a_plane_without_a_floor():
    with pytest.raises(ValueError, match="Expected a grid"):
        minima(np.zeros(3))
    with pytest.raises(ValueError, match="Give threshold="):
        extrema(Plane(np.arange(2.0), np.arange(2.0), np.zeros((2, 2)), None, "train"))
