"""An arena as a study: its tables, its figures, and the sentences that its claims allow."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from matplotlib.figure import Figure

from landscape.figures import Table, draw
from landscape.statistics import Interval
from landscape.studies.arena.arms import Arena
from landscape.studies.arena.claims import Claim
from landscape.studies.arena.pictures import curves, pareto
from landscape.studies.arena.pictures import in_words as condition_in_words
from landscape.studies.arena.trials import ACCURACY, Trials
from landscape.studies.collected import Collected
from landscape.studies.seeds import over_seeds, percent, points, table
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
_OVER = {"radius": ("‖e‖", "radii"), "point": ("lr", "learning rates")}  # what curves are over
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
    return lambda trials: draw(kind, [run for run in trials.found.runs if run.setting("checkpoint_at")])


@lru_cache(maxsize=2)  # the tables, figures and sentences of one study
def trials_of(found: Collected) -> Trials:
    """The trials of a study's results."""
    return Trials(found)


def in_a_sentence(trials: Trials) -> str:
    """Who is told apart from whom, as tuned and at equal radius, by name; ``in_full`` has the numbers."""
    parts = []
    for other in dict.fromkeys(other for _, other in trials.plan.arena.compared):
        for metric in (ACCURACY, next(iter(trials.plan.arena.flatness))):
            tuned = metric == ACCURACY
            how = "as tuned" if tuned and trials.plan.tuning_seeds else f"at equal {_over(trials)}"
            told = [
                f"{condition_in_words(condition)} {_names(trials, condition, other, metric, tuned=tuned)}"
                for condition in trials.plan.arena.conditions
            ]
            parts.append(f"{_column(trials, metric)} {how} against {other}: {'; '.join(told)}")
    return f"{'. '.join(map(_upper, parts))} ({trials.found.subject})."


def in_full(trials: Trials) -> str:
    """What the claims say, with numbers and radii: a paragraph a condition and arm that others are compared with."""
    tuned = list(dict.fromkeys(claim.metric for claim in trials.claims if is_tuned(claim)))
    parts = [
        f"- **{_upper(condition_in_words(condition))}**: "
        + ". ".join(
            [
                *(_upper(_tuned_words(trials, condition, other, metric)) for metric in tuned),
                *(_upper(_curve_words(trials, condition, other, name)) for name in trials.plan.arena.flatness),
            ]
        )
        + "."
        for other in dict.fromkeys(other for _, other in trials.plan.arena.compared)
        for condition in trials.plan.arena.conditions
    ]
    return "\n".join(parts)


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
    return table([*header, *(_column(trials, name) for name in flatness)], rows, caption)


def claims_table(trials: Trials) -> Table:
    """Every claim of the study, as tuned first."""
    rows = []
    for claim in trials.claims:
        at = (
            "as tuned"
            if is_tuned(claim)
            else "mean of these radii"
            if claim.radius is None
            else f"‖e‖ {claim.radius:.3g}"
        )
        what = _column(trials, claim.metric) if claim.metric in trials.columns else claim.metric
        rows.append([f"{claim.arm} against {claim.against}", claim.budget, what, at, in_words(claim)])
    caption = (
        f"All {len(rows)} claims of the study, as one family: in brackets the interval, by seed, of the level at which "
        "it says what Holm's test says."
    )
    return Table(["", "as many", "of", "at", "difference"], rows, caption, {})


def is_tuned(claim: Claim) -> bool:
    """Whether the claim is of arms as tuned."""
    return claim.radius is not None and math.isnan(claim.radius)


def in_words(claim: Claim) -> str:
    """The difference, or why none is claimed."""
    words = (percent if claim.relative else points)(claim.interval)
    return f"no claim: {claim.blocked}" if claim.blocked else words


def find(
    trials: Trials, arm: str, against: str, budget: str, metric: str = ACCURACY, *, tuned: bool = False
) -> Claim | None:
    """The claim of an arm as tuned, or that of the mean over the radii that are compared, which may be one; or None."""
    some = [c for c in trials.claims if (c.arm, c.against, c.budget, c.metric) == (arm, against, budget, metric)]
    at_radii = [claim for claim in some if claim.radius is None or math.isfinite(claim.radius)]
    means = at_radii if len(at_radii) == 1 else [claim for claim in at_radii if claim.radius is None]
    return next((claim for claim in some if is_tuned(claim)) if tuned else iter(means), None)


def radii_told(trials: Trials, arm: str, against: str, budget: str, metric: str) -> dict[str, list[float]]:
    """The radii at which the arm is "higher", "lower" or "not told apart"."""
    found: dict[str, list[float]] = {"higher": [], "lower": [], "not told apart": []}
    for claim in trials.claims:
        same = (claim.arm, claim.against, claim.budget, claim.metric) == (arm, against, budget, metric)
        if same and claim.radius is not None and math.isfinite(claim.radius):
            found[claim.verdict].append(claim.radius)
    return found


