"""curvsam-frequency: how often CurvSAM should look at the curvature (CurvSAM, table 2).

F is the number of steps from one Hessian product to the next. At scale "laptop" the benchmark is digits-150.
"""

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

from landscape.figures import Table
from landscape.statistics import Interval
from landscape.studies import Finding, Measure
from landscape.studies.arena import Arena, Arm, Trials, arena_study, find, gradients_a_step, in_words
from landscape.studies.seeds import over_seeds, table
from landscape.training import load_recipe

FREQUENCIES = (1, 5, 10, 20)
TIMES = {1: 1.52, 5: 1.11, 10: 1.06, 20: 1.04}  # the paper's, of SAM's


def arena(scale: str, data: str) -> Arena:
    """SAM, and CurvSAM with a product in every, 5th, 10th and 20th step."""
    base = load_recipe("digits-150")
    if scale == "gpu":
        base = replace(load_recipe("curvsam-cifar100"), data=data, data_args={"validation": 0.1})
    arms = tuple(Arm(f"CurvSAM F={f}", "curvsam", {"update_every": f}) for f in FREQUENCIES)
    measure = Measure(
        {"validation": ("accuracy",), "test": ("accuracy",), "train": ("trace", "lambda_max")},
        num_samples=None if scale == "laptop" else 5000,
        mode="reestimate",
    )
    flatness = {"trace": ("trace", "train"), "lambda_max": ("lambda_max", "train")}
    return Arena({"": base}, (Arm("SAM", "sam"), *arms), (0.02, 0.05, 0.1, 0.2, 0.5), (measure,), flatness=flatness)


def cost(trials: Trials) -> Table:
    """Table 2: what a step costs, counted and timed."""
    seconds: dict[str, list[float]] = {}
    for row in trials.found.trainings:
        arm = row["name"].partition(",")[0]
        seconds.setdefault(arm, []).append(row["seconds"] / row["gradients"])
    base = trials.plan.arena.benchmarks[""]
    steps = {arm.name: gradients_a_step(arm.on(base, 0.1, epochs=1)) for arm in trials.plan.arena.arms}
    times = {arm: fmean(seconds[arm]) * steps[arm] for arm in steps}
    rows: list[Sequence[str | Interval]] = []
    for arm, gradients in steps.items():
        point = trials.chosen[arm, "epochs"]
        sharp = over_seeds(trials.found.values(trials.plan.cells[arm, "epochs", point], "lambda_max", "train"))
        theirs = {f"CurvSAM F={f}": f"{time}" for f, time in TIMES.items()}.get(arm, "1.00")
        rows.append([arm, f"{gradients:.2f}", f"{times[arm] / times['SAM']:.2f}", theirs, sharp])
    header = ["optimizer", "gradients a step", "time of SAM's", "the paper's", "lambda_max"]
    caption = (
        "What a step costs: counted, and the mean over all trainings, which shared the processor with other work. "
        "lambda_max on train, as tuned for as many epochs."
    )
    return table(header, rows, caption)


def findings(trials: Trials) -> list[Finding]:
    """Table 2, claim by claim."""
    found = []
    for f in FREQUENCIES:
        claim = find(trials, f"CurvSAM F={f}", "SAM", "epochs", tuned=True)
        if claim is not None:
            told = claim.agrees("higher")
            found.append(
                Finding(f"with F = {f} it is more accurate than SAM (table 2)", in_words(claim), told, "150 images.")
            )
    return found


STUDY = arena_study(
    "curvsam-frequency",
    "How often should CurvSAM look at the curvature, and is that worth it beside SAM?",
    "CurvSAM, table 2",
    arena,
    findings=findings,
    tables={"cost": cost},
    notes="- CurvSAM's beta_h 0.9 and delta 0.1 are ours; the paper gives F alone.",
)
