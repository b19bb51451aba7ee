"""Two processes under DistributedDataParallel, on gloo. One pair, slow to start, runs all optimizers."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel
from torch.optim import SGD, Adam

from landscape.optim import CRSAM, GAM, RSAM, SAM, CurvSAM
from landscape.optim.base import MultiPassOptimizer
from tests.optim.test_contract import OPTIMIZERS

pytestmark = pytest.mark.skipif(not dist.is_available(), reason="torch was built without torch.distributed")

NUM_STEPS = 50
SYNCED: dict[str, Callable[..., MultiPassOptimizer]] = {  # against one process with the whole batch
    "sam": functools.partial(SAM, rho=0.3),
    "rsam": functools.partial(RSAM, sigma=0.1),
    "crsam log": functools.partial(CRSAM, alpha=0.001, beta=0.0001, regularizer="log"),
    "curvsam": functools.partial(CurvSAM, update_every=3),
    "gam": GAM,
    "gam accelerated": functools.partial(GAM, mode="accelerated"),
}


class Network(nn.Module):
    """With a branch that only odd examples take, so that a process may have no gradient for it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.branch, self.last = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.double()
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for p in self.parameters():
                p.copy_(torch.randn(p.shape, generator=generator, dtype=torch.float64))

    def forward(self, x: Tensor, branch: bool) -> Tensor:
        x = self.first(x).tanh()
        return self.last(self.branch(x).tanh() if branch else x)


def data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(NUM_STEPS, 2, 8, 4, generator=generator, dtype=torch.float64)
    return x, torch.randint(3, (NUM_STEPS, 2, 8), generator=generator)


