"""What other people's loops do around a step, and what a step notices of them."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import LBFGS, SGD, Adam, Optimizer
from torch.optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau
from torch.optim.swa_utils import AveragedModel

from landscape.optim import SAM
from tests.optim.test_contract import OPTIMIZERS, Make, Problem, equal

every_optimizer = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)


def closure_of(problem: Problem, zero: Callable[[], Any], *, late: bool = False) -> Callable[[], Tensor]:
    """Over two micro-batches, with its own way to zero the gradients, before or after the first forward pass."""

    def closure() -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        if not late:
            zero()
        for number, (x, y) in enumerate(zip(problem.x[0].split(4), problem.y[0].split(4), strict=True)):
            loss = cross_entropy(problem.model(x), y) / 2
            if late and number == 0:
                zero()
            loss.backward()
            total += loss.detach()
        nn.utils.clip_grad_norm_(problem.model.parameters(), 10.0)
        return total

    return closure


@every_optimizer
def test_a_closure_that_adds_to_gradients_of_before_is_refused(make: Make) -> None:
    forgetful, early = Problem(make), Problem(make)
    forgetful.optimizer.step(closure_of(forgetful, lambda: None))  # nothing was there
    weights, buffers = forgetful.weights(), forgetful.buffers()
    with pytest.raises(ValueError, match="adds its gradients to those that were there before it"):
        forgetful.optimizer.step(closure_of(forgetful, lambda: None))
    assert equal(forgetful.weights(), weights)
    assert not equal(forgetful.buffers(), buffers)  # as the clean pass left them
    cross_entropy(early.model(early.x[1]), early.y[1]).backward()
    with pytest.raises(ValueError, match="loops over all micro-batches itself"):
        early.optimizer.step(closure_of(early, lambda: None))


@every_optimizer
def test_every_way_to_zero_gradients_is_as_good(make: Make) -> None:
    def trained(way: Callable[[Problem], Callable[[], Any]], *, late: bool = False) -> list[Tensor]:
        problem = Problem(make)
        for _ in range(4):
            problem.optimizer.step(closure_of(problem, way(problem), late=late))
        return problem.weights()

    expected = trained(lambda problem: problem.optimizer.zero_grad)
    assert equal(trained(lambda problem: problem.model.zero_grad), expected)
    assert equal(trained(lambda problem: lambda: problem.optimizer.zero_grad(set_to_none=False)), expected)
    assert equal(trained(lambda problem: problem.optimizer.zero_grad, late=True), expected)
    before = Problem(make)
    for _ in range(4):
        before.optimizer.zero_grad()
        before.optimizer.step(closure_of(before, lambda: None))
    assert equal(before.weights(), expected)


def test_a_gradient_of_before_that_no_pass_touches_is_noticed() -> None:
    used, unused = (nn.Parameter(torch.ones(2)) for _ in range(2))
    optimizer = SAM(SGD([used, unused], lr=0.1))

    def closure() -> Tensor:
        used.grad = None
        loss = used.square().sum()
        loss.backward()
        return loss

    unused.grad = torch.ones(2)
    with pytest.raises(ValueError, match="were there before"):
        optimizer.step(closure)
    unused.grad = torch.zeros(2)
    optimizer.step(closure)


@every_optimizer
def test_a_closure_may_take_its_gradients_from_autograd_grad(make: Make) -> None:
    def through_data(p: nn.Parameter, gradient: Tensor) -> None:
        if p.grad is None:
            p.grad = torch.zeros_like(p)
        p.grad.data.copy_(gradient)

    def trained(put: Callable[[nn.Parameter, Tensor], None] | None) -> list[Tensor]:
        problem = Problem(make)
        params = list(problem.model.parameters())

        def closure() -> Tensor:
            loss = cross_entropy(problem.model(problem.x[0]), problem.y[0])
            found = torch.autograd.grad(loss, params, retain_graph=put is None)
            if put is None:  # as for a penalty
                problem.optimizer.zero_grad()
                loss.backward()
            else:
                for p, gradient in zip(params, found, strict=True):
                    put(p, gradient)
            return loss

        for _ in range(3):
            problem.optimizer.step(closure)
        return problem.weights()

    def assign(p: nn.Parameter, gradient: Tensor) -> None:
        p.grad = gradient

    expected = trained(None)
    assert equal(trained(assign), expected)
    assert equal(trained(through_data), expected)


@pytest.mark.parametrize("set_to_none", [True, False])
def test_gradients_that_are_zeroed_after_backward_are_missed(set_to_none: bool) -> None:
    problem = Problem(OPTIMIZERS["sam"])
    before = problem.weights()

    def closure() -> Tensor:
        problem.optimizer.zero_grad()
        loss = cross_entropy(problem.model(problem.x[0]), problem.y[0])
        loss.backward()
        problem.optimizer.zero_grad(set_to_none=set_to_none)
        return loss

    with pytest.raises(ValueError, match=r"left no gradients: they were zeroed after backward\(\)"):
        problem.optimizer.step(closure)
    assert equal(problem.weights(), before)


def test_parameters_that_no_pass_uses_stay() -> None:
    w = nn.Parameter(torch.ones(2))
    optimizer = SAM(SGD([w], lr=0.1))
    for loss in (torch.zeros(()), w.detach().sum()):
        optimizer.step(lambda loss=loss: loss)
    optimizer.step(lambda: (w * 0).sum().backward() or torch.zeros(()))  # a gradient of zero is one
    assert torch.equal(w, torch.ones(2))


@pytest.mark.parametrize(
    ("returned", "what"),
    [({"loss": 1.0}, "dict"), ((1.0, 2.0), "tuple"), (torch.ones(3), r"Tensor of shape \(3,\)")],
)
def test_what_is_no_loss_is_refused_by_name(returned: Any, what: str) -> None:
    with pytest.raises(ValueError, match=f"the closure returned {what}. Expected it to return the loss"):
        SAM(SGD([nn.Parameter(torch.ones(2))], lr=0.1)).step(lambda: returned)


@every_optimizer
def test_gathering_and_updating_apart_is_the_step(make: Make) -> None:
    whole, apart, framed = (Problem(make) for _ in range(3))
    whole.run(range(5))
    for step in range(5):
        loss = apart.optimizer.gather(apart.closure(step))
        assert loss.item() == framed.optimizer.step(
            lambda step=step: framed.optimizer.gather(framed.closure(step)), gathered=True
        )
        assert apart.optimizer.step() is None
    assert equal(apart.weights(), whole.weights())
    assert equal(framed.weights(), whole.weights())
    with pytest.raises(ValueError, match="got no closure"):
        apart.optimizer.step()  # there is no direction but that of a step that was made


@every_optimizer
def test_a_gathered_direction_is_scaled_as_gradients_are_and_skipped_where_a_pass_is_infinite(make: Make) -> None:
    plain, scaled = (Problem(make, dtype=torch.float32) for _ in range(2))
    scaler = scaled.optimizer.grad_scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)

    def gather(number: int, factor: float = 1.0) -> None:
        def closure() -> Tensor:
            scaled.optimizer.zero_grad()
            loss = factor * cross_entropy(scaled.model(scaled.x[number]), scaled.y[number])
            scaler.scale(loss).backward()
            return loss

        scaled.optimizer.gather(closure)
        scaler.unscale_(scaled.optimizer)
        scaler.step(scaled.optimizer)
        scaler.update()

    plain.run(range(3))
    gather(0)
    gather(0, factor=torch.inf)
    gather(1)
    gather(2)
    assert equal(scaled.weights(), plain.weights())
    assert (scaled.optimizer.num_skipped, scaler.get_scale()) == (1, 512.0)


@every_optimizer
def test_a_compiled_model_is_compiled_once_and_trains_alike(make: Make) -> None:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    plain = Problem(make)
    plain.run(range(4))
    problem = Problem(lambda base, model: make(base, torch.compile(model, backend="eager")))
    model, problem.model = problem.model, problem.optimizer.model
    problem.run(range(4))
    assert equal([p.detach() for p in model.parameters()] + problem.buffers(), plain.weights() + plain.buffers())
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


def test_bases_that_run_passes_of_their_own_are_refused_by_name() -> None:
    w = nn.Parameter(torch.ones(2))
    for base in (LBFGS([w]), SAM(SGD([w], lr=0.1))):
        with pytest.raises(ValueError, match=f"base={type(base).__name__} runs passes of its own"):
            SAM(base)


@pytest.mark.parametrize("options", [{"foreach": True}, {"foreach": False}, {"fused": True}])
def test_implementations_of_the_base_agree(options: dict[str, bool]) -> None:
    def trained(**options: Any) -> list[Tensor]:
        problem = Problem(lambda base, model: SAM(Adam(model.parameters(), lr=0.05, **options), model=model))
        problem.run(range(5))
        return problem.weights()

    assert all((a - b).abs().max() < 1e-6 for a, b in zip(trained(**options), trained(), strict=True))


def test_schedulers_of_loss_and_momentum_hooks_and_averages() -> None:
    problem, calls = Problem(OPTIMIZERS["sam"]), []
    problem.optimizer.register_step_pre_hook(lambda *_: calls.append("before"))
    problem.optimizer.register_step_post_hook(lambda *_: calls.append("after"))
    plateau, cycle = ReduceLROnPlateau(problem.optimizer, patience=0), OneCycleLR(problem.optimizer, 0.1, total_steps=9)
    average = AveragedModel(problem.model)
    seen = []
    for step in range(3):
        loss = problem.optimizer.step(problem.closure(step))
        average.update_parameters(problem.model)
        seen.append(problem.weights())
        plateau.step(loss)
        cycle.step()
    assert calls == ["before", "after"] * 3
    assert problem.base.param_groups[0]["momentum"] == cycle.optimizer.param_groups[0]["momentum"] != 0.9
    means = [torch.stack(some).mean(dim=0) for some in zip(*seen, strict=True)]
    assert all(torch.allclose(a, b) for a, b in zip(average.module.parameters(), means, strict=True))


def test_a_base_that_gathers_its_state_first_may_load_without() -> None:
    class Sharded(SGD):
        def state_dict(self) -> dict[str, Any]:
            raise RuntimeError("not consolidated")

    w = nn.Parameter(torch.ones(2))
    state = SAM(SGD([w], lr=0.3)).state_dict()
    loaded: Optimizer = SAM(Sharded([w], lr=0.1))
    loaded.load_state_dict(state)
    assert loaded.param_groups[0]["lr"] == 0.3
