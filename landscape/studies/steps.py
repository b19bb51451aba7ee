"""The steps of a plan: metrics of the checkpoints, a row of track.jsonl each; and a plane through the last weights."""

import json
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from landscape.checkpoint import Checkpoint, load_checkpoint
from landscape.data import Data, Split, corrupt, load_data
from landscape.data.corruptions import CORRUPTIONS
from landscape.fingerprint import united
from landscape.losses import LOSSES
from landscape.measure import METRICS, analyze
from landscape.measure.cost import estimate_cost as cost_of_metrics
from landscape.objective import Objective
from landscape.problem import Problem
from landscape.results import Analysis, Measurement, TrackLog, load_surfaces, read_track
from landscape.studies.plan import Tell, identity, key, slug
from landscape.surface import plane
from landscape.surface.points import estimate_cost as cost_of_surface
from landscape.tracking.settings import digest
from landscape.training import Recipe, learning_rate


@dataclass(frozen=True)
class Measure:
    """Measure metrics of a run's last checkpoint, or of all that it keeps. The seed of all draws is the run's.

    Splits are "train", "validation", "test", and "corrupted": the test images under every corruption. Variants are
    metrics with arguments of their own, as (metric, arguments) by the name that stands among ``metrics``.

    Example:
        >>> Measure({"train": ("trace",)}).digest == Measure({"test": ("trace",)}).digest
        False
    """

    metrics: Mapping[str, tuple[str, ...]]  # by split
    # "kept": at the epochs of ``checkpoint_at`` and the last; "by epoch": likewise, and runs without them not at all
    at: Literal["last", "kept", "by epoch"] = "last"
    variants: Mapping[str, tuple[str, Mapping[str, Any]]] = field(default_factory=dict)
    num_samples: int | None = None  # of a stratified sample of each split, before it is corrupted; None for all
    severity: int = 3  # of the corruptions
    rel_error: float = 0.05  # accuracy at which estimates stop
    arrays: tuple[str, ...] = ()  # those among the details that figures need; they are kept as lists
    mode: str = "eval"  # "reestimate": with BatchNorm statistics of the training split

    @property
    def digest(self) -> str:
        """A hash of the settings."""
        values = asdict(self)
        return digest({name: value for name, value in values.items() if (name, value) != ("mode", "eval")})

    def epochs(self, run: Recipe) -> set[int]:
        """Those at which a run is measured."""
        if self.at == "by epoch" and not run.checkpoint_at:
            return set()
        return {run.epochs, *(() if self.at == "last" else run.checkpoint_at)}

    def is_done(self, run: Recipe, results: Path) -> bool:
        """Whether every epoch has its row."""
        return self.epochs(run) <= _epochs_done(run, results, self.digest)

    def do(self, run: Recipe, weights: Path, results: Path, device: torch.device, tell: Tell) -> None:
        """Measure the epochs that have no row yet."""
        left = sorted(self.epochs(run) - _epochs_done(run, results, self.digest))
        with TrackLog(results / "track.jsonl", self.digest, read=False) as log:
            for epoch in left:
                tell(f"measuring epoch {epoch}")
                name = "last.pt" if epoch == run.epochs else f"epoch-{epoch:04d}.pt"
                checkpoint = load_checkpoint(weights / name)
                path = os.path.relpath(weights / name, results)  # says nothing of this machine
                facts = checkpoint.identity | {"path": path, "lr": learning_rate(run, epoch)}
                log.append(self._analysis(checkpoint, device, run.seed).with_checkpoint(facts))
                _note(run, epoch, results, self.digest)

    def estimate_cost(self, checkpoint: Checkpoint, device: torch.device) -> float:
        """Seconds for a run: the least that its estimates may take."""
        recipe = Recipe.from_dict(checkpoint.recipe)
        seconds = 0.0
        for split, one in self._objectives(checkpoint, device).items():
            names = [self.variants.get(name, (name, {}))[0] for name in self.metrics[split]]
            costs = cost_of_metrics(one, names)["metrics"]
            seconds += sum(costs[name]["seconds"]["least"] for name in names)
        return seconds * len(self.epochs(recipe))

    def _objectives(self, checkpoint: Checkpoint, device: torch.device) -> dict[str, Objective]:
        data, loss = checkpoint.data or {}, checkpoint.loss or {}
        args = tuple(data["args"].items())
        splits = _data(data["name"], args).splits
        num_samples: dict[str, int | None] = dict.fromkeys(self.metrics, self.num_samples)
        if "corrupted" in self.metrics:
            splits["corrupted"] = corrupted_test(data["name"], args, self.severity, self.num_samples)
            num_samples["corrupted"] = None  # they are that many already
        problem = Problem(checkpoint.build_model(), LOSSES[loss["name"]](**loss["args"]), splits, mode=self.mode)
        return {
            split: problem.objective(split, num_samples=num_samples[split], device=device) for split in self.metrics
        }

    def _analysis(self, checkpoint: Checkpoint, device: torch.device, seed: int) -> Analysis:
        start = time.perf_counter()
        found = Analysis({})
        for split, one in self._objectives(checkpoint, device).items():
            names = [name for name in self.metrics[split] if name not in self.variants]
            analysis = analyze({split: one}, names, rel_error=self.rel_error, seed=seed)
            variants = {
                name: METRICS[metric](one, seed=seed, **arguments)
                for name, (metric, arguments) in self.variants.items()
                if name in self.metrics[split]
            }
            found.splits[split] = {name: self._compact(m) for name, m in (analysis[split] | variants).items()}
            examples = found.objective.get("num_examples", {}) | analysis.objective["num_examples"]
            fingerprint = united([found.objective.get("fingerprint"), analysis.objective["fingerprint"]])
            told = {"splits": list(examples), "num_examples": examples, "fingerprint": fingerprint}
            found.objective.update(analysis.objective | told)
            found.provenance.update(analysis.provenance)
        found.provenance.pop("command")  # which may name places on this machine
        found.provenance["seconds"] = time.perf_counter() - start
        return found

    def _compact(self, m: Measurement) -> Measurement:
        """Arrays as lists, and only those that are wanted."""
        details = {
            key: value.tolist() if isinstance(value, np.ndarray) else value
            for key, value in m.details.items()
            if key in self.arrays or not isinstance(value, np.ndarray)
        }
        return replace(m, details=details)


