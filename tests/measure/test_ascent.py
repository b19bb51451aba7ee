"""Ascents in a ball against the maxima of quadratics, which are known; and what must hold on any function."""

import math

import pytest
import torch

from landscape.measure.ascent import maximize, num_slopes, project
from landscape.measure.starts import num_points
from tests.matrices import seeded
from tests.measure.quadratics import largest_gradient, largest_over_ball, random_quadratic

RHO = 0.7


def on(A, b):
    return lambda u: (float(u @ A @ u / 2 + b @ u), A @ u + b)


def norm_on(A, b):
    def function(u):
        gradient = A @ u + b
        return float(gradient.norm()), A @ gradient / gradient.norm()

    return function


def ascend(function, d, *, rho=RHO, num_steps=20, num_restarts=4, seed=0, dtype=torch.float64):
    origin = torch.zeros(d, dtype=dtype)
    return maximize(function, origin, rho=rho, num_steps=num_steps, num_restarts=num_restarts, generator=seeded(seed))


def test_the_oracle_itself_against_a_brute_force_in_the_plane():
    for A, b in [
        (torch.diag(torch.tensor([2.0, -1.0])), torch.tensor([0.3, 1.0])),
        (torch.diag(torch.tensor([-2.0, -3.0])), torch.tensor([0.3, 0.2])),  # inside the ball
        (torch.diag(torch.tensor([1.0, 3.0])), torch.tensor([1.0, 0.0])),  # the hard case: b has nothing of the top
        (torch.diag(torch.tensor([1.0, 3.0])), torch.zeros(2)),
    ]:
        A, b = A.double(), b.double()
        angles = torch.linspace(0, 2 * math.pi, 2001, dtype=torch.float64)[:, None]
        u = RHO * torch.stack([angles.cos(), angles.sin()], -1) * torch.linspace(0, 1, 301)[None, :, None]
        brute = ((u @ A * u).sum(-1) / 2 + u @ b).max().item()
        assert largest_over_ball(A, b, RHO) == pytest.approx(brute, rel=1e-4)


@pytest.mark.parametrize("kind", ["convex", "tied", "saddle", "concave"])
def test_a_quadratic_s_maximum_is_found(kind):
    for seed in range(40):
        A, b = random_quadratic(kind, seed)
        truth = largest_over_ball(A, b, RHO)
        found = ascend(on(A, b), len(b), seed=seed)
        assert found.value <= truth * (1 + 1e-12)  # a lower bound
        assert found.value >= 0.9 * truth
        assert found.value == pytest.approx(on(A, b)(found.u)[0], rel=1e-12)


@pytest.mark.parametrize(("num_steps", "rel_error"), [(20, 0.01), (10, 0.05)])
@pytest.mark.parametrize("of", ["loss", "gradient norm"])
def test_an_error_within_bounds_is_to_be_believed(of, num_steps, rel_error):
    """On near-critical points, where ascents are slow: of those that claim an accuracy, 95 % have it."""
    claims = true = 0
    for seed in range(120):
        A, b = random_quadratic(["convex", "tied", "saddle"][seed % 3], seed)
        b = 0.05 * b
        if of == "loss":
            truth, function = largest_over_ball(A, b, RHO), on(A, b)
        else:
            truth, function = largest_gradient(A, b, RHO), norm_on(A, b)
        found = ascend(function, len(b), num_steps=num_steps, num_restarts=3, seed=seed)
        claims += found.error <= rel_error * found.value
        true += found.error <= rel_error * found.value and found.value >= (1 - rel_error) * truth
    assert 40 <= claims < 120
    assert true >= 0.95 * claims


def test_a_maximum_inside_the_ball_is_closed_in_on():
    peak = torch.tensor([0.1, -0.2, 0.3], dtype=torch.float64)
    found = ascend(lambda u: (1 - float((u - peak) @ (u - peak)), 2 * (peak - u)), 3)
    assert found.value == pytest.approx(1, abs=1e-6)
    assert found.u == pytest.approx(peak, abs=1e-3)


def test_from_a_critical_point_the_random_starts_go_on():
    A, b = torch.diag(torch.tensor([3.0, 1.0, -2.0])).double(), torch.zeros(3).double()
    found = ascend(on(A, b), 3)
    assert found.peaks[0] == 0  # nowhere to go from the saddle itself
    assert found.value == pytest.approx(1.5 * RHO**2, rel=1e-6)
    flat = ascend(lambda u: (0.0, torch.zeros_like(u)), 3)
    assert (flat.value, flat.error) == (0, 0)


def test_the_first_step_is_that_of_sam():
    A, b = random_quadratic("saddle", 3)
    one_step = on(A, b)(RHO * b / b.norm())[0]
    assert ascend(on(A, b), len(b), num_steps=1).peaks[0] == pytest.approx(max(one_step, 0), rel=1e-12)


