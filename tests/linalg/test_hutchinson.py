"""Hutchinson's estimator: exact where it must be, unbiased, and its intervals cover as often as they say."""

import math

import numpy as np
import pytest
import torch

from landscape.linalg import hutchinson_trace
from landscape.statistics import half_width
from tests.cases import oracle
from tests.matrices import Counting, seeded, symmetric

NUM_SEEDS = 200
HEAVY = symmetric([100.0, 30.0, 10.0, *torch.linspace(-1, 1, 57).tolist()], seed=1)  # skewed: probes see 100 z^2
EVEN = symmetric(torch.linspace(-1, 3, 80), seed=2)  # trace 80
CASES = {"heavy": HEAVY, "even": EVEN, "network": oracle("mlp_tanh")}
ACCURACIES = [("heavy", 0.3), ("heavy", 0.02), ("even", 0.3), ("even", 0.02), ("network", 0.3), ("network", 0.1)]


def run(A, seed=0, **arguments):
    return hutchinson_trace(A, generator=seeded(seed), **arguments)


def covers(estimate, trace):
    return abs(estimate.value - trace) <= half_width(estimate.error, estimate.num_matvecs)


# --- exact -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_diagonal_matrices_are_exact_with_signs(dtype):
    diagonal = torch.tensor([3.0, -1.0, 0.5, 8.0, 0.25], dtype=dtype)
    estimate = run(diagonal.diag(), num_probes=4)
    assert estimate.value == pytest.approx(10.75, rel=1e-7)
    assert estimate.error == pytest.approx(0, abs=1e-6)


def test_one_by_one():
    assert run(torch.tensor([[-3.0]]), num_probes=3).value == -3


def test_zero_matrix_is_zero_and_the_stop_is_reached():
    estimate = run(torch.zeros(6, 6), rel_error=0.01, max_probes=100)
    assert estimate.value == 0
    assert estimate.error == 0
    assert estimate.converged


def test_the_value_is_the_mean_of_the_probes_and_not_their_sum():
    few, many = (run(EVEN, num_probes=n).value for n in (20, 320))
    assert few == pytest.approx(80, rel=0.3)
    assert many == pytest.approx(80, rel=0.1)


# --- statistics ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("A", CASES.values(), ids=CASES)
def test_unbiased(A):
    values = torch.tensor([run(A, seed, num_probes=10).value for seed in range(NUM_SEEDS)])
    off = (values.mean() - A.trace()) / (values.std() / math.sqrt(NUM_SEEDS))
    assert abs(off) < 3.3


@pytest.mark.parametrize("A", CASES.values(), ids=CASES)
def test_standard_error_is_the_spread_of_the_values(A):
    estimates = [run(A, seed, num_probes=25) for seed in range(NUM_SEEDS)]
    spread = torch.tensor([e.value for e in estimates]).std().item()
    typical = math.sqrt(sum(e.error**2 for e in estimates) / NUM_SEEDS)
    variance = 2 * (A.square().sum() - A.diag().square().sum()).item() / 25  # of a mean of 25 sign probes, exactly
    assert typical == pytest.approx(math.sqrt(variance), rel=0.1)
    assert spread == pytest.approx(math.sqrt(variance), rel=0.2)


@pytest.mark.parametrize("num_probes", [5, 10, 30, 100])
@pytest.mark.parametrize("A", CASES.values(), ids=CASES)
def test_intervals_of_a_fixed_budget_cover(A, num_probes):
    trace = A.trace().item()
    estimates = [run(A, seed, num_probes=num_probes) for seed in range(NUM_SEEDS)]
    assert {e.num_matvecs for e in estimates} == {num_probes}
    assert sum(covers(e, trace) for e in estimates) >= 0.90 * NUM_SEEDS


@pytest.mark.parametrize(("name", "rel_error"), ACCURACIES)
def test_an_accuracy_reported_reached_is_reached_and_its_interval_covers(name, rel_error):
    """Also a loose one, where a few lucky probes that happen to agree would stop an incautious rule too early."""
    A, trace = CASES[name], CASES[name].trace().item()
    estimates = [run(A, seed, rel_error=rel_error, max_probes=20_000) for seed in range(NUM_SEEDS)]
    assert all(e.converged for e in estimates)
    assert sum(abs(e.value - trace) <= rel_error * trace for e in estimates) >= 0.90 * NUM_SEEDS
    assert sum(covers(e, trace) for e in estimates) >= 0.90 * NUM_SEEDS


# --- stopping --------------------------------------------------------------------------------------------------------


def test_too_small_a_budget_is_not_converged_and_says_why():
    estimate = run(HEAVY, rel_error=0.001, max_probes=20)
    assert not estimate.converged
    assert "20" in estimate.reason
    assert estimate.num_matvecs == 20


