"""Lanczos on matrices with prescribed eigenvalues: each once, none twice, and no claim that is not true."""

import numpy as np
import pytest
import scipy.stats
import torch

from landscape.linalg import Lanczos, lanczos_extreme, lanczos_largest, lanczos_top
from landscape.linalg.eigenvalues import Tridiagonal
from tests.matrices import Counting, Diagonal, seeded, symmetric

NEAR_TIE = [10.0, 9.9, -9.8, *torch.linspace(-5, 5, 197).tolist()]
MULTIPLE = [3.0] * 20 + [1.0] * 20 + [-2.0] * 20


def krylov(A, num_steps, seed=0):
    run = Lanczos(A, generator=seeded(seed))
    run.extend(num_steps)
    return run


def largest(A, seed=0, *, rel_error=1e-6, max_matvecs=200):
    return lanczos_largest(A, rel_error=rel_error, max_matvecs=max_matvecs, generator=seeded(seed))


def three_above_two_thousand(seed):
    bulk = torch.rand(2000, generator=seeded(seed), dtype=torch.float64)
    return symmetric([100.0, 50.0, 20.0, *bulk.tolist()], seed=seed, dtype=torch.float32)


# --- the decomposition -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spectrum", [NEAR_TIE, MULTIPLE], ids=["distinct", "multiple"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 3e-5), (torch.float64, 1e-13)])
@pytest.mark.parametrize("num_steps", [1, 2, 5, 40])
def test_lanczos_relation(num_steps, dtype, tolerance, spectrum):
    """A Q - Q T - beta q e^T = 0, and [Q q] is orthonormal; also where the space closes and a new start is drawn."""
    A = symmetric(spectrum, dtype=dtype)
    run = krylov(A, num_steps)
    Q, off = run.basis.double(), torch.tensor(run.betas[:-1], dtype=torch.float64)
    T = torch.tensor(run.alphas, dtype=torch.float64).diag() + off.diag(1) + off.diag(-1)
    left = A.double() @ Q - Q @ T
    assert left[:, :-1].norm() < 10 * tolerance
    assert left[:, -1].norm().item() == pytest.approx(run.betas[-1], abs=10 * tolerance)
    assert (Q.T @ left[:, -1]).norm() < 10 * tolerance
    assert (Q.T @ Q - torch.eye(num_steps)).norm() < tolerance


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_every_eigenvalue_once_in_float32(seed):
    ritz, residuals, _ = krylov(three_above_two_thousand(seed), 100, seed).ritz()
    np.testing.assert_allclose(ritz[:3], [100, 50, 20], rtol=1e-5)
    assert ritz[3] < 1 + 1e-4, "a ghost: another copy of an eigenvalue, or a value that is none"
    assert ritz[-1] > -1e-4
    assert residuals[:3].max() < 1e-2


def test_the_basis_stays_orthogonal_in_float32():
    Q = krylov(three_above_two_thousand(0), 100).basis.double()
    assert (Q.T @ Q - torch.eye(100)).abs().max() < 1e-5


@pytest.mark.parametrize("seed", range(3))
def test_the_relation_holds_along_each_vector_for_long_vectors_in_float32(seed):
    """What the reorthogonalization takes along the last vector is part of alpha: without it, this is 30 times more."""
    spectrum = torch.cat([torch.tensor([100.0, 50.0]), torch.rand(100_000, generator=seeded(1))])
    run = krylov(Diagonal(spectrum), 5, seed)
    Q, off = run.basis.double(), torch.tensor(run.betas[:-1], dtype=torch.float64)
    T = torch.tensor(run.alphas, dtype=torch.float64).diag() + off.diag(1) + off.diag(-1)
    left = Diagonal(spectrum.double()) @ Q - Q @ T
    assert (Q * left).sum(0).abs().max() < 2 * torch.finfo(torch.float32).eps * 100


def test_in_pieces_or_at_once():
    A = symmetric(NEAR_TIE)
    at_once, in_pieces = krylov(A, 30), krylov(A, 7)
    in_pieces.extend(0)
    in_pieces.extend(23)
    assert len(in_pieces) == 30
    np.testing.assert_array_equal(in_pieces.ritz()[0], at_once.ritz()[0])


# --- bounds and claims -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("num_steps", [1, 3, 25])
@pytest.mark.parametrize("spectrum", [NEAR_TIE, NEAR_TIE[:3], torch.linspace(0, 1, 60).pow(3).tolist(), MULTIPLE])
def test_residuals_are_the_residuals_and_bound_the_error(spectrum, num_steps, seed):
    A, truth = symmetric(spectrum, seed=seed), np.array(spectrum)
    run = krylov(A, num_steps, seed)
    values, residuals, vectors = run.ritz()
    assert (np.diff(values) <= 0).all()
    for value, residual, y in zip(values, residuals, (run.basis @ torch.tensor(vectors.copy())).T, strict=True):
        assert (A @ y - value * y).norm().item() == pytest.approx(residual, abs=1e-12)
        assert np.abs(truth - value).min() <= residual


