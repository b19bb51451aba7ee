"""R1 against the maximum of ||A w + b|| on quadratics, lemma 4.1 of GAM, and a plain ascent on networks."""

import pytest
import torch
from torch import nn

from landscape import Objective
from landscape.measure.first_order_flatness import first_order_flatness
from landscape.measure.metric import Work
from landscape.measure.rounding import Rounding
from tests.cases import assert_unchanged, dense_gradient, flat_loss, make, oracle, snapshot
from tests.matrices import seeded
from tests.measure.quadratics import largest_gradient, quadratic, random_quadratic
from tests.test_objective import objective_of


@pytest.mark.parametrize("kind", ["convex", "tied", "saddle", "concave"])
@pytest.mark.parametrize("rho", [0.05, 1.0])
def test_on_quadratics(kind, rho):
    A, b = random_quadratic(kind, 5)
    w = torch.randn(len(b), generator=seeded(1), dtype=torch.float64)
    truth = rho * largest_gradient(A, A @ w + b, rho)
    measured = first_order_flatness(quadratic(A, b, at=w, size=5), rho=rho)
    assert rho * float((A @ w + b).norm()) <= measured.value <= truth * (1 + 1e-9)
    assert measured.value == pytest.approx(truth, rel=0.02)
    assert measured.converged
    assert measured.details["distance"] <= rho * (1 + 1e-12)


@pytest.mark.parametrize(("low", "high"), [(0.0, 2.0), (-3.0, 2.0)])
def test_at_a_critical_point_it_is_the_largest_curvature(low, high):
    A = torch.diag(torch.linspace(low, high, 12, dtype=torch.float64))
    measured = first_order_flatness(quadratic(A, torch.zeros(12), num_examples=3), rho=0.1)
    assert measured.value / 0.1**2 == pytest.approx(max(abs(low), high), rel=1e-2)
    assert measured.converged


def test_where_there_is_no_curvature_it_is_the_gradient():
    b = torch.tensor([3.0, 4.0])
    measured = first_order_flatness(quadratic(torch.zeros(2, 2), b, num_examples=1), rho=0.1)
    assert (measured.value, measured.std_error) == (pytest.approx(0.5), pytest.approx(0))

    linear = Objective(nn.Linear(2, 1).double(), lambda m, b: m(b[0])[:, 0], [(torch.ones(3, 2).double(),)])
    assert first_order_flatness(linear, rho=0.1).value == pytest.approx(0.1 * 3**0.5)

    flat = first_order_flatness(quadratic(torch.zeros(2, 2), torch.zeros(2), num_examples=1))
    assert (flat.value, flat.num_matvecs) == (0, 0)


@pytest.mark.parametrize("name", ["mlp_tanh", "attention", "conv_batchnorm", "unused"])
def test_on_networks_against_a_plain_ascent(name):
    rho, case = 0.2, make(name)
    measured = first_order_flatness(objective_of(case, 16), rho=rho)
    loss, w = flat_loss(case.model, case.criterion, case.data)

    def norm(u):
        return torch.autograd.grad(loss(w + u), u, create_graph=True)[0].norm()

    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        highest, u = 0.0, torch.zeros_like(w)
        for k in range(40):
            u.requires_grad_()
            value = norm(u)
            highest = max(highest, value.item())
            slope = torch.autograd.grad(value, u)[0]
            u = (u + rho / (2 + k / 5) * slope / slope.norm()).detach()
            u *= min(1.0, rho / u.norm().item())
    assert measured.value == pytest.approx(rho * highest, rel=0.01)
    assert measured.value >= rho * dense_gradient(case.model, case.criterion, case.data).norm().item()


def test_the_first_step_goes_along_the_hessian_times_the_gradient():
    case = make("mlp_tanh")
    measured = first_order_flatness(objective_of(case, 7), rho=0.1, num_steps=1)
    _, w = flat_loss(case.model, case.criterion, case.data)
    slope = oracle("mlp_tanh") @ dense_gradient(case.model, case.criterion, case.data)
    expected = dense_gradient(case.model, case.criterion, case.data, w + 0.1 * slope / slope.norm()).norm().item()
    assert measured.details["peaks"][0] == pytest.approx(0.1 * expected, rel=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e-7, 1e7])
def test_a_scaled_loss_gives_a_scaled_number(scale, dtype):
    A, b = random_quadratic("convex", 3)
    plain = first_order_flatness(quadratic(A, b, dtype=dtype), rho=0.5)
    scaled = first_order_flatness(quadratic(A, b, dtype=dtype, scale=scale), rho=0.5)
    assert scaled.value / scale == pytest.approx(plain.value, rel=1e-3 if dtype == torch.float32 else 1e-9)
    assert scaled.converged == plain.converged


def test_a_scaled_loss_gives_a_scaled_error():
    A, b = random_quadratic("convex", 3)
    plain = first_order_flatness(quadratic(A, b), rho=0.5, num_steps=1)
    scaled = first_order_flatness(quadratic(A, b, scale=1e7), rho=0.5, num_steps=1)
    assert scaled.std_error / 1e7 == pytest.approx(plain.std_error, rel=1e-6)


def test_cost(monkeypatch):
    objective = objective_of(make("mlp_tanh"), 16)
    assert Work.of(objective).rounding == Rounding()  # once an objective, and not counted here
    backwards = []
    run = torch.autograd._engine_run_backward

    def counting(*args, **kwargs):
        return (backwards.append(1), run(*args, **kwargs))[1]

    objective = objective_of(make("mlp_tanh"), 16)
    objective.verify()
    assert Work.of(objective).rounding.gradient == 0
    monkeypatch.setattr(torch.autograd, "_engine_run_backward", counting)
    measured = first_order_flatness(objective, num_steps=3, num_restarts=2)
    assert measured.num_gradients == measured.num_matvecs == 2 * 4
    assert len(backwards) == 5 * (measured.num_gradients + 2 * measured.num_matvecs)  # batches


def test_the_seed_decides_and_nothing_else():
    def peaks(seed):
        return first_order_flatness(objective_of(make("mlp_tanh"), 16), num_steps=2, seed=seed).details["peaks"]

    assert (peaks(0) == peaks(0)).all()
    assert (peaks(0) != peaks(1))[1:].any()


@pytest.mark.parametrize("size", [64, 7])
def test_batching_changes_nothing(size):
    case = make("mlp_tanh")
    expected = first_order_flatness(objective_of(case), num_steps=3, num_restarts=2)
    measured = first_order_flatness(objective_of(case, size), num_steps=3, num_restarts=2)
    assert measured.value == pytest.approx(expected.value, rel=1e-9)


def test_no_side_effects():
    case = make("conv_batchnorm")
    case.model.train()
    before = snapshot(case.model)
    first_order_flatness(objective_of(case, 16), num_steps=3)
    assert_unchanged(before, snapshot(case.model))


@pytest.mark.parametrize("argument", [{"rho": 0.0}, {"num_steps": 0}, {"num_restarts": 1}])
def test_what_makes_no_sense_is_refused(argument):
    with pytest.raises(ValueError, match=r"Expected"):
        first_order_flatness(objective_of(make("mlp_tanh")), **argument)