def train(
    model: nn.Module,
    optimizer: MultiPassOptimizer,
    batches: Callable[[int], tuple[Tensor, Tensor]],
    *,
    branch: Callable[[int], bool],
    num_steps: int = NUM_STEPS,
    spoil: Callable[[int, int], bool] = lambda step, number: False,
    exact: bool = False,
) -> list[Tensor]:
    for step in range(num_steps):
        x, y = batches(step)
        passes = iter(range(9))

        def loss(step: int = step, x: Tensor = x, y: Tensor = y) -> Tensor:
            return cross_entropy(model(x, branch(step)), y)

        def closure(step: int = step, loss: Callable[[], Tensor] = loss, passes: Any = passes) -> Tensor:
            optimizer.zero_grad()
            value = loss()
            value.backward()
            return value * torch.nan if spoil(step, next(passes)) else value

        optimizer.step(closure, loss=loss if exact else None)
    return [p.detach().clone() for p in model.parameters()]


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    x, y = data()
    results: dict[str, Any] = {}
    for name, make in OPTIMIZERS.items():
        ddp = DistributedDataParallel(Network())
        optimizer = make(SGD(ddp.parameters(), lr=0.05, momentum=0.9), ddp)
        results[name] = train(
            ddp,
            optimizer,
            lambda step: (x[step, rank], y[step, rank]),
            branch=lambda step: step % 3 == 0 or (step % 3 == 1 and rank == 1),
            spoil=lambda step, number: (step, number, rank) in [(5, 0, 0), (9, 1, 1)],
        )
        results[name, "num_skipped"] = optimizer.num_skipped
    for name, make in SYNCED.items():
        for exact in (False, True):  # gradients that are views of the reducer's buckets are the harder case
            ddp = DistributedDataParallel(Network(), find_unused_parameters=True, gradient_as_bucket_view=not exact)
            optimizer = make(SGD(ddp.parameters(), lr=0.05, momentum=0.9), model=ddp)
            optimizer.sync_perturbation = True
            results[name, exact] = train(
                ddp,
                optimizer,
                lambda step: (x[step, rank], y[step, rank]),
                branch=lambda step: step % 2 == 0,
                num_steps=6,
                spoil=lambda step, number: (step, number, rank) == (2, 0, 1),
                exact=exact,
            )
    ddp = DistributedDataParallel(Network())  # one step per worker: the mean of what each would do alone
    results["per worker"] = train(
        ddp,
        SAM(SGD(ddp.parameters(), lr=0.05), rho=0.3, model=ddp),
        lambda step: (x[step, rank], y[step, rank]),
        branch=lambda step: True,
        num_steps=1,
    )
    from torch.distributed.optim import ZeroRedundancyOptimizer  # warns that torch.jit, which it imports, is deprecated

    for name in ("whole", "sharded", "compiled"):  # states of the base, and the model
        ddp = DistributedDataParallel(Network(), find_unused_parameters=True)
        params = ddp.parameters()
        base = ZeroRedundancyOptimizer(params, Adam, lr=0.05) if name == "sharded" else Adam(params, lr=0.05)
        model = torch.compile(ddp, backend="eager") if name == "compiled" else ddp
        results[name] = train(
            model,
            SAM(base, rho=0.3, model=model),
            lambda step: (x[step, rank], y[step, rank]),
            branch=lambda step: step % 2 == 0,
            num_steps=6,
        )
    results["shards"] = [refusal(shard) for shard in (fully_shard, FullyShardedDataParallel)]
    torch.save(results, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def refusal(shard: Callable[[nn.Module], Any]) -> str:
    model = shard(Network(), **({"device_id": torch.device("cpu")} if shard is FullyShardedDataParallel else {}))
    optimizer = SAM(SGD(model.parameters(), lr=0.05))
    try:
        optimizer.step(lambda: None)
    except ValueError as error:
        return str(error)
    return ""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[Any, Any]]:
    folder: Path = tmp_path_factory.mktemp("distributed")
    torch.multiprocessing.spawn(work, args=(str(folder),), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_weights_are_the_same_bits_after_steps_that_both_or_one_skipped(
    results: list[dict[Any, Any]], name: str
) -> None:
    first, second = results
    assert all(torch.equal(a, b) for a, b in zip(first[name], second[name], strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first[name], Network().parameters(), strict=True))
    assert 0 < first[name, "num_skipped"] == second[name, "num_skipped"] <= 2


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("name", SYNCED)
def test_synchronized_perturbation_is_one_process_with_the_whole_batch(
    results: list[dict[Any, Any]], name: str, exact: bool
) -> None:
    x, y = data()
    model = Network()
    expected = train(
        model,
        SYNCED[name](SGD(model.parameters(), lr=0.05, momentum=0.9)),
        lambda step: (x[step].flatten(0, 1), y[step].flatten()),
        branch=lambda step: step % 2 == 0,
        num_steps=6,
        spoil=lambda step, number: (step, number) == (2, 0),
        exact=exact,
    )
    for result in results:
        assert all((a - b).abs().max() < 1e-10 for a, b in zip(result[name, exact], expected, strict=True))


def test_per_worker_perturbation_is_the_mean_of_each_worker_alone(results: list[dict[Any, Any]]) -> None:
    x, y = data()
    alone = []
    for rank in range(2):
        model = Network()
        optimizer = SAM(SGD(model.parameters(), lr=0.05), rho=0.3)
        batch = (x[0, rank], y[0, rank])
        alone.append(train(model, optimizer, lambda _, batch=batch: batch, branch=lambda _: True, num_steps=1))
    for got, a, b in zip(results[0]["per worker"], *alone, strict=True):
        assert (got - (a + b) / 2).abs().max() < 1e-12


@pytest.mark.parametrize("name", ["sharded", "compiled"])
def test_a_base_with_its_state_in_shards_and_a_compiled_model_step_alike(
    results: list[dict[Any, Any]], name: str
) -> None:
    for result in results:
        assert all(torch.equal(a, b) for a, b in zip(result[name], result["whole"], strict=True))


def test_parameters_in_shards_are_refused_by_name(results: list[dict[Any, Any]]) -> None:
    for message in results[0]["shards"]:
        assert "in shards (FSDP or DTensor)" in message
        assert "ZeroRedundancyOptimizer" in message
