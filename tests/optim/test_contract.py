"""What every optimizer of this package keeps, whatever its formula. A new one adds a line to OPTIMIZERS."""

import copy
import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD, Adam, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, StepLR

from landscape.optim import ASAM, CRSAM, GAM, RSAM, SAM, SASAM, SASGD, CurvSAM
from landscape.optim.base import MultiPassOptimizer


def groups_of(base: Optimizer) -> list[dict[str, Any]]:
    """The parameters of `base`, for an optimizer that takes no base."""
    if not isinstance(base, Optimizer):
        raise ValueError(f"{base!r} is not an optimizer. Expected one")
    groups = [(group.get("param_names"), group["params"]) for group in base.param_groups]
    return [{"params": list(zip(names, params, strict=True)) if names else params} for names, params in groups]


OPTIMIZERS: dict[str, Callable[[Optimizer, nn.Module], MultiPassOptimizer]] = {
    "sam": lambda base, model: SAM(base, rho=0.3, model=model),
    "sam coupled": lambda base, model: SAM(base, rho=0.3, coupled_weight_decay=True, model=model),
    "asam": lambda base, model: ASAM(base, rho=0.3, model=model),
    "asam davda54": lambda base, model: ASAM(base, rho=0.3, variant="davda54", model=model),
    "rsam": lambda base, model: RSAM(base, rho=0.3, sigma=0.01, model=model),
    "crsam": lambda base, model: CRSAM(base, model=model),
    "crsam log": lambda base, model: CRSAM(base, alpha=0.001, beta=0.0001, regularizer="log", model=model),
    "gam": lambda base, model: GAM(base, model=model),
    "gam sam": lambda base, model: GAM(base, oracle="sam", mode="fd", period=3, model=model),
    "curvsam": lambda base, model: CurvSAM(base, rho=0.05, update_every=3, model=model),
    "gam accelerated": lambda base, model: GAM(base, mode="accelerated", model=model),
    "sasgd": lambda base, model: SASGD(groups_of(base), lr=0.01, weight_decay=0.01, model=model),
    "sasam": lambda base, model: SASAM(groups_of(base), lr=0.01, weight_decay=0.01, model=model),
}

pytestmark = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
Make = Callable[[Optimizer, nn.Module], MultiPassOptimizer]


class Problem:
    """A float64 network with BatchNorm under an optimizer, and a mini-batch for every step."""

    def __init__(self, make: Make, base: type[Optimizer] = SGD, *, dtype: torch.dtype = torch.float64) -> None:
        generator = torch.Generator().manual_seed(0)
        self.model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 3)).to(dtype)
        with torch.no_grad():
            for p in self.model.parameters():
                p.copy_(torch.randn(p.shape, generator=generator))
        self.x = torch.randn(50, 8, 4, generator=generator).to(dtype)
        self.y = torch.randint(3, (50, 8), generator=generator)
        momentum = {"momentum": 0.9} if base is SGD else {}
        self.optimizer = make(base(self.model.parameters(), lr=0.05, weight_decay=0.01, **momentum), self.model)
        self.base = self.optimizer.base

    def closure(self, step: int, *, in_pass: dict[int, Callable[[Tensor], Any]] | None = None) -> Callable[[], Tensor]:
        """The closure of a step; ``in_pass[k](loss)`` may meddle with pass k, after the backward of the loss."""
        passes = iter(range(100))

        def closure() -> Tensor:
            self.optimizer.zero_grad()
            loss = cross_entropy(self.model(self.x[step]), self.y[step])
            loss.backward()
            meddle = (in_pass or {}).get(next(passes))
            meddled = meddle(loss) if meddle else None
            return loss if meddled is None else meddled

        return closure

    def run(self, steps: range) -> None:
        for step in steps:
            self.optimizer.step(self.closure(step))

    def weights(self) -> list[Tensor]:
        return [p.detach().clone() for p in self.model.parameters()]

    def buffers(self) -> list[Tensor]:
        return [b.clone() for b in self.model.buffers()]


def test_it_trains_and_returns_the_clean_loss(make: Make) -> None:
    problem = Problem(make)
    seen: list[Tensor] = []
    losses = [problem.optimizer.step(problem.closure(0, in_pass={0: lambda loss: seen.append(loss)}))]
    assert torch.equal(losses[0], seen[0])
    if not isinstance(problem.optimizer, RSAM):  # whose first pass is not at the weights
        clean = Problem(make)
        assert losses[0].item() == cross_entropy(clean.model(clean.x[0]), clean.y[0]).item()
    losses += [problem.optimizer.step(problem.closure(0)) for _ in range(29)]
    assert not losses[0].requires_grad
    assert losses[-1] < losses[0] / 2


