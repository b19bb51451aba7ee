"""who-is-flat: which measures of flatness say anything about the generalization gap of a network, beyond its settings.

Several hundred small networks, trained with all combinations of some hyper-parameters to the same training loss, as
Jiang et al. (2020) did; what the four papers call flat, and what else is called so, is measured on each of them and
ranked against the gap. Beside them stand a random number, which says nothing, and the gap on other images, which says
about all that there is to say.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from math import log
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from landscape.figures import Run, Table
from landscape.figures.kinds.ranking import RankedRow, ranking
from landscape.figures.kinds.style import styled
from landscape.statistics import Interval, holm
from landscape.studies import Collected, Finding, Plan, Study
from landscape.studies.bounds import first_order_bound, pac_bayes_bound
from landscape.studies.population import MeasureFitted, Population
from landscape.studies.rank import Pairs, Ranked, Ranking, all_pairs, pairs_by_axis, pairs_within
from landscape.training import Recipe

CRITERION = 0.02  # mean cross-entropy on train
NEAR = 0.1  # training losses that differ by no more are nearly the same
ALPHA = 0.05  # of the whole family
SIGMA = 0.02  # of noise on the weights; its length is about 1
RATES = {  # of learning, by scale and optimizer
    "laptop": {"sgd": (0.05, 0.1, 0.2), "adam": (0.008, 0.016, 0.032)},
    "gpu": {"sgd": (0.02, 0.04, 0.08), "adam": (0.0005, 0.001, 0.002)},
}
EPOCHS = {"laptop": {15: 40, 50: 100}, "gpu": {128: 60, 512: 120}}  # at most, by batch size
RADII = (0.0, 0.1, 0.2)  # of SAM around either; 0 is without

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "wide_zeroth_order": ("zeroth_order_flatness", {"rho": 0.5, "num_restarts": 2}),
    "adaptive_zeroth_order": ("zeroth_order_flatness", {"rho": 0.5, "adaptive": True, "num_restarts": 2}),
    "wide_first_order": ("first_order_flatness", {"rho": 0.5, "num_restarts": 2}),
    "noise": ("average_sharpness", {"sigma": SIGMA, "num_probes": 100}),
    "adaptive_noise": ("average_sharpness", {"sigma": 0.2, "adaptive": True, "num_probes": 100}),
}
NAMES = {  # what is measured on train, and what follows from it
    "loss": "training loss L",
    "gradient_norm": "gradient norm ‖∇L‖",
    "trace": "trace Tr ∇²L",
    "scaled_trace": "trace × ‖w‖²",
    "lambda_max": "largest eigenvalue λmax",
    "lambda_min": "least eigenvalue λmin",
    "normalized_trace": "normalized trace C(w)",
    "gradient_curvature": "curvature along ∇L",
    "sam_ratio": "SAM ratio",
    "zeroth_order_flatness": "SAM's R⁰, ρ = 0.05",
    "wide_zeroth_order": "SAM's R⁰, ρ = 0.5",
    "adaptive_zeroth_order": "ASAM's R⁰, ρ = 0.5",
    "first_order_flatness": "GAM's R¹, ρ = 0.05",
    "wide_first_order": "GAM's R¹, ρ = 0.5",
    "noise": "rise under noise",
    "adaptive_noise": "rise under noise × |w|",
    "effective_dimension": "effective dimension",
    "weight_norm": "length of weights ‖w‖",
    "distance": "way from start ‖w − w₀‖",
    "steps": "steps of training",
    "pac_bayes": "PAC-Bayes bound (CR-SAM)",
    "first_order_bound": "proposition 4.3 (GAM)",
}
OF_WEIGHTS = ("weight_norm", "distance")
DERIVED = ("scaled_trace", "steps", "pac_bayes", "first_order_bound")
DOWNWARD = ("lambda_min", "sam_ratio")  # are smaller where the loss is more curved; all others are larger
REFERENCES = {"random": "random number", "ceiling": "the gap on other images"}
QUESTIONS = {"overall": "over all pairs", "within": "only one setting differs", "given lr": "same learning rate"}
GAPS = {"error": "gap in error", "loss": "gap in loss"}  # test − train


def plan(scale: str, data: str) -> Plan:
    """Every combination of optimizer, learning rate, batch size, SAM's radius and weight decay."""
    if scale == "laptop":
        few = {"num_train": 150, "validation": 0.8}
        base = Recipe(model="mlp", model_args={"hidden": (32,)}, data="digits", data_args=few)
    else:
        base = Recipe(model="resnet18", data=data, data_args={"num_train": 5000, "validation": 0.2})
    recipes = [
        replace(
            base,
            optimizer="sam" if rho else optimizer,
            optimizer_args={"rho": rho, "base": optimizer} if rho else {},
            lr=lr,
            batch_size=batch_size,
            epochs=epochs,
            weight_decay=weight_decay,
            schedule="constant",
            checkpoint_every=1,
        )
        for optimizer, rates in RATES[scale].items()
        for batch_size, epochs in EPOCHS[scale].items()
        for weight_decay, lr, rho in product((0.0, 0.001), rates, RADII)
    ]
    told = ("loss", "accuracy")
    measured = ("accuracy", *(name for name in NAMES if name not in (*OF_WEIGHTS, *DERIVED)))
    metrics = {"train": measured, "validation": told, "test": told}
    step = MeasureFitted(metrics, variants=VARIANTS, criterion=CRITERION, rel_error=0.1)
    return Population(tuple(recipes), 6, (step,))


