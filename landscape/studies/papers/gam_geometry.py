"""gam-geometry: local minima around trained weights, and top eigenvalues (GAM, Zhang et al. 2023: figs. 2, 3 and 5).

The protocol is the authors' recipe, "gam-cifar10", with label smoothing and all: the paper's algorithm 1 over SGD and
over SAM, and the accelerated GAM that was released, at the same radii as SAM. At scale "laptop" a small CNN on the
digits takes the place of ResNet-18, for 10 epochs, without augmentation, and what is measured on train is so on 384 of
its examples; minima on 768, twelve mini-batches.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np

from landscape.figures import Table
from landscape.statistics import Interval
from landscape.studies import Collected, Finding, Measure, MeasurePlane
from landscape.studies.arena import Arena, Arm, Trials, arena_study, drawn_by_epoch, find, in_words
from landscape.studies.seeds import over_seeds, relative_change, table
from landscape.training import load_recipe

ALL_DATA, MINIBATCH = "local_minima", "local_minima_minibatch"
SPECTRUM = {"trace": ("trace", "train"), "lambda_max": ("lambda_max", "train")}
PAIRS = (
    ("SAM", "SGD"),
    ("GAM", "SGD"),
    ("GAM", "SAM"),
    ("SAM+GAM", "SAM"),
    ("SAM+GAM", "GAM"),
    ("GAM accelerated", "SAM"),
)
_PENALTY = {"mode": "hvp", "alpha": 0.6}


def arena(scale: str, data: str) -> Arena:
    """SGD, SAM, and GAM in three forms at equal radii; what lies around the end, and the middle, at one radius."""
    base = load_recipe("gam-cifar10")
    if scale == "laptop":
        base = replace(base, model="cnn", data="digits", augment={}, epochs=10, batch_size=64)
        num_samples, num_seeds = 384, 8
    else:
        base = replace(base, data=data, epochs=30)
        num_samples, num_seeds = 5000, 3
    arms = (
        Arm("SGD", "sgd", knob=None),
        Arm("SAM", "sam"),
        Arm("GAM", "gam", _PENALTY),
        Arm("SAM+GAM", "sam+gam", _PENALTY | {"rho_sam": 0.05}),
        Arm(
            "GAM accelerated",
            "gam",
            {"mode": "accelerated", "rho_prime": 0.03, "alpha": 0.1, "beta": 0.1, "gamma": 0.05},
        ),
    )
    at_end = Measure({"train": tuple(SPECTRUM), "test": ("accuracy",)}, num_samples=num_samples, mode="reestimate")
    spectra = Measure(
        {"train": ("trace", "top_eigenvalues")},
        at="by epoch",
        num_samples=num_samples,
        arrays=("eigenvalues",),
        mode="reestimate",
    )
    minima = Measure(
        {"train": (ALL_DATA, MINIBATCH)},
        at="by epoch",
        variants={MINIBATCH: ("local_minima", {"evaluation": "minibatch", "batch_size": base.batch_size})},
        num_samples=2 * num_samples,
        arrays=tuple(f"{raw}{what}_histogram" for raw in ("raw_", "") for what in ("minima", "maxima")),
        mode="reestimate",
    )
    return Arena(
        {"": base},
        arms,
        (0.1, 0.2),
        (at_end, spectra, minima, MeasurePlane(span=0.3, num_samples=num_samples, at="by epoch")),
        flatness=SPECTRUM,
        tuned_for=("accuracy", "test"),
        pairs=PAIRS,
        num_seeds=num_seeds,
        tuning_seeds=(),
        usual=0.2,
        checkpoint_at=(base.epochs // 2,),
    )


def extrema(trials: Trials) -> Table:
    """Fig. 2 in numbers: how many minima, and how many directions have more than one."""
    found = trials.found
    rows: list[list[str | Interval]] = [
        [
            name.partition(",")[0],
            evaluation,
            counted,
            _mean_over(found, [name], metric, key, _number),
            _mean_over(found, [name], metric, key, _share_of_several),
            f"{_noise(found):.1f}" if counted == "raw" else "",
        ]
        for name in _followed(found)
        for metric, evaluation in ((ALL_DATA, "all data"), (MINIBATCH, "a fresh mini-batch a point"))
        for key, counted in (("raw_minima", "raw"), ("minima", "above the noise floor"))
    ]
    header = ["optimizer", "loss of", "counted", "minima a direction", "share with more than one", "noise alone"]
    return table(header, rows, "Local minima along random directions at the end of training, on train (GAM, fig. 2).")


def answer(trials: Trials) -> str:
    """Whether there are several minima where the loss is not sampled anew at every point, and GAM beside SAM."""
    found = trials.found
    whole, sampled = _several(found, ALL_DATA, "minima"), _several(found, MINIBATCH, "raw_minima")
    count = _mean_over(found, _followed(found), MINIBATCH, "raw_minima", _number)
    if whole.low > 0.5:
        verdict = "The minima are the loss's: most directions have several without any sampling"
    elif whole.high < 0.5 < sampled.low:
        verdict = "The minima are those of the sampling"
    else:
        verdict = "These runs cannot tell whether the minima are the loss's or its sampling's"
    told = [
        f"{words} {in_words(claim)}"
        for condition, words in (("epochs", "for as many epochs"), ("gradients", "for as many gradients"))
        if (claim := find(trials, "GAM", "SAM", condition, "trace")) is not None
    ]
    return (
        f"{verdict}: with a fresh mini-batch at every point {_share(sampled)} of the directions have more than one, "
        f"{count.value:.2f} each ({count.low:.2f} to {count.high:.2f}) where noise alone has {_noise(found):.2f}; of "
        f"the loss over all the data, above the noise floor, {_share(whole)} have. GAM's trace against SAM's at the "
        f"same radii: {', '.join(told)} ({found.subject})."
    )


def findings(trials: Trials) -> Sequence[Finding]:
    """Figs. 2 and 3, claim by claim."""
    found = trials.found
    why = (
        "The paper does not say how it evaluated the training loss. A direction of norm 0.1 barely moves the weights; "
        "on fixed data the loss along it is smooth, and a fresh mini-batch at every point makes it as ragged as noise."
    )
    several = {
        "most directions have more than one local minimum within 0.1 (fig. 2): on all the data, raw": ALL_DATA,
        "the same, with a fresh mini-batch at every point": MINIBATCH,
    }
    shares = {claim: _several(found, metric, "raw_minima") for claim, metric in several.items()}
    base = trials.plan.arena.benchmarks[""]
    sgd, middle, end = trials.plan.cells["SGD", "epochs", 0.0], base.epochs // 2, base.epochs
    rise = {
        what: relative_change(*(found.values(sgd, what, "train", epoch=epoch) for epoch in (middle, end)))
        for what in ("trace", "top_eigenvalues")
    }
    claims = []
    for after, before in PAIRS:
        for metric in SPECTRUM:
            claim = find(trials, after, before, "epochs", metric)
            if claim is not None:
                told = claim.agrees("lower")
                text = f"{after} ends with a lower {metric} than {before} (fig. 3): at equal radius, as many epochs"
                claims.append(Finding(text, in_words(claim), told, "The weight of GAM's penalty was not tuned here."))
    return [
        *(Finding(claim, _share(share), _majority(share), why) for claim, share in shares.items()),
        Finding.that_all(
            "with SGD, trace and largest eigenvalue are higher at the end than in the middle (fig. 3)",
            "higher",
            rise,
            "The learning rate falls to 0 and the small network has long fitted the digits in the middle of training.",
        ),
        *claims,
    ]


def _followed(found: Collected) -> list[str]:
    """The recipes whose checkpoints are kept: each optimizer at the usual radius."""
    return [name for name, recipe in found.plan.names.items() if recipe.checkpoint_at]


def _mean_over(
    found: Collected, names: Iterable[str], metric: str, key: str, function: Callable[[Sequence[int]], float]
) -> Interval:
    """A statistic of the histograms, averaged over optimizers seed by seed."""
    by_seed: dict[int, list[float]] = {}
    for name in names:
        for seed, measurement in found.measurements(name, metric, "train").items():
            by_seed.setdefault(seed, []).append(function(measurement.details[f"{key}_histogram"]))
    return over_seeds({seed: float(np.mean(values)) for seed, values in by_seed.items()})


def _number(histogram: Sequence[int]) -> float:
    return float(np.average(range(len(histogram)), weights=histogram))


def _share_of_several(histogram: Sequence[int]) -> float:
    return sum(histogram[2:]) / sum(histogram)


def _several(found: Collected, metric: str, key: str) -> Interval:
    """The share of directions with more than one minimum, of all optimizers."""
    return _mean_over(found, _followed(found), metric, key, _share_of_several)


def _noise(found: Collected) -> float:
    """The minima that noise alone has, which only depends on the number of points."""
    every = (m for name in _followed(found) for m in found.measurements(name, ALL_DATA, "train").values())
    return float(next(every).details["noise_expectation"])


def _share(found: Interval) -> str:
    if found.num_samples < 2:
        return f"{100 * found.value:.0f} % (one seed)"
    low, high = max(found.low, 0.0), min(found.high, 1.0)
    return f"{100 * found.value:.0f} % ({100 * low:.0f} to {100 * high:.0f})"


def _majority(found: Interval) -> bool | None:
    return True if found.low > 0.5 else False if found.high < 0.5 else None


STUDY = arena_study(
    "gam-geometry",
    "Are the many local minima that GAM finds around trained weights about the loss, or about its sampling; and does "
    "GAM end flatter than SAM at the same radius?",
    "GAM, Zhang et al. 2023: figs. 2, 3 and 5",
    arena,
    answer=answer,
    findings=findings,
    tables={"extrema": extrema},
    figures={name: drawn_by_epoch(name) for name in ("extrema", "top-eigenvalues", "landscapes")},
    notes="""\
- GAM and SAM+GAM are the paper's algorithm 1 with exact Hessian products and weight 0.6, which is ours; SAM+GAM's inner
  SAM has radius 0.05. The accelerated GAM has the released script's values for CIFAR-10, but for its radius.
- Minima, at radius 0.2: 100 directions of 10 steps of 0.01, a strict interior point each, as in the paper. The noise
  floor is twice the spread of the rounding errors, or of the mini-batches' losses at the weights. For losses that are
  exchangeable from point to point, the expectation is exactly a third of the 9 interior points. A share that is 0 or 1
  for every seed has no spread over seeds, and its interval no width: 0 of 800 directions still allows one in 200.
- Traces are exact; of the 50 largest eigenvalues each is within 5 %, by Lanczos.
- The landscapes are those of one seed, along two random directions: a picture, and no evidence.""",
)
