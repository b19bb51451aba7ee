"""gam-period: is GAM in a part of the steps as good as in all of them (GAM, fig. 4)?

At scale "laptop" the benchmark is digits-150. The weight of the penalty is larger where it is there less often, as the
paper says without a number; 0.6 and 2 are ours.
"""

from dataclasses import replace
from typing import Any

from landscape.studies import Finding, Measure
from landscape.studies.arena import Arena, Arm, Trials, arena_study, find, in_words
from landscape.training import load_recipe

PERIODS = (1, 2, 10, 20)
_BASES = {"GAM": "SGD", "SAM+GAM": "SAM"}


def arena(scale: str, data: str) -> Arena:
    """SGD and SAM, and GAM over each in every, 2nd, 10th and 20th step."""
    base = load_recipe("digits-150")
    if scale == "gpu":
        base = replace(load_recipe("sgd+gam-cifar100"), data=data, data_args={"validation": 0.1})
    arms = [Arm("SGD", "sgd", knob=None), Arm("SAM", "sam")]
    for name, optimizer in (("GAM", "gam"), ("SAM+GAM", "sam+gam")):
        for period in PERIODS:
            args: dict[str, Any] = {"period": period, "alpha": 0.6 if period == 1 else 2.0}
            arms.append(Arm(_named(name, period), optimizer, args))
    measure = Measure(
        {"validation": ("accuracy",), "test": ("accuracy",), "train": ("trace",)},
        num_samples=None if scale == "laptop" else 5000,
        mode="reestimate",
    )
    pairs = tuple((_named(name, period), other) for name, other in _BASES.items() for period in PERIODS)
    return Arena({"": base}, tuple(arms), (0.1, 0.2, 0.5), (measure,), pairs=pairs)


def findings(trials: Trials) -> list[Finding]:
    """Fig. 4: for as many epochs, as there, and for as many gradients, which decides what it is worth."""
    why = "The networks are small, and train for 180 steps on 150 images."
    found = []
    for name, base in _BASES.items():
        for period in PERIODS:
            for condition in trials.plan.arena.conditions:
                claim = find(trials, _named(name, period), base, condition, tuned=True)
                if claim is not None:
                    told = claim.agrees("higher")
                    often = "every step" if period == 1 else f"one step of {period}"
                    text = f"{name} in {often} is more accurate than {base} (fig. 4): {condition}"
                    found.append(Finding(text, in_words(claim), told, why))
    return found


def _named(name: str, period: int) -> str:
    return name if period == 1 else f"{name} 1/{period}"


STUDY = arena_study(
    "gam-period",
    "Is GAM in a part of the steps as good as in all of them, for what it costs?",
    "GAM, Zhang et al. 2023: fig. 4",
    arena,
    findings=findings,
    notes="- 1/10: the penalty is there in every tenth step, from the first on, and its base's own step in between.",
)
