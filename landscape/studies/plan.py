"""What a study does, and what of it is done: its plan (recipes, seeds, steps that measure), and its folder.

A run is a recipe with its seed. All recipes of a seed come before the next seed, so that a study that was stopped has
whole seeds to compare. Seeds that choose hyper-parameters come first, and are never reported.

    OUT/recipes/NAME.toml          what was trained; landscape train --recipe takes it
    OUT/runs/NAME-seed-N/          checkpoints; they may be deleted once all is measured
    OUT/results/study.json         scale, seeds, command, and how each training ended
    OUT/results/track.jsonl        every measurement, a row a checkpoint
    OUT/results/planes/            landscapes
    OUT/tables OUT/figures OUT/README.md     drawn up from the results alone, anew each time
"""

import hashlib
import json
import re
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch

from landscape.checkpoint import Checkpoint
from landscape.data import DataError, load_data
from landscape.figures import Run, named
from landscape.files import plain, write_document
from landscape.fingerprint import of_data, refuse_other
from landscape.forms import AT_LEAST_0, COUNT, TEXT, Each
from landscape.readers import read_document
from landscape.results import read_track
from landscape.training import Recipe

_SCHEMA = "landscape.study/1"
_TRAINING = {"name": TEXT, "seed": COUNT, "status": TEXT, "reason": TEXT, "seconds": AT_LEAST_0}
_TRAINING |= {"gradients?": COUNT, "radius?": AT_LEAST_0}
_FACTS = {"study": TEXT, "scale": TEXT, "trainings?": Each(_TRAINING), "recipes?": Each(TEXT)}
Tell = Callable[[str], None]


class Step(Protocol):
    """What is measured of a run once it is trained; its results lie in one folder with those of all runs."""

    @property
    def digest(self) -> str:
        """A hash of all its settings: results of others are not taken for its own."""

    def is_done(self, run: Recipe, results: Path) -> bool:
        """Whether the results of this run are there, or none are wanted."""

    def do(self, run: Recipe, weights: Path, results: Path, device: torch.device, tell: Tell) -> None:
        """Measure what is not there yet, from the checkpoints in the folder ``weights``."""

    def estimate_cost(self, checkpoint: Checkpoint, device: torch.device) -> float:
        """Seconds it takes for a run, from timed passes over the weights of any checkpoint of such a run."""


@dataclass(frozen=True)
class Plan:
    """What is trained and measured.

    Example:
        >>> plan = Plan((Recipe(optimizer="sgd"), Recipe(optimizer="sam")), 2, ())
        >>> [(run.optimizer, run.seed) for run in plan.runs]
        [('sgd', 0), ('sam', 0), ('sgd', 1), ('sam', 1)]
        >>> plan.name(plan.runs[1]), plan.folder(plan.runs[1])
        ('SAM', 'sam-seed-0')
    """

    recipes: tuple[Recipe, ...]  # each is trained once a seed; their own seeds do not count
    num_seeds: int  # 0, 1, ... are reported
    steps: tuple[Step, ...]  # of each run, in order
    tuning_seeds: tuple[int, ...] = ()  # by which hyper-parameters are chosen
    labels: tuple[str, ...] = ()  # the recipes' names; empty: by what they differ in

    @cached_property
    def runs(self) -> list[Recipe]:
        """Every run in order."""
        return [*self.tuning_runs, *self._runs(range(self.num_seeds))]

    @cached_property
    def tuning_runs(self) -> list[Recipe]:
        """Those that choose hyper-parameters."""
        return self._runs(self.tuning_seeds)

    def _runs(self, seeds: Iterable[int]) -> list[Recipe]:
        return [replace(recipe, seed=seed) for seed in seeds for recipe in self.recipes]

    @cached_property
    def names(self) -> dict[str, Recipe]:
        """The recipes by the names that figures and tables have for them, in order."""
        if self.labels:
            return dict(zip(self.labels, self.recipes, strict=True))
        groups = named([Run(Path(), {"recipe": recipe.to_dict()}) for recipe in self.recipes])
        names = {json.dumps(run.checkpoint["recipe"]): name for name, group in groups.items() for run in group}
        return {names[json.dumps(recipe.to_dict())]: recipe for recipe in self.recipes}

    def name(self, run: Recipe) -> str:
        """The name of its recipe."""
        return self._by_identity[identity(run, seed=0)]

    @cached_property
    def _by_identity(self) -> dict[str, str]:
        return {identity(recipe, seed=0): name for name, recipe in self.names.items()}

    def folder(self, run: Recipe) -> str:
        """A name for the folder of its weights."""
        return f"{slug(self.name(run))}-seed-{run.seed}"