@pytest.mark.parametrize("rel_error", [1e-2, 5e-3, 1e-3, 1e-7])
@pytest.mark.parametrize("seed", range(10))
def test_near_ties_are_never_claimed_before_they_are_resolved(seed, rel_error):
    A = symmetric(NEAR_TIE[:3], seed=seed)
    for max_matvecs in range(1, 6):
        found = largest(A, seed, rel_error=rel_error, max_matvecs=max_matvecs)
        assert found.num_matvecs <= max_matvecs
        assert not found.converged or found.value == pytest.approx(10, rel=rel_error)
    assert found.converged


@pytest.mark.slow
@pytest.mark.parametrize("rel_error", [1e-2, 5e-3, 1e-3, 1e-7])
def test_near_ties_in_a_bulk_are_hardly_ever_claimed_before_they_are_resolved(rel_error):
    """For a while the top of a near-tie looks like its second, residual and all: one small residual is not enough."""
    found = [largest(symmetric(NEAR_TIE, seed=seed), seed, rel_error=rel_error) for seed in range(100)]
    assert all(f.converged for f in found)
    assert sum(abs(f.value - 10) > 10 * rel_error for f in found) <= 3


@pytest.mark.slow
@pytest.mark.parametrize("rel_error", [1e-1, 1e-2, 1e-4])
def test_a_top_that_stands_out_little_is_not_claimed_too_soon(rel_error):
    """A random start hardly sees one eigenvalue among 1000; the bulk's edge looks settled long before it shows."""
    spectrum = [2.0, *torch.linspace(0.9, 1.0, 1000).tolist()]
    for seed in range(20):
        found = largest(symmetric(spectrum, seed=seed), seed, rel_error=rel_error)
        assert found.converged
        assert found.value == pytest.approx(2, rel=rel_error), f"{seed=}"


def test_rounding_is_measured_by_all_that_a_product_gives():
    """Here the quadratic form of any vector is near zero and its image is not: ||A q||^2 = off^2 + alpha^2 + off^2."""
    upper = symmetric(torch.linspace(1, 2, 50).tolist(), dtype=torch.float32)
    A = torch.cat([torch.cat([0 * upper, upper], 1), torch.cat([upper, 0 * upper], 1)])
    run = krylov(A, 6)
    images = (A @ run.basis).norm(dim=0)
    for m in range(1, 7):
        T = run.first(m)
        assert T.rounding >= 0.99 * 32 * torch.finfo(A.dtype).eps * images[:m].max()
        assert T.rounding <= 32 * torch.finfo(A.dtype).eps * 2 * 2


@pytest.mark.parametrize("dimension", [2, 3, 1000])
@pytest.mark.parametrize("missed", [0.01, 0.5])
def test_an_eigenvalue_is_ruled_out_where_the_start_would_hold_too_little_of_it(dimension, missed):
    """After one step with alpha 0 and beta 1, p_0 = 1 and p_1 = x: at x the start has a weight of 1 / (1 + x^2)."""
    T = Tridiagonal((0.0,), (1.0,), dimension, 0.0)
    least = scipy.stats.beta(0.5, (dimension - 1) / 2).ppf(missed)  # of one entry of a random unit vector, squared
    edge = (1 / least - 1) ** 0.5
    values = np.array([0.0, 0.9999 * edge, 1.0001 * edge, -1.0001 * edge])
    assert T.ruled_out(values, missed=missed).tolist() == [False, False, True, True]


# --- special matrices ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spectrum", [[-100.0, 10.0, *torch.linspace(-50, 3, 60).tolist()], [-5.0, -4.0, -3.0, -1.0]])
def test_the_largest_is_the_largest_algebraic_one(spectrum):
    found = largest(symmetric(spectrum))
    assert found.converged
    assert found.value == pytest.approx(max(spectrum), rel=1e-6)


