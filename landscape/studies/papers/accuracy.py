"""accuracy: the papers' comparisons of test accuracy, on the same terms (CR-SAM t. 1, 2; GAM t. 1 to 3; CurvSAM t. 1).

At scale "laptop" the benchmark is the recipe digits-150 (150 training images), in which optimizers can be told apart
within seconds; corrupted images are seen by the same networks. Wrong labels: label-noise.
"""

from collections.abc import Sequence
from dataclasses import replace

from landscape.figures import Table
from landscape.statistics import Interval
from landscape.studies import Finding, Measure
from landscape.studies.arena import ARMS, Arena, Trials, arena_study, find, in_words
from landscape.studies.seeds import over_seeds, table
from landscape.training import load_recipe

PAPERS = {  # whose accuracy the papers say is higher than SAM's
    "ASAM": "CurvSAM, table 1",
    "R-SAM": "CR-SAM, table 2",
    "CR-SAM": "CR-SAM, tables 1 and 2",
    "CR-SAM log": "CR-SAM, as its equations have it",
    "CurvSAM": "CurvSAM, table 1",
    "SA-SAM": "SA-SAM, figs. 1 and 3, on other data",
    "SAM+GAM": "GAM, tables 1 to 3",
}
_ARMS = ("sgd", "sam", "asam", "r-sam", "cr-sam", "cr-sam-log", "sa-sgd", "sa-sam", "curvsam", "gam", "sam+gam")


def arena(scale: str, data: str) -> Arena:
    """Eleven optimizers, at as many tries."""
    if scale == "laptop":
        benchmarks = {"": load_recipe("digits-150")}
    else:
        base = replace(load_recipe("cr-sam-cifar10-sgd"), data=data, data_args={"validation": 0.1})
        benchmarks = {"basic": base, "Cutout": replace(base, augment={**base.augment, "cutout": 8})}
    measure = Measure(
        {
            "validation": ("accuracy",),
            "test": ("accuracy",),
            "corrupted": ("accuracy",),
            "train": ("accuracy", "trace"),
        },
        num_samples=None if scale == "laptop" else 5000,
        mode="reestimate",
    )
    return Arena(
        benchmarks, tuple(ARMS[name] for name in _ARMS), (0.05, 0.1, 0.2, 0.5), (measure,), tuning_seeds=(100, 101)
    )


def corrupted(trials: Trials) -> Table:
    """Accuracy on corrupted images at the chosen points, which these did not choose."""
    rows: list[Sequence[str | Interval]] = []
    for (arm, condition), point in trials.chosen.items():
        name = trials.plan.cells[arm, condition, point]
        means = [over_seeds(trials.found.values(name, "accuracy", split)) for split in ("train", "test", "corrupted")]
        rows.append([arm, condition, *means])
    caption = "Accuracy at the points of the table above. Corrupted: the test images under each of 15 corruptions."
    return table(["optimizer", "as many", "train", "test", "corrupted"], rows, caption)


def findings(trials: Trials) -> list[Finding]:
    """Whether each is more accurate than SAM, and GAM than SGD, condition by condition."""
    why = "The networks are small and train for minutes; radii and nothing else are tuned."
    found = []
    for arm, paper in PAPERS.items():
        for condition in trials.plan.arena.conditions:
            claim = find(trials, arm, "SAM", condition, tuned=True)
            if claim is not None:
                told = claim.agrees("higher")
                found.append(
                    Finding(f"{arm} is more accurate than SAM ({paper}): {condition}", in_words(claim), told, why)
                )
    return found


STUDY = arena_study(
    "accuracy",
    "Which optimizers are more accurate than SAM, where all are tuned alike and cost the same?",
    "CR-SAM, tables 1 and 2; GAM, tables 1 to 3; CurvSAM, table 1",
    arena,
    findings=findings,
    tables={"corrupted": corrupted},
    notes="""\
- Each optimizer is in SGD's place in the recipe digits-150, with its learning rate, momentum, decay and schedule.
  SA-SGD and SA-SAM set their step size themselves, from a first one that is swept, a tenth of the point; they have no
  schedule. The radius of SA-SAM is the root of that step size, which on this network, without BatchNorm, grows to about
  one: it ends at chance.""",
)
