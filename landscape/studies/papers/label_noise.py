"""label-noise: do SAM and GAM withstand wrong labels (GAM, app. C.2)?

At scale "laptop" the benchmark is digits-noisy, 500 training images, with 20, 40 and 80 % of their labels wrong.
"""

from dataclasses import replace

from landscape.studies import Finding, Measure
from landscape.studies.arena import ARMS, Arena, Trials, arena_study, find, in_words
from landscape.training import load_recipe

SHARES = (0.2, 0.4, 0.8)
PAIRS = (("SAM", "SGD"), ("GAM", "SGD"), ("GAM", "SAM"), ("SAM+GAM", "SAM"))


def arena(scale: str, data: str) -> Arena:
    """SGD, SAM, and GAM over each, at three shares of wrong labels."""
    base = load_recipe("digits-noisy")
    if scale == "gpu":
        base = replace(load_recipe("gam-cifar10-sgd"), data=data, data_args={"validation": 0.1})
    benchmarks = {
        f"{100 * share:.0f} % wrong": replace(base, data_args={**base.data_args, "label_noise": share})
        for share in SHARES
    }
    arms = tuple(ARMS[name] for name in ("sgd", "sam", "gam", "sam+gam"))
    measure = Measure(
        {"validation": ("accuracy",), "test": ("accuracy",), "train": ("trace",)},
        num_samples=None if scale == "laptop" else 5000,
        mode="reestimate",
    )
    return Arena(benchmarks, arms, (0.1, 0.2, 0.5), (measure,), pairs=PAIRS)


def answer(trials: Trials) -> str:
    """What SAM and GAM gain over SGD, and over each other, at every share of wrong labels."""
    parts = []
    for budget in trials.plan.arena.budgets:
        told = []
        for arm, base in PAIRS:
            claims = {
                name: find(trials, arm, base, f"{name}, {budget}", tuned=True) for name in trials.plan.arena.benchmarks
            }
            made = {name: claim for name, claim in claims.items() if claim is not None and not claim.blocked}
            words = [f"{in_words(c)} at {name}" for name, c in made.items() if c.verdict != "not told apart"]
            if made:
                told.append(f"{arm} against {base} {', '.join(words) or 'not told apart'}")
        parts.append(f"for as many {budget} {'; '.join(told)}")
    return f"Test accuracy as tuned: {'. And '.join(parts)} ({trials.found.subject})."


def findings(trials: Trials) -> list[Finding]:
    """Who is more accurate than whom, at every share and budget."""
    why = "The networks are small; of GAM the radius alone was tuned."
    found = []
    for arm, base in PAIRS:
        for condition in trials.plan.arena.conditions:
            claim = find(trials, arm, base, condition, tuned=True)
            if claim is not None:
                told = claim.agrees("higher")
                text = f"{arm} is more accurate than {base} (app. C.2): {condition}"
                found.append(Finding(text, in_words(claim), told, why))
    return found


STUDY = arena_study(
    "label-noise",
    "Do SAM and GAM withstand wrong labels better than SGD?",
    "GAM, Zhang et al. 2023: app. C.2",
    arena,
    answer=answer,
    findings=findings,
    notes="- Wrong: a training label is another class, drawn uniformly. Those of validation and test are right.",
)
