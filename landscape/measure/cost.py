"""What measurements will cost, before it is paid: from a timed product, a timed gradient, and the size of one graph."""

import inspect
import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from landscape.measure.analysis import metric_names
from landscape.measure.arguments import Arguments
from landscape.measure.metric import ESTIMATES, METRICS
from landscape.objective import Objective
from landscape.operators import Hessian, NoExactDiagonalError, exact_passes
from landscape.operators.graph import NO_GRAPH

_BLOCK_VECTORS = 3 * 32  # probes, products and their accumulators, in a block of 32


def estimate_cost(
    objective: Objective, metrics: Sequence[str] = ("default",), *, arguments: Arguments | None = None
) -> dict[str, Any]:
    """Least and most products, gradients, seconds and MiB of each metric, and of all together.

    How many products an estimate takes depends on the spectrum; the most is its budget. What metrics share is counted
    for each, so that the total is an upper bound. Cost: two products, three gradients, and a forward pass.

    Raises:
        ValueError: for an unknown metric.

    Example:
        >>> objective = Objective(torch.nn.Linear(2, 1), torch.nn.MSELoss(), [(torch.eye(2), torch.zeros(2, 1))])
        >>> cost = estimate_cost(objective, ["trace"])
        >>> cost["num_params"], cost["metrics"]["trace"]["products"], cost["metrics"]["trace"]["gradients"]
        (3, {'least': 0, 'most': 0}, {'least': 1, 'most': 1})
    """
    names = metric_names(metrics, objective)
    H = Hessian(objective)
    try:
        graph_bytes = H.graph_bytes()
    except NO_GRAPH:  # or none that can be weighed
        graph_bytes = 0
    v = torch.ones(objective.num_params, dtype=H.dtype, device=H.device)
    w = objective.vector()
    per_product = _seconds(lambda: H @ v)
    per_gradient = _seconds(lambda: objective.gradient(at=w))
    vector_mib = objective.num_params * v.element_size() / 2**20
    try:
        exact = exact_passes(objective)
    except NoExactDiagonalError:
        exact = None
    costs: dict[str, Any] = {}
    for name in names:
        defaults = {key: one.default for key, one in inspect.signature(METRICS[name]).parameters.items()}
        defaults |= (arguments or {}).get(name, {})
        cost = ESTIMATES[name](SimpleNamespace(exact_passes=exact, num_params=objective.num_params, **defaults))
        ends, gradients = dict(zip(("least", "most"), cost.products, strict=True)), cost.gradients
        costs[name] = {
            "products": ends,
            "gradients": dict.fromkeys(ends, gradients),
            "seconds": {end: n * per_product + gradients * per_gradient for end, n in ends.items()},
            "mib": {
                end: (graph_bytes / 2**20 + vector_mib * (n if cost.keeps_basis else _BLOCK_VECTORS) if n else 0.0)
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


def _seconds(work: Callable[[], Tensor]) -> float:
    """The time of a second run, the device synchronized: the first builds the graphs that later ones share."""
    work()
    start = time.perf_counter()
    work().sum().item()
    return time.perf_counter() - start
