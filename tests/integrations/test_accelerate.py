"""The optimizers in a loop of accelerate, against steps made by hand."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from accelerate.state import AcceleratorState, GradientState, PartialState
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader, TensorDataset

from landscape.integrations import Accumulated
from landscape.optim import CRSAM, SAM
from tests.integrations import byhand
from tests.optim.test_contract import OPTIMIZERS, equal

BATCH, ACCUMULATE = 4, 2  # seven micro-batches an epoch: groups of 2, 2, 2 and 1

METHODS: dict[str, tuple[Callable[..., Any], Callable[..., list[Tensor]]]] = {
    "sam": (lambda base, model: SAM(base, rho=0.1, model=model), lambda *a: byhand.sam(*a, rho=0.1)),
    "crsam": (
        lambda base, model: CRSAM(base, rho=0.1, alpha=0.3, beta=0.2, model=model),
        lambda *a: byhand.crsam(*a, rho=0.1, alpha=0.3, beta=0.2),
    ),
}


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Accelerate keeps what an accelerator is set to for the whole process."""
    yield
    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()


def network(dtype: torch.dtype = torch.float64) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)).to(dtype)


def data(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(26, 4, generator=generator).to(dtype), torch.randint(3, (26,), generator=generator)


class Loop:
    """A loop of accelerate over one model."""

    def __init__(self, make: Callable[..., Any], *, dtype: torch.dtype = torch.float64, **options: Any) -> None:
        self.accelerator = Accelerator(cpu=True, gradient_accumulation_steps=ACCUMULATE, **options)
        model = network(dtype)
        optimizer = make(SGD(model.parameters(), lr=0.2, momentum=0.9, weight_decay=0.01), model)
        loader = DataLoader(TensorDataset(*data(dtype)), batch_size=BATCH)
        self.model, self.optimizer, self.loader, self.scheduler = self.accelerator.prepare(
            model, optimizer, loader, StepLR(optimizer, 1, gamma=0.9)
        )
        self.passes = Accumulated(self.accelerator, self.model, self.optimizer, self.loss)
        self.losses: list[float] = []

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        return cross_entropy(self.model(x), y)

    def epoch(self, max_norm: float | None = 0.05) -> None:
        for x, y in self.loader:
            with self.accelerator.accumulate(self.model):
                loss = self.passes.backward(x, y)
                if self.accelerator.sync_gradients and max_norm is not None:
                    self.accelerator.clip_grad_norm_(self.model.parameters(), max_norm)
                self.optimizer.step()
                self.scheduler.step()
                self.optimizer.zero_grad()
            if loss is not None:
                self.losses.append(loss.item())

    def weights(self) -> list[Tensor]:
        return [p.detach().clone() for p in self.model.parameters()]


def steps_by_hand(
    model: nn.Module, direction: Callable[..., list[Tensor]], *, autocast: bool = False
) -> tuple[list[Tensor], list[float]]:
    params = list(model.parameters())
    base = SGD(params, lr=0.2, momentum=0.9, weight_decay=0.01)
    scheduler = StepLR(base, 1, gamma=0.9)
    x, y = data(params[0].dtype)
    micro_batches = list(zip(x.split(BATCH), y.split(BATCH), strict=True))
    losses = []
    for i in range(0, len(micro_batches), ACCUMULATE):

        def found(group: Any = micro_batches[i : i + ACCUMULATE]) -> list[Tensor]:
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast, cache_enabled=False):
                logits = [model(x).float() if autocast else model(x) for x, _ in group]
            return [cross_entropy(z, y) / ACCUMULATE for z, (_, y) in zip(logits, group, strict=True)]

        losses.append(ACCUMULATE * sum(loss.item() for loss in found()) / len(found()))
        d, _ = byhand.clip(direction(params, lambda found=found: byhand.gradient_of(params, found)), 0.05)
        for p, v in zip(params, d, strict=True):
            p.grad = v
        base.step()
        scheduler.step()
    return params, losses


@pytest.mark.parametrize("name", METHODS)
def test_accumulation_clipping_and_schedule_are_those_of_steps_by_hand(name: str) -> None:
    make, direction = METHODS[name]
    loop = Loop(make)
    loop.epoch()
    params, losses = steps_by_hand(network(), direction)
    assert byhand.distance(loop.weights(), params) < 1e-12
    assert loop.losses == pytest.approx(losses, rel=1e-12)


