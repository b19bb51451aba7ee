"""gam-geometry: local minima around trained weights, and top eigenvalues (GAM, Zhang et al. 2023: figs. 2, 3 and 5).

The protocol is the authors' recipe, "gam-cifar10", with label smoothing and all; GAM is the paper's algorithm 1, over
SGD and over SAM. At scale "laptop" a small CNN on the digits takes the place of ResNet-18, for 40 epochs, without
augmentation, and what is measured on train is so on 768 of its examples: twelve mini-batches.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from landscape.figures import Table, Value
from landscape.studies.collected import Collected
from landscape.studies.intervals import Interval, agrees, all_agree, over_seeds, percent, relative_change
from landscape.studies.landscapes import Landscape
from landscape.studies.measure import Measure
from landscape.studies.plan import Plan
from landscape.studies.study import Finding, Study, kind
from landscape.studies.tables import ERRORS, changes, compare, compared, means
from landscape.training import load_recipe

ALL_DATA, MINIBATCH = "local_minima", "local_minima_minibatch"
SPECTRUM = {"trace": ("trace", "train"), "largest eigenvalue": ("top_eigenvalues", "train")}
_LARGEST = SPECTRUM["largest eigenvalue"]
PAIRS = (("SGD", "GAM"), ("SGD", "SAM"), ("SAM", "GAM"), ("SAM", "SAM+GAM"), ("GAM", "SAM+GAM"))


def plan(scale: str, data: str) -> Plan:
    """Four optimizers, their spectra in the middle and at the end of training, and what lies around the end."""
    base = load_recipe("gam-cifar10")
    if scale == "laptop":
        base = replace(base, model="cnn", data="digits", augment={}, epochs=40, batch_size=64)
        num_samples, num_seeds = 768, 5
    else:
        base = replace(base, data=data, epochs=30)
        num_samples, num_seeds = 5000, 3
    base = replace(base, checkpoint_at=(base.epochs // 2,))
    penalty = {"mode": "hvp", "rho": 0.2, "alpha": 0.6}
    recipes = (
        replace(base, optimizer="sgd", optimizer_args={}),
        replace(base, optimizer="gam", optimizer_args=penalty),
        replace(base, optimizer="sam", optimizer_args={"rho": 0.05}),
        replace(base, optimizer="sam+gam", optimizer_args=penalty | {"rho_sam": 0.05}),
    )
    spectra = Measure(
        {"train": ("trace", "top_eigenvalues"), "test": ("accuracy",)},
        at="kept",
        num_samples=num_samples,
        arrays=("eigenvalues",),
    )
    minima = Measure(
        {"train": (ALL_DATA, MINIBATCH)},
        variants={MINIBATCH: ("local_minima", {"evaluation": "minibatch", "batch_size": base.batch_size})},
        num_samples=num_samples,
        arrays=tuple(f"{raw}{what}_histogram" for raw in ("raw_", "") for what in ("minima", "maxima")),
    )
    return Plan(recipes, num_seeds, (spectra, minima, Landscape(span=0.3, num_samples=num_samples)))


def extrema(found: Collected) -> Table:
    """Fig. 2 in numbers: how many minima, and how many directions have more than one."""
    rows: list[Sequence[str | Value]] = []
    for name in found.plan.names:
        for metric, evaluation in ((ALL_DATA, "all data"), (MINIBATCH, "a fresh mini-batch a point")):
            details = found.details(name, metric, "train")
            for key, counted in (("raw_minima", "raw"), ("minima", "above the noise floor")):
                values = [
                    over_seeds({seed: function(one[f"{key}_histogram"]) for seed, one in details.items()})
                    for function in (_mean, _share_of_several)
                ]
                noise = next(iter(details.values()))["noise_expectation"] if counted == "raw" and details else None
                rows.append(
                    [
                        name,
                        evaluation,
                        counted,
                        *(Value(v.value, v.half, v.num_seeds) for v in values),
                        "" if noise is None else f"{noise:.1f}",
                    ]
                )
    header = ["optimizer", "loss of", "counted", "minima a direction", "share with more than one", "noise alone"]
    caption = "Local minima along random directions at the end of training, on train (GAM, fig. 2)."
    return Table(header, rows, caption, {}, ERRORS)


def spectra(found: Collected) -> Table:
    """Fig. 3 in numbers."""
    middle, end = _epochs(found)
    columns = {f"{what}, epoch {epoch}": (*where, epoch) for what, where in SPECTRUM.items() for epoch in (middle, end)}
    caption = "Trace and largest eigenvalue on train (GAM, fig. 3); GAM is SGD+GAM."
    return means(found, columns | {"test accuracy": ("accuracy", "test", None)}, caption)


def differences(found: Collected) -> Table:
    """Every claim of fig. 3 on the end of training, pair by pair."""
    columns = SPECTRUM | {"test accuracy": ("accuracy", "test")}
    return changes(found, columns, PAIRS, "At the end of training; GAM is SGD+GAM.")


def answer(found: Collected) -> str:
    """Whether there are several minima where the loss is not sampled anew at every point, and GAM's eigenvalue."""
    several = {metric: _averaged(found, metric, key, _share_of_several) for metric, key in _PROTOCOLS.items()}
    count = _averaged(found, MINIBATCH, "raw_minima", _mean)
    noise = _noise(found)
    numbers = (
        f"with a fresh mini-batch at every point {_share(several[MINIBATCH])} of the directions have more than one "
        f"local minimum, {count.value:.2f} each ({count.low:.2f} to {count.high:.2f}) where noise alone has "
        f"{noise:.2f}; of the loss over all the data, above the noise floor, {_share(several[ALL_DATA])} have; "
        f"the largest eigenvalue where GAM ended, against SGD: {compared(found, 'SGD', 'GAM', *_LARGEST)}"
    )
    if several[ALL_DATA].low > 0.5:
        verdict = "About the loss: most directions have several minima without any sampling"
    elif several[ALL_DATA].high < 0.5 < several[MINIBATCH].low:
        verdict = "About its sampling"
    else:
        verdict = "These runs cannot tell whether the minima are the loss's or its sampling's"
    return f"{verdict}: {numbers} ({found.subject})."