def test_the_weights_keep_their_storage_and_move_by_the_base_only(make: Make) -> None:
    problem = Problem(make)
    before, pointers = problem.weights(), [p.data_ptr() for p in problem.model.parameters()]
    problem.optimizer.param_groups[0]["lr"] = 0.0
    problem.run(range(5))
    assert equal(problem.weights(), before)
    assert [p.data_ptr() for p in problem.model.parameters()] == pointers


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("in_pass", [0, 1, -1])
def test_an_exception_in_any_pass_leaves_weights_and_clean_buffers(
    make: Make, in_pass: int, error: type[BaseException]
) -> None:
    problem, calm = Problem(make), Problem(make)
    problem.run(range(3))
    calm.run(range(3))
    before, clean = problem.weights(), []
    in_pass %= num_passes(make)

    def fail(loss: Tensor) -> None:
        if not clean:
            clean.extend(problem.buffers())
        raise error("stop")

    meddle = {0: lambda _: clean.extend(problem.buffers()), in_pass: fail}
    with pytest.raises(error, match="stop"):
        problem.optimizer.step(problem.closure(3, in_pass=meddle))
    assert equal(problem.weights(), before)
    assert equal(problem.buffers(), clean)
    problem.run(range(4, 6))
    calm.run(range(4, 6))
    assert equal(problem.weights(), calm.weights())


def test_buffers_follow_the_clean_pass_only(make: Make) -> None:
    problem, clean = Problem(make), []
    problem.model[1].momentum = None  # a cumulative average: wrong ever after if a pass is counted twice
    problem.optimizer.step(problem.closure(0, in_pass={0: lambda _: clean.extend(problem.buffers())}))
    assert equal(problem.buffers(), clean)
    assert problem.model[1].num_batches_tracked == 1


def test_without_model_buffers_see_every_pass(make: Make) -> None:
    problem = Problem(lambda base, _: make(base, None))
    problem.run(range(3))
    assert problem.model[1].num_batches_tracked > 3


@pytest.mark.parametrize("base", [SGD, Adam])
def test_state_round_trip_in_the_middle_of_a_run_is_bit_for_bit(make: Make, base: type[Optimizer]) -> None:
    straight, first, second = (Problem(make, base) for _ in range(3))
    straight.run(range(10))
    first.run(range(5))
    file = io.BytesIO()
    torch.save({"model": first.model.state_dict(), "optimizer": first.optimizer.state_dict()}, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=True)
    second.model.load_state_dict(loaded["model"])
    second.optimizer.load_state_dict(loaded["optimizer"])
    second.run(range(5, 10))
    assert equal(second.weights(), straight.weights())


def test_a_deep_copy_goes_on_alike(make: Make) -> None:
    problem = Problem(make)
    StepLR(problem.optimizer, step_size=1)  # wraps step() of the instance
    problem.run(range(3))
    copied = copy.deepcopy(problem)
    assert copied.optimizer.param_groups is copied.optimizer.base.param_groups
    problem.run(range(3, 6))
    copied.run(range(3, 6))
    assert equal(copied.weights(), problem.weights())


def test_a_state_of_another_optimizer_is_refused_but_fits_the_base(make: Make) -> None:
    problem = Problem(make)
    plain = SGD(problem.model.parameters(), lr=0.07)
    with pytest.raises(ValueError, match=r"expected the keys \['base', .* found \['param_groups', 'state'\]"):
        problem.optimizer.load_state_dict(plain.state_dict())
    problem.optimizer.base.load_state_dict(plain.state_dict())
    problem.run(range(1))
    assert problem.optimizer.param_groups[0]["lr"] == 0.07
    assert set(problem.optimizer.defaults) <= set(problem.optimizer.param_groups[0])


@pytest.mark.parametrize("method", ["state_dict", "load_state_dict"])
def test_saving_and_loading_between_passes_is_refused(make: Make, method: str) -> None:
    problem = Problem(make)
    problem.run(range(3))
    args = [problem.optimizer.state_dict()] if method == "load_state_dict" else []
    with pytest.raises(RuntimeError, match=rf"{method}\(\) was called between two passes"):
        problem.optimizer.step(problem.closure(3, in_pass={1: lambda _: getattr(problem.optimizer, method)(*args)}))
    getattr(problem.optimizer, method)(*args)


@pytest.mark.parametrize("on", ["base", "optimizer"])
def test_a_scheduler_on_either_sets_the_rate_of_both_also_after_loading(make: Make, on: str) -> None:
    problem = Problem(make)
    scheduler = CosineAnnealingLR(getattr(problem, on), T_max=4)
    state = problem.optimizer.state_dict()
    for load in (False, True):
        if load:
            problem.optimizer.load_state_dict(state)
        problem.run(range(1))
        scheduler.step()
        assert problem.optimizer.param_groups is problem.base.param_groups
        assert problem.base.param_groups[0]["lr"] == pytest.approx(scheduler.get_last_lr()[0])
    assert scheduler.get_last_lr()[0] < 0.05


