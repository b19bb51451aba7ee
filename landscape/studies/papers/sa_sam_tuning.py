"""sa-sam-tuning: accuracy on corrupted images, trace and lambda_max over learning rates (SA-SAM, figs. 1 to 5).

The protocol is the authors' recipe, "sa-sam-cifar10", over the paper's grid of learning rates, with a fifth of the
training images held out to choose by. For SA-SGD and SA-SAM the learning rate is the first step size alone. At scale
"laptop" a small CNN on the digits takes the place of VGG-19, without augmentation, for as many gradients each: SA-SAM
makes 1,000 steps. Of the paper's weight decays, 0 to 1e-4, none is felt in so few, and there is 0 alone.
"""

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from landscape.figures import Table
from landscape.statistics import Interval
from landscape.studies import Finding, Measure
from landscape.studies.arena import ACCURACY, Arena, Arm, Claim, Trials, arena_study, find, in_words, radii_told
from landscape.studies.seeds import over_seeds, table
from landscape.training import load_recipe

OURS, OTHERS = "SA-SAM", ("SAM", "SA-SGD", "SGD", "Adam")
METRICS = {name: (name, "corrupted") for name in ("trace", "lambda_max")}
CHANCE = 0.1  # ten classes: the accuracy that a run that diverged counts with
SPREAD, MEAN = "spread of accuracy over learning rates", "mean accuracy over learning rates"
_CONDITION = "gradients"


def arena(scale: str, data: str) -> Arena:
    """Five optimizers over one grid of learning rates."""
    base = load_recipe("sa-sam-cifar10")
    if scale == "laptop":
        base = replace(base, model="cnn", model_args={"width": 8}, data="digits", augment={}, epochs=42, batch_size=32)
    else:
        base = replace(base, data=data, epochs=30)
    metrics = ("accuracy", *METRICS)
    measure = Measure(
        {"validation": ("accuracy",), "corrupted": metrics},
        num_samples=40 if scale == "laptop" else 200,
        mode="reestimate",
    )
    arms = (
        Arm("SGD", "sgd", knob="lr"),
        Arm("Adam", "adam", knob="lr"),
        Arm("SAM", "sam", {"rho": "sqrt-lr"}, knob="lr"),
        Arm("SA-SGD", "sa-sgd", {"delta": 0.02}, knob="lr"),
        Arm("SA-SAM", "sa-sam", {"delta": 0.02}, knob="lr"),
    )
    return Arena(
        {"": base},
        arms,
        (1e-4, 1e-3, 1e-2, 1e-1),
        (measure,),
        accuracy=("accuracy", "corrupted"),
        flatness=METRICS,
        over="point",
        tuned_flatness=True,
        more=_of_the_grid,
        pairs=tuple((OURS, other) for other in OTHERS),
        budgets=(_CONDITION,),
        tuning_seeds=(100, 101),
        extensions=0,
    )


def tuning(trials: Trials) -> Table:
    """Fig. 3: how much depends on the learning rate."""
    accuracy = _by_rate(trials.table)
    rows: list[Sequence[str | Interval]] = []
    for arm in (OURS, *OTHERS):
        rates = [over_seeds(dict(accuracy[arm][rate])) for rate in sorted(accuracy[arm])]
        rows.append([arm, *rates, over_seeds(_spread(accuracy[arm])), over_seeds(_mean(accuracy[arm]))])
    header = ["optimizer", *(f"lr {rate:g}" for rate in sorted(accuracy[OURS])), "spread", "mean"]
    caption = (
        "Accuracy on corrupted images by learning rate (SA-SAM, fig. 3). Spread: the best learning rate's less the "
        f"worst one's. A run that diverged counts as chance, {CHANCE:g}."
    )
    return table(header, rows, caption)


def answer(trials: Trials) -> str:
    """Whether SA-SAM is easier to tune than SAM, and what it is worth when both are tuned."""
    spread = next(c for c in trials.claims if (c.against, c.metric) == ("SAM", SPREAD))
    if spread.blocked:
        return f"These runs say nothing of SA-SAM: {spread.blocked} ({trials.found.subject})."
    easier = {
        "lower": "Yes, SA-SAM is easier to tune than SAM",
        "higher": "No, SA-SAM is harder to tune than SAM",
        "not told apart": "These runs cannot tell whether SA-SAM is easier to tune than SAM",
    }[spread.verdict]
    tuned = {name: find(trials, OURS, "SAM", _CONDITION, name, tuned=True) for name in (ACCURACY, *METRICS)}
    words = "; ".join(f"{name} {in_words(claim)}" for name, claim in tuned.items() if claim is not None)
    return (
        f"{easier} (spread of accuracy over the paper's learning rates: {in_words(spread)}); as tuned on validation, "
        f"on corrupted images: {words} (for as many gradients; {trials.found.subject})."
    )


