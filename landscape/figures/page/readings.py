"""What each number of an analysis means, here and in general, and what it does not: a few sentences a metric.

A reading never says more than its numbers: values that are not finite are not read, and bounds are called bounds.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from landscape.edge import Edge, edge_of
from landscape.metrics import about_metrics
from landscape.results import Analysis, Measurement
from landscape.results.measurement import quantity

_ERRORS = {"bound": "± is a bound on its error.", "lower bound": "Nothing bounds it from above."}  # by kind


@dataclass(frozen=True)
class Reading:
    """Three short texts on one metric: its definition, what these values say, and what they do not say."""

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
    about, meaning, limits = about_metrics().get(metric), "", ""
    if about:
        whole = about.definition[0].upper() + about.definition[1:]
        meaning = f"{about.symbol} is {about.definition}. " if about.symbol else f"{whole}. "
        meaning += about.meaning
        limits = " ".join(filter(None, [about.limits, _ERRORS.get(about.error_kind)]))
    measured = {split: ms[metric] for split, ms in analysis.splits.items() if metric in ms}
    finite = {split: m for split, m in measured.items() if math.isfinite(m.value)}
    if not finite:
        return Reading(meaning, "It could not be measured.", limits)
    sentences = getattr(_Here(finite, analysis), metric, None) if about else None
    return Reading(meaning, " ".join(sentences()) if sentences else "", limits)


class _Here:
    """What the finite values of one metric, by split, say beside others: a method a metric, which yields sentences."""

    def __init__(self, measured: Mapping[str, Measurement], analysis: Analysis) -> None:
        self._measured, self._analysis = measured, analysis
        self._num_params = analysis.objective.get("num_params")
        self._split, self._first = next(iter(measured.items()))

    def loss(self) -> Iterator[str]:
        values = {split: m.value for split, m in self._measured.items()}
        if values.get("train", 0) > 0 and "test" in values:
            yield f"Test loss is {_n(values['test'] / values['train'])} times train loss."
        yield from self._other_samples(_n)

    def accuracy(self) -> Iterator[str]:
        yield from self._other_samples(lambda error: f"{100 * error:.1f} points")

    def _other_samples(self, text: Callable[[float], str]) -> Iterator[str]:
        if errors := self._details("data_std_error"):
            yield f"Other samples of this size would differ by about {_each(errors, text)}, one standard error."

    def gradient_norm(self) -> Iterator[str]:
        losses, gains = self._beside("loss"), []
        for split, steepest in self._beside("lambda_max").items():
            if split != "test" and steepest > 0 and losses.get(split, 0) > 0:
                gain = self._measured[split].value ** 2 / (2 * steepest)
                gains.append(f"{_n(gain)}, {_percent(gain / losses[split])} of the {split} loss")
        if gains:
            yield (
                "To second order, a gradient step over all the data at rate 1 / lambda_max would lower the loss by at "
                f"least {' and '.join(gains)}."
            )

    def trace(self) -> Iterator[str]:
        if self._num_params:
            means = {split: m.value / self._num_params for split, m in self._measured.items()}
            yield f"Over {self._num_params:,} parameters that is a mean eigenvalue of {_each(means, _n)}."
        steepest = self._beside("lambda_max").items()
        shares = {s: value / self._measured[s].value for s, value in steepest if self._measured[s].value > 0}
        if shares:
            yield f"The steepest direction alone has {_each(shares, _percent)} of it."

    def lambda_max(self) -> Iterator[str]:
        edge = edge_of(self._analysis.checkpoint)
        if edge is None:
            yield "The checkpoint names no learning rate to hold it against."
        elif edge.metric != "lambda_max":
            yield f"Its optimizer scales every entry of the gradient: its limit, {edge.words}, is one of {edge.metric}."
        else:
            yield from self._against(edge)

    def preconditioned_sharpness(self) -> Iterator[str]:
        edge = edge_of(self._analysis.checkpoint)
        if edge is not None and edge.metric == "preconditioned_sharpness":
            yield from self._against(edge)

    def _against(self, edge: Edge) -> Iterator[str]:
        split = "train" if "train" in self._measured else self._split
        m = self._measured[split]
        where = "below it" if m.interval()[1] < edge.value else "above it" if m.value > edge.value else "at it"
        yield f"At the checkpoint's lr = {edge.lr:.4g}, its optimizer is stable on a quadratic up to {edge.words}."
        yield f"On {split}, {_n(m.value)} is {_percent(m.value / edge.value)} of that: {where}."
        if edge.notes:
            yield f"That limit is {'; '.join(edge.notes)}."

    def lambda_min(self) -> Iterator[str]:
        downwards = {split: -share for split, share in self._share_of_lambda_max().items() if share < 0}
        if downwards:
            share = _each(downwards, _percent)
            yield f"Some direction curves downwards, with {share} of lambda_max: this is no minimum."

    def gradient_curvature(self) -> Iterator[str]:
        if shares := self._share_of_lambda_max():
            yield f"It is {_each(shares, _percent)} of lambda_max."

    def normalized_trace(self) -> Iterator[str]:
        if norms := self._beside("gradient_norm"):
            yield f"The gradient norm under it is {_each(norms, _n)}."

    def spectral_density(self) -> Iterator[str]:
        num, traces = self._num_params, self._beside("trace")
        if num and traces:
            own = [f"{quantity(m.value * num, m.half_width() * num)} ({s})" for s, m in self._measured.items()]
            yield (
                f"Times the number of parameters that is {' and '.join(own)}; the trace was measured apart from it as "
                f"{_each(traces, _n)}."
            )

    def top_eigenvalues(self) -> Iterator[str]:
        values = self._first.details.get("eigenvalues")
        if values is not None and len(values):
            trace = self._beside("trace").get(self._split, 0)
            of = f" and add up to {_percent(values.sum() / trace)} of the trace" if trace > 0 else ""
            yield f"On {self._split}, the {len(values)} largest go from {_n(values[0])} down to {_n(values[-1])}{of}."

    def effective_dimension(self) -> Iterator[str]:
        gamma = self._first.details.get("gamma")
        words = [f"Here gamma is {gamma:g}"] if gamma is not None else []
        words += [f"there are {self._num_params:,} directions in all"] if self._num_params else []
        if words:
            yield f"{', and '.join(words)}."

    def sam_ratio(self) -> Iterator[str]:
        shares = {split: m.value for split, m in self._measured.items()}
        yield f"One step finds {_each(shares, _percent)} of the rise that the best of many steps finds."
        if flat := sum(self._details("num_flat_batches").values()):
            yield f"In {flat} mini-batches no step raised the loss."

    def zeroth_order_flatness(self) -> Iterator[str]:
        losses, norms = self._beside("loss"), self._beside("gradient_norm")
        for split, distance in self._details("distance").items():
            if losses.get(split, 0) > 0 and split in norms:
                yield (
                    f"On {split} that is {_percent(self._measured[split].value / losses[split])} of the loss, found at "
                    f"distance {distance:.2g}; the slope at the weights alone would give {_n(distance * norms[split])}."
                )

    def average_sharpness(self) -> Iterator[str]:
        sigmas, traces = self._details("sigma"), self._beside("trace")
        expected = {split: sigmas[split] ** 2 / 2 * trace for split, trace in traces.items() if split in sigmas}
        if expected:
            yield (
                f"With noise of sigma = {self._first.details['sigma']:.2g} on every weight, sigma² / 2 times the trace "
                f"would be {_each(expected, _n)}."
            )

    def local_minima(self) -> Iterator[str]:
        for split, m in self._measured.items():
            keys = ("maxima", "raw_minima", "losses", "noise_expectation")
            maxima, raw, losses, noise = (m.details.get(key) for key in keys)
            if maxima is not None and raw is not None and losses is not None and noise is not None:
                yield (
                    f"On {split}, {_n(m.value)} minima and {_n(maxima.mean())} maxima a line stand above the noise "
                    f"floor; counted raw, {_n(raw.mean())} minima, where noise alone would have {noise:.2g}. The loss "
                    f"moves by {_n(np.median(np.ptp(losses, axis=1)))} along the median line."
                )

    def layer_table(self) -> Iterator[str]:
        shares, names, sizes = (self._first.details.get(name) for name in ("share", "layers", "num_params"))
        if shares is not None and names is not None and sizes is not None and np.isfinite(shares).any():
            top = int(np.nanargmax(shares))
            share, size = _percent(shares[top]), _percent(sizes[top] / sizes.sum())
            yield f"On {self._split}, {names[top]} has {share} of the trace and {size} of the parameters."

    def _beside(self, metric: str) -> dict[str, float]:
        """The finite values of another metric, by those of these splits that have one."""
        others = {split: self._analysis.splits[split].get(metric) for split in self._measured}
        return {split: m.value for split, m in others.items() if m is not None and math.isfinite(m.value)}

    def _share_of_lambda_max(self) -> dict[str, float]:
        """These values as a fraction of lambda_max, where that is positive."""
        return {s: self._measured[s].value / value for s, value in self._beside("lambda_max").items() if value > 0}

    def _details(self, name: str) -> dict[str, Any]:
        """A number among the details, by the splits that have one other than 0."""
        return {split: m.details[name] for split, m in self._measured.items() if m.details.get(name)}


def _each(values: Mapping[str, float], text: Callable[[float], str]) -> str:
    return " and ".join(f"{text(value)} ({split})" for split, value in values.items())


def _n(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if abs(share) >= 0.0995 else f"{100 * share:.2g} %"
