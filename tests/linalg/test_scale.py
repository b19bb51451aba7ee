"""What is found of an operator times a power of two is what is found of the operator, times it.

Bit for bit, but where LAPACK scales a matrix by another number, or logarithms of lengths are added up.
"""

import warnings

import numpy as np
import pytest
import torch

from landscape.linalg import (
    Lanczos,
    deflated_trace,
    hutchinson_diagonal,
    hutchinson_trace,
    hutchpp_trace,
    lanczos_largest,
    lanczos_top,
    power_iteration,
    slq,
    xtrace,
)
from landscape.linalg.slq import negative_share
from tests.matrices import seeded, symmetric

A = symmetric(torch.cat([torch.linspace(-1, 1, 57), torch.tensor([5.0, 4.0, 4.0])]).double(), seed=1)


def of_estimate(found):
    return [found.value, found.error], (found.converged, found.num_matvecs)


def top(B):
    found = lanczos_top(Lanczos(B, generator=seeded(0)), 3, rel_error=1e-3, max_matvecs=60)
    return [*found.details["eigenvalues"], *found.details["bounds"]], (found.converged, found.num_matvecs)


def diagonal(B):
    found = hutchinson_diagonal(B, generator=seeded(0), max_matvecs=40)
    return [*found.values.tolist(), *found.errors.tolist()], (found.converged, found.num_matvecs)


def quadrature(B):
    found = slq(B, generator=seeded(0), num_runs=3, num_steps=20)
    mean, share = found.trace(lambda x: x), negative_share(found)
    return [mean.value, mean.error, found.density().width], (mean.converged, share.value, share.error)


FOUND = {
    "lanczos_largest": lambda B: of_estimate(lanczos_largest(B, rel_error=1e-3, max_matvecs=50, generator=seeded(0))),
    "lanczos_top": top,
    "power": lambda B: of_estimate(power_iteration(B, rel_error=1e-2, max_matvecs=100, generator=seeded(0))),
    "hutchinson": lambda B: of_estimate(hutchinson_trace(B, generator=seeded(0), max_probes=40)),
    "deflated": lambda B: of_estimate(deflated_trace(B, generator=seeded(0), max_matvecs=40)),
    "whole diagonal": lambda B: of_estimate(deflated_trace(B, generator=seeded(0), rel_error=1e-3)),
    "hutch++": lambda B: of_estimate(hutchpp_trace(B, generator=seeded(0), max_matvecs=40)),
    "xtrace": lambda B: of_estimate(xtrace(B, generator=seeded(0), max_matvecs=40)),
    "diagonal": diagonal,
    "slq": quadrature,
}

ROUNDED = ("lanczos_top", "power")


@pytest.mark.parametrize("exponent", [664, -664, 900, -900])
@pytest.mark.parametrize("name", FOUND)
def test_scale_is_only_scale(name, exponent):
    factor = 2.0**exponent  # 664: 1e200, whose square is beyond float64
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        expected, said = FOUND[name](A)
        found, as_said = FOUND[name](A * factor)
    assert np.allclose(np.array(found) / factor, expected, rtol=0, atol=1e-12 if name in ROUNDED else 0)
    assert as_said == said


def test_a_scale_that_is_no_power_of_two():
    found = lanczos_largest(1e200 * A, rel_error=1e-6, max_matvecs=50, generator=seeded(0))
    assert found.converged
    assert found.value / 1e200 == pytest.approx(5, rel=1e-6)
