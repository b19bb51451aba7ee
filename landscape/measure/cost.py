"""What measurements will cost, before it is paid: from a timed product, a timed gradient, and the size of one graph."""

import inspect
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from landscape.measure.analysis import metric_names
from landscape.measure.metric import METRICS
from landscape.objective import Objective
from landscape.operators import Hessian, NoExactDiagonalError, exact_passes

_BLOCK_VECTORS = 3 * 32  # probes, products and their accumulators, in a block of 32
_KRYLOV = ("lambda_max", "lambda_min", "top_eigenvalues", "spectral_density")  # they keep a basis
_FORWARD = 1 / 3  # of a gradient


def foresee(objective: Objective, metrics: Sequence[str] = ("default",)) -> dict[str, Any]:
    """Least and most products, gradients, seconds and MiB of each metric, and of all together.

    How many products an estimate takes depends on the spectrum; the most is its budget, at which it is reported as not
    converged. What metrics share (a Krylov run, a trace) is counted for each, so that the total is an upper bound.
    Cost: two products and three gradients, and one forward pass to see whether the trace is exact.

    Raises:
        ValueError: for an unknown metric.

    Example:
        >>> objective = Objective(torch.nn.Linear(2, 1), torch.nn.MSELoss(), [(torch.eye(2), torch.zeros(2, 1))])
        >>> cost = foresee(objective, ["trace"])
        >>> cost["num_params"], cost["metrics"]["trace"]["products"], cost["metrics"]["trace"]["gradients"]
        (3, {'least': 0, 'most': 0}, {'least': 1, 'most': 1})
    """
    names = metric_names(metrics, objective)
    H = Hessian(objective)
    graph_bytes = H.graph_bytes()
    v = torch.ones(objective.num_params, dtype=H.dtype, device=H.device)
    w = objective.vector()
    per_product = _seconds(lambda: H @ v)
    per_gradient = _seconds(lambda: objective.gradient(at=w))
    vector_mib = objective.num_params * v.element_size() / 2**20
    exact = _exact_passes(objective)
    costs: dict[str, Any] = {}
    for name in names:
        (least, most), gradients = _products_and_gradients(name, exact)
        ends = {"least": least, "most": most}
        costs[name] = {
            "products": ends,
            "gradients": dict.fromkeys(ends, gradients),
            "seconds": {end: n * per_product + gradients * per_gradient for end, n in ends.items()},
            "mib": {
                end: (graph_bytes / 2**20 + vector_mib * (n if name in _KRYLOV else _BLOCK_VECTORS) if n else 0.0)
                for end, n in ends.items()
            },
        }
    costs["total"] = {
        key: {end: combine(cost[key][end] for cost in costs.values()) for end in ("least", "most")}
        for key, combine in (("products", sum), ("gradients", sum), ("seconds", sum), ("mib", max))
    }
    return {
        "num_params": objective.num_params,
        "num_examples": objective.num_examples,
        "engine": H.engine,
        "graph_bytes": graph_bytes,
        "seconds_per_product": per_product,
        "metrics": costs,
    }


def _exact_passes(objective: Objective) -> int | None:
    try:
        return exact_passes(objective)
    except NoExactDiagonalError:
        return None


def _products_and_gradients(name: str, exact: int | None) -> tuple[tuple[int, int], float]:
    """Least and most products, and gradients, with the metric's own defaults; a forward pass is a third of one."""
    default = {key: p.default for key, p in inspect.signature(METRICS[name]).parameters.items()}
    budget = default.get("max_matvecs", 0)
    runs = default.get("num_runs", 0) * default.get("num_steps", 0)
    ascents = default.get("num_restarts", 0) * (default.get("num_steps", 0) + 1)
    if name in ("trace", "normalized_trace"):
        extra = name == "normalized_trace"
        return ((16, budget), extra) if exact is None else ((0, 0), exact + extra)
    if name == "layer_table":
        return ((40, budget), 1) if exact is None else ((4, budget), 1 + exact)
    fixed: dict[str, tuple[tuple[int, int], float]] = {
        "gradient_norm": ((0, 0), 1),
        "lambda_max": ((4, budget), 0),
        "lambda_min": ((10, budget), 0),
        "top_eigenvalues": ((default.get("k", 0) + 4, budget), 0),
        "spectral_density": ((runs, runs), 0),
        "effective_dimension": ((runs, runs), 0),
        "negative_share": ((runs, runs), 0),
        "sam_ratio": ((0, 0), 1 + default.get("ascent_steps", 0) * (1 + _FORWARD)),
        "zeroth_order_flatness": ((0, 0), ascents),
        "first_order_flatness": ((ascents, ascents), ascents),
        "gradient_curvature": ((0, 0), 1 + 5 * _FORWARD),
        "local_minima": ((0, 0), default.get("num_directions", 0) * (default.get("num_steps", 0) + 1) * _FORWARD),
        "average_sharpness": ((0, 0), 2 * 16 * _FORWARD),  # at the least: pairs of forward passes
    }
    return fixed.get(name, ((0, 0), _FORWARD))


def _seconds(work: Callable[[], Tensor]) -> float:
    """The time of a second run, the device synchronized: the first builds the graphs that later ones share."""
    work()
    start = time.perf_counter()
    work().sum().item()
    return time.perf_counter() - start
