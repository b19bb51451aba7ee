"""R0 against the trust-region maximum of quadratics; never negative, never above it, at its true cost."""

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from landscape import Objective
from landscape.measure.metric import Work
from landscape.measure.rounding import Rounding
from landscape.measure.zeroth_order_flatness import zeroth_order_flatness
from tests.cases import assert_unchanged, flat_loss, make, snapshot
from tests.matrices import seeded
from tests.measure.quadratics import largest_over_ball, quadratic, random_quadratic
from tests.test_objective import objective_of


@pytest.mark.parametrize("kind", ["convex", "tied", "saddle", "concave"])
@pytest.mark.parametrize("rho", [0.05, 1.0])
def test_on_quadratics(kind, rho):
    A, b = random_quadratic(kind, 5)
    w = torch.randn(len(b), generator=seeded(1), dtype=torch.float64)
    truth = largest_over_ball(A, A @ w + b, rho)
    measured = zeroth_order_flatness(quadratic(A, b, at=w, size=5), rho=rho)
    assert 0 <= measured.value <= truth * (1 + 1e-9)
    assert measured.value == pytest.approx(truth, rel=0.02)
    assert measured.converged
    assert measured.details["distance"] <= rho * (1 + 1e-12)


def test_too_few_steps_are_not_converged():
    A, _ = random_quadratic("tied", 0)
    measured = zeroth_order_flatness(quadratic(A, torch.zeros(20)), rho=1.0, num_steps=1)
    assert not measured.converged
    assert "above" in measured.reason


def test_the_hard_case_and_critical_points():
    A = torch.diag(torch.tensor([3.0, 1.0, -2.0])).double()
    hidden = torch.tensor([0.0, 0.4, 0.1]).double()  # the gradient has nothing of the steepest direction
    for b in (hidden, torch.zeros(3).double()):
        measured = zeroth_order_flatness(quadratic(A, b), rho=1.0)
        assert measured.value == pytest.approx(largest_over_ball(A, b, 1.0), rel=1e-6)
        assert measured.converged


def test_at_a_maximum_it_is_zero_and_never_negative():
    A = -torch.diag(torch.tensor([3.0, 1.0])).double()
    measured = zeroth_order_flatness(quadratic(A, torch.zeros(2)), rho=1.0)
    assert measured.value == 0
    flat = zeroth_order_flatness(quadratic(torch.zeros(2, 2), torch.zeros(2), num_examples=1))
    assert (flat.value, flat.std_error) == (0, 0)
    assert "none" in flat.reason


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e-7, 1e7])
def test_a_scaled_loss_gives_a_scaled_number(scale, dtype):
    A, b = random_quadratic("convex", 3)
    plain = zeroth_order_flatness(quadratic(A, b, dtype=dtype), rho=0.5)
    scaled = zeroth_order_flatness(quadratic(A, b, dtype=dtype, scale=scale), rho=0.5)
    assert scaled.value / scale == pytest.approx(plain.value, rel=1e-3 if dtype == torch.float32 else 1e-9)
    assert scaled.converged == plain.converged


def test_adaptive_measures_in_units_of_the_weights():
    A, b = random_quadratic("convex", 4)
    w = torch.randn(20, generator=seeded(1), dtype=torch.float64)
    w[3] = 0
    truth = largest_over_ball(w.abs().diag() @ A @ w.abs().diag(), w.abs() * (A @ w + b), 0.5)
    measured = zeroth_order_flatness(quadratic(A, b, at=w), rho=0.5, adaptive=True)
    assert measured.value == pytest.approx(truth, rel=1e-3)


def test_rescaled_layers_have_the_same_adaptive_number():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6, bias=False), nn.ReLU(), nn.Linear(6, 3, bias=False)).double()
    data = [(torch.randn(30, 4).double(), torch.randint(3, (30,)))]
    before = {a: zeroth_order_flatness(Objective(model, nn.CrossEntropyLoss(), data), adaptive=a).value for a in (0, 1)}
    model[0].weight.data.mul_(10)
    model[2].weight.data.div_(10)
    after = {a: zeroth_order_flatness(Objective(model, nn.CrossEntropyLoss(), data), adaptive=a).value for a in (0, 1)}
    assert after[1] == pytest.approx(before[1], rel=1e-4)
    assert after[0] > 2 * before[0]


@pytest.mark.parametrize("name", ["mlp_tanh", "conv_batchnorm"])
def test_no_point_of_a_network_s_ball_is_higher(name):
    case = make(name)
    objective = objective_of(case, 16)
    measured = zeroth_order_flatness(objective, rho=0.3)
    loss, w = flat_loss(case.model, case.criterion, case.data)
    u = torch.randn(100, len(w), generator=seeded(0), dtype=torch.float64)
    u = torch.cat([u, objective.gradient()[None]])
    u *= 0.3 / u.norm(dim=1, keepdim=True)
    rises = [(loss(w + row) - loss(w)).item() for row in u]
    assert measured.value >= max(rises)
    assert measured.value <= 2 * rises[-1]  # and not far beyond SAM's own
    assert measured.converged


def test_cost(monkeypatch):
    objective = objective_of(make("mlp_tanh"), 16)
    assert Work.of(objective).rounding == Rounding()  # once an objective, and not counted here
    backwards = []
    grad = torch.autograd.grad
    monkeypatch.setattr(torch.autograd, "grad", lambda *args, **kwargs: (backwards.append(1), grad(*args, **kwargs))[1])
    measured = zeroth_order_flatness(objective, num_steps=3, num_restarts=2)
    assert measured.num_gradients == 2 * 4
    assert len(backwards) == 5 * measured.num_gradients  # batches
    assert measured.num_matvecs == 0
    assert len(measured.details["peaks"]) == 2


def test_the_seed_decides_and_nothing_else():
    def measured(seed):
        torch.manual_seed(torch.seed())  # the global state has no say
        return zeroth_order_flatness(objective_of(make("mlp_tanh"), 16), rho=0.5, num_steps=3, seed=seed).details

    assert (measured(0)["peaks"] == measured(0)["peaks"]).all()
    assert (measured(0)["peaks"] != measured(1)["peaks"])[1:].any()


@pytest.mark.parametrize("size", [64, 7])
def test_batching_changes_nothing(size):
    case = make("mlp_tanh")
    expected = zeroth_order_flatness(objective_of(case), num_steps=5)
    measured = zeroth_order_flatness(objective_of(case, size), num_steps=5)
    assert measured.value == pytest.approx(expected.value, rel=1e-9)


def test_no_side_effects():
    case = make("conv_batchnorm")
    case.model.train()
    before = snapshot(case.model)
    zeroth_order_flatness(objective_of(case, 16), num_steps=3)
    assert_unchanged(before, snapshot(case.model))


def test_a_loss_that_overflows_on_the_way_is_reported():
    case = make("mlp_tanh")
    bound = objective_of(case).value() * 1.0001

    def loss(model, batch):
        losses = cross_entropy(model(batch[0]), batch[1], reduction="none")
        return losses if losses.mean() < bound else losses * math.inf

    measured = zeroth_order_flatness(Objective(case.model, loss, case.batches()), rho=0.5)
    assert math.isnan(measured.value)
    assert not measured.converged
    assert "inf" in measured.reason


@pytest.mark.parametrize("argument", [{"rho": 0.0}, {"rho": -1.0}, {"num_steps": 0}, {"num_restarts": 1}])
def test_what_makes_no_sense_is_refused(argument):
    with pytest.raises(ValueError, match=r"Expected"):
        zeroth_order_flatness(objective_of(make("mlp_tanh")), **argument)
