"""What each number of an analysis means, here and in general, and what it does not: a few sentences a metric.

A reading never says more than its numbers: values that are not finite are not read, and bounds are called bounds.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from landscape.metrics import about_metrics
from landscape.results import Analysis, Measurement
from landscape.results.measurement import ErrorKind, quantity


@dataclass(frozen=True)
class Reading:
    """Three short texts on one metric.

    Attributes:
        meaning: its definition in words.
        here: what these values say.
        limits: what it does not say, and what its error is.
    """

    meaning: str
    here: str
    limits: str


def reading(metric: str, analysis: Analysis) -> Reading:
    """Read one metric of an analysis.

    Example:
        >>> found = {"sam_ratio": Measurement("sam_ratio", 0.9)}
        >>> reading("sam_ratio", Analysis({"train": found})).here
        'One step finds 90 % (train) of the rise that the best of many steps finds.'
    """
    about, here = about_metrics().get(metric), _HERE.get(metric)
    meaning, limits = "", ""
    if about:
        definition = f"{about.symbol} is {about.definition}" if about.symbol else about.definition
        meaning = f"{definition[0].upper()}{definition[1:]}. {about.meaning}"
        limits = " ".join(filter(None, [about.limits, _ERRORS.get(about.error_kind)]))
    found = {split: ms[metric] for split, ms in analysis.splits.items() if metric in ms}
    finite = {split: m for split, m in found.items() if math.isfinite(m.value)}
    if not finite:
        return Reading(meaning, "It could not be measured.", limits)
    return Reading(meaning, here(_Found(finite, analysis)) if here else "", limits)


def stability_limit(analysis: Analysis) -> float | None:
    """2 / lr of the recipe that the checkpoint carries; None where it says none, or Adam scales the gradient."""
    recipe = (analysis.checkpoint or {}).get("recipe") or {}
    lr = recipe.get("lr")
    return 2 / lr if isinstance(lr, int | float) and lr > 0 and "adam" not in str(recipe.get("optimizer")) else None


@dataclass(frozen=True)
class _Found:
    """The finite values of one metric, by split, and the analysis around them."""

    by_split: Mapping[str, Measurement]
    analysis: Analysis

    @property
    def first(self) -> tuple[str, Measurement]:
        return next(iter(self.by_split.items()))

    def beside(self, metric: str) -> dict[str, float]:
        """The finite values of another metric, by those of these splits that have one."""
        others = {split: self.analysis.splits[split].get(metric) for split in self.by_split}
        return {split: m.value for split, m in others.items() if m is not None and math.isfinite(m.value)}

    def share_of(self, metric: str) -> dict[str, float]:
        """These values as a fraction of another metric's, where that is positive."""
        return {split: self.by_split[split].value / value for split, value in self.beside(metric).items() if value > 0}

    def data_errors(self) -> dict[str, float]:
        """The standard errors of these values as samples."""
        return {s: m.details["data_std_error"] for s, m in self.by_split.items() if m.details.get("data_std_error")}


def _loss(at: _Found) -> str:
    values = {split: m.value for split, m in at.by_split.items()}
    texts = []
    if values.get("train", 0) > 0 and "test" in values:
        texts.append(f"Test loss is {_n(values['test'] / values['train'])} times train loss.")
    if errors := at.data_errors():
        texts.append(f"Other samples of this size would differ by about {_each(errors, _n)}, one standard error.")
    return " ".join(texts)


def _accuracy(at: _Found) -> str:
    if not (errors := at.data_errors()):
        return ""
    points = _each(errors, lambda error: f"{100 * error:.1f} points")
    return f"Other samples of this size would differ by about {points}, one standard error."


def _gradient_norm(at: _Found) -> str:
    losses = at.beside("loss")
    gains = []
    for split, steepest in at.beside("lambda_max").items():
        if split != "test" and steepest > 0 and losses.get(split, 0) > 0:
            gain = at.by_split[split].value ** 2 / (2 * steepest)
            gains.append(f"{_n(gain)}, {_percent(gain / losses[split])} of the {split} loss")
    if not gains:
        return ""
    return (
        "To second order, a gradient step over all the data at rate 1 / lambda_max would lower the loss by at least "
        f"{' and '.join(gains)}."
    )


