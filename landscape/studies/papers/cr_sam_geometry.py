"""cr-sam-geometry: the geometry where SGD, SAM and CR-SAM end (CR-SAM, Wu, Luo & Wunsch 2024: table 3, figs. 1, 2, 4).

The protocol is the authors' recipe, "cr-sam-cifar10". At scale "laptop" a small CNN on the digits takes the place of
ResNet-18 on CIFAR-10, for 30 epochs, without augmentation; learning rate and decay stay theirs. SAM and CR-SAM have the
same radii: the authors' scripts have 0.05 for SAM and 0.1 for CR-SAM.
"""

from collections.abc import Sequence
from dataclasses import replace

from landscape.statistics import spearman
from landscape.studies import Collected, Finding, Measure, MeasurePlane
from landscape.studies.arena import Arena, Arm, Trials, arena_study, drawn_by_epoch, find, in_words
from landscape.studies.seeds import agrees, all_agree, change, over_seeds, percent, relative_change
from landscape.training import load_recipe

GEOMETRY = {name: (name, "test") for name in ("gradient_norm", "trace", "normalized_trace")}
PAIRS = (("SAM", "SGD"), ("CR-SAM", "SGD"), ("CR-SAM", "SAM"))
_SAM = "SAM, rho 0.1, 30 epochs"  # whose training is followed
_BY_EPOCH = (*GEOMETRY, "lambda_max", "sam_ratio")


def arena(scale: str, data: str) -> Arena:
    """Three optimizers at equal radii, measured at the end, and over training at one radius."""
    base = load_recipe("cr-sam-cifar10")
    if scale == "laptop":
        base = replace(base, model="cnn", data="digits", augment={}, epochs=30, batch_size=64)
        kept: tuple[int, ...] = (1, 5, 10, 20)
        num_samples, num_seeds = None, 8
    else:
        base = replace(base, data=data, epochs=30)
        kept, num_samples, num_seeds = (1, 3, 5, 10, 15, 20, 25), 5000, 3
    at_end = ("accuracy", *GEOMETRY)
    return Arena(
        {"": base},
        (Arm("SGD", "sgd", knob=None), Arm("SAM", "sam"), Arm("CR-SAM", "cr-sam", {"alpha": 0.1, "beta": 0.01})),
        (0.05, 0.1, 0.2),
        (
            Measure({"train": at_end, "test": at_end}, num_samples=num_samples, mode="reestimate"),
            Measure({"train": _BY_EPOCH, "test": _BY_EPOCH}, at="by epoch", num_samples=num_samples, mode="reestimate"),
            MeasurePlane(span=0.3, num_samples=num_samples, at="by epoch"),
        ),
        flatness=GEOMETRY,
        tuned_for=("accuracy", "test"),
        pairs=PAIRS,
        num_seeds=num_seeds,
        tuning_seeds=(),
        usual=0.1,
        checkpoint_at=kept,
    )


def answer(trials: Trials) -> str:
    """CR-SAM against SAM at equal radius, by each of the three numbers, for as many epochs and gradients."""
    parts = []
    for condition, words in (("epochs", "for as many epochs"), ("gradients", "for as many gradients")):
        claims = {name: find(trials, "CR-SAM", "SAM", condition, name) for name in (*GEOMETRY, "accuracy")}
        told = [f"{name} {in_words(claim)}" for name, claim in claims.items() if claim is not None]
        parts.append(f"{words} {', '.join(told)}")
    verdicts = {c.verdict for name in GEOMETRY if (c := find(trials, "CR-SAM", "SAM", "epochs", name)) is not None}
    verdict = {
        frozenset({"lower"}): "At SAM's radii CR-SAM ends flatter than SAM by all three measures",
        frozenset({"not told apart"}): "At SAM's radii these runs cannot tell CR-SAM from SAM by any measure",
        frozenset({"lower", "not told apart"}): "At SAM's radii CR-SAM ends flatter than SAM by some measures only",
    }.get(frozenset(verdicts), "At SAM's radii it depends on the measure which of CR-SAM and SAM ends flatter")
    return f"{verdict}: {'; '.join(parts)} (mean over radii, on test; {trials.found.subject})."