def findings(found: Collected) -> Sequence[Finding]:
    """Figs. 2 and 3, claim by claim."""
    middle, end = _epochs(found)
    shares = {metric: _averaged(found, metric, "raw_minima", _share_of_several) for metric in (ALL_DATA, MINIBATCH)}
    rise = {
        what: relative_change(*(found.values("SGD", *where, epoch=epoch) for epoch in (middle, end)))
        for what, where in SPECTRUM.items()
    }
    why = (
        "The paper does not say how it evaluated the training loss. A direction of norm 0.1 barely moves the weights; "
        "on fixed data the loss along it is smooth, and a fresh mini-batch at every point makes it as ragged as noise."
    )
    claims = [
        Finding(
            "most directions have more than one local minimum within 0.1 (fig. 2): on all the data, raw",
            _share(shares[ALL_DATA]),
            _majority(shares[ALL_DATA]),
            "" if _majority(shares[ALL_DATA]) else why,
        ),
        Finding(
            "the same, with a fresh mini-batch at every point", _share(shares[MINIBATCH]), _majority(shares[MINIBATCH])
        ),
        Finding(
            "with SGD, trace and largest eigenvalue are higher at the end than in the middle (fig. 3)",
            "; ".join(f"{what} {percent(one)}" for what, one in rise.items()),
            all_agree([agrees(one, "higher") for one in rise.values()]),
            "The learning rate falls to 0 and the small network has long fitted the digits in the middle of training.",
        ),
    ]
    for before, after in PAIRS:
        if after != "SAM":
            verdicts = [agrees(compare(found, before, after, *where), "lower") for where in SPECTRUM.values()]
            words = "; ".join(f"{what} {compared(found, before, after, *where)}" for what, where in SPECTRUM.items())
            why = "" if all_agree(verdicts) else _TUNING
            claims.append(
                Finding(f"{after} ends with both lower than {before} (fig. 3)", words, all_agree(verdicts), why)
            )
    return claims


_PROTOCOLS = {ALL_DATA: "minima", MINIBATCH: "raw_minima"}
_TUNING = "Radius and weight of GAM's penalty are not published for its algorithm 1, and were not tuned here."


def _epochs(found: Collected) -> tuple[int, int]:
    recipe = found.plan.recipes[0]
    return recipe.checkpoint_at[0], recipe.epochs


def _averaged(found: Collected, metric: str, key: str, function: Any) -> Interval:
    """A statistic of the histograms, averaged over the optimizers seed by seed."""
    by_seed: dict[int, list[float]] = {}
    for name in found.plan.names:
        for seed, details in found.details(name, metric, "train").items():
            by_seed.setdefault(seed, []).append(function(details[f"{key}_histogram"]))
    return over_seeds({seed: float(np.mean(values)) for seed, values in by_seed.items()})


def _noise(found: Collected) -> float:
    every: Sequence[Mapping[str, Any]] = [
        details for name in found.plan.names for details in found.details(name, ALL_DATA, "train").values()
    ]
    return float(every[0]["noise_expectation"])


def _mean(histogram: Sequence[int]) -> float:
    return float(np.average(range(len(histogram)), weights=histogram))


def _share_of_several(histogram: Sequence[int]) -> float:
    return sum(histogram[2:]) / sum(histogram)


def _share(found: Interval) -> str:
    if found.num_seeds < 2:
        return f"{100 * found.value:.0f} % (one seed)"
    low, high = max(found.low, 0.0), min(found.high, 1.0)
    return f"{100 * found.value:.0f} % ({100 * low:.0f} to {100 * high:.0f})"


def _majority(found: Interval) -> bool | None:
    return True if found.low > 0.5 else False if found.high < 0.5 else None


STUDY = Study(
    name="gam-geometry",
    question="Are the many local minima that GAM finds around trained weights about the loss, or about its sampling; "
    "and does GAM end with smaller top eigenvalues?",
    paper="GAM, Zhang et al. 2023: figs. 2, 3 and 5",
    plan=plan,
    answer=answer,
    findings=findings,
    tables={"extrema": extrema, "spectra": spectra, "differences": differences},
    figures={name: kind(name) for name in ("extrema", "top-eigenvalues", "landscapes")},
    limits="""\
- Nothing was tuned. Learning rate, weight decay and label smoothing are those of the authors' script, which trains the
  accelerated GAM; of algorithm 1, radius 0.2 and weight 0.6 are ours. SAM's radius is 0.05.
- Minima: 100 directions of 10 steps of 0.01, a strict interior point each, as in the paper. The noise floor is twice
  the spread of the rounding errors, or of the mini-batches' losses at the weights. For losses that are exchangeable
  from point to point, the expectation is exactly a third of the 9 interior points.
- A share that is 0 or 1 for every seed has no spread over seeds, and its interval no width: 0 of 500 directions still
  allows one in a hundred.
- Traces are exact; the 50 largest eigenvalues are each within 5 %, by Lanczos.
- The landscapes are those of one seed, along two random directions: a picture, and no evidence.""",
)
