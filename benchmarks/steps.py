"""Row j: what a step of each optimizer costs, in steps of SGD with momentum, and how much memory it needs.

Time: ResNet-18 in train mode, each optimizer with a copy of its own, which it trains on: nothing is restored. A turn is
a whole number of periods, so that the dear steps of CurvSAM and of GAM with a period count with their share. Judged are
the processor's own seconds, medians: beside other work, wall-clock seconds of one thread are off by tens of percent.

Memory: every byte that torch's allocator handed out from the making of the network on, as its profiler saw it, at the
highest point; above that of SGD without momentum, and in units of the weights. What the system reports would be the
same, less exactly. The network is an MLP of 20 million weights, of whose 8 examples the activations are nothing; an
optimizer that held a buffer while a deep network holds its activations would look better there than it is.
"""

import copy
import itertools
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import pytorch_optimizer
import torch
from torch import Tensor, nn
from torch.autograd.profiler import profile
from torch.optim import SGD, Optimizer

from benchmarks.race import Contender, Found, Timing, race
from benchmarks.report import US, Bar, Row
from benchmarks.subjects import CRITERION, Batch, images
from landscape.models import build_model
from landscape.optim import ASAM, CRSAM, GAM, RSAM, SAM, SASAM, SASGD, CurvSAM
from landscape.optim.base import MultiPassOptimizer

PEER = "pytorch-optimizer"
Mode = Literal["hvp", "fd", "accelerated"]
MODES: tuple[Mode, ...] = ("hvp", "fd", "accelerated")
TURN = 4  # passes in a turn, at least, so that SGD's is not a much shorter sample than the others'


@dataclass(frozen=True)
class Method:
    """An optimizer at one setting.

    Attributes:
        build: Makes it for a network.
        period: After how many steps its work repeats.
        passes: How many a step must make.
        buffers: Of the weights' size, kept from step to step or for the length of one.
    """

    name: str
    build: Callable[[nn.Module], Optimizer]
    passes: int
    buffers: int
    period: int = 1
    tool: str = US


def _sgd(model: nn.Module) -> SGD:
    return SGD(model.parameters(), lr=1e-3, momentum=0.9, weight_decay=5e-4)


def _named(model: nn.Module) -> SGD:
    return SGD(model.named_parameters(), lr=1e-3, momentum=0.9, weight_decay=5e-4)


def _peer(model: nn.Module, *, adaptive: bool) -> Optimizer:
    return pytorch_optimizer.SAM(model.parameters(), SGD, adaptive=adaptive, lr=1e-3, momentum=0.9, weight_decay=5e-4)


def _gam(model: nn.Module, *, mode: Mode, period: int = 1) -> GAM:
    return GAM(_sgd(model), mode=mode, period=period, model=model)


PLAIN, HVP, CURVSAM = "SGD, momentum 0.9", 'GAM, mode "hvp"', "CurvSAM, update_every 5"
METHODS = [
    Method(PLAIN, _sgd, 1, 1, tool="torch"),
    Method("SAM", lambda m: SAM(_sgd(m), model=m), 2, 2),
    Method("SAM", partial(_peer, adaptive=False), 2, 2, tool=PEER),
    Method("ASAM", lambda m: ASAM(_named(m), model=m), 2, 2),
    Method("SAM, adaptive", partial(_peer, adaptive=True), 2, 2, tool=PEER),
    Method("RSAM", lambda m: RSAM(_sgd(m), model=m), 2, 3),
    Method("CRSAM", lambda m: CRSAM(_sgd(m), model=m), 3, 4),
    Method("SASGD", lambda m: SASGD(m.parameters(), lr=1e-3, weight_decay=5e-4, model=m), 2, 2),
    Method("SASAM", lambda m: SASAM(m.parameters(), lr=1e-3, weight_decay=5e-4, model=m), 3, 3),
    Method(CURVSAM, lambda m: CurvSAM(_sgd(m), update_every=5, model=m), 2, 3, period=5),
    Method(HVP, partial(_gam, mode="hvp"), 2, 3),
    Method('GAM, mode "fd"', partial(_gam, mode="fd"), 4, 5),
    Method('GAM, mode "accelerated"', partial(_gam, mode="accelerated"), 4, 5),
]
RARE = {
    mode: Method(f'GAM, mode "{mode}", period 10', partial(_gam, mode=mode, period=10), 1, 5, period=10)
    for mode in MODES
}


