"""sa-sam-tuning: accuracy on corrupted images, trace and largest eigenvalue over learning rate x weight decay.

SA-SAM's figs. 1 to 3. The protocol is the authors' recipe, "sa-sam-cifar10", with a fifth of the training images held
out to choose by. At scale "laptop" a small CNN on the digits takes the place of VGG-19, for 15 epochs, without
augmentation; learning rates are ten times the paper's, since there are a hundred times fewer steps, and two of its
three weight decays, too small to be felt in so few, give way to a larger one.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from landscape.figures import Run, Table, Value, draw
from landscape.studies.collected import Collected
from landscape.studies.intervals import (
    Interval,
    agrees,
    all_agree,
    change,
    over_seeds,
    percent,
    points,
    relative_change,
)
from landscape.studies.measure import Measure
from landscape.studies.plan import Plan
from landscape.studies.study import Finding, Study, kind
from landscape.studies.tables import ERRORS, changes, compare, compared, means
from landscape.training import Recipe, load_recipe

OURS, OTHERS = "SA-SAM", ("SAM", "SA-SGD", "SGD", "Adam")
METRICS = {name: (name, "corrupted") for name in ("accuracy", "trace", "lambda_max")}
THEIRS = 1e-4  # the paper's largest weight decay
CHANCE = 0.1  # ten classes: the accuracy that a run that diverged counts with


def plan(scale: str, data: str) -> Plan:
    """Five optimizers over one grid, measured at the end."""
    base = load_recipe("sa-sam-cifar10")
    if scale == "laptop":
        base = replace(base, model="cnn", data="digits", augment={}, epochs=15, batch_size=64)
        rates, decays = [1e-3, 1e-2, 1e-1, 1.0], [0.0, 1e-4, 1e-2]
    else:
        base = replace(base, data=data, epochs=30)
        rates, decays = [1e-4, 1e-3, 1e-2, 1e-1], [0.0, 1e-8, 1e-6, 1e-4]
    recipes = tuple(
        replace(base, optimizer=optimizer, optimizer_args=args, lr=lr, weight_decay=weight_decay)
        for lr in rates
        for weight_decay in decays
        for optimizer, args in {
            "sgd": {},
            "adam": {},
            "sam": {"rho": math.sqrt(lr)},
            "sa-sgd": {"delta": 0.02},
            "sa-sam": {"delta": 0.02},
        }.items()
    )
    metrics, num_samples = tuple(METRICS), None if scale == "laptop" else 200
    return Plan(recipes, 5, (Measure({"validation": metrics, "corrupted": metrics}, num_samples=num_samples),))


def tuned(found: Collected) -> Table:
    """Fig. 1: every optimizer where its validation accuracy is highest."""
    chosen = _chosen(found)
    settings = {name: found.plan.names[name] for name in chosen.values()}
    names = {
        f"{optimizer}, lr {settings[name].lr:g}, weight_decay {settings[name].weight_decay:g}": name
        for optimizer, name in chosen.items()
    }
    columns = {"validation accuracy": ("accuracy", "validation", None)}
    columns |= {f"corrupted: {name}": (*where, None) for name, where in METRICS.items()}
    caption = "At the learning rate and weight decay with the highest mean validation accuracy (SA-SAM, fig. 1)."
    return means(found, columns, caption, names=names)


def differences(found: Collected) -> Table:
    """Fig. 1: the tuned optimizers beside SA-SAM."""
    chosen = _chosen(found)
    pairs = [(chosen[other], chosen[OURS]) for other in OTHERS]
    table = changes(found, METRICS, pairs, "Each as tuned on validation; on corrupted images.")
    rows = [[f"{OURS} against {other}", *row[1:]] for other, row in zip(OTHERS, table.rows, strict=True)]
    return replace(table, rows=rows)


def tuning(found: Collected) -> Table:
    """Fig. 3: how much depends on the learning rate."""
    rows: list[Sequence[str | Value]] = []
    for optimizer in (OURS, *OTHERS):
        by_seed = (_spread(found, optimizer), _spread(found, optimizer, most=THEIRS), _mean(found, optimizer))
        values = [over_seeds(one) for one in by_seed]
        diverged = [row for row in found.diverged if row["name"].partition(",")[0] == optimizer]
        num = len(_grid(found, optimizer)) * found.plan.num_seeds
        rows.append([optimizer, *(Value(v.value, v.half, v.num_seeds) for v in values), f"{len(diverged)} of {num}"])
    theirs = f"without weight decays above {THEIRS:g}"
    header = ["optimizer", "spread over learning rates", theirs, "mean over the grid", "diverged"]
    caption = (
        "Accuracy on corrupted images (SA-SAM, fig. 3). Spread: the best learning rate's less the worst one's, each "
        f"averaged over weight decays. A run that diverged counts as chance, {CHANCE:g}."
    )
    return Table(header, rows, caption, {}, ERRORS)


def tuned_figure(found: Collected) -> Figure | Table:
    """Figs. 1 and 4 of the paper: the tuned optimizers alone."""
    chosen = set(_chosen(found).values())
    return draw("optimizers", [run for name, group in found.groups.items() if name in chosen for run in group])


def answer(found: Collected) -> str:
    """Whether SA-SAM is easier to tune than SAM, and what it is worth when both are tuned."""
    chosen = _chosen(found)
    spread = change(_spread(found, "SAM"), _spread(found, OURS))
    easier = {
        True: "Yes, SA-SAM is easier to tune than SAM",
        False: "No, SA-SAM is harder to tune than SAM",
        None: "These runs cannot tell whether SA-SAM is easier to tune than SAM",
    }[agrees(spread, "lower")]
    against = {name: compared(found, chosen["SAM"], chosen[OURS], *where) for name, where in METRICS.items()}
    return (
        f"{easier} (spread of accuracy over learning rates: {points(spread)}); where both are tuned on validation, on "
        f"corrupted images: accuracy {against['accuracy']}, trace {against['trace']}, largest eigenvalue "
        f"{against['lambda_max']} ({found.subject})."
    )


def findings(found: Collected) -> Sequence[Finding]:
    """Figs. 1 to 3, claim by claim."""
    chosen = _chosen(found)
    best = {other: compare(found, chosen[other], chosen[OURS], "accuracy", "corrupted") for other in OTHERS}
    curvature = {
        f"{metric} against {other}": compare(found, chosen[other], chosen[OURS], metric, "corrupted")
        for metric in ("trace", "lambda_max")
        for other in OTHERS
    }
    everywhere = {other: _over_grid(found, other) for other in OTHERS}
    spread = {other: change(_spread(found, other), _spread(found, OURS)) for other in ("SAM", "SGD", "Adam")}
    mean = {other: change(_mean(found, other), _mean(found, OURS)) for other in OTHERS}
    small = "Training is a few hundred steps of a small network on 8×8 digits, and the learning rates are others."
    early = (
        "A small trace is not only a flat minimum: where the step size is too small to learn, or too large to stay, "
        "the network's outputs hardly depend on its weights. The heat map of accuracy says where that is so."
    )
    return [
        Finding(
            "tuned on validation, SA-SAM has the best accuracy on corrupted images (fig. 1)",
            "; ".join(f"against {other}: {points(one)}" for other, one in best.items()),
            (agree := all_agree(agrees(one, "higher") for one in best.values())),
            "" if agree else small,
        ),
        Finding(
            "and lower trace and largest eigenvalue (fig. 1)",
            "; ".join(f"{what}: {percent(one)}" for what, one in curvature.items()),
            (agree := all_agree(agrees(one, "lower") for one in curvature.values())),
            "" if agree else small,
        ),
        Finding(
            "its trace is lower whatever the learning rate and weight decay (fig. 2)",
            "; ".join(
                f"against {other}: lower in {lower} of {num} cells, {percent(one)} over all of them"
                for other, (one, lower, num) in everywhere.items()
            ),
            all(lower == num for _, lower, num in everywhere.values()),
            early,
        ),
        Finding(
            "accuracy depends less on the learning rate than with SAM, SGD and Adam (fig. 3)",
            "; ".join(f"spread against {other}: {points(one)}" for other, one in spread.items()),
            (agree := all_agree(agrees(one, "lower") for one in spread.values())),
            "" if agree else small,
        ),
        Finding(
            "it is generally better over the grid (fig. 3)",
            "; ".join(f"mean accuracy against {other}: {points(one)}" for other, one in mean.items()),
            (agree := all_agree(agrees(one, "higher") for one in mean.values())),
            "" if agree else small,
        ),
    ]


def _grid(found: Collected, optimizer: str) -> dict[str, Recipe]:
    """The recipes of an optimizer by their names."""
    names = found.plan.names.items()
    return {name: recipe for name, recipe in names if Run(Path(), {"recipe": recipe.to_dict()}).optimizer == optimizer}


def _accuracy(found: Collected, name: str, split: str) -> dict[int, float]:
    """By seed; chance where a run diverged."""
    return dict.fromkeys(range(found.plan.num_seeds), CHANCE) | found.values(name, "accuracy", split)


def _chosen(found: Collected) -> dict[str, str]:
    """By optimizer, the recipe with the highest mean accuracy on validation; the first of several."""
    return {
        optimizer: max(
            _grid(found, optimizer), key=lambda name: float(np.mean([*_accuracy(found, name, "validation").values()]))
        )
        for optimizer in (OURS, *OTHERS)
    }


def _by_rate(found: Collected, optimizer: str, most: float = math.inf) -> dict[int, list[float]]:
    """By seed, the accuracy at every learning rate, averaged over weight decays up to some."""
    grid = {name: recipe for name, recipe in _grid(found, optimizer).items() if recipe.weight_decay <= most}
    accuracy = {name: _accuracy(found, name, "corrupted") for name in grid}
    rates = sorted({recipe.lr for recipe in grid.values()})
    return {
        seed: [float(np.mean([accuracy[name][seed] for name in grid if grid[name].lr == rate])) for rate in rates]
        for seed in range(found.plan.num_seeds)
    }


def _spread(found: Collected, optimizer: str, *, most: float = math.inf) -> dict[int, float]:
    return {seed: max(values) - min(values) for seed, values in _by_rate(found, optimizer, most).items()}


def _mean(found: Collected, optimizer: str) -> dict[int, float]:
    return {seed: float(np.mean(values)) for seed, values in _by_rate(found, optimizer).items()}


def _over_grid(found: Collected, other: str) -> tuple[Interval, int, int]:
    """SA-SAM's trace against another's in the same cell: on the whole, and in how many cells the mean is lower."""
    cells = {
        (recipe.lr, recipe.weight_decay): [name, theirs]
        for name, recipe in _grid(found, OURS).items()
        for theirs, its in _grid(found, other).items()
        if (its.lr, its.weight_decay) == (recipe.lr, recipe.weight_decay)
    }
    values = [[found.values(name, "trace", "corrupted") for name in pair] for pair in cells.values()]
    lower = sum(bool(a) and bool(b) and np.mean([*a.values()]) < np.mean([*b.values()]) for a, b in values)
    shared = [(a, b) for a, b in values if a.keys() == b.keys() and a]
    if not shared:
        return over_seeds({}), lower, len(cells)
    seeds = set.intersection(*(set(a) for a, _ in shared))
    ours, theirs = (
        {seed: math.exp(np.mean([math.log(pair[side][seed]) for pair in shared])) for seed in sorted(seeds)}
        for side in (0, 1)
    )
    return relative_change(theirs, ours), int(lower), len(cells)


STUDY = Study(
    name="sa-sam-tuning",
    question="Is SA-SAM easier to tune than SAM, SGD and Adam, and does it end flatter and better on corrupted images?",
    paper="SA-SAM: figs. 1, 2 and 3",
    plan=plan,
    answer=answer,
    findings=findings,
    tables={"tuned": tuned, "differences": differences, "tuning": tuning},
    figures={"heat-map": kind("heat-map"), "tuned": tuned_figure},
    limits="""\
- Learning rate and weight decay of each optimizer are chosen by accuracy on the fifth of the training images that was
  held out, averaged over the seeds that are then compared; corrupted images choose nothing. A rate at the edge of
  the grid may not be the best there is.
- Corrupted: the test images under each of the 15 corruptions of CIFAR-10-C at severity 3, made here. Trace and largest
  eigenvalue are those of the loss on them.
- SAM's radius is the root of the learning rate, as in the paper. SGD and SAM have momentum 0.9; the adaptive ones none.
- For SA-SGD and SA-SAM the learning rate is the first step size alone.
- Colours and bars in the figures are means and standard deviations over seeds; the intervals in tables and sentences
  are t-intervals. Each stands for itself: with this many, one in twenty that tells apart does so by chance.""",
)
