"""The results of an arena as a table of trials, and what follows from it: choices, claims, and whether a grid ended."""

from dataclasses import dataclass, replace
from functools import cached_property

import pandas as pd

from landscape.figures import Run
from landscape.studies.arena.arms import ArenaPlan
from landscape.studies.arena.claims import (
    KEYS,
    Claim,
    as_family,
    as_tuned,
    at_equal_radius,
    choose,
    on_the_edge,
)
from landscape.studies.collected import Collected

ACCURACY, TUNED_FOR = "accuracy", "tuned for"
_LEARNED = 0.9  # of the highest mean accuracy of a condition


@dataclass(frozen=True)
class Trials:
    """What an arena found.

    Args:
        found: the results; its plan is an ``ArenaPlan``.
    """

    found: Collected

    @property
    def plan(self) -> ArenaPlan:
        """The plan with its grid as it has grown."""
        assert isinstance(self.found.plan, ArenaPlan)
        return self.found.plan

    @cached_property
    def columns(self) -> dict[str, tuple[str, str]]:
        """(metric, split) by the name of a column of ``table``."""
        arena = self.plan.arena
        return {ACCURACY: arena.accuracy, TUNED_FOR: arena.tuned_for, **arena.flatness}

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row an arm, condition, point and reported seed; a run that diverged is a row of NaN."""
        return self._rows(self.found.groups, list(range(self.plan.num_seeds)))

    @cached_property
    def compared(self) -> pd.DataFrame:
        """The table without the flatness of what has learned little: below nine tenths of the condition's highest.

        Such networks are flat because their outputs hardly depend on their weights.
        """
        means = self.table.groupby(["arm", "budget", "point"])[TUNED_FOR].transform("mean")
        learned = means >= _LEARNED * means.groupby(self.table["budget"]).transform("max")
        return self.table.assign(**{name: self.table[name].where(learned) for name in self.plan.arena.flatness})

    @cached_property
    def chosen(self) -> dict[tuple[str, str], float]:
        """The point of each arm and condition, by the seeds that choose; the usual one where there are none."""
        if not self.plan.tuning_seeds:
            usual = self.plan.arena.usual or 0.0
            return {(arm, where): min(usual, point) for arm, where, point in self.plan.cells if point in (0.0, usual)}
        return choose(self._rows(self.found.tuning, list(self.plan.tuning_seeds)), TUNED_FOR)

    @cached_property
    def edges(self) -> dict[tuple[str, str], float]:
        """The choices that lie on the edge of the grid; those that nobody made do not."""
        return on_the_edge(self.chosen, self.plan.grid) if self.plan.tuning_seeds else {}

    @cached_property
    def claims(self) -> list[Claim]:
        """All of the study, as one family; those as tuned of an arm whose choice lies on the edge are blocked.

        Where two arms train equally long at both budgets, what is said of one is said once.
        """
        arena, chosen = self.plan.arena, self.chosen
        claims: list[Claim] = []
        if self.plan.tuning_seeds:
            claims += as_tuned(self.table, chosen, arena.compared, ACCURACY)
            for name in arena.flatness if arena.tuned_flatness else ():
                claims += as_tuned(self.compared, chosen, arena.compared, name, relative=True)
            claims = [replace(claim, blocked=self._blocked(claim)) for claim in claims]
        else:
            claims += at_equal_radius(self.compared, chosen, arena.compared, ACCURACY, over=arena.over, relative=False)
        for name in arena.flatness:
            claims += at_equal_radius(self.compared, chosen, arena.compared, name, over=arena.over)
        claims += arena.more(self.table)
        once = {(c.arm, c.against, c.metric, str(c.radius), c.samples, self._trained(c)): c for c in reversed(claims)}
        return as_family(list(reversed(once.values())))

    def longer_plan(self) -> ArenaPlan | None:
        """The plan over a longer grid, where choices lie on its edge and it may still grow."""
        return self.plan.longer(self.edges.values())

    def _trained(self, claim: Claim) -> tuple[str, ...]:
        """The recipes that a claim is of."""
        arms = (claim.arm, claim.against)
        return tuple(name for (arm, at, _), name in self.plan.cells.items() if arm in arms and at == claim.budget)

    def _blocked(self, claim: Claim) -> str:
        at = [arm for arm in (claim.arm, claim.against) if (arm, claim.budget) in self.edges]
        return f"the choice of {' and of '.join(at)} lies on the edge of the grid" if at else ""

    def _rows(self, groups: dict[str, list[Run]], seeds: list[int]) -> pd.DataFrame:
        by_run = {
            (name, run.setting("seed")): run
            for name, runs in groups.items()
            for run in runs
            if run.epoch == run.setting("epochs")
        }
        costs = {(row["name"], row["seed"]): row for row in self.found.trainings}
        rows = []
        for (arm, budget, point), name in self.plan.cells.items():
            for seed in seeds:
                run, cost = by_run.get((name, seed)), costs.get((name, seed), {})
                values = [
                    m.value if run and (m := run.get(*where)) else float("nan") for where in self.columns.values()
                ]
                rows.append((arm, budget, point, seed, cost.get("radius"), cost.get("gradients"), *values))
        return pd.DataFrame(rows, columns=[*KEYS, "radius", "gradients", *self.columns]).astype(
            dict.fromkeys(["radius", "gradients", *self.columns], float)
        )
