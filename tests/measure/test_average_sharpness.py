"""Average sharpness against E[u^T A u] / 2 = sigma^2 tr(A) / 2 on quadratics; its intervals cover."""

import pytest
import torch
from scipy.special import stdtrit
from torch import nn

from landscape import Objective
from landscape.measure.average_sharpness import average_sharpness
from tests.cases import assert_unchanged, make, oracle, snapshot
from tests.matrices import symmetric
from tests.measure.quadratics import quadratic
from tests.test_objective import objective_of


def bowl(dtype=torch.float64, **arguments):
    A = symmetric(torch.linspace(0.1, 3, 12, dtype=torch.float64))
    return A, quadratic(A, torch.linspace(-1, 1, 12, dtype=torch.float64), num_examples=2, dtype=dtype, **arguments)


@pytest.mark.parametrize("num_probes", [10, None])
def test_intervals_cover(num_probes):
    A, objective = bowl()
    truth = 0.1**2 / 2 * A.trace().item()
    covered = 0
    for seed in range(200):
        measured = average_sharpness(objective, sigma=0.1, num_probes=num_probes, rel_error=0.25, seed=seed)
        t = stdtrit(len(measured.details["samples"]) - 1, 0.975)
        covered += abs(measured.value - truth) <= t * measured.std_error
    assert 180 <= covered <= 198


def test_a_reached_accuracy_is_reached():
    A, objective = bowl()
    truth, reached, true = 0.5 * A.trace().item(), 0, 0
    for seed in range(40):
        measured = average_sharpness(objective, sigma=1.0, rel_error=0.15, max_probes=50, seed=seed)
        reached += measured.converged
        true += measured.converged and abs(measured.value - truth) <= 0.15 * truth
        assert measured.converged or len(measured.details["samples"]) == 50
    assert reached >= 10
    assert true >= 0.9 * reached


def test_a_budget_too_small_is_reported():
    measured = average_sharpness(bowl()[1], sigma=0.1, rel_error=1e-3, max_probes=20)
    assert not measured.converged
    assert "above 0.001" in measured.reason
    assert len(measured.details["samples"]) == 20


def test_the_gradient_cancels():
    slope = quadratic(torch.zeros(3, 3), torch.tensor([1.0, 2.0, 3.0]))
    measured = average_sharpness(slope, sigma=1.0, num_probes=10)
    assert measured.value == pytest.approx(0, abs=1e-14)
    assert measured.std_error < 1e-14


def test_the_default_sigma_is_as_long_as_the_other_perturbations():
    measured = average_sharpness(bowl()[1], num_probes=2)
    assert measured.details["sigma"] == pytest.approx(0.05 / 12**0.5)


def test_adaptive_noise_is_in_units_of_the_weights():
    A, _ = bowl()
    w = torch.linspace(-2, 2, 12, dtype=torch.float64)
    objective = bowl(at=w)[1]
    truth = 0.1**2 / 2 * (A.diagonal() @ w**2).item()
    measured = average_sharpness(objective, sigma=0.1, adaptive=True, num_probes=500)
    assert abs(measured.value - truth) < 4 * measured.std_error
    assert measured.std_error < 0.1 * truth


def test_on_a_network_it_is_the_trace_for_small_sigma():
    case = make("mlp_tanh")
    truth = 0.01**2 / 2 * oracle("mlp_tanh").trace().item()
    measured = average_sharpness(objective_of(case, 16), sigma=0.01, num_probes=100)
    assert abs(measured.value - truth) < 4 * measured.std_error
    assert measured.std_error < 0.2 * truth


def test_rounding_is_part_of_the_error():
    """A shallow bowl on a high plateau: in float32 the rise is lost, and the spread of the samples does not show it."""
    truth = 1e-8 / 2 * 5

    wide, narrow = (
        Objective(nn.Linear(5, 1, bias=False), lambda m, b: 1 + m.weight.square().sum(1) / 2, [(1,)], dtype=dtype)
        for dtype in (torch.float64, torch.float32)
    )
    for objective in (wide, narrow):
        objective.model.weight.data.zero_()
    precise, rounded = (average_sharpness(o, sigma=1e-4, num_probes=50) for o in (wide, narrow))
    assert abs(precise.value - truth) < 4 * precise.std_error
    assert precise.details["rounding"] < 1e-15
    assert not rounded.converged
    assert abs(rounded.value - truth) < 4 * rounded.std_error


def test_the_seed_decides_and_nothing_else():
    values = [average_sharpness(bowl()[1], num_probes=5, seed=seed).value for seed in (0, 0, 1)]
    assert values[0] == values[1] != values[2]


@pytest.mark.parametrize("scale", [1e-7, 1e7])
def test_a_scaled_loss_gives_a_scaled_number(scale):
    plain, scaled = (average_sharpness(bowl(scale=s)[1], sigma=0.1, seed=3) for s in (1.0, scale))
    assert scaled.value / scale == pytest.approx(plain.value, rel=1e-9)
    assert scaled.std_error / scale == pytest.approx(plain.std_error, rel=1e-6)
    assert len(scaled.details["samples"]) == len(plain.details["samples"])


@pytest.mark.parametrize("size", [7, 1])
def test_batching_changes_nothing(size):
    case = make("mlp_tanh")
    expected = average_sharpness(objective_of(case), sigma=0.01, num_probes=5)
    assert average_sharpness(objective_of(case, size), sigma=0.01, num_probes=5).value == pytest.approx(
        expected.value, rel=1e-9
    )


def test_no_side_effects():
    case = make("conv_batchnorm")
    case.model.train()
    before = snapshot(case.model)
    measured = average_sharpness(objective_of(case, 16), num_probes=3)
    assert_unchanged(before, snapshot(case.model))
    assert (measured.num_gradients, measured.num_matvecs) == (0, 0)


@pytest.mark.parametrize("argument", [{"sigma": 0.0}, {"rel_error": 0.0}, {"num_probes": 1}, {"max_probes": 1}])
def test_what_makes_no_sense_is_refused(argument):
    with pytest.raises(ValueError, match=r"Expected"):
        average_sharpness(bowl()[1], **argument)