def test_zero_matrix():
    found = largest(torch.zeros(7, 7))
    assert found.value == 0
    assert found.error == 0
    assert found.converged


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_identity_is_an_invariant_subspace_at_step_one(dtype):
    found = largest(torch.eye(50, dtype=dtype), rel_error=1e-4)
    assert found.value == pytest.approx(1, rel=1e-6)
    assert found.converged
    assert found.num_matvecs < 10
    run = krylov(torch.eye(50, dtype=dtype), 20)
    np.testing.assert_allclose(run.ritz()[0], np.ones(20), rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("value", [5.0, -5.0])
def test_rank_one(value, dtype):
    A = symmetric([value] + [0.0] * 30, dtype=dtype)
    expected = sorted([value] + [0.0] * 9, reverse=True)
    np.testing.assert_allclose(krylov(A, 10).ritz()[0], expected, atol=1e-5)
    assert largest(A, rel_error=1e-3).value == pytest.approx(max(value, 0), abs=1e-5)


def test_one_by_one():
    found = largest(torch.tensor([[-3.0]]), rel_error=1e-4)
    assert (found.value, found.num_matvecs, found.converged) == (-3, 1, True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_more_steps_than_dimensions_give_the_whole_spectrum(dtype):
    spectrum = [7.0, 3.0, 0.5, -1.0, -2.0]
    A = Counting(symmetric(spectrum, dtype=dtype))
    run = krylov(A, 50)
    np.testing.assert_allclose(run.ritz()[0], spectrum, rtol=1e-5)
    assert run.complete
    assert len(run) == A.columns == 5


def test_multiple_eigenvalues_are_found_as_often_as_they_occur():
    spectrum = [3.0] * 4 + [1.0] * 5 + [-2.0] * 3
    np.testing.assert_allclose(krylov(symmetric(spectrum), 100).ritz()[0], spectrum, rtol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e-7, 1e7])
def test_scale_changes_nothing(scale, dtype):
    A = symmetric(NEAR_TIE, dtype=dtype)
    rel_error, tolerance = (1e-4, 1e-5) if dtype == torch.float32 else (1e-7, 1e-12)
    plain, scaled = (largest(B, rel_error=rel_error) for B in (A, (scale * A.double()).to(dtype)))
    assert (scaled.num_matvecs, scaled.converged) == (plain.num_matvecs, plain.converged)
    assert scaled.value / scale == pytest.approx(plain.value, rel=tolerance)


def test_too_small_a_budget_is_not_converged_and_says_why():
    A = Counting(symmetric(NEAR_TIE))
    found = largest(A, max_matvecs=7)
    assert not found.converged
    assert "7" in found.reason
    assert found.num_matvecs == A.columns == 7
    assert found.error > 1e-5


def test_an_accuracy_beyond_float32_is_not_claimed():
    found = largest(symmetric(NEAR_TIE, dtype=torch.float32), rel_error=1e-12, max_matvecs=1000)
    assert not found.converged
    assert found.value == pytest.approx(10, rel=1e-5)


# --- manners ---------------------------------------------------------------------------------------------------------


def test_the_generator_alone_decides():
    A = symmetric(NEAR_TIE)
    before = torch.get_rng_state()
    first, again, other = (krylov(A, 6, seed).ritz()[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("arguments", [{"rel_error": 0.0}, {"rel_error": -1.0}, {"max_matvecs": 0}])
def test_impossible_requests_are_refused(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        largest(torch.eye(3), **arguments)


@pytest.mark.slow
def test_the_k_largest_are_hardly_ever_claimed_with_one_of_them_missing():
    """An eigenvalue of which the start holds little comes late, and its coming shifts all that are below it."""
    spectrum = 1 / torch.arange(1, 3001, dtype=torch.float64)
    wrong = 0
    for seed in range(60):
        found = lanczos_top(Lanczos(Diagonal(spectrum), generator=seeded(seed)), 50, rel_error=0.01, max_matvecs=400)
        assert found.converged
        wrong += abs(found.details["eigenvalues"] / spectrum[:50].numpy() - 1).max() > 0.01
    assert wrong == 0


@pytest.mark.parametrize("rel_error", [0.05, 0.01])
@pytest.mark.parametrize("end", [1, -1])
@pytest.mark.parametrize("name", ["above", "indefinite", "alone", "cluster"])
def test_misses_of_the_bound_are_as_rare_as_stated_where_the_largest_hides(name, end, rel_error):
    spectrum = {
        "above": [1.05, *torch.linspace(0.9, 1, 500)],
        "indefinite": [1.05, -1.04, *torch.linspace(-1, 1, 500)],
        "alone": [1.0] + [0.5] * 9999,
        "cluster": [*torch.linspace(1, 1.05, 5), *torch.linspace(0.9, 0.99, 500)],
    }[name]
    A = Diagonal(end * torch.tensor(spectrum, dtype=torch.float64))
    missed = 0
    for seed in range(200):
        run = Lanczos(A, generator=seeded(seed))
        found = lanczos_extreme(run, rel_error=rel_error, max_matvecs=100, end=end)
        assert found.converged
        missed += abs(found.value - end * max(spectrum)) > found.error * (1 + 1e-9)
    assert missed <= scipy.stats.binom.ppf(0.995, 200, 0.05)


def test_a_space_that_closes_to_rounding_may_hide_what_is_below_that():
    """In float32, an eigenvalue a little above 10,000 others moves the start by no more than rounding."""
    A = Diagonal(torch.tensor([1.0001] + [1.0] * 9999))
    for seed in range(20):
        found = largest(A, seed, rel_error=0.05)
        assert found.converged
        assert 1.0001 - found.value <= found.error