def step_cost(quick: bool) -> Row:
    """Row j."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build_model("resnet18", input_shape=(3, 32, 32), num_classes=10)
    inputs, targets, what = images(8 if quick else 32)
    methods = [*METHODS, *RARE.values()]
    optimizers: list[Optimizer] = []
    contenders: list[Contender] = []
    for method in methods:
        model = copy.deepcopy(network)
        optimizer = method.build(model)
        step = stepper(optimizer, model, (inputs, targets))
        inner = -(-TURN // (method.passes * method.period)) * method.period
        contenders.append(Contender(method.tool, method.name, partial(_turn, step), inner=inner))
        optimizers.append(optimizer)
    contenders.append(
        Contender("torch", "a gradient and a product, bare", _product(network, (inputs, targets)), inner=2)
    )
    timings = race(contenders, repeats=2 if quick else 4)
    assert not any(o.num_skipped for o in optimizers if isinstance(o, MultiPassOptimizer)), "a step was skipped"
    found = {(t.tool, t.setting): t for t in timings}
    unit = found["torch", PLAIN]
    for timing in timings:
        timing.note = f"{_ratio(timing, unit):.3f} SGD steps"
    return Row(
        "j",
        f"resnet18, batch of {len(targets)} {what}, train mode: one step",
        timings,
        [*_cost_bars(found), *_memory_bars()],
        {
            f"SAM, {US} over {PEER}": _ratio(found[US, "SAM"], found[PEER, "SAM"]),
            f"ASAM, {US} over {PEER}": _ratio(found[US, "ASAM"], found[PEER, "SAM, adaptive"]),
            'GAM, mode "hvp", period 10, in SGD steps': _ratio(found[US, RARE["hvp"].name], unit),
            "memory": "MLP of 20 million weights, 8 examples; bytes of torch's allocator",
        },
    )


def stepper(optimizer: Optimizer, model: nn.Module, batch: Batch) -> Callable[[], object]:
    """One step, the way that the optimizer's documentation asks for."""
    inputs, targets = batch

    def loss() -> Tensor:
        return CRITERION(model(inputs), targets)

    def closure() -> Any:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    def theirs() -> None:
        closure()
        optimizer.step(closure)

    if isinstance(optimizer, MultiPassOptimizer):
        return lambda: optimizer.step(closure, loss=loss)
    return theirs if isinstance(optimizer, pytorch_optimizer.SAM) else lambda: optimizer.step(closure)


def peak_bytes(method: Method) -> int:
    """Most bytes alive at once while a network is made and trained for two periods."""
    with torch.random.fork_rng(), profile(use_kineto=True, profile_memory=True) as seen:
        torch.manual_seed(0)
        model = build_model("mlp", input_shape=(1, 1, 1000), num_classes=10, hidden=(1000,) * 20)
        batch = torch.randn(8, 1, 1, 1000), torch.arange(8)
        step = stepper(method.build(model), model, batch)
        for _ in range(2 * method.period + 1):
            step()
        del model, step
    events = sorted((e for e in seen.kineto_results.events() if e.name() == "[memory]"), key=lambda e: e.start_ns())
    return max(itertools.accumulate(e.nbytes() for e in events))


def _turn(step: Callable[[], object], _seed: int) -> Found:
    step()
    return Found(None)


def _product(network: nn.Module, batch: Batch) -> Callable[[int], Found]:
    """A forward pass, a gradient with its graph, and one backward through that."""
    model = copy.deepcopy(network)
    parameters = list(model.parameters())

    def work(_seed: int) -> Found:
        grads = torch.autograd.grad(CRITERION(model(batch[0]), batch[1]), parameters, create_graph=True)
        torch.autograd.grad(grads, parameters, [g.detach() for g in grads])
        return Found(None, 1)

    return work


def _ratio(timing: Timing, unit: Timing) -> float:
    return statistics.median(timing.cpu_seconds) / statistics.median(unit.cpu_seconds)


def _cost_bars(found: dict[tuple[str, str], Timing]) -> list[Bar]:
    unit, sam = found["torch", PLAIN], found[US, "SAM"]
    bars = []
    for method in METHODS:
        if method.tool == US and method.name not in (HVP, CURVSAM):
            cost = _ratio(found[US, method.name], unit)
            wanted = f"{method.name}: <= 1.05 x {method.passes} SGD steps"
            bars.append(Bar(wanted, f"{cost:.3f} ({cost / method.passes:.3f} x)", cost <= 1.05 * method.passes))
    ratio = _ratio(found[US, HVP], found["torch", "a gradient and a product, bare"]) / 2
    bars.append(Bar(f"{HVP}: <= 1.05 x two bare gradients with a product each", f"{ratio:.3f} x", ratio <= 1.05))
    ratio = _ratio(found[US, CURVSAM], sam)
    bars.append(Bar(f"{CURVSAM}: <= 1.15 x SAM", f"{ratio:.3f} x", ratio <= 1.15))
    for mode in ("fd", "accelerated"):
        ratio = _ratio(found[US, RARE[mode].name], unit)
        bars.append(Bar(f"{RARE[mode].name}: <= 1.35 SGD steps", f"{ratio:.3f}", ratio <= 1.35))
    return bars


def _memory_bars() -> list[Bar]:
    size = 4 * 20_030_010
    floor = peak_bytes(Method("", lambda m: SGD(m.parameters(), lr=1e-3), 1, 0))
    bars = []
    for method in METHODS:
        buffers = (peak_bytes(method) - floor) / size
        wanted = f"{method.name}: peak memory <= {method.buffers} buffers + 5 %"
        judged = buffers <= 1.05 * method.buffers if method.tool == US else None
        bars.append(Bar(wanted if method.tool == US else f"{method.name} ({method.tool})", f"{buffers:.3f}", judged))
    return bars


ROWS = {"j": step_cost}
