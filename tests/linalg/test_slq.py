"""Stochastic Lanczos quadrature against moments, spectra known in full, and closed forms of the density."""

import math

import numpy as np
import pytest
import torch

from landscape.linalg import Lanczos
from landscape.linalg.slq import effective_dimension, negative_share, slq
from landscape.statistics import half_width
from tests.matrices import Counting, seeded, symmetric

INDEX = torch.arange(1.0, 301.0, dtype=torch.float64)
SPECTRUM = (-1) ** INDEX / INDEX + 0.01  # of both signs, a few large, most near zero
A = symmetric(SPECTRUM, seed=1)
MULTIPLE = [3.0] * 10 + [1.0] * 20 + [-2.0] * 6


def run(matrix, seed=0, **arguments):
    return slq(matrix, generator=seeded(seed), **arguments)


def start(d, generator):
    v = torch.randn(d, generator=generator, dtype=torch.float64)
    return v / v.norm()


# --- the rules -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_steps", [1, 2, 5, 30])
def test_a_rule_is_exact_for_polynomials_up_to_twice_the_steps(num_steps):
    found = run(A, num_runs=3, num_steps=num_steps)
    generator = seeded(0)
    for rule in found.rules:
        v = start(300, generator)
        power = v.clone()
        for degree in range(2 * num_steps):
            expected = (v @ power).item()
            assert rule.mean(lambda x, k=degree: x**k) == pytest.approx(expected, rel=1e-9, abs=1e-12)
            power = A @ power


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_weights_are_weights(dtype):
    B = Counting(A.to(dtype))
    found = run(B, num_runs=3, num_steps=20)
    assert found.num_matvecs == B.columns == 60
    for rule in found.rules:
        assert rule.nodes.shape == rule.weights.shape == (20,)
        assert (rule.weights >= 0).all()
        assert rule.weights.sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("spectrum", [[5.0, 1.0, 0.5, -1.0, -3.0], MULTIPLE, [2.0]], ids=["few", "multiple", "one"])
@pytest.mark.parametrize("num_steps", [36, 100])
def test_a_complete_run_is_the_spectrum(spectrum, num_steps, dtype):
    B = Counting(symmetric(spectrum, dtype=dtype))
    found = run(B, num_steps=num_steps)
    assert found.exact
    assert found.num_matvecs == B.columns == len(spectrum)
    (rule,) = found.rules
    np.testing.assert_allclose(np.sort(rule.nodes), np.sort(spectrum), rtol=1e-4)
    np.testing.assert_array_equal(rule.weights, 1 / len(spectrum))
    squares = found.trace(np.square)
    assert squares.value == pytest.approx(np.square(spectrum).sum(), rel=1e-5)
    assert (squares.error, squares.converged) == (0, True)


def test_a_space_that_closes_gives_the_weights_of_its_eigenspaces():
    B = symmetric(MULTIPLE, seed=2)
    found = run(B, num_runs=1, num_steps=10)
    v = start(36, seeded(0))
    (rule,) = found.rules
    for value in (3.0, 1.0, -2.0):
        others = [x for x in (3.0, 1.0, -2.0) if x != value]
        part = v
        for other in others:
            part = (B @ part - other * part) / (value - other)
        near = np.abs(rule.nodes - value) < 1e-6
        assert rule.weights[near].sum() == pytest.approx((part @ part).item(), abs=1e-9)


def test_a_run_that_is_there_is_used_and_no_more_of_it_than_asked_for():
    B = Counting(A)
    first = Lanczos(B, generator=seeded(7))
    fresh = slq(B, generator=seeded(0), num_runs=2, num_steps=20, first=first)
    first.extend(30)
    B.columns = 0
    again = slq(B, generator=seeded(0), num_runs=2, num_steps=20, first=first)
    assert B.columns == 20
    assert again.num_matvecs == fresh.num_matvecs == 40
    np.testing.assert_array_equal(again.rules[0].nodes, fresh.rules[0].nodes)
    np.testing.assert_array_equal(again.rules[1].nodes, fresh.rules[1].nodes)


# --- traces of functions ---------------------------------------------------------------------------------------------

FUNCTIONS = {
    "identity": (lambda found: found.trace(lambda x: x), SPECTRUM.sum()),
    "square": (lambda found: found.trace(np.square), SPECTRUM.square().sum()),
    "exponential": (lambda found: found.trace(np.exp), SPECTRUM.exp().sum()),
    "effective dimension": (
        lambda found: effective_dimension(found, gamma=0.01),
        (SPECTRUM.clamp(min=0) / (SPECTRUM.clamp(min=0) + 0.01)).sum(),
    ),
    "negative share": (negative_share, -SPECTRUM.clamp(max=0).sum() / SPECTRUM.abs().sum()),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FUNCTIONS)
def test_unbiased_and_the_intervals_cover(name):
    function, truth = FUNCTIONS[name]
    quadratures = [run(A, seed, num_runs=5, num_steps=30) for seed in range(100)]
    found = [function(q) for q in quadratures]
    values = np.array([f.value for f in found])
    assert values.mean() == pytest.approx(truth.item(), abs=3.5 * values.std() / 10 + 0.01 * abs(truth.item()))
    assert sum(abs(f.value - truth.item()) <= half_width(f.error, f.num_samples) for f in found) >= 88
    assert 0.6 < values.std() / math.sqrt(np.mean([f.error**2 for f in found])) < 1.3


