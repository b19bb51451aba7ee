"""What a study will cost, before it is paid: from timed steps of every optimizer, timed products and passes."""

import time
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch

from landscape.checkpoint import Checkpoint, load_checkpoint
from landscape.data import load_data
from landscape.problem import Problem
from landscape.studies.store import Store
from landscape.training import Recipe, train

_STEPS = 8  # that are timed; the first ones are slower, which the median leaves out


@dataclass(frozen=True)
class Cost:
    """What is left to do of one optimizer's runs, in seconds."""

    optimizer: str
    num_runs: int
    training: float
    measuring: float


class _EnoughError(Exception):
    """So many steps were timed."""


def foresee_study(store: Store, device: torch.device) -> list[Cost]:
    """A row an optimizer that has runs left; its first recipe stands for all of them.

    Costs nine steps of training each, and what ``foresee`` of every measurement does. Estimates may take longer than
    the least that is counted here; what stopped runs have done already is counted again.
    """
    left: dict[str, list[Recipe]] = {}
    for run in store.plan.runs:
        if not store.is_done(run):
            left.setdefault(run.optimizer, []).append(run)
    return [_cost(store, optimizer, runs, device) for optimizer, runs in left.items()]


def _cost(store: Store, optimizer: str, runs: list[Recipe], device: torch.device) -> Cost:
    per_step, checkpoint = _timed(runs[0], device)
    start = time.perf_counter()
    data = load_data(runs[0].data, **runs[0].data_args)
    loading = time.perf_counter() - start
    steps = -(-len(data.train) // runs[0].batch_size)
    per_example = _evaluated(checkpoint, device) / len(data.test)
    evaluating = per_example * sum(len(split) for split in data.splits.values())
    untrained = [run for run in runs if not store.is_trained(run)]
    training = sum(loading + (per_step * steps + evaluating) * run.epochs for run in untrained)
    measuring = 0.0
    for step in store.plan.steps:
        if num_left := sum(not step.is_done(run, store.results) for run in runs):
            measuring += num_left * step.foresee(checkpoint, device)
    return Cost(optimizer, len(runs), training, measuring)


def _evaluated(checkpoint: Checkpoint, device: torch.device) -> float:
    """Seconds of the loss over the test part, the second time."""
    objective = Problem.of(checkpoint).objective("test", device=device)
    w = objective.vector()  # at weights that are given, nothing is remembered
    objective.value(at=w)
    start = time.perf_counter()
    objective.value(at=w)
    return time.perf_counter() - start


def _timed(run: Recipe, device: torch.device) -> tuple[float, Checkpoint]:
    """Seconds a step, and the first weights."""
    times: list[float] = []

    def enough(_: float) -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter())
        if len(times) > _STEPS:
            raise _EnoughError

    with TemporaryDirectory() as folder:
        with suppress(_EnoughError):
            train(run, folder, device=device, on_step=enough)
        seconds = [later - earlier for earlier, later in pairwise(times)]
        return median(seconds), load_checkpoint(Path(folder) / "last.pt")
