"""An arena as a study: its tables, its figures, and the sentences that its claims allow."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from matplotlib.figure import Figure

from landscape.figures import Run, Table, draw
from landscape.statistics import Interval
from landscape.studies.arena.arms import Arena
from landscape.studies.arena.pictures import curves, pareto
from landscape.studies.arena.trials import ACCURACY, Trials
from landscape.studies.arena.words import column, in_a_sentence, in_full, in_words, is_tuned, place
from landscape.studies.collected import Collected
from landscape.studies.seeds import over_seeds, table
from landscape.studies.study import Finding, Study

LIMITS = """\
- Every arm sweeps its radius, or what sets it, over one grid; one that has none is trained as it is. "For as many
  epochs": all train equally long. "For as many gradients": until they have cost what the reference costs, as near as
  whole epochs come to it (the table has the counts), a Hessian product counted as two gradients. The last epoch counts.
{choice}
- At equal radius: against the other's curve over ‖e‖, the largest distance from the weights at which a step takes a
  gradient, averaged over training. Points at which an arm is below nine tenths of the highest validation accuracy are
  not compared: what has learned little is flat for that. Between the other's points its curve is not known, and a
  difference is claimed where it is one from the straight line in logarithms and from the parabolas beside it.
- All claims of this study are one family ({num} of them): differences by seed, Student's t, Holm's correction, and
  intervals of the level at which they say the same. Other intervals, as in the table of arms, stand for themselves.
- BatchNorm: {norm}"""
_TUNED = """\
- Points are chosen by the mean validation accuracy over {tuning} seeds that are not among the {reported} reported.
  Where a choice lies on the edge of the grid, the grid is made longer for all, {extensions}; where one still does,
  nothing is claimed of that arm as tuned.
- As tuned, an arm is called better only where it is better than the other at every point of the other's grid."""
_UNTUNED = """\
- Nothing was tuned: learning rate, weight decay and penalties are those of the recipe. The table of arms, and what is
  drawn large, is at {usual:g}; claims are of the whole curve."""
_NORMS = {
    "reestimate": "its statistics are estimated anew from the training images before anything is measured.",
    "eval": "statistics are those of training.",
}


def arena_study(
    name: str,
    question: str,
    paper: str,
    make: Callable[[str, str], Arena],
    *,
    answer: Callable[[Trials], str] | None = None,
    findings: Callable[[Trials], Sequence[Finding]] = lambda _: (),
    tables: Mapping[str, Callable[[Trials], Table]] | None = None,
    figures: Mapping[str, Callable[[Trials], Figure | Table]] | None = None,
    notes: str = "",
) -> Study:
    """The study of an arena: ``make(scale, data)`` says what takes part; the rest is as in ``Study``.

    Figures of the study's own come before those that every arena has.

    Args:
        name: of the study.
        question: in a sentence.
        paper: whose question it was.
        make: the arena of a scale and data.
        answer: the first sentence; by default what the claims say of every arm.
        findings: the paper's claims beside what was found.
        tables: of its own.
        figures: of its own.
        notes: what a reader must know beside what holds for every arena.
    """

    def own(function: Callable[[Trials], Any]) -> Callable[[Collected], Any]:
        return lambda found: function(trials_of(found))

    first = next(iter(make("laptop", "digits").flatness))
    return Study(
        name=name,
        question=question,
        paper=paper,
        plan=lambda scale, data: make(scale, data).plan(),
        answer=own(answer or in_a_sentence),
        findings=own(findings),
        tables={key: own(each) for key, each in {"arms": arms_table, "claims": claims_table, **(tables or {})}.items()},
        figures={
            key: own(each)
            for key, each in {
                **(figures or {}),
                "pareto": lambda trials: pareto(trials, first),
                "radius": curves,
            }.items()
        },
        in_full=own(in_full),
        limits=own(lambda trials: "\n".join([*([notes] if notes else []), _limits(trials)])),
        grow=own(Trials.longer_plan),
    )


