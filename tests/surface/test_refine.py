import numpy as np
import pytest
from scipy.interpolate import RegularGridInterpolator

from landscape.surface.refine import _coarse_errors, _quartered, refine


def well(points):
    return -np.exp(-((points[:, 0] - 0.3) ** 2 + (points[:, 1] + 0.4) ** 2) / 0.05)


def bowl(points):
    return points[:, 0] ** 2 + 3 * points[:, 1] ** 2


def error_between(x, y, loss, function, part=np.max):
    places = np.random.default_rng(0).uniform((x[0], y[0]), (x[-1], y[-1]), (5000, 2))
    return part(np.abs(RegularGridInterpolator((x, y), loss)(places) - function(places)))


@pytest.mark.parametrize("num_points", [25, 26, 100, 961])
@pytest.mark.parametrize("function", [well, bowl])
def test_points_are_measured_once_within_the_budget_and_kept_as_they_are(num_points, function):
    calls = []
    found = refine(lambda p: calls.append(p) or function(p), span_x=2.0, span_y=1.0, num_points=num_points)
    assert num_points - 4 <= len(found.points) <= num_points
    np.testing.assert_array_equal(np.concatenate(calls), found.points)  # the order of the calls
    assert len(np.unique(found.points, axis=0)) == len(found.points) == found.measured.sum()
    np.testing.assert_array_equal(found.losses, function(found.points))
    at = np.stack(np.meshgrid(found.x, found.y, indexing="ij"), axis=-1)[found.measured]
    np.testing.assert_array_equal(found.loss[found.measured], function(at))
    assert np.isfinite(found.loss).all()
    assert found.x[len(found.x) // 2] == found.y[len(found.y) // 2] == 0
    assert found.measured[len(found.x) // 2, len(found.y) // 2]  # the weights themselves
    np.testing.assert_array_equal(found.x, -found.x[::-1])


def test_points_go_where_the_surface_curves():
    found = refine(well, span_x=2.0, span_y=2.0, num_points=961)
    regular = np.linspace(-2, 2, 31)
    grid = np.stack(np.meshgrid(regular, regular, indexing="ij"), axis=-1)
    uniform = well(grid.reshape(-1, 2)).reshape(31, 31)
    for part in (np.max, np.mean):
        refined = error_between(found.x, found.y, found.loss, well, part)
        assert refined < error_between(regular, regular, uniform, well, part) / 4
    near = np.hypot(*(found.points - (0.3, -0.4)).T) < 0.7
    assert near.mean() > 0.5  # of the points, on a tenth of the area


def test_a_surface_that_curves_alike_everywhere_is_no_worse_than_on_a_regular_grid():
    found = refine(bowl, span_x=1.0, span_y=1.0, num_points=1089)
    regular = np.linspace(-1, 1, 33)
    grid = np.stack(np.meshgrid(regular, regular, indexing="ij"), axis=-1)
    uniform = bowl(grid.reshape(-1, 2)).reshape(33, 33)
    worst = error_between(regular, regular, uniform, bowl)
    assert error_between(found.x, found.y, found.loss, bowl) < 1.3 * worst


def test_axes_are_not_confused():
    found = refine(lambda p: p[:, 0] + 10 * p[:, 1] ** 3, span_x=1.0, span_y=2.0, num_points=1500)
    exact = found.x[:, None] + 10 * found.y[None] ** 3
    assert np.abs(found.loss - exact).max() < 0.3
    assert (np.abs(found.points[:, 1]) > 1).mean() > 0.6  # where the cube bends
    assert 0.4 < (np.abs(found.points[:, 0]) > 0.5).mean() < 0.6


def test_a_plane_costs_its_coarse_grid_only():
    found = refine(lambda p: p[:, 0] * 0, span_x=1.0, span_y=1.0, num_points=1000)
    assert len(found.points) == 15**2


def test_what_is_not_finite_is_kept_and_not_chased():
    def cliff(points):
        losses = bowl(points)
        losses[points[:, 0] > 0.8] = np.inf
        losses[points[:, 1] > 0.8] = np.nan
        return losses

    found = refine(cliff, span_x=1.0, span_y=1.0, num_points=961)
    at = np.stack(np.meshgrid(found.x, found.y, indexing="ij"), axis=-1)[found.measured]
    np.testing.assert_array_equal(found.loss[found.measured], cliff(at))
    inside = (found.x[:, None] < 0.7) & (found.y[None] < 0.7)
    assert np.isfinite(found.loss[inside]).all()
    assert (np.isinf(found.loss) <= found.measured).all()  # never interpolated
    assert (~np.isfinite(found.losses)).sum() == 15**2 - 13**2  # those of the coarse grid

    def holed(points):  # between the points of the coarse grid
        return np.where(np.hypot(*(points - 1 / 14).T) < 0.04, np.nan, 100 * well(points))

    assert np.isnan(refine(holed, span_x=1.0, span_y=1.0, num_points=961).losses).sum() == 1

    everything = refine(lambda p: np.full(len(p), np.nan), span_x=1.0, span_y=1.0, num_points=100)
    assert np.isnan(everything.loss).all()


def test_estimates_are_the_errors_of_linear_interpolation_on_a_quadratic():
    x, y = np.meshgrid(np.arange(9.0), np.arange(9.0), indexing="ij")
    for grid in (x**2, y**2):
        np.testing.assert_allclose(_coarse_errors(grid[::4, ::4]), np.full(4, 4**2 / 4))  # (h / 2)^2 off, mid-way
        corners, errors = _quartered(np.array([[4, 0]]), np.array([4]), grid)
        np.testing.assert_array_equal(corners, [[4, 0], [4, 2], [6, 0], [6, 2]])
        np.testing.assert_allclose(errors, np.full(4, 2**2 / 4))
    assert not _coarse_errors(x * y).any()  # which bilinear interpolation has exactly
    assert not _quartered(np.array([[0, 0]]), np.array([8]), x * y)[1].any()


def test_a_quarter_answers_for_its_own_points_only():
    grid = np.zeros((3, 3))
    grid[2, 1] = 1.0  # the middle of the far side in x
    np.testing.assert_array_equal(_quartered(np.array([[0, 0]]), np.array([2]), grid)[1], [0, 0, 0.25, 0.25])
    lone = np.zeros((5, 5))
    lone[0, 2] = 1.0
    around = _coarse_errors(lone).reshape(4, 4)
    assert around[0, 1] == around[0, 2] == 0.25
    assert not around[3].any()


def test_other_values_at_the_points_are_interpolated_alike():
    found = refine(well, span_x=1.0, span_y=1.0, num_points=200)
    np.testing.assert_array_equal(found.interpolate(found.losses), found.loss)
    x, y = np.meshgrid(found.x, found.y, indexing="ij")
    np.testing.assert_allclose(found.interpolate(found.points @ (2.0, -1.0)), 2 * x - y, atol=1e-12)


def test_measuring_again_asks_for_the_same_points():
    one, other = (refine(well, span_x=1.0, span_y=1.0, num_points=300) for _ in range(2))
    np.testing.assert_array_equal(one.points, other.points)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"num_points": 24}, "at least 25"),
        ({"span_x": 0.0}, "above 0"),
        ({"values": lambda p: np.zeros((len(p), 1))}, "one a point"),
    ],
)
def test_refusals(args, message):
    with pytest.raises(ValueError, match=message):
        refine(**({"values": well, "span_x": 1.0, "span_y": 1.0, "num_points": 100} | args))