def _names(trials: Trials, condition: str, against: str, metric: str, *, tuned: bool) -> str:
    """The arms by what is said of them; those not told apart are counted where there are more than two."""
    tuned = tuned and bool(trials.plan.tuning_seeds)
    groups: dict[str, list[str]] = {"higher": [], "lower": [], "not told apart": [], "no claim": []}
    for arm, other in trials.plan.arena.compared:
        claim = find(trials, arm, against, condition, metric, tuned=tuned) if other == against else None
        if claim is not None:
            groups["no claim" if claim.blocked else claim.verdict].append(arm)
    words = [f"{verdict} {_listed(groups[verdict])}" for verdict in ("higher", "lower") if groups[verdict]]
    left = groups["not told apart"]
    words += [f"{len(left) if len(left) > 2 else _listed(left)} not told apart"] if left else []
    words += [f"no claim of {_listed(groups['no claim'])}"] if groups["no claim"] else []
    if words:
        return ", ".join(words)
    others = [where for where in trials.plan.arena.conditions if where != condition]
    told = any(
        find(trials, arm, other, where, metric, tuned=tuned)
        for where in others
        for arm, other in trials.plan.arena.compared
        if other == against
    )
    return "as for the other budget" if told else "not compared"


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _over(trials: Trials) -> str:
    return "radius" if trials.plan.arena.over == "radius" else "learning rate"


def _tuned_words(trials: Trials, budget: str, against: str, metric: str = ACCURACY) -> str:
    claims = [c for c in trials.claims if is_tuned(c) and (c.metric, c.budget, c.against) == (metric, budget, against)]
    groups: dict[str, list[str]] = {"higher": [], "lower": [], "not told apart": [], "blocked": []}
    for claim in claims:
        if claim.blocked:
            groups["blocked"].append(claim.arm)
        elif claim.verdict == "not told apart":
            groups[claim.verdict].append(claim.arm)
        else:
            groups[claim.verdict].append(f"{claim.arm} ({in_words(claim)})")
    words = {"higher": "above", "lower": "below", "not told apart": "not told apart from"}
    parts = [f"{words[key]} {against}: {', '.join(groups[key])}" for key in words if groups[key]]
    if groups["blocked"]:
        parts.append(f"no claim where a choice lies on the edge of the grid: {', '.join(groups['blocked'])}")
    return f"{_column(trials, metric)} as tuned: " + "; ".join(parts)


def _curve_words(trials: Trials, budget: str, against: str, name: str) -> str:
    groups: dict[str, list[str]] = {"lower": [], "higher": [], "not told apart": []}
    for arm in (arm.name for arm in trials.plan.arena.arms):
        told = radii_told(trials, arm, against, budget, name)
        if not any(told.values()):
            continue
        mean = find(trials, arm, against, budget, name)
        if mean is not None and mean.verdict != "not told apart":
            groups[mean.verdict].append(f"{arm} ({in_words(mean)}, {_where(told, mean.verdict)})")
        else:
            single = [key for key in ("lower", "higher") if told[key]]
            groups["not told apart"].append(arm + "".join(f" ({key} {_where(told, key)})" for key in single))
    words = {"lower": f"below {against}'s", "higher": f"above {against}'s", "not told apart": "not told apart"}
    parts = [f"{words[key]}: {', '.join(groups[key])}" for key in words if groups[key]]
    return f"{_column(trials, name)} at equal {_over(trials)} " + ("; ".join(parts) if parts else "not compared")


def _where(told: Mapping[str, Sequence[float]], verdict: str) -> str:
    num = sum(map(len, told.values()))
    radii = sorted(told[verdict])
    if len(radii) == num:
        return f"at all {num} radii"
    if not radii:
        return f"at none of {num} radii alone"
    return f"at ‖e‖ {', '.join(f'{radius:.2g}' for radius in radii)} of {num} radii"


def _at(trials: Trials, radius: float | None) -> str:
    what, many = _OVER[trials.plan.arena.over]
    if radius == math.inf:
        return "over the grid"
    return f"mean of these {many}" if radius is None else f"{what} {radius:.3g}"


def _column(trials: Trials, name: str) -> str:
    split = trials.columns[name][1]
    return f"{split} {name}" if name == ACCURACY else f"{name} on {split}"


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def _limits(trials: Trials) -> str:
    arena = trials.plan.arena
    num = arena.extensions
    words = "once" if num == 1 else f"at most {num} times" if num else "which it was not allowed here"
    seeds = {"tuning": len(trials.plan.tuning_seeds), "reported": trials.plan.num_seeds}
    choice = _TUNED.format(**seeds, extensions=words) if seeds["tuning"] else _UNTUNED.format(usual=arena.usual)
    norm = _NORMS[getattr(arena.steps[0], "mode", "eval")]
    return LIMITS.format(choice=choice, num=len(trials.claims), norm=norm)