@dataclass(frozen=True, eq=False)
class Networks:
    """What is known of some networks, an entry each in the order of their seeds."""

    settings: list[dict[str, Any]]  # by hyper-parameter; the learning rate as its place among those of its optimizer
    lrs: list[float]
    cells: NDArray[np.int_]  # which share all settings
    measures: dict[str, NDArray[np.float64]]  # by name in NAMES and REFERENCES
    gaps: dict[str, NDArray[np.float64]]

    def __len__(self) -> int:
        return len(self.lrs)


@lru_cache(maxsize=4)
def networks(found: Collected, *, fitted: bool = True) -> Networks:
    """Those that reached the criterion, or all; one with a number that is not finite is left out."""
    runs = [run for run in found.runs if _is_finite(run) and (_is_fitted(run) or not fitted)]
    runs.sort(key=lambda run: run.setting("seed"))
    settings = [_setting(run) for run in runs]
    keys = [str(setting) for setting in settings]
    measures = {name: np.array([_measure(run, name) for run in runs]) for name in NAMES}
    measures["random"] = np.array([np.random.default_rng(run.setting("seed")).normal() for run in runs])
    gaps = {kind: np.array([_gap(run, kind, "test") for run in runs]) for kind in GAPS}
    other = {f"ceiling {kind}": np.array([_gap(run, kind, "validation") for run in runs]) for kind in GAPS}
    cells = np.array([sorted(set(keys)).index(key) for key in keys])
    return Networks(settings, [run.setting("lr") for run in runs], cells, measures | other, gaps)


def _setting(run: Run) -> dict[str, Any]:
    optimizer, rate = _optimizer(run), run.setting("lr")
    (place,) = (rates[optimizer].index(rate) for rates in RATES.values() if rate in rates[optimizer])
    return {
        "optimizer": optimizer,
        "learning rate": place,
        "batch size": run.setting("batch_size"),
        "radius": run.setting("optimizer_args.rho") or 0.0,
        "weight decay": run.setting("weight_decay"),
    }


def _optimizer(run: Run) -> str:
    return str(run.setting("optimizer_args.base") or run.setting("optimizer"))


def _value(run: Run, metric: str, split: str) -> float:
    measurement = run.get(metric, split)
    return float("nan") if measurement is None else measurement.value