def test_a_trace_of_zero_has_no_relative_accuracy():
    A = symmetric([1.0, -1.0, 2.0, -2.0, 3.0, -3.0])
    estimate = run(A, rel_error=0.05, max_probes=200)
    assert not estimate.converged
    assert abs(estimate.value) < 4 * estimate.error


def test_a_negative_trace():
    estimate = run(-EVEN, rel_error=0.05, max_probes=5000)
    assert estimate.converged
    assert estimate.value == pytest.approx(-80, rel=0.1)


@pytest.mark.parametrize("scale", [1e-7, 1e7])
def test_the_stop_does_not_depend_on_the_scale(scale):
    plain, scaled = run(HEAVY, rel_error=0.1, max_probes=5000), run(scale * HEAVY, rel_error=0.1, max_probes=5000)
    assert scaled.num_matvecs == plain.num_matvecs
    assert scaled.converged == plain.converged
    assert scaled.value / scale == pytest.approx(plain.value, rel=1e-12)
    assert scaled.error / scale == pytest.approx(plain.error, rel=1e-9)


def test_it_stops_soon_after_the_accuracy_is_reached():
    """The variance of a probe is known, so the number of probes that 5 % takes is too; twice that is wasteful."""
    per_probe = math.sqrt(2 * (EVEN.square().sum() - EVEN.diag().square().sum()).item())
    needed = (1.96 * per_probe / (0.05 * 80)) ** 2
    used = [run(EVEN, seed, rel_error=0.05, max_probes=5000).num_matvecs for seed in range(20)]
    assert needed / 2 < sorted(used)[10] < 2 * needed


# --- probes ----------------------------------------------------------------------------------------------------------


def test_the_seed_alone_decides():
    assert run(HEAVY, 3, num_probes=7).value == run(HEAVY, 3, num_probes=7).value
    assert run(HEAVY, 3, num_probes=7).value != run(HEAVY, 4, num_probes=7).value


def test_the_probes_do_not_depend_on_how_they_are_grouped():
    """Blocks, looks and budgets cut one and the same sequence: a longer run begins with the shorter one."""
    long = run(HEAVY, 3, num_probes=200).details["samples"]
    for num_probes in (2, 7, 31, 32, 33, 100):
        short = run(HEAVY, 3, num_probes=num_probes).details["samples"]
        np.testing.assert_allclose(short, long[:num_probes], rtol=1e-12)
    stopped = run(HEAVY, 3, rel_error=0.2, max_probes=200).details["samples"]
    np.testing.assert_allclose(stopped, long[: len(stopped)], rtol=1e-12)
    assert len(np.unique(long)) > 190


@pytest.mark.parametrize("A", CASES.values(), ids=CASES)
def test_gaussian_probes_are_unbiased_and_have_the_variance_of_gaussians(A):
    values = torch.tensor([run(A, seed, num_probes=10, probes="gaussian").value for seed in range(NUM_SEEDS)])
    variance = 2 * A.square().sum().item() / 10  # of a mean of 10 Gaussian probes, exactly
    assert values.var().item() == pytest.approx(variance, rel=0.35)
    assert abs(values.mean() - A.trace()) < 3.3 * math.sqrt(variance / NUM_SEEDS)


def test_gaussian_probes_are_not_exact_on_a_diagonal_and_do_not_depend_on_their_grouping():
    A = torch.diag(torch.linspace(1, 5, 50, dtype=torch.float64))
    long = run(A, 3, num_probes=100, probes="gaussian")
    assert long.error == pytest.approx(math.sqrt(2 * A.square().sum().item() / 100), rel=0.3)
    for num_probes in (2, 33):
        short = run(A, 3, num_probes=num_probes, probes="gaussian").details["samples"]
        np.testing.assert_allclose(short, long.details["samples"][:num_probes], rtol=1e-12)


def test_another_kind_of_probes_is_refused():
    with pytest.raises(ValueError, match=r"'uniform'.*'rademacher', 'gaussian'"):
        run(HEAVY, probes="uniform")


def test_every_product_is_counted():
    A = Counting(HEAVY)
    assert run(A, num_probes=13).num_matvecs == A.columns == 13


def test_global_randomness_is_left_alone():
    before = torch.get_rng_state()
    run(HEAVY, num_probes=5)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    "arguments",
    [
        {"num_probes": 0},
        {"num_probes": -3},
        {"num_probes": 1},
        {"rel_error": 0.0},
        {"rel_error": -0.1},
        {"rel_error": 0.1, "max_probes": 0},
    ],
)
def test_impossible_requests_are_refused(arguments):
    with pytest.raises(ValueError, match=r"probes|rel_error"):
        run(HEAVY, **arguments)
