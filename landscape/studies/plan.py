"""A plan: recipes, how many seeds of each, and the steps that measure what they leave.

A run is a recipe with its seed. All recipes of a seed come before the next seed, so that a study that was stopped has
whole seeds to compare.
"""

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

import torch

from landscape.checkpoint import Checkpoint
from landscape.figures import Run, named
from landscape.files import plain
from landscape.training import Recipe

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

    Attributes:
        recipes: each is trained once a seed; their own seeds do not count.
        num_seeds: seeds are 0, 1, ...
        steps: of each run, in order.

    Example:
        >>> plan = Plan((Recipe(optimizer="sgd"), Recipe(optimizer="sam")), 2, ())
        >>> [(run.optimizer, run.seed) for run in plan.runs]
        [('sgd', 0), ('sam', 0), ('sgd', 1), ('sam', 1)]
        >>> plan.name(plan.runs[1]), plan.folder(plan.runs[1])
        ('SAM', 'sam-seed-0')
    """

    recipes: tuple[Recipe, ...]
    num_seeds: int
    steps: tuple[Step, ...]

    @property
    def runs(self) -> list[Recipe]:
        """Every run in order."""
        return [replace(recipe, seed=seed) for seed in range(self.num_seeds) for recipe in self.recipes]

    @cached_property
    def names(self) -> dict[str, Recipe]:
        """The recipes by the names that figures and tables have for them, in order."""
        groups = named([Run(Path(), {"recipe": recipe.to_dict()}) for recipe in self.recipes])
        names = {json.dumps(run.checkpoint["recipe"]): name for name, group in groups.items() for run in group}
        return {names[json.dumps(recipe.to_dict())]: recipe for recipe in self.recipes}

    def name(self, run: Recipe) -> str:
        """The name of its recipe."""
        return self._name_of[identity(run, seed=0)]

    def folder(self, run: Recipe) -> str:
        """A name for the folder of its weights."""
        return f"{slug(self.name(run))}-seed-{run.seed}"

    @cached_property
    def _name_of(self) -> dict[str, str]:
        return {identity(recipe, seed=0): name for name, recipe in self.names.items()}


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
