"""What a study has found so far, read from its results alone: values by seed, comparisons of recipes, and tables.

Recipes have the names that figures have for them.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from landscape.figures import Run, Table, load_runs
from landscape.results import Analysis, Measurement, read_track
from landscape.statistics import Interval
from landscape.studies.plan import Plan, identity, key, read_facts
from landscape.studies.seeds import change, over_seeds, percent, points, relative_change, table


class Collected:
    """The results of a plan; those of runs that are not in it are left out.

    Args:
        plan: what was to be done.
        out: folder of the study.

    Attributes:
        groups: the runs by the names of their recipes, in the plan's order; none where all of them diverged.
        tuning: likewise the runs of the seeds that choose, which are not among those of ``groups`` and ``runs``.
        runs: every measured checkpoint, with its plane where it has one.
        trainings: how each training ended, in the order of the plan; those that have not yet are missing.
        analyses: the rows of track.jsonl, which say on what device, with what versions, and how long.

    Raises:
        ValueError: nothing was measured yet, or a file cannot be read.
    """

    def __init__(self, plan: Plan, out: Path) -> None:
        self.plan = plan
        names = {identity(run): plan.name(run) for run in plan.runs}
        tuning = {identity(run) for run in plan.tuning_runs}

        def identity_of(checkpoint: Any) -> str:
            return json.dumps((checkpoint or {}).get("recipe"), sort_keys=True)

        def name_of(checkpoint: Any) -> str | None:
            return names.get(identity_of(checkpoint))

        self.runs: list[Run] = []
        self.groups: dict[str, list[Run]] = {name: [] for name in plan.names}
        self.tuning: dict[str, list[Run]] = {name: [] for name in plan.names}
        for run in load_runs([out / "results"]):
            if name := name_of(run.checkpoint):
                chooses = identity_of(run.checkpoint) in tuning
                (self.tuning if chooses else self.groups)[name].append(run)
                self.runs += [] if chooses else [run]
        track = read_track(out / "results" / "track.jsonl")
        self.analyses: list[Analysis] = [one for one in track if name_of(one.checkpoint)]
        there = read_facts(out).get("trainings", {})
        self.trainings: list[dict[str, Any]] = [there[key(run)] for run in plan.runs if key(run) in there]

    def measurements(self, name: str, metric: str, split: str, *, epoch: int | None = None) -> dict[int, Measurement]:
        """The metric by seed.

        Args:
            name: of the recipe, as in figures.
            metric: its name.
            split: "train", "test", ...
            epoch: of the checkpoint; None for the last of the recipe.
        """
        return {
            int(run.setting("seed")): measurement
            for run in self.groups[name]
            if run.epoch == (run.setting("epochs") if epoch is None else epoch)
            and (measurement := run.get(metric, split)) is not None
        }

    def values(self, name: str, metric: str, split: str, *, epoch: int | None = None) -> dict[int, float]:
        """Its value, of every seed that has a finite one."""
        found = self.measurements(name, metric, split, epoch=epoch)
        return {seed: one.value for seed, one in found.items() if math.isfinite(one.value)}

    def compare(self, before: str, after: str, metric: str, split: str) -> Interval:
        """How the metric of one recipe stands to that of another at the end: relative; of accuracy, in points."""
        sides = [self.values(name, metric, split) for name in (before, after)]
        return (change if metric == "accuracy" else relative_change)(*sides)

    def compare_in_words(self, before: str, after: str, metric: str, split: str) -> str:
        """The same in words."""
        return (points if metric == "accuracy" else percent)(self.compare(before, after, metric, split))

    def means(
        self,
        columns: Mapping[str, tuple[str, str, int | None]],
        caption: str,
        *,
        names: Mapping[str, str] | None = None,
        best: Mapping[str, str] | None = None,
    ) -> Table:
        """A table with a row a recipe, which says how many of its seeds are in it, and a column a metric.

        Args:
            columns: by heading, (metric, split, epoch or None for the last).
            caption: what is in it.
            names: the recipes to show, by the word that their rows begin with; by default all of them.
            best: "min" or "max" by heading.
        """
        rows: list[Sequence[str | Interval]] = []
        for label, name in (names or {name: name for name in self.plan.names}).items():
            means = [
                over_seeds(self.values(name, metric, split, epoch=epoch)) for metric, split, epoch in columns.values()
            ]
            num_seeds = max(mean.num_samples for mean in means)
            rows.append([label, f"{num_seeds} of {self.plan.num_seeds}", *means])
        return table(["optimizer", "seeds", *columns], rows, caption, best)

    def changes(
        self,
        columns: Mapping[str, tuple[str, str]],
        pairs: Sequence[tuple[str, str]],
        caption: str,
        *,
        names: Mapping[str, str] | None = None,
    ) -> Table:
        """A table with a row a pair (the second against the first), and a column a metric, in words."""
        names = names or {name: name for name in self.plan.names}
        rows = [
            [
                f"{after} against {before}",
                *(self.compare_in_words(names[before], names[after], *where) for where in columns.values()),
            ]
            for before, after in pairs
        ]
        return Table(["", *columns], rows, f"{caption} In brackets: 95 % t-interval, paired by seed.", {})

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
