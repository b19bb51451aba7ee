"""How good SAM's one-step perturbation is, next to that of many steps (CR-SAM, Wu, Luo & Wunsch 2024, eq. 2).

    AR = E[l(w + delta) - l(w)] / E[l(w + delta*) - l(w)],    delta = rho g / ||g||

delta* is the best iterate of an ascent from w in steps of ``step`` g / ||g||, each projected back on the ball, and
never worse than delta. AR = 1: one step does as well. The less it is, the more curved the loss is over the ball.

Unlike in the paper, the value is the ratio of the mean rises: that of a single example has no stable ratio.
"""

import math
from typing import Literal

import numpy as np
from torch import Tensor

from landscape.linalg.estimate import norm_of, require_positive
from landscape.measure.ascent import project
from landscape.measure.metric import FORWARD, Cost, generator, metric
from landscape.measure.rise import Rise
from landscape.objective import Objective
from landscape.results import Measurement
from landscape.statistics import standard_error


@metric(
    definition="SAM's one-step rise of the loss as a fraction of the best rise that 20 steps find (CR-SAM, eq. 2)",
    meaning="1: one step does as well; less: the loss curves within the ball.",
    limits=(
        "It says how straight the loss is over SAM's ball, not how flat. As the best rise may be missed, the "
        "true ratio may be lower."
    ),
    cost="28 gradients",
    error_kind="standard error",
    estimate_cost=lambda given: Cost(gradients=1 + given.ascent_steps * (1 + FORWARD)),
    details={
        "mean_of_ratios": "over the batches whose loss rises under delta*",
        "mean_of_ratios_std_error": "its standard error",
        "num_flat_batches": "that do not rise",
        "one_step_rises": "(batches,)",
        "best_rises": "(batches,)",
        "weights": "of the batches",
    },
)
def sam_ratio(
    objective: Objective,
    *,
    rho: float = 0.05,
    ascent_steps: int = 20,
    step: float | None = None,
    perturbation: Literal["batch", "dataset"] = "batch",
    batch_size: int = 128,
    num_examples: int = 5000,
    adaptive: bool = False,
    seed: int = 0,
) -> Measurement:
    """The rise of the loss under SAM's perturbation as a fraction of that under the best of many steps, at most 1.

    ``std_error`` is the jackknife's over mini-batches.

    Args:
        objective: the loss around whose parameters to measure.
        rho: radius of the ball.
        ascent_steps: steps of the ascent that finds delta*.
        step: their length; by default 2.5 rho / ascent_steps. rho / ascent_steps is the plain walk to the sphere.
        perturbation: "batch", each mini-batch has its own, as in training; "dataset", one for all.
        batch_size: rows of a mini-batch; they are drawn at random from the data, the last one with what is left.
        num_examples: rows that take part, drawn at random, which are held in memory.
        adaptive: perturbations in units of |w|, entry by entry (ASAM's, Kwon et al. 2021).
        seed: of the draw.

    Raises:
        ValueError: for an argument out of its range, or data without rows.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(1, 1, bias=False)
        >>> _ = torch.nn.init.constant_(model.weight, 1.0)
        >>> objective = Objective(model, torch.nn.MSELoss(), [(torch.ones(4, 1), torch.zeros(4, 1))])
        >>> sam_ratio(objective, batch_size=2).value  # in one dimension, one step is all there is
        1.0
    """
    if perturbation not in ("batch", "dataset"):
        raise ValueError(f"perturbation={perturbation!r}. Expected 'batch' or 'dataset'.")
    step = 2.5 * rho / max(ascent_steps, 1) if step is None else step
    require_positive(rho=rho, ascent_steps=ascent_steps, step=step, batch_size=batch_size, num_examples=num_examples)
    batches = objective.minibatches(batch_size, generator=generator(seed), num_examples=num_examples)
    rows, num_differentiated, shared = [], 0, None
    if perturbation == "dataset":
        whole = objective.over([part for batch in batches for part in batch])
        shared = _perturbations(Rise(whole, adaptive=adaptive), rho, step, ascent_steps)
        num_differentiated = whole.num_gradients * whole.num_examples
    for batch in batches:
        part = objective.over(batch)
        rise = Rise(part, adaptive=adaptive)
        one_step, best = shared or _perturbations(rise, rho, step, ascent_steps)
        rows.append((rise(one_step), rise(best), part.total_weight))
        num_differentiated += part.num_gradients * part.num_examples
    one_steps, bests, weights = np.array(rows).T

    value, error = ratio_of_sums(weights * one_steps, weights * bests)
    rising = bests > 0
    ratios = one_steps[rising] / bests[rising]
    reason = f"{len(rows)} batches of up to {batch_size} rows"
    if math.isnan(error):
        reason += ": no perturbation raises the loss" if math.isnan(value) else ": too few that rise for an error bar"
    return Measurement(
        "sam_ratio",
        value,
        error,
        num_gradients=round(num_differentiated / objective.num_examples),
        converged=not math.isnan(error),
        reason=reason,
        details={
            "mean_of_ratios": ratios.mean().item() if len(ratios) else math.nan,
            "mean_of_ratios_std_error": standard_error(ratios),
            "num_flat_batches": int((~rising).sum()),
            "one_step_rises": one_steps,
            "best_rises": bests,
            "weights": weights,
        },
        error_kind="standard error",
        num_samples=len(rows),
    )


def ratio_of_sums(numerators: np.ndarray, denominators: np.ndarray) -> tuple[float, float]:
    """The ratio of two sums over batches, at most 1, and its standard error by the jackknife; NaN for none."""
    n, total = len(denominators), denominators.sum()
    if not total > 0:
        return math.nan, math.nan
    value = min((numerators.sum() / total).item(), 1.0)  # rounding alone takes it above
    others = total - denominators
    if n < 2 or not (others > 0).all():
        return value, math.nan
    left_out = (numerators.sum() - numerators) / others
    return value, math.sqrt((n - 1) / n * ((left_out - left_out.mean()) ** 2).sum())


def _perturbations(rise: Rise, rho: float, step: float, num_steps: int) -> tuple[Tensor, Tensor]:
    """SAM's perturbation, and the best of a walk of ``num_steps``, of that one, and of none; none if the slope is 0."""
    one_step = best = u = rise.origin
    highest = 0.0
    for k in range(num_steps):
        value, slope = rise.with_slope(u)
        highest, best = max((highest, best), (value, u), key=lambda pair: pair[0])
        norm = norm_of(slope)
        if norm == 0:
            break
        if k == 0:
            one_step = slope * (rho / norm)
        u = project(u + slope * (step / norm), rho)
    return one_step, max((best, u, one_step), key=rise)
