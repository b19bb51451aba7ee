"""Power iteration finds the largest algebraic eigenvalue, and says converged only where it did."""

import pytest
import scipy.stats
import torch

from landscape.linalg import power_iteration
from tests.matrices import Counting, Diagonal, seeded, symmetric

NEAR_TIE = [10.0, 9.9, -9.8, *torch.linspace(-5, 5, 97).tolist()]


def run(A, seed=0, *, rel_error=1e-3, max_matvecs=10_000):
    return power_iteration(A, rel_error=rel_error, max_matvecs=max_matvecs, generator=seeded(seed))


@pytest.mark.parametrize("spectrum", [[4.0, 1.0, -2.0], [100.0, *torch.linspace(0, 1, 50).tolist()]])
@pytest.mark.parametrize("rel_error", [1e-2, 1e-4, 1e-8])
def test_converges_to_the_accuracy_asked(spectrum, rel_error):
    result = run(symmetric(spectrum), rel_error=rel_error)
    assert result.converged
    assert result.value == pytest.approx(spectrum[0], rel=rel_error)


@pytest.mark.parametrize("spectrum", [NEAR_TIE, NEAR_TIE[:3]])
@pytest.mark.parametrize("rel_error", [1e-2, 1e-3, 1e-5])
@pytest.mark.parametrize("seed", range(10))
def test_near_ties_are_never_claimed_before_they_are_resolved(spectrum, seed, rel_error):
    A = symmetric(spectrum, seed=seed)
    for max_matvecs in (2, 5, 10, 20, 50, 100, 500, 10_000):
        result = run(A, seed, rel_error=rel_error, max_matvecs=max_matvecs)
        assert result.num_matvecs <= max_matvecs
        assert not result.converged or result.value == pytest.approx(10, rel=rel_error)
    assert result.converged


@pytest.mark.parametrize("spectrum", [[-20.0, 10.0, 1.0, 0.5], [-10.1, 10.0, -9.0, 3.0], [-5.0, -4.0, -3.0, -1.0]])
@pytest.mark.parametrize("seed", range(5))
def test_the_largest_is_the_largest_algebraic_one(spectrum, seed):
    result = run(symmetric(spectrum, seed=seed), seed)
    assert result.converged
    assert result.value == pytest.approx(max(spectrum), rel=1e-3)


@pytest.mark.parametrize("seed", range(5))
def test_an_exact_tie_of_opposites_is_a_number_and_never_a_false_claim(seed):
    result = run(symmetric([-10.0, 10.0, 0.0], seed=seed), seed, max_matvecs=300)
    assert -10 <= result.value <= 10
    assert not result.converged or result.value == pytest.approx(10, rel=1e-3)


def test_the_vector_is_the_eigenvector():
    A = symmetric([7.0, -9.0, 1.0, 0.0])
    result = run(A, rel_error=1e-6)
    assert result.details["vector"].norm().item() == pytest.approx(1, rel=1e-9)
    assert (A @ result.details["vector"] - result.value * result.details["vector"]).norm() <= 1e-6 * 7 * 1.001


def test_zero_matrix():
    result = run(torch.zeros(5, 5))
    assert result.value == 0
    assert result.converged


@pytest.mark.parametrize("value", [1.0, -1.0, 1e-9])
def test_multiples_of_the_identity(value):
    result = run(value * torch.eye(6, dtype=torch.float64))
    assert result.value == pytest.approx(value, rel=1e-9)
    assert result.converged


def test_one_by_one():
    assert run(torch.tensor([[-3.0]])).value == pytest.approx(-3)


def test_rank_one():
    assert run(symmetric([5.0] + [0.0] * 20)).value == pytest.approx(5, rel=1e-6)


def test_negative_rank_one_has_largest_eigenvalue_zero():
    result = run(symmetric([-5.0] + [0.0] * 20))
    assert abs(result.value) < 1e-3 * 5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e-7, 1e7])
