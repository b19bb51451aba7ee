"""Who takes part in a comparison of optimizers, over which grid, at which budgets, and the plan that follows from it.

Every arm sweeps one knob over the same grid: its radius, or what sets it. One that has none is trained as it is:
SGD is SAM at radius 0, and differs in nothing else. At budget "epochs" every arm trains for those of the recipe; at
"gradients" for as many as cost what the reference's cost, a Hessian product counted as two gradients. A condition is a
budget, on one of the benchmarks where there are several. The seeds that choose a point are others than those that are
reported. Where a choice lies on the edge of the grid, it grows for all.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any

import pandas as pd
import torch
from torch import nn

from landscape.studies.arena.claims import Claim
from landscape.studies.plan import Plan, Step
from landscape.training import Recipe
from landscape.training.optimizers import BASES, build_optimizer, optimizer_args

BUDGETS = ("epochs", "gradients")
_STEPS = 100  # that are counted: products and penalties of every so many steps are among them


@dataclass(frozen=True)
class Arm:
    """An optimizer, and what of it is swept.

    Example:
        >>> Arm("ASAM", "asam", unit=10.0).on(Recipe(), 0.05, epochs=3).optimizer_args
        {'rho': 0.5}
        >>> Arm("SA-SAM", "sa-sam", knob="lr").on(Recipe(), 0.05, epochs=3).lr
        0.05
    """

    name: str  # as in tables
    optimizer: str  # as in recipes
    args: Mapping[str, Any] = field(default_factory=dict)  # likewise
    settings: Mapping[str, Any] = field(default_factory=dict)  # other fields of the recipe that are the optimizer's own
    knob: str | None = "optimizer_args.rho"  # a field of the recipe, or an item of one; None: nothing is swept
    unit: float = 1.0  # the knob is this times the point of the grid

    def on(self, benchmark: Recipe, point: float, *, epochs: int) -> Recipe:
        """The recipe at a point of the grid: all else is the benchmark's, also the base whose update it makes.

        Where it trains for fewer epochs, its warmup is shorter alike.
        """
        base, args = base_of(benchmark)
        optimizer = base if self.optimizer == "sgd" else self.optimizer
        takes = optimizer_args(optimizer, base)
        args = {name: value for name, value in args.items() if name in takes} | dict(self.args)
        warmup = min(round(benchmark.warmup * epochs / benchmark.epochs), epochs - 1)
        own = {"optimizer": optimizer, "optimizer_args": args, "warmup": warmup, **self.settings}
        if self.knob is not None:
            name, _, item = self.knob.partition(".")
            value = float(f"{self.unit * point:.12g}")
            own[name] = {**own[name], item: value} if item else value
        return replace(benchmark, epochs=epochs, **own)

    def setting(self, point: float) -> str:
        """The knob at a point, in words."""
        return "as it is" if self.knob is None else f"{self.knob.rpartition('.')[2]} {self.unit * point:g}"

    def points(self, grid: tuple[float, ...]) -> tuple[float, ...]:
        """Those of the grid; 0 alone where nothing is swept."""
        return (0.0,) if self.knob is None else grid


def base_of(benchmark: Recipe) -> tuple[str, dict[str, Any]]:
    """Of ``BASES``, the one that makes the recipe's update, and its arguments as other optimizers take them.

    Example:
        >>> base_of(Recipe(optimizer="sam", optimizer_args={"rho": 0.1, "base": "adamw", "eps": 1e-6}))
        ('adamw', {'base': 'adamw', 'eps': 1e-06})
    """
    args = benchmark.optimizer_args
    base = benchmark.optimizer if benchmark.optimizer in BASES else args.get("base", "sgd")
    own = {name: args[name] for name in optimizer_args(base) if name in args}
    return base, ({} if base == "sgd" else {"base": base}) | own


@dataclass(frozen=True)
class Arena:
    """A comparison of optimizers.

    Attributes:
        benchmarks: recipes by name, whose optimizers are replaced; one alone may have the name "".
        arms: those that are compared.
        grid: points, in order; a point is an arm's knob in the arm's unit.
        steps: what is measured at the end of every run.
        tuned_for: (metric, split) by which points are chosen, more of which is better.
        accuracy: (metric, split) of claims as tuned; at equal radius where nothing is tuned.
        flatness: (metric, split) of claims at equal radius, by the words for them.
        over: "radius", over which flatness is compared; "point" where all arms sweep one and the same knob.
        more: claims of the study's own, made of the table of trials; they are in the family.
        tuned_flatness: whether flatness is compared as tuned, too.
        reference: the arm that equal gradients are those of, and that by default all others are compared with.
        pairs: (arm, the one it is compared with), where they are others.
        budgets: of ``BUDGETS``.
        num_seeds: that are reported.
        tuning_seeds: that choose; none of them is below ``num_seeds``. Empty: nothing is tuned, ``usual`` is chosen.
        usual: the point where nothing is tuned.
        checkpoint_at: epochs that are kept, at the usual point, of trainings as long as the recipe's.
        extensions: how often the grid may grow, at both ends where choices lie on them.
    """

    benchmarks: Mapping[str, Recipe]
    arms: tuple[Arm, ...]
    grid: tuple[float, ...]
    steps: tuple[Step, ...]
    accuracy: tuple[str, str] = ("accuracy", "test")
    tuned_for: tuple[str, str] = ("accuracy", "validation")
    flatness: Mapping[str, tuple[str, str]] = field(default_factory=lambda: {"trace": ("trace", "train")})
    over: str = "radius"
    tuned_flatness: bool = False
    more: Callable[[pd.DataFrame], Sequence[Claim]] = lambda _: ()
    reference: str = "SAM"
    pairs: tuple[tuple[str, str], ...] = ()
    budgets: tuple[str, ...] = BUDGETS
    num_seeds: int = 8
    tuning_seeds: tuple[int, ...] = (100, 101, 102)
    usual: float | None = None
    checkpoint_at: tuple[int, ...] = ()
    extensions: int = 1

    @property
    def compared(self) -> tuple[tuple[str, str], ...]:
        """The pairs."""
        others = tuple((arm.name, self.reference) for arm in self.arms if arm.name != self.reference)
        return self.pairs or others

    @property
    def conditions(self) -> dict[str, tuple[str, str]]:
        """(benchmark, budget) by name, such as "epochs", or "20 % noise, epochs"."""
        pairs = [(benchmark, budget) for budget in self.budgets for benchmark in self.benchmarks]
        return {", ".join(filter(None, pair)): pair for pair in pairs}

    def recipe(self, arm: Arm, condition: str, point: float) -> Recipe:
        """What is trained in a cell."""
        benchmark, epochs = self.benchmarks[self.conditions[condition][0]], self.epochs(arm, condition)
        recipe = arm.on(benchmark, point, epochs=epochs)
        kept = epochs == benchmark.epochs and point in (0.0, self.usual)
        return replace(recipe, checkpoint_at=self.checkpoint_at) if kept else recipe

    def epochs(self, arm: Arm, condition: str) -> int:
        """How many the arm trains."""
        name, budget = self.conditions[condition]
        benchmark = self.benchmarks[name]
        if budget == "epochs":
            return benchmark.epochs
        reference = next(one for one in self.arms if one.name == self.reference)
        cost, theirs = (gradients_a_step(one.on(benchmark, self.grid[0], epochs=1)) for one in (arm, reference))
        return max(1, round(benchmark.epochs * theirs / cost))

    def plan(self, grid: tuple[float, ...] | None = None) -> "ArenaPlan":
        """The plan over a grid, by default the first one.

        Raises:
            ValueError: two arms of one name, an unknown arm or budget, or seeds that both choose and are reported.
        """
        names = [arm.name for arm in self.arms]
        of_pairs = [name for pair in self.compared for name in pair]
        for what, some, known in (("pairs", of_pairs, names), ("budgets", self.budgets, BUDGETS)):
            if unknown := [one for one in some if one not in known]:
                raise ValueError(f"{what}={unknown[0]!r} is unknown. Expected some of: {', '.join(known)}.")
        if len(set(names)) < len(names):
            raise ValueError(f"Two arms have one name. Expected each once: {', '.join(names)}.")
        if not self.tuning_seeds and self.usual not in (grid or self.grid):
            raise ValueError(f"usual={self.usual} is no point of the grid. Expected one where no seed chooses.")
        if self.tuning_seeds and min(self.tuning_seeds) < self.num_seeds:
            raise ValueError(f"tuning_seeds={self.tuning_seeds} are among the {self.num_seeds} that are reported.")
        return ArenaPlan.of(self, grid or self.grid)


@dataclass(frozen=True)
class ArenaPlan(Plan):
    """What an arena trains: every arm at every budget and every point, with every seed."""

    arena: Arena = field(kw_only=True)
    grid: tuple[float, ...] = field(kw_only=True)

    @classmethod
    def of(cls, arena: Arena, grid: tuple[float, ...]) -> "ArenaPlan":
        """The plan over a grid; arms that train equally long at two budgets are trained once."""
        found: dict[str, Recipe] = {}
        arms = {arm.name: arm for arm in arena.arms}
        for (arm, condition, point), name in _cells(arena, grid).items():
            found.setdefault(name, arena.recipe(arms[arm], condition, point))
        return cls(
            recipes=tuple(found.values()),
            num_seeds=arena.num_seeds,
            steps=arena.steps,
            tuning_seeds=arena.tuning_seeds,
            labels=tuple(found),
            arena=arena,
            grid=grid,
        )

    @cached_property
    def cells(self) -> dict[tuple[str, str, float], str]:
        """The names of recipes by arm, condition and point."""
        return _cells(self.arena, self.grid)

    def longer(self, edges: Iterable[float]) -> "ArenaPlan | None":
        """The plan whose grid has a point more at the ends that are among the edges; None where it has grown enough."""
        first, last = self.arena.grid[0], self.arena.grid[-1]
        grown = max(sum(point < first for point in self.grid), sum(point > last for point in self.grid))
        grid = list(self.grid)
        if min(grid) in (edges := set(edges)):
            grid.insert(0, float(f"{grid[0] ** 2 / grid[1]:.3g}"))
        if max(self.grid) in edges:
            grid.append(float(f"{grid[-1] ** 2 / grid[-2]:.3g}"))
        if grown >= self.arena.extensions or len(grid) == len(self.grid):
            return None
        return replace(ArenaPlan.of(self.arena, tuple(grid)), num_seeds=self.num_seeds)


def _cells(arena: Arena, grid: tuple[float, ...]) -> dict[tuple[str, str, float], str]:
    """A name for what every cell trains: one where it is the same."""
    names = {}
    for arm in arena.arms:
        for condition, (benchmark, _) in arena.conditions.items():
            for point in arm.points(grid):
                words = [arm.name, arm.setting(point), benchmark, f"{arena.epochs(arm, condition)} epochs"]
                names[arm.name, condition, point] = ", ".join(filter(None, words))
    return names


@lru_cache(maxsize=256)
def _gradients(text: str) -> float:
    recipe = Recipe.from_toml(text)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, inputs = nn.Linear(2, 1), torch.randn(4, 2)
    optimizer: Any = build_optimizer(recipe, model)

    def loss() -> torch.Tensor:
        return model(inputs).square().mean()

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value.detach()

    if not hasattr(optimizer, "num_gradients"):
        return 1.0
    for _ in range(_STEPS):
        optimizer.step(closure, loss=loss)
    return float(optimizer.num_gradients) / _STEPS


def gradients_a_step(recipe: Recipe) -> float:
    """What a step of the recipe's optimizer costs in gradients of a mini-batch, a Hessian product being two.

    Counted over 100 steps on a linear model, so that what is done in every fifth of them counts as a fifth.

    Example:
        >>> [gradients_a_step(Recipe(optimizer=name)) for name in ("sgd", "sam", "cr-sam", "gam")]
        [1.0, 2.0, 3.0, 6.0]
        >>> gradients_a_step(Recipe(optimizer="curvsam", optimizer_args={"update_every": 5}))
        2.4
    """
    return _gradients(replace(recipe, seed=0, epochs=1, warmup=0, lr=min(recipe.lr, 1e-3)).to_toml())