@dataclass
class Store:
    """The folder of one study, and how far it is."""

    out: Path
    plan: Plan
    facts: dict[str, Any]  # of the call, as in study.json: study, scale, seeds, data, command
    trainings: dict[str, dict[str, Any]]  # by run: name, seed, status ("finished" or "diverged"), reason, seconds
    data: dict[str, dict[str, str]] = field(default_factory=dict)  # hashes of the splits, by the name of the data

    @classmethod
    def open(cls, out: Path, plan: Plan, facts: dict[str, Any]) -> "Store":
        """Read what is there; nothing is written.

        Raises:
            ValueError: the folder holds another study, other recipes, or measurements made with other settings.
        """
        there = read_facts(out)
        if there and (there["study"], there["scale"]) != (facts["study"], facts["scale"]):
            raise ValueError(f"{out}: holds {there['study']} at scale {there['scale']}. Choose another folder.")
        made = f"was made by: {there.get('command')}"
        before, now = (one.get("recipes", {}) for one in (there, facts))
        if before and before != now:
            other = [name for name, text in now.items() if before.get(name) != text]
            raise ValueError(f"{out}: {made}, of other recipes ({', '.join(other or before)}). Choose another folder.")
        track = out / "results" / "track.jsonl"
        ours = sum(len(read_track(track, digest)) for digest in {step.digest for step in plan.steps})
        if ours != len(read_track(track)):
            raise ValueError(f"{out}: holds measurements made with other settings, and {made}. Choose another folder.")
        return cls(out, plan, facts, there.get("trainings", {}), there.get("data_hashes", {}))

    @property
    def results(self) -> Path:
        """The folder of the results."""
        return self.out / "results"

    def weights(self, run: Recipe) -> Path:
        """The folder of a run's checkpoints."""
        return self.out / "runs" / self.plan.folder(run)

    def is_trained(self, run: Recipe) -> bool:
        """Whether its last weights are there."""
        return key(run) in self.trainings and (self.weights(run) / "last.pt").exists()

    def is_done(self, run: Recipe) -> bool:
        """Whether the run is trained and measured, or has diverged."""
        training = self.trainings.get(key(run))
        if training is None:
            return False
        return training["status"] == "diverged" or all(step.is_done(run, self.results) for step in self.plan.steps)

    def trained(self, run: Recipe, *, status: str, reason: str, seconds: float, **cost: float) -> None:
        """Write down how a training ended; its gradients and the mean of its radius are its cost and its reach."""
        self.trainings[key(run)] = {
            "name": self.plan.name(run),
            "seed": run.seed,
            "status": status,
            "reason": reason,
            "seconds": round(seconds, 3),
            **cost,
        }
        self.write()

    def compare_data(self) -> None:
        """Take the hashes of the data into study.json; what was done of others, under the same name, is refused.

        Raises:
            ValueError: it was; says of which splits.
        """
        for name, args in dict.fromkeys((run.data, tuple(run.data_args.items())) for run in self.plan.recipes):
            try:
                data = load_data(name, **dict(args))
            except DataError as error:  # what is left to do says so; what is done can be drawn without
                warnings.warn(f"Whether {self.out} was made from the same data is not known. {error}", stacklevel=2)
                continue
            told = ", ".join([data.name, *(f"{key}={value}" for key, value in data.args.items() if key != "path")])
            hashes = {split: of_data(one.batches()) for split, one in data.splits.items()}
            refuse_other(self.out, {"data": self.data.get(told)}, {"data": hashes}, "Choose another folder.")
            if self.trainings and told not in self.data:
                warnings.warn(f"{self.out} does not say from which data it was made: it is not compared.", stacklevel=2)
            self.data[told] = hashes

    def write(self) -> None:
        """Write study.json."""
        known = {"trainings": self.trainings, "data_hashes": self.data}
        write_document(self.results / "study.json", {"schema": _SCHEMA, **self.facts, **known})


def read_facts(out: Path) -> dict[str, Any]:
    """What study.json holds; nothing where there is none.

    Raises:
        FileError: it is no JSON, or none of ours.
    """
    path = out / "results" / "study.json"
    if not path.exists():
        return {}
    return read_document(path, _SCHEMA, "landscape reproduce", "Choose another folder.", _FACTS)


def identity(run: Recipe, *, seed: int | None = None) -> str:
    """The run, as a line of JSON, as results hold it; with another seed where one is given."""
    return json.dumps(plain(run.to_dict()) | ({} if seed is None else {"seed": seed}), sort_keys=True)


def key(run: Recipe) -> str:
    """A short hash of the run."""
    return hashlib.sha256(identity(run).encode()).hexdigest()[:16]


def slug(name: str) -> str:
    """A name as a file may have it.

    Example:
        >>> slug("SAM+GAM, lr 0.1")
        'sam-gam-lr-0.1'
    """
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-")