def _is_finite(run: Run) -> bool:
    return all(np.isfinite(_measure(run, name)) for name in NAMES)


def _is_fitted(run: Run) -> bool:
    return _value(run, "loss", "train") <= CRITERION * 1.0001  # which is rounded to six digits


def _gap(run: Run, kind: str, split: str) -> float:
    metric, sign = ("accuracy", -1) if kind == "error" else ("loss", 1)
    return sign * (_value(run, metric, split) - _value(run, metric, "train"))


def _measure(run: Run, name: str) -> float:
    if name == "steps":
        return float(run.checkpoint["step"])
    if name not in DERIVED:
        return _value(run, name, "train")
    loss, trace, norm = (_value(run, metric, "train") for metric in ("loss", "trace", "weight_norm"))
    sizes = {"num_params": run.objective["num_params"], "num_examples": run.objective["num_examples"]["train"]}
    if name == "scaled_trace":
        return trace * norm**2
    if name == "pac_bayes":
        return pac_bayes_bound(loss, trace, norm, sigma=SIGMA, **sizes)
    return first_order_bound(loss, _value(run, "wide_first_order", "train"), norm, rho=0.5, **sizes)


@dataclass(frozen=True)
class Claim:
    """A measure's tau with a gap, for one question, and its p value among those of all claims of the study."""

    measure: str
    gap: str
    question: str
    ranked: Ranked
    p: float

    @property
    def holds(self) -> bool:
        """Whether tau differs from 0."""
        return self.p < ALPHA


def questions(given: Networks) -> dict[str, list[Pairs]]:
    """The sets of pairs of each question."""
    every = [all_pairs(len(given)), pairs_by_axis(given.settings), pairs_within(given.lrs)]
    return dict(zip(QUESTIONS, every, strict=True))


@lru_cache(maxsize=2)
def claims(found: Collected) -> dict[tuple[str, str, str], Claim]:
    """All claims of the study, by (measure, gap, question), in one family of Holm's; references are none of it."""
    given = networks(found)
    rankings = {question: Ranking(sets, given.cells, seed=0) for question, sets in questions(given).items()}
    ranked = {
        (measure, gap, question): rankings[question](
            given.measures[f"ceiling {gap}" if measure == "ceiling" else measure], values
        )
        for measure in (*NAMES, *REFERENCES)
        for gap, values in given.gaps.items()
        for question in QUESTIONS
    }
    family = [key for key in ranked if key[0] in NAMES]
    adjusted = dict(zip(family, holm([ranked[key].p for key in family]), strict=True))
    return {key: Claim(*key, one, adjusted.get(key, one.p)) for key, one in ranked.items()}


def by_tau(found: Collected, gap: str) -> list[str]:
    """The measures, from those that grow with the gap, given the learning rate, to those that fall."""
    every = claims(found)
    return sorted(NAMES, key=lambda name: -every[name, gap, "given lr"].ranked.interval.value)


def taus(found: Collected, gap: str) -> Table:
    """Every tau with this gap."""
    every = claims(found)
    rows = []
    for name in (*by_tau(found, gap), *REFERENCES):
        of = [every[name, gap, question] for question in QUESTIONS]
        rows.append([{**NAMES, **REFERENCES}[name], *(_cell(one) for one in of), f"{of[-1].p:.2g}"])
    header = ["measure", *(f"τ, {words}" for words in QUESTIONS.values()), "p, same learning rate"]
    num_claims = len(NAMES) * len(GAPS) * len(QUESTIONS)
    caption = (
        f"Kendall's τ with the {GAPS[gap]} (test − train), of {len(networks(found))} networks. In brackets: 95 % "
        f"interval by bootstrap of settings. †: differs from 0, where all {num_claims} claims of the study are tested "
        "together (Holm); p is corrected likewise, but for the two references."
    )
    return Table(header, rows, caption, {})