def test_scale_changes_nothing(scale, dtype):
    A = symmetric([3.0, 2.0, -2.9, 1.0], dtype=dtype)
    plain, scaled = run(A), run((scale * A.double()).to(dtype))
    assert scaled.converged
    assert abs(scaled.num_matvecs - plain.num_matvecs) <= 2
    assert scaled.value / scale == pytest.approx(plain.value, rel=1e-5)


def test_too_small_a_budget_is_not_converged_and_says_why():
    A = Counting(symmetric(NEAR_TIE))
    result = run(A, rel_error=1e-6, max_matvecs=15)
    assert not result.converged
    assert "15" in result.reason
    assert result.num_matvecs == A.columns == 15


def test_an_accuracy_beyond_float32_ends_by_its_budget_and_is_not_claimed():
    result = run(symmetric([3.0, 2.0, 1.0], dtype=torch.float32), rel_error=1e-12, max_matvecs=300)
    assert not result.converged
    assert result.value == pytest.approx(3, rel=1e-5)


def test_the_generator_alone_decides():
    A = symmetric(NEAR_TIE)
    before = torch.get_rng_state()
    assert run(A, 1, max_matvecs=9).value == run(A, 1, max_matvecs=9).value != run(A, 2, max_matvecs=9).value
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("arguments", [{"rel_error": 0.0}, {"rel_error": -1.0}, {"max_matvecs": 0}])
def test_impossible_requests_are_refused(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        run(torch.eye(3), **arguments)


@pytest.mark.parametrize("rel_error", [0.05, 0.01])
@pytest.mark.parametrize(
    ("spectrum", "all_converge"),
    [
        ([1.05, *torch.linspace(0.9, 1, 500)], True),
        ([*torch.linspace(1, 1.05, 5), *torch.linspace(0.9, 0.99, 500)], True),
        ([1.0] + [0.5] * 9999, True),
        ([-2.0, 1.05, *torch.linspace(0.9, 1, 500)], True),
        ([1.04, -1.05, *torch.linspace(-1, 1, 300)], False),
        ([1.0, -1.0, *torch.linspace(-0.9, 0.9, 300)], False),
    ],
    ids=["above", "cluster", "alone", "behind", "indefinite", "opposites"],
)
def test_misses_are_as_rare_as_stated_where_the_largest_hides(spectrum, all_converge, rel_error):
    """The residual is small from the first step on in the first three, and the bar must not be."""
    A = Diagonal(torch.tensor(spectrum, dtype=torch.float64))
    num_seeds = 200 if all_converge else 40
    found = [run(A, seed, rel_error=rel_error, max_matvecs=1000) for seed in range(num_seeds)]
    missed = [abs(f.value - max(spectrum)) > f.error * (1 + 1e-9) for f in found]
    claimed = [f.converged for f in found]
    assert sum(claimed) == num_seeds or not all_converge
    assert sum(missed) <= scipy.stats.binom.ppf(0.995, num_seeds, 0.05)
    among = sum(m for m, c in zip(missed, claimed, strict=True) if c)
    assert among <= scipy.stats.binom.ppf(0.995, max(sum(claimed), 1), 0.05)


def test_a_vector_that_is_mapped_to_zero():
    result = run(Diagonal(torch.tensor([-5.0] + [0.0] * 20)), max_matvecs=200)
    assert abs(result.value) <= result.error + 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("spectrum", [[5.0], [2.0] * 3, [1e-9], [7.0, 7.0, 7.0 - 1e-13], [3e8] * 2])
@pytest.mark.parametrize("num_zeros", [0, 1, 4, 19])
def test_low_rank_and_equal_values_are_found_to_rounding(spectrum, num_zeros, dtype):
    A = symmetric([*spectrum, *[0.0] * num_zeros], dtype=dtype)
    for seed in range(5):
        result = run(A, seed)
        assert result.converged
        assert result.value == pytest.approx(spectrum[0], rel=1e-5 if dtype == torch.float32 else 1e-12)
        for max_matvecs in range(1, 6):
            assert run(A, seed, rel_error=1e-14, max_matvecs=max_matvecs).num_matvecs <= max_matvecs