def _trace(at: _Found) -> str:
    num_params = at.analysis.objective.get("num_params")
    texts = []
    if num_params:
        means = {split: m.value / num_params for split, m in at.by_split.items()}
        texts.append(f"Over {num_params:,} parameters that is a mean eigenvalue of {_each(means, _n)}.")
    steepest = at.beside("lambda_max")
    shares = {split: steepest[split] / m.value for split, m in at.by_split.items() if split in steepest and m.value > 0}
    if shares:
        texts.append(f"The steepest direction alone has {_each(shares, _percent)} of it.")
    return " ".join(texts)


def _lambda_max(at: _Found) -> str:
    recipe, limit = (at.analysis.checkpoint or {}).get("recipe") or {}, stability_limit(at.analysis)
    optimizer, momentum, schedule = (recipe.get(key) for key in ("optimizer", "momentum", "schedule"))
    if limit is None and "adam" in str(optimizer):
        return f"{optimizer} scales every entry of the gradient, so that 2 / lr is no limit for it."
    if limit is None:
        return "The checkpoint names no learning rate to hold it against."
    split, m = ("train", at.by_split["train"]) if "train" in at.by_split else at.first
    where = "below it" if m.interval()[1] < limit else "above it" if m.value > limit else "at it"
    texts = [
        f"Plain gradient descent at the recipe's lr = {recipe['lr']:g} is stable up to 2 / lr = {_n(limit)}.",
        f"On {split}, {_n(m.value)} is {_percent(m.value / limit)} of that: {where}.",
    ]
    if optimizer == "sgd" and momentum:
        texts.append(f"With momentum {momentum:g} the limit is 2 (1 + momentum) / lr = {_n(limit * (1 + momentum))}.")
    elif optimizer and optimizer != "sgd":
        texts.append(f"{optimizer} has a limit of its own, which is not known to be this one.")
    if schedule not in (None, "constant"):
        texts.append(f"The {schedule} schedule changes lr on the way, and the limit with it.")
    return " ".join(texts)


def _lambda_min(at: _Found) -> str:
    downwards = {split: -share for split, share in at.share_of("lambda_max").items() if share < 0}
    if not downwards:
        return ""
    return f"Some direction curves downwards, with {_each(downwards, _percent)} of lambda_max: this is no minimum."


def _normalized_trace(at: _Found) -> str:
    norms = at.beside("gradient_norm")
    return f"The gradient norm under it is {_each(norms, _n)}." if norms else ""


def _spectral_density(at: _Found) -> str:
    num_params, traces = at.analysis.objective.get("num_params"), at.beside("trace")
    if not num_params or not traces:
        return ""
    own = [f"{quantity(m.value * num_params, m.half_width() * num_params)} ({s})" for s, m in at.by_split.items()]
    return (
        f"Times the number of parameters that is {' and '.join(own)}; the trace was measured apart from it as "
        f"{_each(traces, _n)}."
    )


def _top_eigenvalues(at: _Found) -> str:
    split, m = at.first
    values = m.details.get("eigenvalues")
    if values is None or not len(values):
        return ""
    text = f"On {split}, the {len(values)} largest go from {_n(values[0])} down to {_n(values[-1])}"
    trace = at.beside("trace").get(split, 0)
    return f"{text} and add up to {_percent(values.sum() / trace)} of the trace." if trace > 0 else f"{text}."


def _gradient_curvature(at: _Found) -> str:
    shares = at.share_of("lambda_max")
    return f"It is {_each(shares, _percent)} of lambda_max." if shares else ""


