"""The rise of the loss and its slope against torch's own, its rounding error against float64."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from landscape import Objective
from landscape.measure.rise import Rise
from tests.cases import CASES, assert_unchanged, dense_gradient, flat_loss, make, relative_error, snapshot
from tests.matrices import seeded
from tests.test_objective import BATCHINGS, objective_of


def away(objective, seed=0):
    u = torch.randn(objective.num_params, generator=seeded(seed), dtype=torch.float64)
    return 0.1 * u / u.norm()


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_value_and_slope(name, adaptive):
    case = make(name)
    objective = objective_of(case, 16)
    rise, u = Rise(objective, adaptive=adaptive), away(objective)
    loss, w = flat_loss(case.model, case.criterion, case.data)
    scale = w.abs() if adaptive else torch.ones_like(w)
    expected = (loss(w + scale * u) - loss(w)).item()
    gradient = scale * dense_gradient(case.model, case.criterion, case.data, w + scale * u)
    value, slope = rise.with_slope(u)
    assert rise(u) == pytest.approx(expected, rel=1e-9)
    assert value == pytest.approx(expected, rel=1e-9)
    assert relative_error(slope, gradient) < 1e-12
    assert rise(rise.origin) == 0
    assert rise.with_slope(rise.origin)[0] == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize(("size", "microbatch"), BATCHINGS)
def test_batching_changes_nothing(size, microbatch):
    case = make("mlp_relu")
    one = Rise(objective_of(case))
    other = Rise(objective_of(case, size, microbatch=microbatch))
    u = away(one.objective)
    assert other(u) == pytest.approx(one(u), rel=1e-11)
    assert relative_error(other.with_slope(u)[1], one.with_slope(u)[1]) < 1e-12


def test_gradients_are_counted():
    objective = objective_of(make("mlp_tanh"), 16)
    rise = Rise(objective)
    rise(rise.origin)
    rise.with_slope(rise.origin)
    rise.with_slope(rise.origin)
    assert objective.num_gradients == 2


def test_a_loss_that_depends_on_no_parameter_has_no_slope():
    model = nn.Linear(2, 1)
    objective = Objective(model, lambda model, batch: batch[0].square().mean(1), [(torch.ones(3, 2),)])
    value, slope = Rise(objective).with_slope(torch.ones(3))
    assert value == 0
    assert torch.equal(slope, torch.zeros(3))


def float32_case():
    case = make("mlp_tanh")
    case.model.float()
    return case, [(x.float(), y) for x, y in case.batches(16)]


def test_the_rounding_error_in_float32_is_the_difference_to_float64():
    case, batches = float32_case()
    objective = Objective(case.model, case.criterion, batches)
    rise, u = Rise(objective), away(objective).float()
    case.model.double()
    wide_data = case.inputs.float().double(), case.targets
    loss, w = flat_loss(case.model, case.criterion, wide_data)
    truth = (loss(w + u.double()) - loss(w)).item()
    case.model.float()
    error = rise.rounding_error(u)
    assert error == pytest.approx(rise(u) - truth, rel=1e-6, abs=1e-14)
    assert 0 < abs(error) < 1e-6


def test_the_rounding_error_in_float64_is_scaled_down_from_float32():
    case = make("mlp_tanh")
    objective = objective_of(case, 16)
    before = snapshot(case.model)
    errors = [Rise(objective).rounding_error(away(objective, seed)) for seed in range(5)]
    assert 0 < max(map(abs, errors)) < 1e-15
    assert_unchanged(before, snapshot(case.model))


def in_one_precision(dtype):
    """An objective with a constant that stays as it is."""
    case, weights = make("mlp_tanh"), torch.ones(4, dtype=dtype)
    case.model.to(dtype)

    def loss(model, batch):
        return cross_entropy(model(batch[0]), batch[1], weight=weights, reduction="none")

    return Objective(case.model, loss, [(x.to(dtype), y) for x, y in case.batches(16)])


def test_a_loss_in_float32_only_is_widened():
    objective = in_one_precision(torch.float32)
    assert 0 < abs(Rise(objective).rounding_error(away(objective))) < 1e-6


def test_a_loss_in_float64_only_is_named():
    objective = in_one_precision(torch.float64)
    rise = Rise(objective)
    assert isinstance(rise(rise.origin), float)
    with pytest.raises(ValueError, match=r"float32.*dtype"):
        rise.rounding_error(away(objective))


def test_what_a_float64_model_casts_to_inside_is_not_taken_for_float64():
    case = make("mlp_tanh")
    loss = lambda model, b: cross_entropy(model(b[0]).bfloat16().double(), b[1], reduction="none")  # noqa: E731
    rounded, plain = (Objective(case.model, one, case.batches(16)) for one in (loss, nn.CrossEntropyLoss()))
    u = away(plain)
    assert Rise(rounded).rounding_error(u) == pytest.approx(Rise(rounded)(u) - Rise(plain)(u), rel=1e-9)
