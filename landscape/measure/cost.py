"""What measurements will cost, before it is paid: from one timed product and the size of one graph."""

import inspect
import time
from collections.abc import Sequence
from typing import Any

import torch

from landscape.measure.analysis import metric_names
from landscape.measure.metric import METRICS
from landscape.objective import Objective
from landscape.operators import Hessian

_LEAST_PRODUCTS = {"trace": 16, "lambda_max": 4, "normalized_trace": 16}  # where the easiest problem stops
_BLOCK_VECTORS = 3 * 32  # probes, products and their accumulators, in a block of 32


def foresee(objective: Objective, metrics: Sequence[str] = ("default",)) -> dict[str, Any]:
    """Least and most products, seconds and MiB of each metric, and of all together. One gradient and two products.

    How many products an estimate takes depends on the spectrum; the most is its budget, at which it is reported as not
    converged. ``normalized_trace`` shares the products of ``trace``, and is free beside it.

    Raises:
        ValueError: for an unknown metric.

    Example:
        >>> objective = Objective(torch.nn.Linear(2, 1), torch.nn.MSELoss(), [(torch.eye(2), torch.zeros(2, 1))])
        >>> cost = foresee(objective, ["trace"])
        >>> cost["num_params"], cost["metrics"]["trace"]["products"]
        (3, {'least': 16, 'most': 1000})
    """
    names = metric_names(metrics, objective)
    H = Hessian(objective)
    graph_bytes = H.graph_bytes()
    v = torch.ones(objective.num_params, dtype=H.dtype, device=H.device)
    H @ v  # builds the graphs that the products after it share
    start = time.perf_counter()
    (H @ v).sum().item()
    seconds = time.perf_counter() - start

    vector_bytes = objective.num_params * v.element_size()
    costs: dict[str, Any] = {}
    for name in names:
        least, most = _products(name, names)
        krylov = name == "lambda_max"
        vectors = {"least": least if krylov else _BLOCK_VECTORS, "most": most if krylov else _BLOCK_VECTORS}
        costs[name] = {
            "products": {"least": least, "most": most},
            "seconds": {"least": least * seconds, "most": most * seconds},
            "mib": {key: (graph_bytes + vectors[key] * vector_bytes) / 2**20 for key in vectors},
        }
    costs["total"] = {
        key: {end: combine(cost[key][end] for cost in costs.values()) for end in ("least", "most")}
        for key, combine in (("products", sum), ("seconds", sum), ("mib", max))
    }
    return {
        "num_params": objective.num_params,
        "num_examples": objective.num_examples,
        "engine": H.engine,
        "graph_bytes": graph_bytes,
        "seconds_per_product": seconds,
        "metrics": costs,
    }


def _products(name: str, names: Sequence[str]) -> tuple[int, int]:
    if name not in _LEAST_PRODUCTS or (name == "normalized_trace" and "trace" in names):
        return 0, 0
    return _LEAST_PRODUCTS[name], inspect.signature(METRICS[name]).parameters["max_matvecs"].default
