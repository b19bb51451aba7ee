"""R0 and R1 of functions of two parameters against brute force: within 1 % of the maximum, and never above it."""

import pytest

from landscape.measure import first_order_flatness, zeroth_order_flatness
from tests.measure.plane import CASES

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", CASES)
def test_the_highest_point_of_the_disc_is_found(name):
    plane = CASES[name]
    truth = plane.height()
    measured = zeroth_order_flatness(plane.objective(), rho=plane.rho)
    assert measured.interval() == (measured.value, float("inf"))
    assert 0.99 * truth <= measured.value <= truth * (1 + 1e-4) + 1e-15


@pytest.mark.parametrize("name", CASES)
def test_the_steepest_point_of_the_disc_is_found(name):
    plane = CASES[name]
    truth = plane.slope()
    measured = first_order_flatness(plane.objective(), rho=plane.rho)
    assert measured.interval() == (measured.value, float("inf"))
    assert 0.99 * truth <= measured.value <= truth * (1 + 1e-4) + 1e-15
