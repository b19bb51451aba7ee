"""The k largest eigenvalues: each as often as it occurs, within bounds that hold as often as they say."""

import numpy as np
import pytest
import scipy.stats
import torch

from landscape.linalg import Lanczos, lanczos_top
from tests.matrices import Counting, Diagonal, seeded, symmetric

LEVEL = 0.02  # of misses, as lanczos_top states it
BULK = torch.rand(300, generator=seeded(7), dtype=torch.float64).tolist()
X = torch.randn(40, 12, generator=seeded(5), dtype=torch.float64)


def top(spectrum, k, seed=0, *, rel_error=0.01, max_matvecs=1000, dtype=torch.float64, **options):
    A = Diagonal(torch.as_tensor(spectrum, dtype=dtype))
    run = Lanczos(A, generator=seeded(seed))
    return lanczos_top(run, k, rel_error=rel_error, max_matvecs=max_matvecs, **options)


def holds(found, spectrum, k, dtype=torch.float64):
    """Whether each value is not above its eigenvalue, and below it by no more than its bound."""
    truth = np.sort(torch.as_tensor(spectrum, dtype=dtype).double().numpy())[::-1][:k]
    below = truth - found.details["eigenvalues"]
    rounding = 64 * torch.finfo(dtype).eps * np.abs(spectrum).max()
    return bool((below <= found.details["bounds"]).all() and (below >= -rounding).all())


def at_most(num, level):
    """The most misses in ``num`` that a level allows, at 99 %."""
    return scipy.stats.binom.ppf(0.995, num, level)


CASES = {
    "copies of a Gram matrix": (torch.linalg.eigvalsh(X.T @ X / 40).repeat(5).tolist(), 3, 0.05),
    "copies, finely": (torch.linalg.eigvalsh(X.T @ X / 40).repeat(5).tolist(), 8, 1e-6),
    "multiple at the k-th place": ([9.0, 7.0, 5.0, 5.0, 5.0, *BULK], 4, 0.01),
    "multiple beyond the k-th place": ([9.0, 7.0, 5.0, 5.0, 5.0, *BULK], 3, 0.01),
    "the second twice": ([9.0, 7.0, 7.0, *BULK], 3, 0.01),
    "near, 1e-3": ([5.0, 4.995] * 3 + BULK, 6, 1e-4),
    "near, 1e-6": ([5.0, 5 - 5e-6] * 3 + BULK, 6, 1e-4),
    "near, 1e-12": ([5.0, 5 - 5e-12] * 3 + BULK, 6, 1e-4),
    "near, resolved": ([5.0, 5 - 5e-6] * 2 + BULK, 4, 1e-7),
    "all negative": ([-1.0] * 6 + [-2.0] * 200 + [-3.0] * 50, 8, 0.01),
    "larger below": ([1.0] * 3 + [-50.0] * 4 + torch.linspace(-40, 0.9, 100).tolist(), 4, 0.01),
    "identity": ([1.0] * 60, 5, 0.01),
    "identity and rank one": ([1.001] + [1.0] * 60, 3, 1e-4),
    "zero": ([0.0] * 20, 4, 0.01),
    "more than the rank": ([3.0, 2.0, 2.0] + [0.0] * 200, 6, 0.01),
    "more than the dimension": ([2.0, 2.0, 1.0], 9, 0.01),
    "all": ([2.0] * 4, 4, 0.01),
    "all but one": ([2.0] * 4, 3, 0.01),
    "one hidden over a dense bulk": ([2.0, *torch.linspace(0.9, 1, 1000).tolist()], 3, 0.01),
    "every one twice": ((1 / torch.arange(1.0, 151)).repeat(2).tolist(), 11, 0.01),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", CASES)
def test_each_is_found_as_often_as_it_occurs(name, dtype):
    spectrum, k, rel_error = CASES[name]
    if dtype == torch.float32:
        rel_error = max(rel_error, 1e-4)
    for seed in range(3):
        found = top(spectrum, k, seed, rel_error=rel_error, dtype=dtype)
        assert found.converged
        assert len(found.details["eigenvalues"]) == min(k, len(spectrum))
        assert holds(found, spectrum, k, dtype)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spectrum", "k", "rel_error"),
    [
        ([5.0] * 10 + BULK[:60], 10, 0.05),
        ([5.0, 5.0, *torch.linspace(4.5, 4.7, 300).tolist()], 2, 0.02),  # the second hides over a bulk that is near
        ([1.05, 1.05, 1.05, -1.06, *torch.linspace(-1, 1, 100).tolist()], 3, 0.02),
    ],
    ids=["ten equal", "hidden", "indefinite"],
)
def test_misses_are_as_rare_as_stated(spectrum, k, rel_error):
    found = [top(spectrum, k, seed, rel_error=rel_error) for seed in range(200)]
    claimed = [f for f in found if f.converged]
    assert len(claimed) == 200
    assert sum(not holds(f, spectrum, k) for f in claimed) <= at_most(len(claimed), LEVEL)


@pytest.mark.parametrize("max_matvecs", [1, 2, 3, 5, 9, 14, 20])
def test_without_convergence_the_bounds_hold_all_the_same(max_matvecs):
    spectrum = [3.0, 3.0, 3.0, 2.0, *BULK]
    for seed in range(10):
        found = top(spectrum, 4, seed, max_matvecs=max_matvecs)
        assert found.num_matvecs <= max_matvecs
        k = len(found.details["eigenvalues"])
        assert k == min(4, max_matvecs)
        assert holds(found, spectrum, k)
        assert not found.converged or max_matvecs >= 14


def test_vectors_of_equal_eigenvalues_are_eigenvectors_and_orthonormal():
    A = Counting(symmetric([4.0, 4.0, 4.0, 3.0, 3.0, *BULK], seed=1))
    found = lanczos_top(Lanczos(A, generator=seeded(2)), 5, rel_error=1e-3, max_matvecs=300, vectors=True)
    V, values = found.details["vectors"], torch.from_numpy(found.details["eigenvalues"])
    assert found.num_matvecs == A.columns
    assert (V.T @ V - torch.eye(5)).abs().max() < 1e-12
    residuals = (A.A @ V - V * values).norm(dim=0).numpy()
    np.testing.assert_allclose(residuals, found.details["residuals"], atol=1e-12)


def test_what_is_found_does_not_depend_on_who_used_the_run_before():
    spectrum = [4.0, 4.0, 2.0, *BULK]
    A = Diagonal(torch.tensor(spectrum, dtype=torch.float64))
    fresh, used = (Lanczos(A, generator=seeded(3)) for _ in range(2))
    used.extend(60)
    first, second = (lanczos_top(run, 3, rel_error=0.01, max_matvecs=200) for run in (fresh, used))
    assert first.num_matvecs == second.num_matvecs
    np.testing.assert_array_equal(first.details["eigenvalues"], second.details["eigenvalues"])
    np.testing.assert_array_equal(first.details["bounds"], second.details["bounds"])


@pytest.mark.parametrize("arguments", [{"k": 0}, {"rel_error": 0.0}, {"max_matvecs": 0}])
def test_impossible_requests_are_refused(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        top([2.0, 1.0], **{"k": 1, **arguments})