@pytest.mark.parametrize(
    ("bulk", "gamma"), [((-1) ** INDEX / INDEX, 1e-3), (INDEX**-2, 1e-4)], ids=["to and fro", "from one side"]
)
def test_too_few_steps_are_seen_and_enter_the_error(bulk, gamma):
    """A kink among 300 eigenvalues, of which 8 steps resolve nothing."""
    truth = (bulk.clamp(min=0) / (bulk.clamp(min=0) + gamma)).sum().item()
    quadratures = [run(symmetric(bulk, seed=1), seed, num_runs=8, num_steps=8) for seed in range(20)]
    found = [effective_dimension(q, gamma=gamma) for q in quadratures]
    assert np.mean([abs(f.value - truth) for f in found]) > 0.1 * truth
    assert not any(f.converged for f in found)
    assert sum(abs(f.value - truth) <= half_width(f.error, f.num_samples) for f in found) >= 18


def test_converged_is_the_accuracy_asked_for():
    found = run(A, num_runs=6, num_steps=30)
    loose, tight = found.trace(np.exp, rel_error=0.05), found.trace(np.exp, rel_error=1e-4)
    assert (loose.converged, tight.converged) == (True, False)
    assert "6 runs" in tight.reason
    assert loose.num_matvecs == 180


def test_what_two_traces_share_cancels_in_their_ratio():
    found = run(A, num_runs=6, num_steps=30).ratio(np.exp, lambda x: 2 * np.exp(x))
    assert found.value == pytest.approx(0.5, rel=1e-12)
    assert found.error < 1e-12


def test_one_run_has_no_error_bar():
    found = run(A, num_runs=1, num_steps=30).trace(np.exp)
    assert found.error == math.inf
    assert not found.converged
    assert "one run" in found.reason


def test_zero_matrix():
    found = run(torch.zeros(80, 80), num_runs=3, num_steps=4)
    assert found.trace(lambda x: x).value == 0
    assert negative_share(found).value == 0
    assert found.trace(np.ones_like).value == pytest.approx(80)


@pytest.mark.parametrize("scale", [1e-7, 1e7])
def test_scale_changes_nothing(scale):
    plain, scaled = run(A, num_steps=20), run(scale * A, num_steps=20)
    assert negative_share(scaled).value == pytest.approx(negative_share(plain).value, rel=1e-9)
    curve, rescaled = plain.density(), scaled.density()
    np.testing.assert_allclose(rescaled.density * scale, curve.density, rtol=1e-6, atol=1e-12)


# --- the density -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threshold", [None, 0.01, 10.0])
@pytest.mark.parametrize("width", [None, 0.003, 0.5])
@pytest.mark.parametrize("matrix", [A, torch.eye(40), torch.zeros(40, 40)], ids=["spectrum", "identity", "zero"])
def test_the_density_integrates_to_one(matrix, width, threshold):
    found = run(matrix, num_steps=20).density(width=width, threshold=threshold)
    assert np.trapezoid(found.density, found.coordinate) == pytest.approx(1, abs=1e-5)
    assert (found.density >= 0).all()


@pytest.mark.parametrize("threshold", [None, 0.5])
def test_the_density_of_a_known_spectrum_is_its_gaussians(threshold):
    spectrum, width = np.array([4.0, 1.0, 1.0, -2.0]), 0.05
    found = run(symmetric(spectrum), num_steps=4).density(width=width, threshold=threshold)
    axis = spectrum if threshold is None else np.sign(spectrum) * np.log10(1 + np.abs(spectrum) / threshold)
    expected = np.mean(
        [np.exp(-((found.coordinate - x) ** 2) / (2 * width**2)) / math.sqrt(2 * math.pi * width**2) for x in axis],
        axis=0,
    )
    np.testing.assert_allclose(found.density, expected, atol=1e-9)
    np.testing.assert_array_equal(found.std_error, 0)
    peak = found.eigenvalues[found.density.argmax()]
    assert peak == pytest.approx(1, abs=0.05)


def test_the_density_is_drawn_from_the_weights():
    """One eigenvalue of 300 apart from the rest: its bump holds 1/300, not the share of its node among the nodes."""
    B = symmetric([10.0, *torch.linspace(-1, 1, 299).tolist()], seed=3)
    found = run(B, num_runs=30, num_steps=15).density(width=0.1)
    apart = found.coordinate > 5
    mass = np.trapezoid(found.density[apart], found.coordinate[apart])
    assert mass == pytest.approx(1 / 300, rel=0.6)
    peak = found.density[apart].argmax()
    assert found.std_error[apart][peak] == pytest.approx(math.sqrt(2 / 30) * found.density[apart][peak], rel=0.6)


def test_the_axis_is_invertible_and_uniform_in_its_coordinate():
    found = run(A, num_steps=20).density(threshold=0.02)
    back = np.sign(found.eigenvalues) * np.log10(1 + np.abs(found.eigenvalues) / 0.02)
    np.testing.assert_allclose(back, found.coordinate, atol=1e-9)
    np.testing.assert_allclose(np.diff(found.coordinate, 2), 0, atol=1e-9)
    assert found.eigenvalues.min() < A.min() < A.max() < found.eigenvalues.max()


# --- manners ---------------------------------------------------------------------------------------------------------


def test_the_generator_alone_decides():
    before = torch.get_rng_state()
    first, again, other = (run(A, seed, num_steps=10).rules[1].nodes for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("arguments", [{"num_runs": 0}, {"num_steps": 0}, {"num_steps": -1}])
def test_impossible_requests_are_refused(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        run(A, **arguments)
    found = run(A, num_steps=4)
    with pytest.raises(ValueError, match="gamma"):
        effective_dimension(found, gamma=0)
    with pytest.raises(ValueError, match="width"):
        found.density(width=0.0)
    with pytest.raises(ValueError, match="threshold"):
        found.density(threshold=0.0)
    with pytest.raises(ValueError, match="rel_error"):
        found.trace(np.exp, rel_error=0.0)