def drawn_by_epoch(kind: str) -> Callable[[Trials], Figure | Table]:
    """One of the kinds of ``landscape figures --list``, of the runs that keep checkpoints: those at the usual point."""
    return lambda trials: draw(
        kind,
        [
            _as_arm(run, name.partition(",")[0])
            for name, runs in trials.found.groups.items()
            for run in runs
            if run.setting("checkpoint_at")
        ],
    )


def _as_arm(run: Run, arm: str) -> Run:
    """The run with its arm's name for an optimizer, as figures have it, and no arguments that would be named too."""
    recipe = {**run.checkpoint["recipe"], "optimizer": arm, "optimizer_args": {}}
    return replace(run, checkpoint={**run.checkpoint, "recipe": recipe})


@lru_cache(maxsize=2)  # the tables, figures and sentences of one study
def trials_of(found: Collected) -> Trials:
    """The trials of a study's results."""
    return Trials(found)


def arms_table(trials: Trials) -> Table:
    """Every arm and budget at its chosen point."""
    flatness = list(trials.plan.arena.flatness)
    units = {arm.name: arm for arm in trials.plan.arena.arms}
    rows: list[Sequence[str | Interval]] = []
    for (arm, budget), point in trials.chosen.items():
        some = trials.table[
            (trials.table["arm"] == arm) & (trials.table["budget"] == budget) & (trials.table["point"] == point)
        ].set_index("seed")
        means = [
            over_seeds(dict(zip(some.index.tolist(), some[name].tolist(), strict=True)))
            for name in (ACCURACY, *flatness)
        ]
        knob = units[arm].setting(point)
        edge = " (edge)" if (arm, budget) in trials.edges else ""
        rows.append(
            [arm, budget, knob + edge, f"{some['radius'].mean():.3g}", f"{some['gradients'].mean():,.0f}", *means]
        )
    order = {arm.name: index for index, arm in enumerate(trials.plan.arena.arms)}
    conditions = list(trials.plan.arena.conditions)
    rows.sort(key=lambda row: (conditions.index(str(row[1])), order[str(row[0])]))
    header = ["optimizer", "as many", "chosen", "radius ‖e‖", "gradients", f"{trials.columns[ACCURACY][1]} accuracy"]
    num = len(trials.plan.tuning_seeds)
    how = f"Each as chosen on validation by {num} seeds" if num else f"At {trials.plan.arena.usual:g}, the usual point"
    caption = f"{how}, over {trials.plan.num_seeds}{' others' if num else ' seeds'}."
    return table([*header, *(column(trials, name) for name in flatness)], rows, caption)


def claims_table(trials: Trials) -> Table:
    """Every claim of the study, as tuned first."""
    rows = []
    for claim in trials.claims:
        at = "as tuned" if is_tuned(claim) else place(trials, claim.radius)
        what = column(trials, claim.metric) if claim.metric in trials.columns else claim.metric
        rows.append([f"{claim.arm} against {claim.against}", claim.budget, what, at, in_words(claim)])
    caption = (
        f"All {len(rows)} claims of the study, as one family: in brackets the interval, by seed, of the level at which "
        "it says what Holm's test says."
    )
    return Table(["", "as many", "of", "at", "difference"], rows, caption, {})


def _limits(trials: Trials) -> str:
    arena = trials.plan.arena
    num = arena.extensions
    words = "once" if num == 1 else f"at most {num} times" if num else "which it was not allowed here"
    seeds = {"tuning": len(trials.plan.tuning_seeds), "reported": trials.plan.num_seeds}
    choice = _TUNED.format(**seeds, extensions=words) if seeds["tuning"] else _UNTUNED.format(usual=arena.usual)
    norm = _NORMS[getattr(arena.steps[0], "mode", "eval")]
    return LIMITS.format(choice=choice, num=len(trials.claims), norm=norm)