def _cell(claim: Claim) -> str:
    return _in_words(claim.ranked.interval) + (" †" if claim.holds and claim.measure in NAMES else "")


def _in_words(tau: Interval) -> str:
    return f"{tau.value:+.2f} ({tau.low:+.2f} to {tau.high:+.2f})"


def population(found: Collected) -> Table:
    """Of how many networks the study speaks, and how much they differ in what is to be explained."""
    every, given = networks(found, fitted=False), networks(found)
    counts = {
        "trained": len(found.trainings),
        "diverged": len(found.diverged),
        f"did not reach a training loss of {CRITERION:g}": len(found.runs) - sum(map(_is_fitted, found.runs)),
        "reached it, and a measure is not finite": sum(map(_is_fitted, found.runs)) - len(given),
        "compared": len(given),
    }
    rows = [[what, f"{count} networks", "", ""] for what, count in counts.items()]
    values = {f"{GAPS[kind]}, test − train": (given.gaps[kind], every.gaps[kind]) for kind in GAPS}
    values["training loss"] = (given.measures["loss"], every.measures["loss"])
    for what, sides in values.items():
        (low, middle, high), wide = np.quantile(sides[0], [0.05, 0.5, 0.95]), np.quantile(sides[1], [0.05, 0.95])
        rows.append([what, f"{middle:.3f}", f"{low:.3f} to {high:.3f}", f"{wide[0]:.3f} to {wide[1]:.3f}"])
    header = ["", "median", "from 5 to 95 % of those compared", "of all that are finite"]
    return Table(header, rows, "The population, and what there is to be explained.", {})


def everyone(found: Collected) -> Table:
    """What happens where the training losses differ more than they need to, or less."""
    fitted, every = networks(found), networks(found, fitted=False)
    logs = np.log(fitted.measures["loss"])
    near = np.abs(logs[:, None] - logs[None, :]) <= log(1 + NEAR)
    asked = {
        "over all pairs": (fitted, all_pairs(len(fitted))),
        "over all pairs, any training loss": (every, all_pairs(len(every))),
        QUESTIONS["given lr"]: (fitted, pairs_within(fitted.lrs)),
        f"and training losses within {NEAR:.0%}": (fitted, [pairs & near for pairs in pairs_within(fitted.lrs)]),
        "and any training loss": (every, pairs_within(every.lrs)),
    }
    rankings = {words: (of, Ranking(sets, of.cells, seed=0)) for words, (of, sets) in asked.items()}
    rows = [
        [
            NAMES[name],
            *(_in_words(rank(of.measures[name], of.gaps["error"]).interval) for of, rank in rankings.values()),
        ]
        for name in by_tau(found, "error")
    ]
    caption = (
        f"Kendall's τ with the {GAPS['error']}: of the {len(fitted)} networks that reached the training loss, of the "
        f"pairs among them whose training losses are nearly the same, and of all {len(every)} that are finite, of any "
        "training loss. In brackets: 95 % intervals, each for itself."
    )
    return Table(["measure", *asked], rows, caption, {})


def bounds(found: Collected) -> Table:
    """The bounds that CR-SAM and GAM stand on, as numbers, and what of them is sharpness."""
    given, guess = networks(found), log(10)
    sharp = {
        "pac_bayes": SIGMA**2 / 2 * given.measures["trace"],
        "first_order_bound": given.measures["wide_first_order"],
    }
    rows = []
    for name, part in sharp.items():
        values = given.measures[name]
        share = f"{100 * np.mean(values > guess):.0f} %"
        rows.append([NAMES[name], _middle(values), f"{np.median(part):.2g}", share])
    rows.append(["test loss", _middle(given.gaps["loss"] + given.measures["loss"]), "", ""])
    header = ["bound on the loss", "median, and range", "of it, sharpness", "share above guessing"]
    caption = (
        f"Bounds at 95 %, σ = {SIGMA:g} and ρ = 0.5. Guessing among ten classes has a loss of {guess:.2f}: a bound "
        "above it is vacuous. They are put low: M is 1, which losses exceed, and R¹ is a lower bound. Sharpness is "
        "σ²/2 times the trace, and R¹; nearly all of the rest follows from ‖w‖."
    )
    return Table(header, rows, caption, {})