def _effective_dimension(at: _Found) -> str:
    num_params, (_, m) = at.analysis.objective.get("num_params"), at.first
    gamma = f"Here gamma is {m.details['gamma']:g}" if "gamma" in m.details else ""
    of = f"there are {num_params:,} directions in all" if num_params else ""
    return f"{', and '.join(filter(None, (gamma, of)))}." if gamma or of else ""


def _sam_ratio(at: _Found) -> str:
    shares = {split: m.value for split, m in at.by_split.items()}
    text = f"One step finds {_each(shares, _percent)} of the rise that the best of many steps finds."
    flat = sum(m.details.get("num_flat_batches", 0) for m in at.by_split.values())
    return f"{text} In {flat} mini-batches no step raised the loss." if flat else text


def _zeroth_order_flatness(at: _Found) -> str:
    losses, norms = at.beside("loss"), at.beside("gradient_norm")
    texts = []
    for split, m in at.by_split.items():
        distance = m.details.get("distance")
        if losses.get(split, 0) > 0 and split in norms and distance:
            texts.append(
                f"On {split} that is {_percent(m.value / losses[split])} of the loss, found at distance "
                f"{distance:.2g}; the slope at the weights alone would give {_n(distance * norms[split])}."
            )
    return " ".join(texts)


def _average_sharpness(at: _Found) -> str:
    sigmas = {split: m.details["sigma"] for split, m in at.by_split.items() if "sigma" in m.details}
    expected = {split: sigmas[split] ** 2 / 2 * trace for split, trace in at.beside("trace").items() if split in sigmas}
    if not expected:
        return ""
    return (
        f"With noise of sigma = {at.first[1].details['sigma']:.2g} on every weight, sigma² / 2 times the trace would "
        f"be {_each(expected, _n)}."
    )


def _local_minima(at: _Found) -> str:
    texts = []
    for split, m in at.by_split.items():
        maxima, raw, losses, noise = (m.details.get(k) for k in ("maxima", "raw_minima", "losses", "noise_expectation"))
        if maxima is None or raw is None or losses is None or noise is None:
            continue
        texts.append(
            f"On {split}, {_n(m.value)} minima and {_n(maxima.mean())} maxima a line stand above the noise floor; "
            f"counted raw, {_n(raw.mean())} minima, where noise alone would have {noise:.2g}. The loss moves by "
            f"{_n(np.median(np.ptp(losses, axis=1)))} along the median line."
        )
    return " ".join(texts)


def _layer_table(at: _Found) -> str:
    split, m = at.first
    shares, names, sizes = (m.details.get(name) for name in ("share", "layers", "num_params"))
    if shares is None or names is None or sizes is None or not np.isfinite(shares).any():
        return ""
    top = int(np.nanargmax(shares))
    size = sizes[top] / sizes.sum()
    return f"On {split}, {names[top]} has {_percent(shares[top])} of the trace and {_percent(size)} of the parameters."


def _each(values: Mapping[str, float], text: Callable[[float], str]) -> str:
    return " and ".join(f"{text(value)} ({split})" for split, value in values.items())


def _n(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if abs(share) >= 0.0995 else f"{100 * share:.2g} %"


_ERRORS: dict[ErrorKind | None, str] = {  # what is to be said of the error, by its kind
    "bound": "± is a bound on its error.",
    "lower bound": "Nothing bounds it from above.",
}

_HERE: dict[str, Callable[[_Found], str]] = {
    "loss": _loss,
    "accuracy": _accuracy,
    "gradient_norm": _gradient_norm,
    "trace": _trace,
    "lambda_max": _lambda_max,
    "lambda_min": _lambda_min,
    "normalized_trace": _normalized_trace,
    "top_eigenvalues": _top_eigenvalues,
    "spectral_density": _spectral_density,
    "effective_dimension": _effective_dimension,
    "layer_table": _layer_table,
    "gradient_curvature": _gradient_curvature,
    "sam_ratio": _sam_ratio,
    "zeroth_order_flatness": _zeroth_order_flatness,
    "average_sharpness": _average_sharpness,
    "local_minima": _local_minima,
}  # where a value says more beside others
