"""Finite differences along the gradient against closed forms and the dense Hessian, within the error they report."""

import math

import pytest
import torch

from landscape import Objective
from landscape.measure.gradient_curvature import gradient_curvature
from tests.cases import assert_unchanged, dense_gradient, flat_loss, make, oracle, snapshot
from tests.measure.quadratics import Point, quadratic, random_quadratic
from tests.test_objective import objective_of


def along(function, at, **arguments):
    """The objective function(w), in one dimension, at w."""
    model = Point(torch.tensor([at], dtype=torch.float64))
    return Objective(model, lambda m, batch: function(m()), [(torch.ones(1),)], **arguments)


def test_on_a_quadratic_it_is_exact():
    A, b = random_quadratic("saddle", 1)
    v = b / b.norm()
    measured = gradient_curvature(quadratic(A, b, size=5))
    assert measured.value == pytest.approx((v @ A @ v).item(), rel=1e-9)
    assert measured.details["slope"] == pytest.approx(b.norm().item(), rel=1e-12)
    assert measured.std_error < 1e-6 * abs(measured.value)
    assert measured.converged
    assert measured.num_gradients == 1


def test_it_is_the_formula():
    case = make("mlp_relu")
    loss, w = flat_loss(case.model, case.criterion, case.data)
    g = dense_gradient(case.model, case.criterion, case.data)
    above, below = loss(w + 0.2 * g / g.norm()), loss(w - 0.2 * g / g.norm())
    measured = gradient_curvature(objective_of(case, 16), rho=0.2)
    assert measured.value == pytest.approx(((above + below - 2 * loss(w)) / 0.2**2).item(), rel=1e-9)
    assert measured.details["slope"] == pytest.approx(((above - below) / 0.4).item(), rel=1e-9)


def test_the_step_size_error_of_a_fourth_power():
    """w^4 at 1: C(rho) = 12 + 2 rho^2, and the second step of half the size is off by a quarter of that."""
    measured = gradient_curvature(along(lambda w: w**4, 1.0), rho=0.1)
    assert measured.value == pytest.approx(12.02, rel=1e-9)
    assert measured.details["step_error"] == pytest.approx(2 * 0.75 * 0.02, rel=1e-6)


def test_the_error_at_a_kink():
    """max(w, 0)^2 - w^2 / 2 at 0.06: the step of 0.1 crosses the kink, its half does not."""
    measured = gradient_curvature(along(lambda w: w.clamp(min=0) ** 2 - w**2 / 2, 0.06), rho=0.1)
    assert measured.value == pytest.approx((0.16**2 - 0.04**2 - 2 * 0.06**2) / 2 / 0.1**2, rel=1e-9)
    assert abs(measured.value - 1) <= measured.std_error
    assert not measured.converged


@pytest.mark.parametrize("rho", [0.01, 0.05])
@pytest.mark.parametrize("name", ["mlp_tanh", "attention", "conv_batchnorm"])
def test_the_error_covers_the_distance_to_the_hessian(name, rho):
    case = make(name)
    g = dense_gradient(case.model, case.criterion, case.data)
    v = g / g.norm()
    measured = gradient_curvature(objective_of(case, 16), rho=rho)
    assert abs(measured.value - (v @ oracle(name) @ v).item()) <= measured.std_error


def test_rounding_in_float32():
    """A slope and a curvature of 1 on a plateau of 1000: at rho = 0.003 rounding is all there is."""

    def plateau(w):
        return 1000 + w + w**2 / 2

    model = Point(torch.zeros(1))
    objective = Objective(model, lambda m, batch: plateau(m()), [(torch.ones(1),)])
    measured = gradient_curvature(objective, rho=0.003)
    assert abs(measured.value - 1) > 0.1
    assert abs(measured.value - 1) <= measured.std_error
    assert not measured.converged
    assert gradient_curvature(objective, rho=3.0).converged
    assert gradient_curvature(along(plateau, 0.0), rho=0.01).converged  # float64


def test_at_a_critical_point_there_is_no_direction():
    measured = gradient_curvature(along(lambda w: w**2, 0.0))
    assert math.isnan(measured.value)
    assert not measured.converged
    assert "gradient" in measured.reason


@pytest.mark.parametrize("scale", [1e-7, 1e7])
def test_a_scaled_loss_gives_a_scaled_number(scale):
    A, b = random_quadratic("convex", 2)
    plain, scaled = gradient_curvature(quadratic(A, b)), gradient_curvature(quadratic(A, b, scale=scale))
    assert scaled.value / scale == pytest.approx(plain.value, rel=1e-9)
    assert scaled.converged == plain.converged


def test_no_side_effects():
    case = make("conv_batchnorm")
    case.model.train()
    before = snapshot(case.model)
    gradient_curvature(objective_of(case, 16))
    assert_unchanged(before, snapshot(case.model))


@pytest.mark.parametrize("argument", [{"rho": 0.0}, {"rel_error": -1.0}])
def test_what_makes_no_sense_is_refused(argument):
    with pytest.raises(ValueError, match=r"Expected a positive"):
        gradient_curvature(along(torch.exp, 0.0), **argument)