def findings(trials: Trials) -> Sequence[Finding]:
    """Table 3 and figs. 1 and 2, claim by claim."""
    why = (
        "At equal radius, a small CNN on 8×8 digits, which it learns nearly perfectly in a minute; the paper's scripts "
        "have CR-SAM at twice SAM's radius, and with either a radius twice as large is flatter."
    )
    found = []
    for arm, other in PAIRS:
        for name in GEOMETRY:
            claim = find(trials, arm, other, "epochs", name)
            if claim is not None:
                told = claim.agrees("lower")
                found.append(Finding(f"{arm} ends with less {name} than {other} (table 3)", in_words(claim), told, why))
    return [*found, *_over_training(trials.found)]


def _over_training(found: Collected) -> Sequence[Finding]:
    """What figs. 1 and 2 say of SAM: the ratio falls and the normalized trace grows, trace and lambda_max do not."""
    epochs = found.epochs(_SAM)
    first, last = epochs[0], epochs[-1]
    ratios, traces = (
        [found.values(_SAM, metric, "train", epoch=epoch) for epoch in epochs]
        for metric in ("sam_ratio", "normalized_trace")
    )
    ratio = change(ratios[0], ratios[-1])
    growth = {
        split: relative_change(*(found.values(_SAM, "normalized_trace", split, epoch=e) for e in (first, last)))
        for split in ("train", "test")
    }
    fall = {name: _from_peak(found, name) for name in ("trace", "lambda_max")}
    apart, apart_normalized = (
        relative_change(*(found.values(_SAM, metric, split) for split in ("train", "test")))
        for metric in ("trace", "normalized_trace")
    )
    seeds = sorted(set.intersection(*map(set, ratios + traces)))
    mirrored = over_seeds({seed: spearman([r[seed] for r in ratios], [t[seed] for t in traces]) for seed in seeds})
    return [
        Finding(
            "the SAM ratio falls during training with SAM (fig. 1)",
            f"from epoch {first} to {last} by {-ratio.value:.2f} ({-ratio.high:.2f} to {-ratio.low:.2f}) on train",
            agrees(ratio, "lower"),
        ),
        Finding(
            "trace and largest eigenvalue rise at first and then fall (fig. 1)",
            "; ".join(f"{name}, last epoch against highest: {words}" for name, (words, _) in fall.items()),
            all_agree(falls for _, falls in fall.values()),
        ),
        Finding(
            "trace is larger on test than on train (fig. 2b; there, up to 50 times)",
            percent(apart),
            agrees(apart, "higher"),
        ),
        Finding(
            "the normalized trace has like values on train and test (fig. 2c); here: within a factor of two",
            f"test against train: {percent(apart_normalized)}",
            None if apart_normalized.num_samples < 2 else apart_normalized.low > -0.5 and apart_normalized.high < 1,
            "The training loss of the small network goes to nearly nothing, and the gradient norm with it.",
        ),
        Finding.that_all(
            "and grows throughout training (fig. 2c)",
            "higher",
            {f"{split}, epoch {last} against {first}:": one for split, one in growth.items()},
        ),
        Finding(
            "as the ratio falls, it grows (fig. 2d)",
            f"rank correlation on train: {mirrored.value:.2f} ({max(mirrored.low, -1):.2f} to {mirrored.high:.2f})",
            agrees(mirrored, "lower"),
        ),
    ]


def _from_peak(found: Collected, metric: str) -> tuple[str, bool | None]:
    """The last epoch against the epoch of the highest mean, on train; and whether the metric rises and then falls."""
    by_epoch = {epoch: found.values(_SAM, metric, "train", epoch=epoch) for epoch in found.epochs(_SAM)}
    peak = max(by_epoch, key=lambda epoch: over_seeds(by_epoch[epoch]).value)
    fall = relative_change(by_epoch[peak], by_epoch[max(by_epoch)])
    falls = False if peak in (min(by_epoch), max(by_epoch)) else agrees(fall, "lower")
    return f"{percent(fall)} (its highest: epoch {peak})", falls


STUDY = arena_study(
    "cr-sam-geometry",
    "Does CR-SAM end where the loss is flatter than where SAM ends at the same radius, and does the normalized trace "
    "say what the SAM ratio says?",
    "CR-SAM, Wu, Luo & Wunsch 2024: table 3, figs. 1, 2 and 4",
    arena,
    answer=answer,
    findings=findings,
    figures={name: drawn_by_epoch(name) for name in ("curves", "ratio", "landscapes", "landscapes-3d")},
    notes="""\
- Traces are exact, not estimated. The SAM ratio is that of the mean rises, with rho 0.05, in mini-batches of 128.
- Findings over training, which are not among the claims, are of SAM at radius 0.1, with t-intervals over seeds that
  stand for themselves. The landscapes are those of one seed, along two random directions: a picture, no evidence.""",
)
