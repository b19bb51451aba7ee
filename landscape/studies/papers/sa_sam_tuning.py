"""sa-sam-tuning: accuracy on corrupted images, trace and largest eigenvalue over learning rate x weight decay.

SA-SAM's figs. 1 to 3. The protocol is the authors' recipe, "sa-sam-cifar10", with a fifth of the training images held
out to choose by. At scale "laptop" a small CNN on the digits takes the place of VGG-19, for 15 epochs, without
augmentation; learning rates are ten times the paper's, since there are a hundred times fewer steps, and two of its
three weight decays, too small to be felt in so few, give way to a larger one.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from matplotlib.figure import Figure

from landscape.figures import Table, draw
from landscape.statistics import Interval
from landscape.studies import Collected, Finding, Measure, Plan, Study, drawn
from landscape.studies.seeds import agrees, change, over_seeds, percent, points, relative_change, table
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
    recipes = {name: found.plan.names[name] for name in chosen.values()}
    names = {
        f"{optimizer}, lr {recipes[name].lr:g}, weight_decay {recipes[name].weight_decay:g}": name
        for optimizer, name in chosen.items()
    }
    columns = {"validation accuracy": ("accuracy", "validation", None)}
    columns |= {f"corrupted: {name}": (*where, None) for name, where in METRICS.items()}
    caption = "At the learning rate and weight decay with the highest mean validation accuracy (SA-SAM, fig. 1)."
    return found.means(columns, caption, names=names)


def differences(found: Collected) -> Table:
    """Fig. 1: the tuned optimizers beside SA-SAM."""
    pairs = [(other, OURS) for other in OTHERS]
    return found.changes(METRICS, pairs, "Each as tuned on validation; on corrupted images.", names=_chosen(found))


def tuning(found: Collected) -> Table:
    """Fig. 3: how much depends on the learning rate."""
    rows: list[list[str | Interval]] = []
    for optimizer in (OURS, *OTHERS):
        by_seed = (_spread(found, optimizer), _spread(found, optimizer, most=THEIRS), _mean(found, optimizer))
        diverged = [row for row in found.diverged if row["name"].partition(",")[0] == optimizer]
        num = len(_grid(found, optimizer)) * found.plan.num_seeds
        rows.append([optimizer, *map(over_seeds, by_seed), f"{len(diverged)} of {num}"])
    theirs = f"without weight decays above {THEIRS:g}"
    header = ["optimizer", "spread over learning rates", theirs, "mean over the grid", "diverged"]
    caption = (
        "Accuracy on corrupted images (SA-SAM, fig. 3). Spread: the best learning rate's less the worst one's, each "
        f"averaged over weight decays. A run that diverged counts as chance, {CHANCE:g}."
    )
    return table(header, rows, caption)


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
    against = {name: found.compare_in_words(chosen["SAM"], chosen[OURS], *where) for name, where in METRICS.items()}
    return (
        f"{easier} (spread of accuracy over learning rates: {points(spread)}); where both are tuned on validation, on "
        f"corrupted images: accuracy {against['accuracy']}, trace {against['trace']}, largest eigenvalue "
        f"{against['lambda_max']} ({found.subject})."
    )


def findings(found: Collected) -> Sequence[Finding]:
    """Figs. 1 to 3, claim by claim."""
    chosen = _chosen(found)
    best = {f"against {other}:": found.compare(chosen[other], chosen[OURS], *METRICS["accuracy"]) for other in OTHERS}
    curvature = {
        f"{metric} against {other}:": found.compare(chosen[other], chosen[OURS], *METRICS[metric])
        for metric in ("trace", "lambda_max")
        for other in OTHERS
    }
    everywhere = {other: _over_grid(found, other) for other in OTHERS}
    spread = {
        f"spread against {other}:": change(_spread(found, other), _spread(found, OURS))
        for other in ("SAM", "SGD", "Adam")
    }
    mean = {f"mean accuracy against {other}:": change(_mean(found, other), _mean(found, OURS)) for other in OTHERS}
    small = "Training is a few hundred steps of a small network on 8×8 digits, and the learning rates are others."
    early = (
        "A small trace is not only a flat minimum: where the step size is too small to learn, or too large to stay, "
        "the network's outputs hardly depend on its weights. The heat map of accuracy says where that is so."
    )
    claim = "tuned on validation, SA-SAM has the best accuracy on corrupted images (fig. 1)"
    depends = "accuracy depends less on the learning rate than with SAM, SGD and Adam (fig. 3)"
    return [
        Finding.that_all(claim, "higher", best, small, points),
        Finding.that_all("and lower trace and largest eigenvalue (fig. 1)", "lower", curvature, small),
        Finding(
            "its trace is lower whatever the learning rate and weight decay (fig. 2)",
            "; ".join(
                f"against {other}: lower in {lower} of {num} cells, {percent(one)} over all of them"
                for other, (one, lower, num) in everywhere.items()
            ),
            all(lower == num for _, lower, num in everywhere.values()),
            early,
        ),
        Finding.that_all(depends, "lower", spread, small, points),
        Finding.that_all("it is generally better over the grid (fig. 3)", "higher", mean, small, points),
    ]


def _grid(found: Collected, optimizer: str) -> dict[str, Recipe]:
    """The recipes of an optimizer by their names."""
    return {name: recipe for name, recipe in found.plan.names.items() if name.partition(",")[0] == optimizer}


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
    ours, theirs = (
        {
            (recipe.lr, recipe.weight_decay): found.values(name, *METRICS["trace"])
            for name, recipe in _grid(found, optimizer).items()
        }
        for optimizer in (OURS, other)
    )
    pairs = [(theirs[at], ours[at]) for at in ours if at in theirs]
    lower = sum(bool(a) and bool(b) and np.mean([*b.values()]) < np.mean([*a.values()]) for a, b in pairs)
    shared = [(a, b) for a, b in pairs if a and a.keys() == b.keys()]
    seeds = sorted(set.intersection(*(set(a) for a, _ in shared))) if shared else []
    geometric_means = (
        {seed: math.exp(np.mean([math.log(pair[side][seed]) for pair in shared])) for seed in seeds} for side in (0, 1)
    )
    return relative_change(*geometric_means), int(lower), len(pairs)


STUDY = Study(
    name="sa-sam-tuning",
    question="Is SA-SAM easier to tune than SAM, SGD and Adam, and does it end flatter and better on corrupted images?",
    paper="SA-SAM: figs. 1, 2 and 3",
    plan=plan,
    answer=answer,
    findings=findings,
    tables={"tuned": tuned, "differences": differences, "tuning": tuning},
    figures={"heat-map": drawn("heat-map"), "tuned": tuned_figure},
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