def test_bfloat16() -> None:
    make, direction = METHODS["sam"]
    loop = Loop(make, dtype=torch.float32, mixed_precision="bf16")
    loop.epoch()
    params, _ = steps_by_hand(network(torch.float32), direction, autocast=True)
    assert byhand.distance(loop.weights(), params) < 1e-6
    full, _ = steps_by_hand(network(torch.float32), direction)
    assert byhand.distance(loop.weights(), full) > 1e-5


class ScaledLoop(Loop):
    """With what mixed_precision="fp16" sets, which accelerate has on a GPU only, but for autocast."""

    def __init__(self, make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(make)
        self.scaler = self.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        self.accelerator.native_amp = True
        monkeypatch.setattr(Accelerator, "mixed_precision", "fp16")
        self.optimizer = AcceleratedOptimizer(self.optimizer.optimizer, scaler=self.scaler)
        self.accelerator._optimizers[:] = self.scheduler.optimizers[:] = [self.optimizer]
        self.passes = Accumulated(self.accelerator, self.model, self.optimizer, self.loss)


def test_a_grad_scaler_changes_rounding_only(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Loop(METHODS["crsam"][0])
    plain.epoch()
    scaled = ScaledLoop(METHODS["crsam"][0], monkeypatch)
    scaled.epoch()
    assert byhand.distance(scaled.weights(), plain.weights()) < 1e-12
    assert scaled.scaler.get_scale() == 1024.0


def test_an_infinite_pass_skips_update_and_schedule_and_lowers_the_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = ScaledLoop(METHODS["sam"][0], monkeypatch)
    number = iter(range(100))
    loop.passes._loss = lambda x, y: loop.loss(x, y) * (torch.inf if next(number) == 3 else 1.0)
    before, (x, y) = loop.weights(), data()
    loop.loader = [(x[:4], y[:4]), (x[4:8], y[4:8])]
    loop.epoch()
    assert next(number) == 4
    assert loop.optimizer.optimizer.num_skipped == 1
    assert equal(loop.weights(), before)
    assert loop.scheduler.get_last_lr() == [0.2]
    assert loop.scaler.get_scale() == 512.0


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_every_optimizer_steps_as_with_a_closure_over_all_micro_batches(make: Any) -> None:
    loop = Loop(make)
    loop.epoch(max_norm=None)
    model = network()
    optimizer = make(SGD(model.parameters(), lr=0.2, momentum=0.9, weight_decay=0.01), model)
    scheduler = StepLR(optimizer, 1, gamma=0.9)
    x, y = data()
    micro_batches = list(zip(x.split(BATCH), y.split(BATCH), strict=True))
    for i in range(0, len(micro_batches), ACCUMULATE):

        def closure(group: Any = micro_batches[i : i + ACCUMULATE]) -> Tensor:
            optimizer.zero_grad()
            losses = [cross_entropy(model(x), y) for x, y in group]
            for loss in losses:
                (loss / ACCUMULATE).backward()
            return torch.stack(losses).mean()

        optimizer.step(closure)
        scheduler.step()
    assert equal(loop.weights(), list(model.parameters()))


@pytest.mark.parametrize("name", ["sam", "gam", "rsam", "sasam"])
def test_a_resumed_run_ends_with_the_same_bits(tmp_path: Path, name: str) -> None:
    straight, resumed = Loop(OPTIMIZERS[name]), Loop(OPTIMIZERS[name])
    straight.epoch()
    straight.accelerator.save_state(str(tmp_path))
    straight.epoch()
    resumed.accelerator.load_state(str(tmp_path))
    resumed.epoch()
    assert equal(straight.weights(), resumed.weights())


def test_each_pass_gets_the_micro_batch_as_it_was() -> None:
    loop, other = Loop(METHODS["sam"][0]), Loop(METHODS["sam"][0])
    loop.passes._loss = lambda x, y: loop.loss(x.mul_(0.5), y)
    other.passes._loss = lambda x, y: other.loss(0.5 * x, y)
    loop.epoch()
    other.epoch()
    assert equal(loop.weights(), other.weights())


def test_another_optimizer_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"optimizer=AcceleratedOptimizer is none of landscape\.optim"):
        Loop(lambda base, _: base)
