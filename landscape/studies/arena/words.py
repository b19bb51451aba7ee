"""What the claims of an arena say, in words: a sentence of names, a paragraph of numbers, and single claims."""

import math
from collections.abc import Mapping, Sequence

from landscape.studies.arena.claims import Claim
from landscape.studies.arena.pictures import in_words as condition_in_words
from landscape.studies.arena.trials import ACCURACY, Trials
from landscape.studies.seeds import percent, points

_OVER = {"radius": ("‖e‖", "radii"), "point": ("lr", "learning rates")}  # what curves are over


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
            parts.append(f"{column(trials, metric)} {how} against {other}: {'; '.join(told)}")
    return f"{'. '.join(map(_upper, parts))} ({trials.found.subject})."


def in_full(trials: Trials) -> str:
    """What the claims say, with numbers and radii: a paragraph a condition and arm that others are compared with."""
    tuned = list(dict.fromkeys(claim.metric for claim in trials.claims if is_tuned(claim)))
    parts = [
        f"- **{_upper(condition_in_words(condition))}, against {other}**: "
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
    conditions = trials.plan.arena.conditions
    others = [where for where in conditions if where != condition and conditions[where][0] == conditions[condition][0]]
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
    return f"{column(trials, metric)} as tuned: " + "; ".join(parts)


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
    return f"{column(trials, name)} at equal {_over(trials)} " + ("; ".join(parts) if parts else "not compared")


def _where(told: Mapping[str, Sequence[float]], verdict: str) -> str:
    num = sum(map(len, told.values()))
    radii = sorted(told[verdict])
    if num == 1:
        return "at the one radius that both have" if radii else "not at the one radius that both have"
    if len(radii) == num:
        return f"at all {num} radii"
    if not radii:
        return f"at none of {num} radii alone"
    return f"at ‖e‖ {', '.join(f'{radius:.2g}' for radius in radii)} of {num} radii"


def place(trials: Trials, radius: float | None) -> str:
    """Where a claim is made that is not of arms as tuned, in words."""
    what, many = _OVER[trials.plan.arena.over]
    if radius == math.inf:
        return "over the grid"
    return f"mean of these {many}" if radius is None else f"{what} {radius:.3g}"


def column(trials: Trials, name: str) -> str:
    """The name of a column of trials, with its split."""
    split = trials.columns[name][1]
    return f"{split} {name}" if name == ACCURACY else f"{name} on {split}"


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
