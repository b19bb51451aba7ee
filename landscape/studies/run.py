"""Do what is left of a study (train, measure, draw), where an earlier call was stopped; or say what it would cost.

What is done is known by its files: a training by its last checkpoint, a measurement by its row, a plane by its rows.
Runs whose results are all there are not trained again, even where their checkpoints were deleted.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median
from tempfile import TemporaryDirectory

import torch

from landscape.checkpoint import Checkpoint, load_checkpoint
from landscape.data import load_data
from landscape.files import write_text
from landscape.locks import remove_leftovers, writing
from landscape.problem import Problem
from landscape.studies.plan import Store, key, read_facts, slug
from landscape.studies.sense import require_sense
from landscape.studies.study import Study, grown
from landscape.studies.writeup import write_up
from landscape.training import Recipe, TrainingError, train

Progress = Callable[[int, int, str], None]
_SAVE_EVERY = 10  # epochs, which are short here
_STEPS = 8  # that are timed; the first ones are slower, which the median leaves out


def reproduce(study: Study, store: Store, *, device: torch.device, progress: Progress | None = None) -> None:
    """Do what is left of the plan, and draw the study up.

    Args:
        study: the study.
        store: its folder and its plan.
        device: where to train and to measure.
        progress: called with the runs that are done, all of them, and what is being done.

    Raises:
        ValueError: a folder of weights is of another recipe; what is done is of other data; data or settings that are
            refused, before any training; or another process is writing in the folder.
        TrainingError: every training diverged.
        KeyboardInterrupt: everything up to there is kept.
    """
    with writing(store.out):
        for below in ("recipes", "results", "results/planes/*", "tables", "figures"):
            for folder in store.out.glob(below):
                remove_leftovers(folder)
        store.trainings |= read_facts(store.out).get("trainings", {})
        while True:
            _begin(store)
            _do(store, store.plan.tuning_runs, device, progress)
            if (plan := grown(study, store.plan, store.out)) == store.plan:
                break
            store.plan = plan
        _do(store, plan.runs, device, progress)
        ends = [store.trainings[key(run)] for run in plan.runs]
        if all(end["status"] == "diverged" for end in ends):
            reasons = "; ".join(dict.fromkeys(end["reason"] for end in ends))
            raise TrainingError(f"{store.out}: every training of the study failed, and nothing is measured: {reasons}.")
        write_up(study, plan, store.out)


def _begin(store: Store) -> None:
    """Refuse what would fail, and write down what will be done."""
    store.compare_data()
    require_sense(store)
    for name, recipe in store.plan.names.items():
        write_text(store.out / "recipes" / f"{slug(name)}.toml", recipe.to_toml())
    store.write()


def _do(store: Store, runs: list[Recipe], device: torch.device, progress: Progress | None) -> None:
    """Train and measure what is not there yet of some runs of the plan."""
    plan = store.plan
    for number, run in enumerate(runs):

        def tell(what: str, number: int = number, run: Recipe = run) -> None:
            if progress:
                progress(number, len(plan.runs), f"{plan.name(run)}, seed {run.seed}: {what}")

        if not store.is_done(run) and _train(run, store, device, tell):
            for step in plan.steps:
                if not step.is_done(run, store.results):
                    step.do(run, store.weights(run), store.results, device, tell)


@dataclass(frozen=True)
class Cost:
    """What is left to do of one optimizer's runs, in seconds."""

    optimizer: str
    num_runs: int
    training: float
    measuring: float


def estimate_cost(store: Store, device: torch.device) -> list[Cost]:
    """A row an optimizer that has runs left; its first recipe stands for all of them.

    Costs nine steps of training each, and what ``estimate_cost`` of every step does. Estimates may take longer than
    the least that is counted here; what stopped runs have done already is counted again.

    Raises:
        ValueError: the plan would fail once its networks are trained.
    """
    require_sense(store)
    left: dict[str, list[Recipe]] = {}
    for run in store.plan.runs:
        if not store.is_done(run):
            left.setdefault(run.optimizer, []).append(run)
    return [_cost(store, optimizer, runs, device) for optimizer, runs in left.items()]


def _train(run: Recipe, store: Store, device: torch.device, tell: Callable[[str], None]) -> bool:
    """Train the run, or what is left of it; False where it diverges."""
    folder, status, reason = store.weights(run), "finished", ""
    try:
        train(
            run,
            folder,
            resume=True,
            device=device,
            save_every=_SAVE_EVERY,
            on_epoch=lambda row: tell(f"epoch {row['epoch']} of {run.epochs}, loss {row['train_loss']:.4f}"),
        )
    except TrainingError as error:
        status, reason = "diverged", str(error).partition(";")[0]
    last = load_checkpoint(folder / "last.pt")
    rows = last.metrics
    cost = {"gradients": rows[-1]["gradients"], "radius": fmean(row["radius"] for row in rows)} if rows else {}
    store.trained(run, status=status, reason=reason, seconds=last.identity.get("seconds", 0.0), **cost)
    return status == "finished"


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
            measuring += num_left * step.estimate_cost(checkpoint, device)
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
        begun = time.perf_counter()
        with suppress(_EnoughError, TrainingError):  # others of the optimizer's runs may not diverge
            train(run, folder, device=device, on_step=enough)
        seconds = [later - earlier for earlier, later in pairwise(times)] or [time.perf_counter() - begun]
        return median(seconds), load_checkpoint(Path(folder) / "last.pt")


class _EnoughError(Exception):
    """So many steps were timed."""