def _middle(values: NDArray[np.float64]) -> str:
    return f"{np.median(values):.2f} ({values.min():.2f} to {values.max():.2f})"


def answer(found: Collected) -> str:
    """Which measures say anything about the gap in error, given the learning rate, and which the wrong way round."""
    given, num_seeds = networks(found), found.plan.num_seeds
    what = f"{len(given)} networks of {len(set(given.cells.tolist()))} settings, {num_seeds} seeds"
    if num_seeds < 3:
        return f"These networks cannot tell ({what}): of a setting, several are wanted."
    every = claims(found)
    ranked = {name: every[name, "error", "given lr"] for name in by_tau(found, "error")}
    said = {name: claim for name, claim in ranked.items() if claim.holds}
    wrong = [name for name, claim in said.items() if not _points_up(claim)]
    right = [name for name in said if name not in wrong]

    def listed(names: Sequence[str]) -> str:
        return ", ".join(f"{NAMES[name]} ({ranked[name].ranked.interval.value:+.2f})" for name in names)

    count = f"{len(right)} of {len(NAMES)} measures {'says' if len(right) == 1 else 'say'} something"
    says = count if right else f"none of {len(NAMES)} measures says anything"
    parts = [f"{says} of the generalization gap" + (f": {listed(right)}" if right else "")]
    parts += [f"the wrong way round, {len(wrong)}: {listed(wrong)}"] if wrong else []
    rest = [name for name in NAMES if name not in said]
    parts += [f"{f'the other {len(rest)}' if said else 'they'} cannot be told from a random number"] if rest else []
    return f"Beyond the learning rate, {'; '.join(parts)} (Kendall's τ with the gap in error; {what})."


def _points_up(claim: Claim) -> bool:
    """Whether networks with the larger gap are the sharper ones."""
    return (claim.ranked.interval.value > 0) != (claim.measure in DOWNWARD)


def findings(found: Collected) -> Sequence[Finding]:
    """What the papers say of generalization, measure by measure."""
    said = {
        "SAM: where the loss rises less, generalization is better (Foret et al. 2021)": "zeroth_order_flatness",
        "GAM: first-order flatness indicates the generalization error (sec. 4.2)": "first_order_flatness",
        "GAM: so does the largest eigenvalue (sec. 4.1)": "lambda_max",
        "CR-SAM: a smaller trace goes with better generalization (eq. 5)": "trace",
        "CR-SAM: so does a smaller normalized trace (eq. 4)": "normalized_trace",
        "CR-SAM: where SAM's single step falls short, generalization suffers (fig. 1)": "sam_ratio",
        "ASAM: adaptive sharpness follows the gap (Kwon et al. 2021, fig. 1)": "adaptive_zeroth_order",
    }
    every = claims(found)
    one_by_one = [
        _finding(claim, [every[measure, "error", question] for question in QUESTIONS])
        for claim, measure in said.items()
    ]
    given = networks(found)
    test = given.gaps["loss"] + given.measures["loss"]
    for name, claim in (("pac_bayes", "CR-SAM's PAC-Bayes bound"), ("first_order_bound", "GAM's proposition 4.3")):
        values = given.measures[name]
        words = f"{values.min():.2f} to {values.max():.2f}, and test losses are {test.min():.2f} to {test.max():.2f}"
        vacuous = f"vacuous for {100 * np.mean(values > log(10)):.0f} % of the networks"
        one_by_one.append(
            Finding(
                f"{claim} is above the loss over unseen data",
                f"{words}; {vacuous}",
                bool((values > test).all()),
                "The bound is on the mean over noise, and holds with probability 95 %.",
            )
        )
    return one_by_one