def test_the_best_iterate_is_returned_not_the_last():
    seen = []

    def misleading(u):
        seen.append((-float(u.sum()), u))
        return seen[-1][0], torch.ones_like(u)  # downhill, whatever it says

    found = ascend(misleading, 4)
    assert found.value == max(value for value, _ in seen)
    assert any(torch.equal(found.u, u) for value, u in seen if value == found.value)


def test_no_iterate_leaves_the_ball_and_calls_are_counted():
    A, b = random_quadratic("convex", 0)
    calls = []
    ascend(lambda u: (calls.append(u.norm().item()), on(A, b)(u))[1], len(b), num_steps=7, num_restarts=3)
    most = num_slopes(len(b), num_restarts=3, num_steps=7)
    assert 3 * 8 < most - 5 < len(calls) - num_points(len(b)) <= most
    assert calls[num_points(len(b))] == 0


def test_in_many_dimensions_starts_are_random_and_cost_nothing():
    calls = []
    A, b = torch.diag(torch.linspace(0, 1, 40)).double(), torch.ones(40).double()
    ascend(lambda u: (calls.append(u.norm().item()), on(A, b)(u))[1], 40, num_steps=7, num_restarts=3)
    assert len(calls) == num_slopes(40, num_restarts=3, num_steps=7) == 3 * 8
    assert (num_points(40), calls[0]) == (0, 0)
    assert max(calls) <= RHO * (1 + 1e-12)


def test_a_slope_that_is_not_a_number_ends_the_ascent_with_what_it_has():
    A, b = random_quadratic("convex", 1)
    found = ascend(lambda u: (on(A, b)(u)[0], torch.full_like(u, math.nan)), len(b))
    assert found.value == max(found.peaks)
    assert not found.gap <= 1e9  # unknown


@pytest.mark.parametrize("scale", [1e-30, 1e-7, 1e7])
def test_scale_changes_nothing(scale):
    A, b = random_quadratic("saddle", 2)
    plain, scaled = ascend(on(A, b), len(b)), ascend(on(scale * A, scale * b), len(b))
    assert scaled.value / scale == pytest.approx(plain.value, rel=1e-9)
    assert scaled.gap / scale == pytest.approx(plain.gap, rel=1e-4, abs=1e-12)


def test_the_seed_decides():
    A, b = random_quadratic("saddle", 2)
    assert ascend(on(A, b), len(b)).peaks == ascend(on(A, b), len(b)).peaks
    first, other = ascend(on(A, b), len(b)).peaks, ascend(on(A, b), len(b), seed=1).peaks
    assert first[0] == other[0]
    assert first[1:] != other[1:]


def test_the_gap_is_the_gain_that_the_slope_promises():
    slope = torch.tensor([3.0, 4.0]).double()
    found = ascend(lambda u: (0.0, slope), 2, rho=2.0)  # never rises, so that it ends where it starts
    assert found.gap == pytest.approx(10)  # from u = 0 to 2 slope / 5


def test_the_error_is_the_largest_of_three():
    def staircase(u):
        return next(heights), torch.randn(len(u), generator=draws) / 100  # never done: it points elsewhere

    draws = seeded(0)
    heights = iter([0.0, 1.0, 2.0, 7.0, 7.5, 0.0, 1.0, 2.0, 3.0, 4.0])
    found = ascend(staircase, 40, num_steps=4, num_restarts=2)
    assert found.peaks == [7.5, 4.0]
    assert found.spread == 2 * 3.5
    assert found.progress == 7.5 - 2.0
    assert found.error == max(found.spread, found.progress, found.gap) == 7


@pytest.mark.parametrize("seed", range(4))
def test_a_slow_ascent_does_not_pass_for_an_end(seed):
    A = torch.diag(torch.cat([torch.ones(1), 0.6 * torch.ones(60)])).double()
    found = ascend(on(A, torch.zeros(61).double()), 61, num_steps=6, seed=seed)
    short = RHO**2 / 2 - found.value
    assert found.gap < short < found.error  # the slope alone promises too little


def test_projection():
    u = torch.tensor([3.0, 4.0])
    assert project(u, 1.0) == pytest.approx(torch.tensor([0.6, 0.8]))
    assert torch.equal(project(u, 5.0), u)


@pytest.mark.parametrize(
    ("argument", "message"), [({"rho": 0.0}, "rho=0"), ({"num_steps": 0}, "num_steps"), ({"num_restarts": 1}, "2")]
)
def test_what_makes_no_sense_is_refused(argument, message):
    with pytest.raises(ValueError, match=message):
        ascend(lambda u: (0.0, u), 2, **argument)
