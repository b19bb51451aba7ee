"""GAM: which products it used, how it counts, and a step by `loss` under the same rules as one by `closure`."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, scaled_dot_product_attention
from torch.optim import SGD

from landscape.optim import GAM
from tests.optim.test_contract import Problem, equal


def by_loss(problem: Problem, step: int, *, meddle: Callable[[int, Tensor], Tensor] = lambda _, loss: loss) -> Any:
    numbers = iter(range(9))

    def loss() -> Tensor:
        return meddle(next(numbers), cross_entropy(problem.model(problem.x[step]), problem.y[step]))

    return problem.optimizer.step(problem.closure(step), loss=loss)


def test_it_says_which_hessian_products_it_used() -> None:
    problem = Problem(lambda base, model: GAM(base, model=model, period=2))
    assert problem.optimizer.hvp_used is None
    by_loss(problem, 0)
    assert problem.optimizer.hvp_used == "exact"
    problem.run(range(1, 2))
    assert problem.optimizer.hvp_used is None  # a step of the oracle
    problem.run(range(2, 3))
    assert problem.optimizer.hvp_used == "finite-difference"


def test_differences_come_near_exact_products() -> None:
    exact, fd = (Problem(lambda base, model: GAM(base, rho_prime=1e-4, model=model)) for _ in range(2))
    by_loss(exact, 0)
    fd.run(range(1))
    distances = [(a - b).norm().item() for a, b in zip(exact.weights(), fd.weights(), strict=True)]
    assert 0 < max(distances) < 1e-4


@pytest.mark.parametrize("in_pass", [0, 1])
@pytest.mark.parametrize("fails", [True, False])
def test_a_step_by_loss_restores_and_skips(in_pass: int, fails: bool) -> None:
    problem = Problem(lambda base, model: GAM(base, model=model))
    before, clean = problem.weights(), []

    def meddle(number: int, loss: Tensor) -> Tensor:
        clean[:] = clean or problem.buffers()
        if number == in_pass and fails:
            raise KeyError("stop")
        return loss * torch.nan if number == in_pass else loss

    if fails:
        with pytest.raises(KeyError, match="stop"):
            by_loss(problem, 0, meddle=meddle)
    else:
        by_loss(problem, 0, meddle=meddle)
        assert problem.optimizer.num_skipped == 1
        assert problem.optimizer.scalars["num_steps"] == 0
        assert equal(problem.buffers(), clean)
    assert equal(problem.weights(), before)


def test_a_grad_scaler_changes_no_bit_of_a_step_by_loss() -> None:
    plain, scaled = (Problem(lambda base, model: GAM(base, model=model), dtype=torch.float32) for _ in range(2))
    scaled.optimizer.grad_scaler = scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for step in range(3):
        by_loss(plain, step)
        by_loss(scaled, step)
        scaler.update()
    assert equal(scaled.weights(), plain.weights())


def test_attention_is_differentiated_twice() -> None:
    w = nn.Parameter(torch.randn(1, 2, 4, 8, generator=torch.Generator().manual_seed(0)))
    optimizer = GAM(SGD([w], lr=0.1))
    optimizer.step(lambda: None, loss=lambda: scaled_dot_product_attention(w, w, w).square().sum())
    assert optimizer.hvp_used == "exact"
    assert optimizer.num_skipped == 0


def test_a_linear_loss_has_no_curvature() -> None:
    w, unused = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = GAM(SGD([w, unused], lr=0.1))
    optimizer.step(lambda: None, loss=lambda: w.sum())
    assert torch.allclose(w, torch.full((2,), 0.9))
    assert torch.equal(unused, torch.ones(2))


@pytest.mark.parametrize("returned", [1.0, torch.ones(()), torch.ones(2, requires_grad=True)])
def test_a_loss_that_cannot_be_differentiated_is_refused(returned: Any) -> None:
    optimizer = GAM(SGD([torch.ones(1, requires_grad=True)], lr=0.1))
    with pytest.raises(ValueError, match=r"loss\(\) returned .* Expected a differentiable scalar"):
        optimizer.step(lambda: None, loss=lambda: returned)


def test_radii_of_a_group_are_saved_and_those_that_an_earlier_state_lacks_stay_as_built() -> None:
    def make() -> GAM:
        own = {"params": [torch.ones(2, requires_grad=True)], "rho_prime": 0.04, "rho_sam": 0.2}
        return GAM(SGD([{"params": [torch.ones(2, requires_grad=True)]}, own], lr=0.1), oracle="sam", mode="fd")

    radii = ("rho_prime", "rho_sam")
    optimizer, other = make(), make()
    optimizer.param_groups[0]["rho_prime"] = 0.03  # as a schedule would
    state = copy.deepcopy(optimizer.state_dict())
    assert [[group[name] for name in radii] for group in state["base"]["param_groups"]] == [[0.03, 0.05], [0.04, 0.2]]
    for group in state["base"]["param_groups"]:
        for name in radii:
            del group[name]
    other.load_state_dict(state)
    assert [[group[name] for name in radii] for group in other.param_groups] == [[0.02, 0.05], [0.04, 0.2]]


@pytest.mark.parametrize("mode", ["fd", "hvp"])
def test_a_rho_prime_of_a_group_that_is_zero_is_refused_where_it_divides(mode: str) -> None:
    base = SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    base.param_groups[0]["rho_prime"] = 0.0
    with pytest.raises(ValueError, match=r"rho_prime=0\.0 is out of range"):
        GAM(base, mode=mode)
    problem = Problem(lambda base, model: GAM(base, mode=mode, model=model))
    before = problem.weights()
    problem.optimizer.param_groups[0]["rho_prime"] = 0.0
    with pytest.raises(ValueError, match=r"rho_prime=0\.0 is out of range\. Expected 0 < rho_prime"):
        problem.run(range(1))
    assert equal(problem.weights(), before)


@pytest.mark.parametrize(
    "settings",
    [
        *({name: -1.0} for name in ("rho", "alpha", "rho_prime", "beta", "gamma", "rho_sam")),
        {"mode": "exact"},
        {"oracle": "asam"},
        {"period": 0},
        {"preset": "paper"},
        {"preset": "official", "mode": "fd"},
    ],
)
def test_misuse_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=rf"{next(iter(settings))}=.*Expected"):
        GAM(SGD([torch.zeros(1, requires_grad=True)], lr=0.1), **settings)
