"""Arguments of metrics, by the metric's name: what is measured otherwise than by default, and the papers' protocols.

    {"sam_ratio": {"rho": 0.1}, "lambda_max": {"method": "power"}}

On the command line each is METRIC.ARG=VALUE. What there is, and of what kind, is read from the metrics' signatures.
"""

import inspect
import math
import types
from collections.abc import Iterable, Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from landscape.measure.metric import METRICS

Arguments = Mapping[str, Mapping[str, Any]]
_SHARED = ("rel_error", "num_probes", "seed")  # what all metrics are given: their own defaults are not what counts

# CR-SAM (Wu, Luo & Wunsch 2024): radius 0.1 in its code, 20 steps and 5,000 examples for the ratio of eq. 2. GAM (Zhang
# et al. 2023): 100 directions of radius 0.1 in 10 steps, with training's mini-batches, for section 5.1; top 50
# eigenvalues. Hutchinson's traces in all, and power iteration in GAM and SA-SAM (Lee & Yoon 2024).
_PAPERS: Arguments = {
    "trace": {"method": "hutchinson"},
    "normalized_trace": {"method": "hutchinson"},
    "lambda_max": {"method": "power"},
    "top_eigenvalues": {"k": 50},
    "sam_ratio": {"rho": 0.1, "ascent_steps": 20, "num_examples": 5000},
    "gradient_curvature": {"rho": 0.1},
    "zeroth_order_flatness": {"rho": 0.1, "num_steps": 20},
    "first_order_flatness": {"rho": 0.1, "num_steps": 20},
    "local_minima": {"num_directions": 100, "radius": 0.1, "num_steps": 10, "evaluation": "minibatch"},
}
PROTOCOLS: Mapping[str, Arguments] = {"papers": _PAPERS}


def asked_arguments(assignments: Iterable[str], measured: Iterable[str], protocol: str | None = None) -> Arguments:
    """What METRIC.ARG=VALUE say, on top of a protocol as far as it is of the metrics that are measured.

    Raises:
        ValueError: for what there is not: a protocol, a metric, an argument or a value; a metric that is not measured.

    Example:
        >>> asked_arguments(["sam_ratio.rho=0.2"], ["sam_ratio", "lambda_max"], "papers")
        {'sam_ratio': {'rho': 0.2}, 'lambda_max': {'method': 'power'}}
    """
    measured = list(measured)
    if protocol is not None and protocol not in PROTOCOLS:
        raise ValueError(f"--protocol {protocol} is unknown. Expected one of: {', '.join(PROTOCOLS)}.")
    table = PROTOCOLS[protocol] if protocol else {}
    found = {name: dict(table[name]) for name in measured if name in table}
    for one in assignments:
        key, sign, text = one.partition("=")
        metric, dot, argument = key.strip().partition(".")
        if not (sign and dot):
            raise ValueError(f"--set {one} is not of the form METRIC.ARG=VALUE: sam_ratio.rho=0.1.")
        kind = _kind_of(metric, argument)
        if metric not in measured:
            raise ValueError(f"--set {one}: {metric} is not measured. Expected one of: {', '.join(measured)}.")
        found.setdefault(metric, {})[argument] = _value(one, text.strip(), kind)
    return other_arguments(found)


def other_arguments(arguments: Arguments) -> dict[str, dict[str, Any]]:
    """Those that are not the metrics' defaults.

    Raises:
        ValueError: for a metric or an argument that there is not.

    Example:
        >>> other_arguments({"sam_ratio": {"rho": 0.05, "batch_size": 64}, "local_minima": {}})
        {'sam_ratio': {'batch_size': 64}}
    """
    found: dict[str, dict[str, Any]] = {}
    for metric, given in arguments.items():
        for argument, value in given.items():
            _kind_of(metric, argument)
            if argument in _SHARED or value != _parameters(metric)[argument].default:
                found.setdefault(metric, {})[argument] = value
    return found


def _parameters(metric: str) -> dict[str, inspect.Parameter]:
    _, *arguments = inspect.signature(METRICS[metric]).parameters.items()
    return dict(arguments)


def _kind_of(metric: str, argument: str) -> Any:
    """The type of an argument."""
    if metric not in METRICS:
        raise ValueError(f"Unknown metric {metric!r}. Expected one of: {', '.join(METRICS)}.")
    if argument not in (parameters := _parameters(metric)):
        expected = f"Expected one of: {', '.join(parameters)}." if parameters else "It takes none."
        raise ValueError(f"Unknown argument {argument!r} of {metric}. {expected}")
    return get_type_hints(METRICS[metric])[argument]


def _value(assignment: str, text: str, kind: Any) -> Any:
    """The text as a value of the type."""
    if get_origin(kind) in (Union, types.UnionType):
        kinds = [one for one in get_args(kind) if one is not types.NoneType]
        if text.lower() == "none":
            return None
        (kind,) = kinds
    if get_origin(kind) is Literal:
        words = {str(one): one for one in get_args(kind)}
        expected = f"one of: {', '.join(words)}"
    elif kind is bool:
        words = {"true": True, "false": False}
        expected, text = "true or false", text.lower()
    elif get_origin(kind) is tuple:
        return tuple(part.strip() for part in text.split(","))
    elif kind in (int, float):
        try:
            words = {text: kind(text)}
        except ValueError:
            words = {}
        if not all(map(math.isfinite, words.values())):
            words = {}
        expected = "a whole number" if kind is int else "a number"
    else:
        return text
    if text not in words:
        raise ValueError(f"--set {assignment}: expected {expected}.")
    return words[text]