@dataclass(frozen=True)
class MeasurePlane:
    """Measure the training loss on a plane of random, filter-normalized directions (Li et al. 2018).

    Every run has the same draws, so that the planes differ by the weights and their filters' norms alone.
    """

    num_points: int = 25  # along an axis
    span: float = 1.0  # reach to each side, in lengths of the directions
    num_samples: int | None = None  # of a stratified sample; None for all examples
    at: Literal["last", "by epoch"] = "last"  # "by epoch": of runs that keep checkpoints alone

    @property
    def digest(self) -> str:
        """A hash of the settings."""
        return digest(asdict(self))

    def is_done(self, run: Recipe, results: Path) -> bool:
        """Whether the plane of this run is there; none is wanted of other seeds than the first."""
        if run.seed or (self.at == "by epoch" and not run.checkpoint_at):
            return True
        folder = results / self._folder(run)
        if not (folder / "surface.json").exists():
            return False
        return all(surface.details.get("made_for") == self._made_for(run) for surface in load_surfaces(folder))

    def do(self, run: Recipe, weights: Path, results: Path, device: torch.device, tell: Tell) -> None:
        """Measure the plane; one that was stopped goes on from its finished rows."""
        checkpoint = load_checkpoint(weights / "last.pt")
        folder = results / self._folder(run)
        folder.mkdir(parents=True, exist_ok=True)
        found = plane(
            self._objective(checkpoint, device),
            num_points=self.num_points,
            span=self.span,
            rows=folder / ".rows",
            progress=lambda done, total, _: tell(f"plane, row {done} of {total}"),
        )
        facts = checkpoint.identity | {"path": f"../runs/{weights.name}/last.pt"}
        provenance = {"made_for": self._made_for(run), "checkpoint": facts}
        replace(found, details=found.details | provenance).save(folder)
        shutil.rmtree(folder / ".rows", ignore_errors=True)

    def estimate_cost(self, checkpoint: Checkpoint, device: torch.device) -> float:
        """Seconds of one plane, without its checks."""
        return float(
            cost_of_surface({"train": self._objective(checkpoint, device)}, num_points=self.num_points)["seconds"]
        )

    def _objective(self, checkpoint: Checkpoint, device: torch.device) -> Objective:
        return Problem.of(checkpoint).objective("train", num_samples=self.num_samples, device=device)

    def _made_for(self, run: Recipe) -> str:
        return f"{key(run)} {self.digest}"

    def _folder(self, run: Recipe) -> str:
        return f"planes/{slug(run.optimizer)}-{key(run)[:6]}"


@lru_cache(maxsize=2)  # every run of a study is measured on the same images
def corrupted_test(name: str, args: tuple[tuple[str, object], ...], severity: int, num_samples: int | None) -> Split:
    """The test part under each of the 15 corruptions, one after the other.

    Args:
        name: of the data.
        args: items of what ``load_data`` takes.
        severity: of every corruption, from 1 to 5.
        num_samples: of a stratified sample of the test part, the same for each corruption; None for all of it.

    Example:
        >>> len(corrupted_test("digits", (), 3, 20))  # 15 corruptions of 20 images
        300
    """
    test = load_data(name, **dict(args)).test
    if num_samples is not None and num_samples < len(test):
        test = test.sample(num_samples, seed=0)
    parts = [corrupt(test, corruption=each, severity=severity) for each in CORRUPTIONS]
    inputs, targets = (torch.cat([getattr(part, key) for part in parts]) for key in ("inputs", "targets"))
    return Split(inputs, targets, test.mean, test.std)


@lru_cache(maxsize=1)  # read once for all checkpoints
def _data(name: str, args: tuple[tuple[str, Any], ...]) -> Data:
    return load_data(name, **dict(args))


_ROWS: dict[tuple[Path, str], tuple[int, set[tuple[str, int]]]] = {}  # size of a log, and the (run, epoch) in it


def _epochs_done(run: Recipe, results: Path, settings: str) -> set[int]:
    """Those of a run that the log has; it is read anew where it is not as ``_note`` left it."""
    path = results / "track.jsonl"
    size, rows = _ROWS.get((path.absolute(), settings), (-1, set()))
    if size != (now := path.stat().st_size if path.exists() else 0):
        found = [analysis.checkpoint or {} for analysis in read_track(path, settings)]
        rows = {(json.dumps(row["recipe"], sort_keys=True), row["epoch"]) for row in found}
        _ROWS[path.absolute(), settings] = now, rows
    mine = identity(run)
    return {epoch for epoch in range(run.epochs + 1) if (mine, epoch) in rows}


def _note(run: Recipe, epoch: int, results: Path, settings: str) -> None:
    """A row was appended."""
    path = (results / "track.jsonl").absolute()
    _, rows = _ROWS[path, settings]
    rows.add((identity(run), epoch))
    _ROWS[path, settings] = path.stat().st_size, rows
