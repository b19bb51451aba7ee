"""Hutch++ against its definition, and its growth against the same definition with all the sketches at once."""

import numpy as np
import pytest
import torch

from landscape.linalg.deflated import hutchpp_trace
from tests.matrices import Counting, entries_error, seeded, symmetric

SPECTRUM = (-0.8) ** torch.arange(90.0, dtype=torch.float64)


def signs(d, num, generator):
    columns = [2.0 * torch.randint(0, 2, (d,), generator=generator, dtype=torch.int8) - 1 for _ in range(num)]
    return torch.stack(columns, dim=1).double()


def by_definition(A, rounds, seed):
    """Meyer et al. 2021, algorithm 1; (sketches, probes) are drawn in rounds, as the budget grows."""
    generator, sketches, probes = seeded(seed), [], []
    for num_sketches, num_probes in rounds:
        sketches.append(signs(len(A), num_sketches, generator))
        probes.append(signs(len(A), num_probes, generator))
    Q = torch.linalg.qr(A @ torch.cat(sketches, 1)).Q
    rest = torch.eye(len(A), dtype=torch.float64) - Q @ Q.T
    X = rest @ torch.cat(probes, 1)
    return ((Q.T @ A @ Q).trace() + (X * (A @ X)).sum(0)).numpy(), entries_error(rest @ A @ rest, torch.cat(probes, 1))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("num_matvecs", [4, 6, 30, 59])
def test_the_samples_are_those_of_the_definition(num_matvecs, seed):
    A = symmetric(SPECTRUM, seed=seed)
    third = num_matvecs // 3
    found = hutchpp_trace(A, generator=seeded(seed), num_matvecs=num_matvecs)
    expected, error = by_definition(A, [(third, num_matvecs - 2 * third)], seed)
    np.testing.assert_allclose(found.details["samples"], expected, rtol=1e-8)
    assert found.value == pytest.approx(expected.mean(), rel=1e-10)
    assert found.error == pytest.approx(error, rel=1e-7)


def test_growing_uses_all_sketches_and_all_probes_and_no_product_twice():
    A = Counting(symmetric(SPECTRUM, seed=1))
    found = hutchpp_trace(A, generator=seeded(1), rel_error=1e-9, max_matvecs=48)
    assert A.columns == found.num_matvecs == 48
    expected, _ = by_definition(A.A, [(8, 8), (2, 2), (2, 4), (3, 4)], 1)  # looks at 24, 30, 38 and 48 products
    np.testing.assert_allclose(found.details["samples"], expected, rtol=1e-8)


def test_what_the_sketches_do_not_need_goes_to_probes():
    A = Counting(symmetric([4.0, 2.0, -1.0] + [0.0] * 60))
    found = hutchpp_trace(A, generator=seeded(0), num_matvecs=30)
    assert found.num_matvecs == A.columns == 30
    assert len(found.details["samples"]) == 30 - 10 - 3
    np.testing.assert_allclose(found.details["samples"], 5, rtol=1e-12)


def test_the_error_falls_faster_than_that_of_probes_alone():
    A = symmetric(1 / torch.arange(1.0, 301.0), seed=2)
    few, many = (
        np.mean([hutchpp_trace(A, generator=seeded(s), num_matvecs=n).error for s in range(20)]) for n in (30, 120)
    )
    assert few / many > 3, "probes alone would gain a factor of 2"
