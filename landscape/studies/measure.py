"""The step that measures checkpoints: a row of track.jsonl a checkpoint, on the disk before the next is begun."""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from landscape.checkpoint import Checkpoint, load_checkpoint
from landscape.data import Data, load_data
from landscape.losses import LOSSES
from landscape.measure import METRICS, analyze
from landscape.measure.cost import estimate_cost
from landscape.objective import Objective
from landscape.problem import Problem
from landscape.results import Analysis, Measurement
from landscape.studies.corrupted import corrupted_test
from landscape.studies.plan import Tell, identity
from landscape.tracking import TrackLog, read_track
from landscape.tracking.settings import digest
from landscape.training import Recipe, learning_rate


@dataclass(frozen=True)
class Measure:
    """Measure metrics of a run's last checkpoint, or of all that it keeps. The seed of all draws is the run's.

    Args:
        metrics: by split, which is "train", "validation", "test", or "corrupted": the test images under every
            corruption.
        at: "last", or "kept": the epochs of ``checkpoint_at`` and the last.
        variants: metrics with arguments of their own, as (metric, arguments) by the name that stands among ``metrics``.
        num_samples: of a stratified sample of each split, and for "corrupted" of the images before; None for all.
        severity: of the corruptions.
        rel_error: accuracy at which estimates stop.
        arrays: those among the details that figures need; they are kept as lists.

    Example:
        >>> Measure({"train": ("trace",)}).digest == Measure({"test": ("trace",)}).digest
        False
    """

    metrics: Mapping[str, tuple[str, ...]]
    at: Literal["last", "kept"] = "last"
    variants: Mapping[str, tuple[str, Mapping[str, Any]]] = field(default_factory=dict)
    num_samples: int | None = None
    severity: int = 3
    rel_error: float = 0.05
    arrays: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """A hash of the settings."""
        return digest(asdict(self))

    def is_done(self, run: Recipe, results: Path) -> bool:
        """Whether every epoch has its row."""
        return self._epochs(run) <= _epochs_done(run, read_track(results / "track.jsonl", self.digest))

    def do(self, run: Recipe, weights: Path, results: Path, device: torch.device, tell: Tell) -> None:
        """Measure the epochs that have no row yet."""
        with TrackLog(results / "track.jsonl", self.digest) as log:
            for epoch in sorted(self._epochs(run) - _epochs_done(run, log.analyses)):
                tell(f"measuring epoch {epoch}")
                name = "last.pt" if epoch == run.epochs else f"epoch-{epoch:04d}.pt"
                checkpoint = load_checkpoint(weights / name)
                path = os.path.relpath(weights / name, results)  # says nothing of this machine
                facts = checkpoint.identity | {"path": path, "lr": learning_rate(run, epoch)}
                log.append(self._analysis(checkpoint, device, run.seed).with_checkpoint(facts))

    def foresee(self, checkpoint: Checkpoint, device: torch.device) -> float:
        """Seconds for a run: the least that its estimates may take."""
        recipe = Recipe.from_dict(checkpoint.recipe)
        seconds = 0.0
        for split, one in self._objectives(checkpoint, device).items():
            names = [self.variants.get(name, (name, {}))[0] for name in self.metrics[split]]
            costs = estimate_cost(one, names)["metrics"]
            seconds += sum(costs[name]["seconds"]["least"] for name in names)
        return seconds * len(self._epochs(recipe))

    def _epochs(self, run: Recipe) -> set[int]:
        return {run.epochs, *(run.checkpoint_at if self.at == "kept" else ())}

    def _objectives(self, checkpoint: Checkpoint, device: torch.device) -> dict[str, Objective]:
        data, loss = checkpoint.data or {}, checkpoint.loss or {}
        args = tuple(data["args"].items())
        splits = _data(data["name"], args).splits
        num_samples: dict[str, int | None] = dict.fromkeys(self.metrics, self.num_samples)
        if "corrupted" in self.metrics:
            splits["corrupted"] = corrupted_test(data["name"], args, self.severity, self.num_samples)
            num_samples["corrupted"] = None  # they are that many already
        problem = Problem(checkpoint.build_model(), LOSSES[loss["name"]](**loss["args"]), splits)
        return {
            split: problem.objective(split, num_samples=num_samples[split], device=device) for split in self.metrics
        }

    def _analysis(self, checkpoint: Checkpoint, device: torch.device, seed: int) -> Analysis:
        start = time.perf_counter()
        found = Analysis({})
        for split, one in self._objectives(checkpoint, device).items():
            names = [name for name in self.metrics[split] if name not in self.variants]
            analysis = analyze({split: one}, names, rel_error=self.rel_error, seed=seed)
            found.splits[split] = analysis[split] | {
                name: METRICS[metric](one, seed=seed, **arguments)
                for name, (metric, arguments) in self.variants.items()
                if name in self.metrics[split]
            }
            examples = found.objective.get("num_examples", {}) | analysis.objective["num_examples"]
            found.objective.update(analysis.objective | {"splits": list(examples), "num_examples": examples})
            found.provenance.update(analysis.provenance)
        found.provenance.pop("command")  # which may name places on this machine
        found.provenance["seconds"] = time.perf_counter() - start
        splits = {split: {name: self._compact(m) for name, m in some.items()} for split, some in found.splits.items()}
        return replace(found, splits=splits)

    def _compact(self, m: Measurement) -> Measurement:
        """Arrays as lists, and only those that are wanted."""
        details = {
            key: value.tolist() if isinstance(value, np.ndarray) else value
            for key, value in m.details.items()
            if key in self.arrays or not isinstance(value, np.ndarray)
        }
        return replace(m, details=details)


@lru_cache(maxsize=1)  # read once for all checkpoints
def _data(name: str, args: tuple[tuple[str, Any], ...]) -> Data:
    return load_data(name, **dict(args))


def _epochs_done(run: Recipe, analyses: list[Analysis]) -> set[int]:
    rows = [analysis.checkpoint or {} for analysis in analyses]
    mine = identity(run)
    return {row["epoch"] for row in rows if json.dumps(row["recipe"], sort_keys=True) == mine}
