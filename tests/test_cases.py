"""The oracle, checked: symmetric, and the derivative of the gradient by finite differences."""

import pytest
import torch

from tests.cases import CASES, dense_gradient, flat_loss, make, oracle, relative_error


@pytest.mark.parametrize("name", CASES)
def test_oracle_is_symmetric(name):
    H = oracle(name)
    assert H.dtype == torch.float64
    assert relative_error(H, H.T) < 1e-14
    assert H.shape[0] <= 3000


@pytest.mark.parametrize("name", CASES)
def test_oracle_is_the_finite_difference_of_the_gradient(name):
    case = make(name)
    V = torch.randn(oracle(name).shape[0], 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    _, at = flat_loss(case.model, case.criterion, case.data)
    for v in V.T:
        step = 1e-5 / v.norm() * v
        gradients = [dense_gradient(case.model, case.criterion, case.data, at + sign * step) for sign in (1, -1)]
        slope = (gradients[0] - gradients[1]) / (2 * step.norm()) * v.norm()
        assert relative_error(slope, oracle(name) @ v) < 1e-7


def test_the_cases_are_not_trivial():
    for name in CASES:
        H = oracle(name)
        eigenvalues = torch.linalg.eigvalsh(H)
        assert eigenvalues[-1] > 1e-2
        assert eigenvalues[0] < -1e-4, "a convex case would not notice a Gauss-Newton matrix in the Hessian's place"
