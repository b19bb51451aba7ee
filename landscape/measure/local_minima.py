"""Local minima and maxima of the loss along random directions (GAM, Zhang et al. 2023, section 5.1).

    L(w + t v),    t = 0, h, ..., 10 h = radius,    v uniform on the unit sphere

Strict interior minima are counted raw, as in the paper, and with a prominence (the rise that parts one from lower
ground, or from the end of the line) above the noise of the evaluation. Independent noise alone has a raw minimum at a
third of the interior points: 3 of 9.

On a fixed data set the loss is a deterministic function, and a direction of norm 0.1 in many dimensions barely moves
it; with a fresh mini-batch at every point the counts are those of noise. Either can be had.
"""

from typing import Literal

import numpy as np
import torch

from landscape.linalg.estimate import require_positive
from landscape.measure.metric import FORWARD, Cost, generator, metric
from landscape.measure.rise import Rise
from landscape.objective import Objective
from landscape.results import Measurement
from landscape.statistics import count_error

_ROWS = 20_000  # held in memory for mini-batches, unless more are needed for lines of different ones
_CHECKED = 2  # directions along which the rounding noise is measured: 2 x 10 points, in double the precision
_MARGIN = 2  # on the spread of the noise, of which so few points show most but not all


@metric(
    definition=(
        "local minima of the loss along short random lines from the weights, a mean per line (GAM, §5.1): "
        "raw, above the noise floor, and what noise alone would give"
    ),
    meaning="Whether a count is about the loss or about its sampling.",
    limits="In many dimensions such a line hardly moves the loss: few minima along it do not prove a smooth landscape.",
    cost="1,100 forward passes",
    error_kind="standard error",
    estimate_cost=lambda given: Cost(gradients=given.num_directions * (given.num_steps + 1) * FORWARD),
    details={
        "minima": "above the floor, (directions,)",
        "maxima": "likewise",
        "raw_minima": "all, (directions,)",
        "raw_maxima": "likewise",
        "minima_histogram": "directions by their count",
        "maxima_histogram": "likewise",
        "raw_minima_histogram": "likewise",
        "raw_maxima_histogram": "likewise",
        "floor": "noise of the evaluation",
        "noise_expectation": "raw count that noise alone would have",
        "losses": "(directions, steps + 1)",
        "evaluation": "the protocol",
    },
)
def local_minima(
    objective: Objective,
    *,
    num_directions: int = 100,
    radius: float = 0.1,
    num_steps: int = 10,
    evaluation: Literal["dataset", "minibatch"] = "dataset",
    batch_size: int = 128,
    seed: int = 0,
) -> Measurement:
    """The mean number of local minima per direction above the noise floor.

    Args:
        objective: the loss around whose parameters to measure.
        num_directions: random directions.
        radius: how far along each.
        num_steps: in how many steps; there are ``num_steps - 1`` interior points.
        evaluation: "dataset", the mean over all the data; "minibatch", at every point over another mini-batch, as a
            training loop sees it (those rows are then held in memory).
        batch_size: rows of a mini-batch. Rows of the data are drawn at random (at most 20,000, or four lines of
            mini-batches), dealt into mini-batches, and these are drawn without repetition on a line.
        seed: of the directions and the draws.

    The floor is twice the spread of the rounding error along a direction, found by comparing precisions, or twice the
    spread of the mini-batches' losses at w. ``std_error`` is over directions, and not 0 where few
    of them or none have any: see ``landscape.statistics.count_error``.

    Raises:
        ValueError: for an argument out of its range, or fewer mini-batches than points on a line.

    Example:
        >>> model, batch = torch.nn.Linear(1, 1, bias=False), (torch.ones(4, 1), torch.zeros(4, 1))
        >>> _ = torch.nn.init.ones_(model.weight)
        >>> found = local_minima(Objective(model, torch.nn.MSELoss(), [batch]), num_directions=5)
        >>> found.value, found.details["minima"]  # a bowl whose bottom is further away than the lines are long
        (0.0, array([0, 0, 0, 0, 0]))
    """
    if evaluation not in ("dataset", "minibatch"):
        raise ValueError(f"evaluation={evaluation!r}. Expected 'dataset' or 'minibatch'.")
    if num_directions < 2 or num_steps < 2:
        raise ValueError(f"{num_directions} directions of {num_steps} steps. Expected at least 2 of each.")
    require_positive(radius=radius, batch_size=batch_size)
    w, rise = objective.vector(), Rise(objective)
    steps = np.linspace(0, radius, num_steps + 1)
    parts = _minibatches(objective, batch_size, len(steps), seed) if evaluation == "minibatch" else []
    floor = _MARGIN * np.ptp([part.value() for part in parts]).item() if parts else 0.0
    directions, draws = generator(seed), generator(seed + 1)  # the same directions in both protocols
    losses = np.empty((num_directions, len(steps)))
    for j in range(num_directions):
        v = torch.randn(len(w), generator=directions, dtype=torch.float64)
        line = [(t / v.norm() * v).to(w) for t in steps]
        drawn = [parts[i] for i in torch.randperm(len(parts), generator=draws)[: len(steps)]]
        losses[j] = [one.value(at=w + u) for one, u in zip(drawn or [objective] * len(line), line, strict=True)]
        if not parts and j < _CHECKED:
            floor = max(floor, _MARGIN * np.ptp([rise.rounding_error(u) for u in line]).item())

    prominences = {"minima": _prominences(-losses), "maxima": _prominences(losses)}
    counts = {name: (found > floor).sum(1) for name, found in prominences.items()}
    counts |= {f"raw_{name}": (found > 0).sum(1) for name, found in prominences.items()}
    most = num_steps // 2  # of num_steps - 1 points, no two neighbours
    moves = np.median(np.ptp(losses, axis=1))
    return Measurement(
        "local_minima",
        counts["minima"].mean().item(),
        count_error(counts["minima"]),
        reason=f"{num_directions} directions of {len(steps)} points; the loss moves by {moves:.1e} on the median one, "
        f"the noise floor is {floor:.1e}",
        details=counts
        | {f"{name}_histogram": np.bincount(found, minlength=most + 1) for name, found in counts.items()}
        | {"floor": floor, "noise_expectation": (num_steps - 1) / 3, "losses": losses, "evaluation": evaluation},
        error_kind="standard error",
        num_samples=num_directions,
    )


def _minibatches(objective: Objective, batch_size: int, num_points: int, seed: int) -> list[Objective]:
    most = max(_ROWS, 4 * num_points * batch_size)
    drawn = objective.minibatches(batch_size, generator=generator(seed + 2), num_examples=most)
    batches = [objective.over(batch) for batch in drawn]
    if len(batches) < num_points:
        raise ValueError(
            f"The data make {len(batches)} mini-batches of {batch_size} rows, and a fresh one at every point of a line "
            f"takes {num_points}. Lower batch_size, or use evaluation='dataset'."
        )
    return batches


def _prominences(values: np.ndarray) -> np.ndarray:  # (k, m) -> (k, m)
    """How far each strict interior maximum of each row stands above the lands around it; 0 where there is none."""
    from scipy.signal import peak_prominences  # slow to import

    found = np.zeros_like(values)
    for row, into in zip(values, found, strict=True):
        peaks = 1 + np.flatnonzero((row[1:-1] > row[:-2]) & (row[1:-1] > row[2:]))
        into[peaks] = peak_prominences(row, peaks)[0]
    return found
