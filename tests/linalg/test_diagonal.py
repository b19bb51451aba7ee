"""The diagonal by signs: unbiased entry by entry, with errors that are the spread, and exact where it can be."""

import math

import numpy as np
import pytest
import torch

from landscape.linalg import hutchinson_trace
from landscape.linalg.diagonal import exact_diagonal, hutchinson_diagonal
from landscape.statistics import half_width
from tests.cases import oracle
from tests.matrices import Counting, seeded, symmetric

NUM_SEEDS = 200
A = symmetric([100.0, 30.0, 10.0, *torch.linspace(-1, 1, 57).tolist()], seed=1)
CASES = {"heavy": A, "network": oracle("mlp_tanh")}


def run(matrix, seed=0, **arguments):
    return hutchinson_diagonal(matrix, generator=seeded(seed), **arguments)


@pytest.mark.parametrize("num_probes", [2, 31, 32, 50])
def test_values_and_errors_are_those_of_the_definition(num_probes):
    found, generator = run(A, num_probes=num_probes), seeded(0)
    samples = []
    for _ in range(num_probes):
        z = 2.0 * torch.randint(0, 2, (60,), generator=generator, dtype=torch.int8) - 1
        samples.append(z * (A @ z.double()))
    samples = torch.stack(samples)
    torch.testing.assert_close(found.values, samples.mean(0), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(found.errors, samples.std(0) / math.sqrt(num_probes), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("matrix", CASES.values(), ids=CASES)
def test_unbiased_and_the_errors_are_the_spread(matrix):
    found = [run(matrix, seed, num_probes=20) for seed in range(NUM_SEEDS)]
    values, truth = torch.stack([f.values for f in found]), matrix.diag()
    variance = (matrix.square().sum(1) - truth.square()) / 20  # exactly
    seen = variance > 1e-6 * variance.max()  # other entries have nothing beside them in their row
    torch.testing.assert_close((values.var(0) / variance)[seen].mean().item(), 1.0, rtol=0.1, atol=0)
    typical = torch.stack([f.errors for f in found]).square().mean(0)
    torch.testing.assert_close(typical[seen], variance[seen], rtol=0.25, atol=0)
    off = (values.mean(0) - truth)[seen] / (variance[seen] / NUM_SEEDS).sqrt()
    assert off.abs().max() < 4.5


@pytest.mark.parametrize("matrix", CASES.values(), ids=CASES)
def test_the_intervals_of_the_entries_cover(matrix):
    found = [run(matrix, seed, num_probes=20) for seed in range(NUM_SEEDS)]
    inside = torch.stack([(f.values - matrix.diag()).abs() <= half_width(1, 20) * f.errors + 1e-12 for f in found])
    assert 0.92 < inside.double().mean() < 0.99


@pytest.mark.parametrize("matrix", CASES.values(), ids=CASES)
def test_an_accuracy_reported_reached_is_reached(matrix):
    found = [run(matrix, seed, rel_error=0.4, max_matvecs=matrix.shape[0] - 1) for seed in range(NUM_SEEDS)]
    reached = [f for f in found if f.converged]
    norm = matrix.diag().norm()
    assert len(reached) > 50
    assert sum((f.values - matrix.diag()).norm() <= 1.2 * 0.4 * norm for f in reached) >= 0.9 * len(reached)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("d", [1, 5, 33, 70])
def test_d_probes_or_more_give_the_diagonal_itself(d, dtype):
    B = Counting(symmetric(torch.linspace(-1, 3, d), dtype=dtype))
    found = run(B, num_probes=100)
    torch.testing.assert_close(found.values, B.A.diag().double(), rtol=0, atol=0)
    assert found.errors.tolist() == [0] * d
    assert (found.num_matvecs, B.columns, found.converged) == (d, d, True)
    diagonal, norm = exact_diagonal(B)
    assert norm == pytest.approx(B.A.norm().item(), rel=1e-6)
    assert torch.equal(diagonal, found.values)


def test_an_accuracy_beyond_d_products_ends_exact():
    B = Counting(A)
    found = run(B, rel_error=1e-9, max_matvecs=1000)
    torch.testing.assert_close(found.values, A.diag(), rtol=0, atol=0)
    assert found.num_matvecs == B.columns < 2 * 60


def test_a_budget_that_the_diagonal_would_exceed_is_kept():
    B = Counting(A)
    found = run(B, rel_error=1e-9, max_matvecs=80)  # of which 50 or more are spent when d = 60 more would be needed
    assert found.num_matvecs == B.columns == 80
    assert not found.converged


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_diagonal_matrices_are_exact_and_their_errors_zero(dtype):
    diagonal = torch.linspace(-3, 100, 90, dtype=dtype)
    found = run(diagonal.diag(), rel_error=1e-3)
    torch.testing.assert_close(found.values, diagonal.double(), rtol=1e-12, atol=0)
    assert found.errors.max() < 1e-12
    assert (found.num_matvecs, found.converged) == (16, True)


def test_zero_matrix():
    found = run(torch.zeros(70, 70))
    assert found.values.abs().max() == 0
    assert found.converged


def test_its_sum_is_hutchinsons_trace():
    found, trace = run(A, 3, num_probes=40), hutchinson_trace(A, generator=seeded(3), num_probes=40)
    assert found.values.sum().item() == pytest.approx(trace.value, rel=1e-12)


def test_too_small_a_budget_is_not_converged_and_says_why():
    B = Counting(A)
    found = run(B, rel_error=0.01, max_matvecs=30)
    assert not found.converged
    assert "above 0.01 after 30 probes" in found.reason
    assert found.num_matvecs == B.columns == 30


@pytest.mark.parametrize("scale", [1e-7, 1e7])
def test_scale_changes_nothing(scale):
    plain, scaled = run(A, rel_error=0.5), run(scale * A, rel_error=0.5)
    assert (scaled.num_matvecs, scaled.converged) == (plain.num_matvecs, plain.converged)
    np.testing.assert_allclose(scaled.values / scale, plain.values, rtol=1e-9)


@pytest.mark.parametrize("arguments", [{"num_probes": 1}, {"max_matvecs": 0}, {"rel_error": 0.0}])
def test_impossible_requests_are_refused(arguments):
    with pytest.raises(ValueError, match=r"probes|rel_error"):
        run(A, **arguments)
