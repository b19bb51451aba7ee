"""cr-sam-geometry: the geometry where SGD, SAM and CR-SAM end (CR-SAM, Wu, Luo & Wunsch 2024: table 3, figs. 1, 2, 4).

The protocol is the authors' recipe, "cr-sam-cifar10". At scale "laptop" a small CNN on the digits takes the place of
ResNet-18 on CIFAR-10, for 60 epochs, without augmentation; learning rate, decay and every rho stay theirs.
"""

from collections.abc import Sequence
from dataclasses import replace

from landscape.figures import Table
from landscape.statistics import Interval, spearman
from landscape.studies import Collected, Finding, Measure, MeasurePlane, Plan, Study, drawn
from landscape.studies.seeds import agrees, all_agree, change, over_seeds, percent, relative_change
from landscape.training import load_recipe

GEOMETRY = {name: (name, "test") for name in ("gradient_norm", "trace", "normalized_trace")}
BY_EPOCH = ("accuracy", *GEOMETRY, "lambda_max", "sam_ratio")
PAIRS = (("SGD", "SAM"), ("SGD", "CR-SAM"), ("SAM", "CR-SAM"))


def plan(scale: str, data: str) -> Plan:
    """Three optimizers, measured over training and at its end."""
    base = load_recipe("cr-sam-cifar10")
    if scale == "laptop":
        base = replace(base, model="cnn", data="digits", augment={}, epochs=60, batch_size=64)
        kept, num_samples, num_seeds = (1, 3, 10, 20, 30, 40, 50), None, 5
    else:
        base = replace(base, data=data, epochs=30)
        kept, num_samples, num_seeds = (1, 3, 5, 10, 15, 20, 25), 5000, 3
    base = replace(base, checkpoint_at=kept)
    recipes = (
        replace(base, optimizer="sgd", optimizer_args={}),
        replace(base, optimizer="sam", optimizer_args={"rho": 0.05}),
        base,
    )
    measure = Measure({"train": BY_EPOCH, "test": BY_EPOCH}, at="kept", num_samples=num_samples)
    return Plan(recipes, num_seeds, (measure, MeasurePlane(span=0.3, num_samples=num_samples)))


def geometry(found: Collected) -> Table:
    """Table 3, with accuracy beside it."""
    columns = {name: (*where, None) for name, where in GEOMETRY.items()}
    caption = "Geometry at the end of training, on the test set (CR-SAM, table 3)."
    best = dict.fromkeys(GEOMETRY, "min")
    return found.means(columns | {"accuracy": ("accuracy", "test", None)}, caption, best=best)


def differences(found: Collected) -> Table:
    """What table 3 is about: every optimizer against every other."""
    return found.changes({**GEOMETRY, "accuracy": ("accuracy", "test")}, PAIRS, "On the test set.")


def answer(found: Collected) -> str:
    """Whether CR-SAM ends flatter than SAM, by each of the three numbers."""
    flatter = {
        frozenset({"lower"}): "Yes: CR-SAM ended flatter than SAM by all three measures",
        frozenset({"higher"}): "No: CR-SAM ended sharper than SAM by all three measures",
        frozenset({"not told apart"}): "These runs cannot tell CR-SAM from SAM by any of the three measures",
    }
    against = _against(found, "SAM", "CR-SAM")
    verdict = flatter.get(
        frozenset(one.verdict for one in against.values()),
        "It depends on the measure whether CR-SAM ended flatter than SAM",
    )
    listed = "; ".join(f"{name} {percent(one)}" for name, one in against.items())
    accuracy = found.compare_in_words("SAM", "CR-SAM", "accuracy", "test")
    return f"{verdict}: {listed}; accuracy {accuracy} (on test; {found.subject})."


def findings(found: Collected) -> Sequence[Finding]:
    """Table 3 and figs. 1 and 2, claim by claim."""
    small = (
        "The network is a small CNN on 8×8 digits that it learns nearly perfectly in a minute, with the radii and "
        "penalties that the authors chose (by test accuracy) for ResNet-18 on CIFAR."
    )
    claims = [
        Finding.that_all(
            f"{after} ends with less gradient norm, trace and normalized trace than {before} (table 3)",
            "lower",
            _against(found, before, after),
            small,
        )
        for before, after in PAIRS
    ]
    return [*claims, *_over_training(found)]


def _against(found: Collected, before: str, after: str) -> dict[str, Interval]:
    """One optimizer against another by each of the three numbers."""
    return {name: found.compare(before, after, *where) for name, where in GEOMETRY.items()}


def _over_training(found: Collected) -> Sequence[Finding]:
    """What figs. 1 and 2 say of SAM: the ratio falls and the normalized trace grows, trace and lambda_max do not."""
    epochs = found.epochs("SAM")
    first, last = epochs[0], epochs[-1]
    ratios, traces = (
        [found.values("SAM", metric, "train", epoch=epoch) for epoch in epochs]
        for metric in ("sam_ratio", "normalized_trace")
    )
    ratio = change(ratios[0], ratios[-1])
    growth = {
        split: relative_change(*(found.values("SAM", "normalized_trace", split, epoch=e) for e in (first, last)))
        for split in ("train", "test")
    }
    fall = {name: _from_peak(found, name) for name in ("trace", "lambda_max")}
    apart, apart_normalized = (
        relative_change(*(found.values("SAM", metric, split) for split in ("train", "test")))
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
    by_epoch = {epoch: found.values("SAM", metric, "train", epoch=epoch) for epoch in found.epochs("SAM")}
    peak = max(by_epoch, key=lambda epoch: over_seeds(by_epoch[epoch]).value)
    fall = relative_change(by_epoch[peak], by_epoch[max(by_epoch)])
    falls = False if peak in (min(by_epoch), max(by_epoch)) else agrees(fall, "lower")
    return f"{percent(fall)} (its highest: epoch {peak})", falls


STUDY = Study(
    name="cr-sam-geometry",
    question="Does CR-SAM end where the loss is flatter than where SAM and SGD end, and does the normalized trace say "
    "what the SAM ratio says?",
    paper="CR-SAM, Wu, Luo & Wunsch 2024: table 3, figs. 1, 2 and 4",
    plan=plan,
    answer=answer,
    findings=findings,
    tables={"geometry": geometry, "differences": differences},
    figures={name: drawn(name) for name in ("curves", "ratio", "landscapes", "landscapes-3d")},
    limits="""\
- Nothing was tuned: learning rate, weight decay, radii and penalties are those of the authors' recipe. The last epoch
  counts, not the best one on test, as the authors report.
- Bands and bars in the figures are standard deviations over seeds; the intervals in tables and sentences are
  t-intervals. Each stands for itself: with this many of them, one in twenty that tells apart does so by chance.
- Traces are exact, not estimated. The SAM ratio is that of the mean rises, with rho 0.05, in mini-batches of 128.
- The landscapes are those of one seed, along two random directions: a picture, and no evidence.""",
)
