"""XTrace against its definition: for every probe, a QR of the products of all the others."""

import numpy as np
import pytest
import torch

from landscape.linalg.xtrace import xtrace
from tests.matrices import Counting, seeded, symmetric

SPECTRUM = (-0.8) ** torch.arange(60.0, dtype=torch.float64)


def by_definition(A, num_probes, seed):
    """Epperly, Tropp & Webber 2024, eqs. (2.1) to (2.3) and the normalization of section 2.3, one QR a probe."""
    d, generator = len(A), seeded(seed)
    W = torch.stack([torch.randn(d, generator=generator, dtype=torch.float64) for _ in range(num_probes)], dim=1)
    samples, variances = [], []
    for i in range(num_probes):
        others = [j for j in range(num_probes) if j != i]
        Q = torch.linalg.qr(A @ W[:, others]).Q
        rest = torch.eye(d, dtype=torch.float64) - Q @ Q.T
        x = rest @ W[:, i]
        x *= ((d - num_probes + 1) / (x @ x)).sqrt()
        samples.append(((Q.T @ A @ Q).trace() + x @ A @ x).item())
        size, Bx = x @ x, rest @ A @ x  # x is uniform on a sphere of the complement
        variances.append(2 * (size * (Bx @ Bx) - (x @ A @ x) ** 2).item() / (size.item() + 2))
    return np.array(samples), 1.6 * np.sum(variances) ** 0.5 / num_probes


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("num_probes", [2, 3, 8, 20])
def test_the_samples_are_those_of_the_definition(num_probes, seed):
    A = symmetric(SPECTRUM, seed=seed)
    found = xtrace(A, generator=seeded(seed), num_matvecs=2 * num_probes)
    expected, error = by_definition(A, num_probes, seed)
    np.testing.assert_allclose(found.details["samples"], expected, rtol=1e-7)
    assert found.value == pytest.approx(expected.mean(), rel=1e-9)
    assert found.error == pytest.approx(error, rel=1e-6)
    assert found.num_matvecs == 2 * num_probes


def test_in_several_looks_as_at_once_and_no_product_twice():
    A = Counting(symmetric(SPECTRUM, seed=1))
    found = xtrace(A, generator=seeded(1), rel_error=1e-9, max_matvecs=40)
    assert A.columns == found.num_matvecs == 40
    np.testing.assert_allclose(found.details["samples"], by_definition(A.A, 20, 1)[0], rtol=1e-7)


def test_float32_follows_the_definition():
    A = symmetric(SPECTRUM, seed=1)
    found = xtrace(A.float(), generator=seeded(1), num_matvecs=30)
    np.testing.assert_allclose(found.details["samples"], by_definition(A, 15, 1)[0], rtol=1e-3)


def test_a_rank_below_the_number_of_probes_needs_a_product_a_rank():
    A = Counting(symmetric([4.0, 2.0, -1.0] + [0.0] * 60))
    found = xtrace(A, generator=seeded(0), num_matvecs=24)
    assert found.num_matvecs == A.columns == 12 + 3
    np.testing.assert_allclose(found.details["samples"], 5, rtol=1e-12)


def test_only_the_direction_of_a_probe_matters():
    """On a multiple of the identity every sample is the trace, which without the normalization it is not."""
    found = xtrace(3 * torch.eye(50, dtype=torch.float64), generator=seeded(0), num_matvecs=20)
    np.testing.assert_allclose(found.details["samples"], 150, rtol=1e-12)