def _finding(claim: str, asked: Sequence[Claim]) -> Finding:
    """Whether the measure follows the gap the right way round among networks of one learning rate."""
    words = "; ".join(f"{QUESTIONS[one.question]}: τ = {_in_words(one.ranked.interval)}" for one in asked)
    last = asked[-1]
    why = (
        "Papers compare a few optimizers, or networks that differ in more than the measure; here are several hundred, "
        "all stopped at one training loss, and those with one learning rate are compared."
    )
    return Finding(claim, words, _points_up(last) if last.holds else None, why)


def figure(gap: str) -> Any:
    """The study in one picture, for one of the gaps."""

    def draw(found: Collected) -> Figure:
        every = claims(found)
        rows = []
        for name in (*by_tau(found, gap), *REFERENCES):
            of = {words: every[name, gap, question] for question, words in QUESTIONS.items()}
            taus = {words: claim.ranked.interval for words, claim in of.items()}
            holds = frozenset(words for words, claim in of.items() if claim.holds)
            rows.append(RankedRow({**NAMES, **REFERENCES}[name], taus, holds, name in REFERENCES))
        with styled():
            return ranking(rows, xlabel=f"Kendall's τ with the {GAPS[gap]}")

    return draw


STUDY = Study(
    name="who-is-flat",
    question="Which measures of flatness say anything of a network's generalization gap beyond its learning rate?",
    paper="ours; after Jiang et al. 2020, Fantastic generalization measures",
    plan=plan,
    answer=answer,
    findings=findings,
    tables={
        "error": lambda found: taus(found, "error"),
        "loss": lambda found: taus(found, "loss"),
        "population": population,
        "everyone": everyone,
        "bounds": bounds,
    },
    figures={"ranking": figure("error"), "ranking-loss": figure("loss")},
    limits=f"""\
- Every network trains on the same 150 digits, at a constant learning rate, and is measured at the first epoch whose
  mean training loss is at most {CRITERION:g} (Jiang et al. 2020 stop so at 0.01). Large steps end further below: the
  training loss is a row of its own, and a table says what remains where it is held within {NEAR:.0%}. Networks that do
  not get there are left out, and counted.
- Every network has a seed of its own. The bootstrap draws settings, with all their networks: what it says holds for
  other settings of this kind. All share their data, architecture and test images; nothing is said of others. Where
  only one setting differs, few pairs share a setting, and the intervals are wider than they need to be.
- The settings are optimizer (SGD with momentum, or Adam), learning rate, batch size, SAM's radius (0 without) and
  weight decay. Where the optimizer alone differs, a learning rate of Adam's stands for that of SGD's in the same place;
  "same learning rate" is the same number, and so the same optimizer.
- The random number is drawn once a network. The gap on other images is that on the images held out for validation,
  ranked against the gap on the test images: about the most that a measure could say, as these can tell.
- Smaller is sharper for the least eigenvalue and the SAM ratio; for all others, larger is.
- R⁰ and R¹ are the best that a few ascents find; noise is 100 pairs of draws, of σ = {SIGMA:g}, or of 0.2 |w| on each
  weight. Where a measurement missed its accuracy of 10 %, it is ranked all the same.
- Not ranked: accuracy on train (1 for nearly all), top eigenvalues and layer table (their numbers are λmax and the
  trace), spectral density (a curve), the share of negative eigenvalues (not known to better than 40 % at this cost),
  and the number of local minima, which by gam-geometry is about sampling and not about the loss.
- CR-SAM announces a PAC-Bayes bound, and the text that we have prints none; the one here is that of Foret et al.
  (2021, app. A.1), which it builds on, with the trace for the rise under noise. GAM's proposition 4.3 is as printed,
  with M = 1.""",
)