def test_an_added_group_reaches_the_base(make: Make) -> None:
    problem = Problem(make)
    late = nn.Parameter(torch.ones(3, dtype=torch.float64))
    problem.optimizer.add_param_group({"params": [late], "lr": 0.5})
    added = problem.base.param_groups[1]
    assert (added["lr"], added["momentum"]) == (0.5, problem.base.defaults["momentum"])
    assert set(problem.optimizer.defaults) <= set(added)

    def pull(loss: Tensor) -> Tensor:
        pulled = late.square().sum()
        pulled.backward()
        return (loss + pulled).detach()

    problem.optimizer.step(problem.closure(0, in_pass=dict.fromkeys(range(9), pull)))
    assert (late < 0.1).all()


def test_frozen_parameters_stay(make: Make) -> None:
    problem = Problem(make)
    problem.model[0].requires_grad_(False)
    before = problem.weights()
    problem.run(range(3))
    after = problem.weights()
    assert equal(after[:2], before[:2])
    assert not any(torch.equal(a, b) for a, b in zip(after[2:], before[2:], strict=True))


@pytest.mark.parametrize("absent_in", [0, 1])
def test_a_parameter_without_gradient_in_one_pass(make: Make, absent_in: int) -> None:
    problem = Problem(make)
    weight = problem.model[0].weight
    before, seen = weight.detach().clone(), {}

    def note(number: int) -> Callable[[Tensor], None]:
        def meddle(loss: Tensor) -> None:
            seen[number] = weight.detach().clone()
            if number == absent_in:
                weight.grad = None

        return meddle

    problem.optimizer.step(problem.closure(0, in_pass={k: note(k) for k in range(9)}))
    if 1 in seen:
        assert torch.equal(seen[1], before) == (absent_in == 0)  # perturbed if it had a gradient to go along
    one_counts = len(seen) < 3 and max(seen) == absent_in  # more than two are mixed into one direction
    assert torch.equal(weight, before) == one_counts


def test_named_parameters_and_several_optimizers_on_one_model(make: Make) -> None:
    problem = Problem(make)
    *others, head = (list(m.named_parameters()) for m in problem.model if list(m.parameters()))
    first = make(SGD([p for named in others for p in named], lr=0.05, weight_decay=0.01), problem.model)
    second = make(SGD(head, lr=0.05, weight_decay=0.01), problem.model)
    before = problem.weights()
    problem.optimizer = first
    first.step(problem.closure(0))
    assert equal(problem.weights()[4:], before[4:])
    middle = problem.weights()
    problem.optimizer = second
    second.step(problem.closure(0))
    assert equal(problem.weights()[:4], middle[:4])
    assert not equal(problem.weights()[4:], before[4:])


def test_accumulating_micro_batches_in_the_closure_is_the_large_batch(make: Make) -> None:
    whole, cut = Problem(make), Problem(make)
    for problem in (whole, cut):
        problem.model[1] = nn.Identity()  # BatchNorm would see another batch
    total = torch.zeros((), dtype=torch.float64)  # one tensor for all passes
    for step in range(5):
        whole.optimizer.step(whole.closure(step))

        def accumulate(step: int = step) -> Tensor:
            cut.optimizer.zero_grad()
            total.zero_()
            for x, y in zip(cut.x[step].split(3), cut.y[step].split(3), strict=True):
                loss = cross_entropy(cut.model(x), y, reduction="sum") / 8
                loss.backward()
                total.add_(loss.detach())
            return total

        cut.optimizer.step(accumulate)
    assert max((a - b).abs().max().item() for a, b in zip(whole.weights(), cut.weights(), strict=True)) < 1e-12


@pytest.mark.parametrize("what", ["loss", "gradient"])
@pytest.mark.parametrize("in_pass", [0, 1, -1])
def test_a_non_finite_pass_skips_the_step_and_counts_it(make: Make, in_pass: int, what: str) -> None:
    problem = Problem(make)
    problem.run(range(3))
    before = copy.deepcopy([problem.weights(), problem.base.state_dict()["state"]])
    in_pass %= num_passes(make)

    def spoil(loss: Tensor) -> Tensor | None:
        if what == "loss":
            return loss * torch.inf
        problem.model[3].bias.grad[1] = torch.nan
        return None

    loss = problem.optimizer.step(problem.closure(3, in_pass={in_pass: spoil}))
    assert torch.isfinite(loss) == ((in_pass, what) != (0, "loss"))
    assert equal(problem.weights(), before[0])
    after = problem.base.state_dict()["state"]
    assert all(torch.equal(after[k]["momentum_buffer"], before[1][k]["momentum_buffer"]) for k in before[1])
    assert problem.optimizer.num_skipped == 1
    fresh = Problem(make)
    fresh.optimizer.load_state_dict(problem.optimizer.state_dict())
    assert fresh.optimizer.num_skipped == 1


