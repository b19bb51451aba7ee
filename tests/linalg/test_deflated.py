"""The deflated trace: exact on the basis, unbiased on the rest, and nothing paid for what a Lanczos run has."""

import math

import numpy as np
import pytest
import torch

from landscape.linalg import Lanczos, hutchinson_trace
from landscape.linalg.deflated import deflated_trace
from landscape.statistics import half_width
from tests.matrices import Counting, entries_error, seeded, symmetric

SPECTRUM = torch.cat([torch.tensor([50.0, -20.0, 10.0]), torch.linspace(-1, 1.2, 197)]).double()
A = symmetric(SPECTRUM, seed=5)
TRACE = A.trace().item()


def eigenvectors(k):
    values, vectors = torch.linalg.eigh(A)
    return vectors[:, values.abs().argsort(descending=True)[:k]]


def signs(num, generator):
    columns = [2.0 * torch.randint(0, 2, (200,), generator=generator, dtype=torch.int8) - 1 for _ in range(num)]
    return torch.stack(columns, dim=1).double()


def by_definition(Q, probes):
    X = probes - Q @ (Q.T @ probes)
    return ((Q.T @ A @ Q).trace() + (X * (A @ X)).sum(0)).numpy()


def krylov_basis(start, num_steps):
    columns = [start]
    for _ in range(num_steps - 1):
        columns.append(A @ columns[-1])
    return torch.linalg.qr(torch.stack([c / c.norm() for c in columns], 1)).Q


# --- a given basis ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [0, 1, 3, 10])
@pytest.mark.parametrize("random", [True, False], ids=["random columns", "eigenvectors"])
def test_the_samples_are_those_of_the_definition(k, random):
    noise = torch.randn(200, max(k, 1), generator=seeded(9), dtype=torch.float64)
    Q = torch.linalg.qr(noise).Q[:, :k] if random else eigenvectors(k)
    B = Counting(A)
    found = deflated_trace(B, Q, generator=seeded(2), num_matvecs=k + 7)
    expected = by_definition(Q, signs(7, seeded(2)))
    np.testing.assert_allclose(found.details["samples"], expected, rtol=1e-9)
    assert found.value == pytest.approx(expected.mean())
    rest = torch.eye(200, dtype=torch.float64) - Q @ Q.T
    assert found.error == pytest.approx(entries_error(rest @ A @ rest, signs(7, seeded(2))))
    assert found.num_matvecs == B.columns == k + 7


def test_columns_are_paid_for_once():
    B = Counting(A)
    found = deflated_trace(B, eigenvectors(3), generator=seeded(2), rel_error=1e-9, max_matvecs=43)
    assert found.num_matvecs == B.columns == 43
    np.testing.assert_allclose(
        found.details["samples"], by_definition(eigenvectors(3), signs(40, seeded(2))), rtol=1e-9
    )


def test_without_columns_it_is_hutchinsons_estimate():
    found = deflated_trace(A, torch.empty(200, 0), generator=seeded(0), num_matvecs=12)
    plain = hutchinson_trace(A, generator=seeded(0), num_probes=12)
    assert (found.value, found.error) == pytest.approx((plain.value, plain.error))


def test_the_variance_is_that_of_what_is_left():
    Q = eigenvectors(3)
    left = A - Q @ (Q.T @ A)
    variance = 2 * (left.square().sum() - left.diag().square().sum()).item() / 20
    found = [deflated_trace(A, Q, generator=seeded(seed), num_matvecs=23) for seed in range(200)]
    assert np.std([f.value for f in found]) == pytest.approx(math.sqrt(variance), rel=0.15)
    assert np.mean([f.error**2 for f in found]) == pytest.approx(variance, rel=0.1)
    assert np.mean([f.value for f in found]) == pytest.approx(TRACE, abs=3.5 * math.sqrt(variance / 200))
    assert 180 <= sum(abs(f.value - TRACE) <= half_width(f.error, 20) for f in found) <= 198


def test_columns_that_are_not_orthonormal_or_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="not orthonormal"):
        deflated_trace(A, 1.1 * eigenvectors(2), generator=seeded(0))
    with pytest.raises(ValueError, match=r"\(10, 2\).*\(200, k\)"):
        deflated_trace(A, torch.eye(10)[:, :2], generator=seeded(0))
    with pytest.raises(ValueError, match="at least 12"):
        deflated_trace(A, eigenvectors(10), generator=seeded(0), num_matvecs=11)


# --- a Lanczos run ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("num_matvecs", "steps", "probes"), [(4, 2, 2), (11, 6, 5), (12, 6, 6)])
def test_half_of_the_products_are_steps_and_half_are_probes(num_matvecs, steps, probes):
    start = torch.randn(200, generator=seeded(3), dtype=torch.float64)
    run = Lanczos(A, generator=seeded(3))
    found = deflated_trace(A, run, generator=seeded(4), num_matvecs=num_matvecs)
    assert (len(run), len(found.details["samples"])) == (steps, probes)
    expected = by_definition(krylov_basis(start, steps), signs(probes, seeded(4)))
    np.testing.assert_allclose(found.details["samples"], expected, rtol=1e-6)


def test_in_several_looks_as_at_once():
    found = deflated_trace(A, Lanczos(A, generator=seeded(3)), generator=seeded(4), rel_error=1e-9, max_matvecs=60)
    at_once = deflated_trace(A, Lanczos(A, generator=seeded(3)), generator=seeded(4), num_matvecs=60)
    np.testing.assert_allclose(found.details["samples"], at_once.details["samples"], rtol=1e-9)


def test_a_run_that_is_there_costs_nothing_and_changes_nothing():
    B = Counting(A)
    run = Lanczos(B, generator=seeded(3))
    fresh = deflated_trace(B, run, generator=seeded(4), rel_error=0.1)
    run.extend(50)
    B.columns = 0
    again = deflated_trace(B, run, generator=seeded(4), rel_error=0.1)
    assert (again.value, again.error, again.num_matvecs) == (fresh.value, fresh.error, fresh.num_matvecs)
    assert B.columns == len(again.details["samples"]) < again.num_matvecs


def test_a_space_that_closes_is_no_obstacle():
    B = symmetric([3.0] * 40 + [1.0] * 80, seed=1)
    found = deflated_trace(B, generator=seeded(0), num_matvecs=30)
    expected = [abs(deflated_trace(B, generator=seeded(s), num_matvecs=30).value - 200) for s in range(20)]
    assert found.error > 0
    assert np.median(expected) < 3 * found.error
