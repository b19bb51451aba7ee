"""What a study has found so far, read from its results alone: values by seed, by the names that figures have."""

import json
import math
from pathlib import Path
from typing import Any

from landscape.figures import Run, load_runs
from landscape.results import Analysis
from landscape.studies.intervals import Interval, over_seeds
from landscape.studies.plan import Plan, identity, key
from landscape.studies.store import read_facts
from landscape.tracking import read_track


class Collected:
    """The results of a plan; those of runs that are not in it are left out.

    Args:
        plan: what was to be done.
        out: folder of the study.

    Attributes:
        groups: the runs by the names of their recipes, in the plan's order; none where all of them diverged.
        runs: every measured checkpoint, with its plane where it has one.
        trainings: how each training ended, in the order of the plan; those that have not yet are missing.
        analyses: the rows of track.jsonl, which say on what device, with what versions, and how long.

    Raises:
        ValueError: nothing was measured yet, or a file cannot be read.
    """

    def __init__(self, plan: Plan, out: Path) -> None:
        self.plan = plan
        wanted = {identity(run) for run in plan.runs}

        def is_ours(checkpoint: Any) -> bool:
            return json.dumps((checkpoint or {}).get("recipe"), sort_keys=True) in wanted

        self.runs: list[Run] = [run for run in load_runs([out / "results"]) if is_ours(run.checkpoint)]
        self.analyses: list[Analysis] = [
            one for one in read_track(out / "results" / "track.jsonl") if is_ours(one.checkpoint)
        ]
        there = read_facts(out).get("trainings", {})
        self.trainings: list[dict[str, Any]] = [there[key(run)] for run in plan.runs if key(run) in there]
        self.groups: dict[str, list[Run]] = {name: [] for name in plan.names}
        names = {identity(recipe, seed=0): name for name, recipe in plan.names.items()}
        for run in self.runs:
            self.groups[names[json.dumps(run.checkpoint["recipe"] | {"seed": 0}, sort_keys=True)]].append(run)

    def values(self, name: str, metric: str, split: str, *, epoch: int | None = None) -> dict[int, float]:
        """The metric of every seed that has a finite one, at an epoch or the last one of the recipe.

        Args:
            name: of the recipe, as in figures.
            metric: its name.
            split: "train", "test", ...
            epoch: of the checkpoint.
        """
        found = {}
        for run in self.groups[name]:
            at = run.setting("epochs") if epoch is None else epoch
            measurement = run.get(metric, split)
            if run.epoch == at and measurement is not None and math.isfinite(measurement.value):
                found[int(run.setting("seed"))] = measurement.value
        return found

    def details(self, name: str, metric: str, split: str) -> dict[int, dict[str, Any]]:
        """What else the measurement says, by seed, at the last epoch."""
        return {
            int(run.setting("seed")): measurement.details
            for run in self.groups[name]
            if run.epoch == run.setting("epochs") and (measurement := run.get(metric, split)) is not None
        }

    def mean(self, name: str, metric: str, split: str, *, epoch: int | None = None) -> Interval:
        """Its mean over seeds, with the interval."""
        return over_seeds(self.values(name, metric, split, epoch=epoch))

    def epochs(self, name: str) -> list[int]:
        """Those at which the recipe was measured."""
        return sorted({run.epoch for run in self.groups[name] if run.epoch is not None})

    @property
    def subject(self) -> str:
        """The model, the data, and over how many seeds, in words."""
        recipe = self.plan.recipes[0]
        return f"{recipe.model} on {recipe.data.partition(':')[0]}, {self.plan.num_seeds} seeds"

    @property
    def diverged(self) -> list[dict[str, Any]]:
        """The trainings that did."""
        return [row for row in self.trainings if row["status"] != "finished"]

    @property
    def not_converged(self) -> list[str]:
        """Every measurement that did not reach its accuracy, in words."""
        return [
            f"{name}, seed {run.setting('seed')}, epoch {run.epoch}: {metric} on {split}: {m.reason}"
            for name, group in self.groups.items()
            for run in group
            for split, found in run.splits.items()
            for metric, m in found.items()
            if not m.converged
        ]
