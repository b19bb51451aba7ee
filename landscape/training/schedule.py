"""How the learning rate goes over the epochs. It is constant within an epoch.

Of T epochs the first W (`warmup`) climb in equal steps, lr t / (W + 1). Then, with s epochs of the T - W done,

    cosine      lr / 2 * (1 + cos(pi s / (T - W)))                 Loshchilov and Hutter 2017, arXiv:1608.03983
    step        lr * factor^k where k of the milestones, shares of the T - W epochs, are reached
    constant    lr
"""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from landscape.training.recipe import Recipe


def learning_rate(recipe: "Recipe", epoch: int) -> float:
    """Return the learning rate of an epoch, counted from 1.

    Example:
        >>> from landscape.training import Recipe
        >>> [round(learning_rate(Recipe(lr=1.0, epochs=4), epoch), 3) for epoch in (1, 2, 3, 4)]
        [1.0, 0.854, 0.5, 0.146]
        >>> [learning_rate(Recipe(lr=1.0, epochs=4, schedule="constant", warmup=3), epoch) for epoch in (1, 2, 3, 4)]
        [0.25, 0.5, 0.75, 1.0]
    """
    if epoch <= recipe.warmup:
        return recipe.lr * epoch / (recipe.warmup + 1)
    share = SCHEDULES[recipe.schedule](epoch - 1 - recipe.warmup, recipe.epochs - recipe.warmup, **recipe.schedule_args)
    return recipe.lr * share


def _cosine(num_done: int, num_epochs: int) -> float:
    return (1 + math.cos(math.pi * num_done / num_epochs)) / 2


def _step(
    num_done: int, num_epochs: int, *, milestones: Sequence[float] = (0.3, 0.6, 0.8), factor: float = 0.2
) -> float:
    return factor ** sum(num_done / num_epochs >= milestone for milestone in milestones)


def _constant(_num_done: int, _num_epochs: int) -> float:
    return 1.0


SCHEDULES: dict[str, Callable[..., float]] = {"cosine": _cosine, "step": _step, "constant": _constant}