def findings(trials: Trials) -> Sequence[Finding]:
    """Figs. 1 to 3, claim by claim."""
    small = "A few thousand gradients of a small network on 8×8 digits."
    early = (
        "A small trace is not only a flat minimum: where the step size is too small to learn, outputs hardly depend on "
        "the weights. Learning rates at which an arm has learned little are left out."
    )
    found = []
    for name, expected, what in (
        (ACCURACY, "higher", "has a higher accuracy"),
        ("trace", "lower", "has a lower trace"),
        ("lambda_max", "lower", "has a lower largest eigenvalue"),
    ):
        for other in OTHERS:
            if (claim := find(trials, OURS, other, _CONDITION, name, tuned=True)) is not None:
                text = f"tuned on validation, SA-SAM {what} on corrupted images than {other} (fig. 1)"
                found.append(Finding(text, in_words(claim), claim.agrees(expected), small))
    for other in OTHERS:
        told = radii_told(trials, OURS, other, _CONDITION, "trace")
        words = "; ".join(f"{len(rates)} {verdict}" for verdict, rates in told.items())
        everywhere = None if told["not told apart"] or not any(told.values()) else not told["higher"]
        text = f"its trace is lower than {other}'s whatever the learning rate (fig. 2)"
        found.append(Finding(text, f"of the rates at which both learn: {words}", everywhere, early))
    for metric, expected, what in (
        (SPREAD, "lower", "accuracy depends less on the learning rate than with"),
        (MEAN, "higher", "it is generally better over the grid than"),
    ):
        for claim in (c for c in trials.claims if c.metric == metric):
            found.append(Finding(f"{what} {claim.against} (fig. 3)", in_words(claim), claim.agrees(expected), small))
    return found


def _of_the_grid(trials: pd.DataFrame) -> list[Claim]:
    """How much the accuracy depends on the learning rate, and its mean over them, against every other."""
    accuracy = _by_rate(trials)
    claims = []
    for metric, of in ((SPREAD, _spread), (MEAN, _mean)):
        ours = of(accuracy[OURS])
        for other in OTHERS:
            theirs = of(accuracy[other])
            samples = tuple(ours[seed] - theirs[seed] for seed in ours)
            idle = [arm for arm in (OURS, other) if not _learned(accuracy[arm])]
            why = f"{' and '.join(idle)} learned little at every learning rate" if idle else ""
            claims.append(Claim(OURS, other, _CONDITION, metric, float("inf"), samples, relative=False, blocked=why))
    return claims


def _by_rate(trials: pd.DataFrame) -> dict[str, dict[float, dict[int, float]]]:
    """Accuracy by arm, learning rate and seed; chance where a run diverged."""
    found: dict[str, dict[float, dict[int, float]]] = {}
    for arm, rate, seed, accuracy in trials[["arm", "point", "seed", ACCURACY]].fillna(CHANCE).itertuples(index=False):
        found.setdefault(arm, {}).setdefault(rate, {})[seed] = accuracy
    return found


def _learned(by_rate: dict[float, dict[int, float]]) -> bool:
    """Whether the best learning rate is halfway from chance to all right: what never learns depends on nothing."""
    return max(sum(one.values()) / len(one) for one in by_rate.values()) > (1 + CHANCE) / 2


def _spread(by_rate: dict[float, dict[int, float]]) -> dict[int, float]:
    seeds = next(iter(by_rate.values()))
    return {
        seed: max(one[seed] for one in by_rate.values()) - min(one[seed] for one in by_rate.values()) for seed in seeds
    }


def _mean(by_rate: dict[float, dict[int, float]]) -> dict[int, float]:
    seeds = next(iter(by_rate.values()))
    return {seed: sum(one[seed] for one in by_rate.values()) / len(by_rate) for seed in seeds}


STUDY = arena_study(
    "sa-sam-tuning",
    "Is SA-SAM easier to tune than SAM, SGD and Adam, and does it end flatter and better on corrupted images?",
    "SA-SAM: figs. 1 to 5",
    arena,
    answer=answer,
    findings=findings,
    tables={"tuning": tuning},
    notes="""\
- Every arm sweeps its learning rate over the paper's grid; flatness is compared as tuned and at equal learning rates.
- Corrupted: test images under each of the 15 corruptions of CIFAR-10-C at severity 3, made here. Trace and largest
  eigenvalue are those of the loss on them.
- SAM's radius is the root of the learning rate, as in the paper. SGD and SAM have momentum 0.9, the others none.""",
)