def test_within_autocast_every_pass_sees_the_weights_of_its_own_point(make: Make) -> None:
    inside, outside = (Problem(make, dtype=torch.float32) for _ in range(2))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside.optimizer.step(inside.closure(0))

    def closure() -> Tensor:  # its own autocast region: nothing is cached from pass to pass
        outside.optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = cross_entropy(outside.model(outside.x[0]), outside.y[0])
        loss.backward()
        return loss

    outside.optimizer.step(closure)
    assert equal(inside.weights(), outside.weights())


def test_a_grad_scaler_changes_no_bit_and_any_infinite_pass_halves_it(make: Make) -> None:
    plain, scaled = (Problem(make, dtype=torch.float32) for _ in range(2))
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    scaled.optimizer.grad_scaler = scaler

    def step(number: int, *, infinite_in: int | None = None) -> None:
        passes = iter(range(9))

        def closure() -> Tensor:
            scaled.optimizer.zero_grad()
            loss = cross_entropy(scaled.model(scaled.x[number]), scaled.y[number])
            scaler.scale(loss).backward()
            if next(passes) == infinite_in:
                scaled.model[3].bias.grad[0] = torch.inf
            return loss

        scaled.optimizer.step(closure)
        scaler.update()

    plain.run(range(3))
    for number in range(3):
        step(number)
    assert equal(scaled.weights(), plain.weights())
    for in_pass in range(num_passes(make)):
        step(3, infinite_in=in_pass)
        assert equal(scaled.weights(), plain.weights())
        assert (scaled.optimizer.num_skipped, scaler.get_scale()) == (in_pass + 1, 1024.0 / 2 ** (in_pass + 1))
    plain.run(range(3, 5))
    for number in range(3, 5):
        step(number)
    assert equal(scaled.weights(), plain.weights())


def test_float16_autocast_with_a_grad_scaler_trains(make: Make) -> None:
    problem = Problem(make, dtype=torch.float32)
    problem.optimizer.grad_scaler = scaler = torch.amp.GradScaler("cpu", init_scale=256.0)

    def closure() -> Tensor:
        problem.optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.float16):
            loss = cross_entropy(problem.model(problem.x[0]), problem.y[0])
        scaler.scale(loss).backward()
        return loss

    losses = []
    for _ in range(20):
        losses.append(problem.optimizer.step(closure).item())
        scaler.update()
    assert losses[-1] < 0.75 * losses[0]


@pytest.mark.slow
@pytest.mark.parametrize("function", ["quadratic", "Rosenbrock"])
def test_it_descends(make: Make, function: str) -> None:
    start, factor = {"quadratic": ([3.0, -2.0], 1e-2), "Rosenbrock": ([-1.2, 1.0], 0.25)}[function]
    w = nn.Parameter(torch.tensor([start], dtype=torch.float64))
    base = Adam([("weight", w)], lr=0.02)
    optimizer = make(base, nn.Module())

    def closure() -> Tensor:
        optimizer.zero_grad()
        x, y = w[0]
        loss = x**2 / 2 + 5 * y**2 if function == "quadratic" else (1 - x) ** 2 + 100 * (y - x**2) ** 2
        loss.backward()
        return loss

    first, *_, last = (optimizer.step(closure).item() for _ in range(600))
    assert last < factor * first


@pytest.mark.parametrize("named", [True, False])
def test_sparse_gradients_are_refused_by_name(make: Make, named: bool) -> None:
    table = nn.Embedding(10, 2, sparse=True)
    optimizer = make(SGD(table.named_parameters() if named else table.parameters(), lr=0.1, weight_decay=0.1), table)

    def closure() -> Tensor:
        loss = table(torch.tensor([1])).sum()
        loss.backward()
        return loss

    with pytest.raises(ValueError, match="parameter weight is" if named else r"parameter 0, \(10, 2\) is"):
        optimizer.step(closure)


def test_misuse_says_what_was_expected(make: Make) -> None:
    problem = Problem(make)
    with pytest.raises(ValueError, match="got no closure"):
        problem.optimizer.step()
    with pytest.raises(ValueError, match="the closure returned None"):
        problem.optimizer.step(lambda: None)
    with pytest.raises(ValueError, match=r"SGD.* is not an optimizer\. Expected one"):
        make(SGD, problem.model)


def num_passes(make: Make) -> int:
    """How often a step calls its closure: the fourth, which for no method is a cheap one."""
    problem, calls = Problem(make), []
    problem.run(range(3))
    problem.optimizer.step(problem.closure(3, in_pass=dict.fromkeys(range(9), calls.append)))
    return len(calls)


def equal(got: list[Tensor], expected: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))
