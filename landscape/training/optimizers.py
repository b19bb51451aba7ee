"""The optimizers and the schedules of the learning rate by name, and how a recipe becomes them.

A recipe's ``lr``, ``momentum``, ``weight_decay`` and ``seed`` go to whatever takes them; ``optimizer_args`` are the
rest. An optimizer that is built on another takes "base" among them, one of ``BASES`` ("sgd" by default), and that
base's own arguments too: {"rho": 0.1, "base": "adamw", "betas": (0.9, 0.95)}.

The learning rate is constant within an epoch. Of T epochs the first W (``warmup``) climb in equal steps, lr t / (W +
1). Then, with s epochs of the T - W done,

    cosine      lr / 2 * (1 + cos(pi s / (T - W)))                 Loshchilov and Hutter 2017, arXiv:1608.03983
    step        lr * factor^k where k of the milestones, shares of the T - W epochs, are reached
    constant    lr
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from inspect import Parameter
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from landscape.optim import ASAM, CRSAM, GAM, RSAM, SAM, SASAM, SASGD, CurvSAM
from landscape.registry import check, options

if TYPE_CHECKING:
    from landscape.training.recipe import Recipe

BASES: dict[str, Callable[..., Optimizer]] = {"sgd": SGD, "adam": Adam, "adamw": AdamW}
OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    **BASES,
    "sam": SAM,
    "asam": ASAM,
    "r-sam": RSAM,
    "cr-sam": CRSAM,
    "sa-sgd": SASGD,
    "sa-sam": SASAM,
    "curvsam": CurvSAM,
    "gam": GAM,
    "sam+gam": partial(GAM, oracle="sam"),
}

_BY_RECIPE = ("params", "model", "lr", "momentum", "weight_decay", "seed")
_INTERNAL = ("foreach", "maximize", "capturable", "differentiable", "fused", "decoupled_weight_decay")  # torch's


def build_optimizer(recipe: "Recipe", model: nn.Module) -> Optimizer:
    """Build the optimizer of a recipe over the parameters of ``model``.

    Raises:
        ValueError: The optimizer does not take these arguments, or one is out of its range.

    Example:
        >>> from landscape.training import Recipe
        >>> build_optimizer(Recipe(lr=0.2), nn.Linear(2, 1)).param_groups[0]["lr"]
        0.2
    """
    args = dict(recipe.optimizer_args)
    expected = optimizer_args(recipe.optimizer, args.get("base", "sgd"))
    check(f"optimizer '{recipe.optimizer}'", args, expected)
    args |= {"params": model.named_parameters(), "model": model, "seed": recipe.seed}
    args |= {"lr": recipe.lr, "momentum": recipe.momentum, "weight_decay": recipe.weight_decay}
    build = OPTIMIZERS[recipe.optimizer]
    if "base" in options(build):
        args["base"] = _call(BASES[args.get("base", "sgd")], args)
    return _call(build, args)


def optimizer_args(name: str, base: str = "sgd") -> dict[str, Parameter]:
    """Return what the optimizer takes from ``Recipe.optimizer_args``, over that base if it has one.

    Raises:
        ValueError: The base is unknown.

    Example:
        >>> list(optimizer_args("sam"))
        ['base', 'rho', 'coupled_weight_decay', 'dampening', 'nesterov']
    """
    if base not in BASES:
        raise ValueError(f"base={base!r} is unknown. Expected one of: {', '.join(BASES)}.")
    own = options(OPTIMIZERS[name], *_BY_RECIPE, *_INTERNAL)
    if "base" in own:
        own["base"] = own["base"].replace(default="sgd")
        own |= options(BASES[base], *_BY_RECIPE, *_INTERNAL)
    return own


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


def _call(build: Callable[..., Optimizer], args: dict[str, Any]) -> Optimizer:
    return build(**{arg: args[arg] for arg in options(build) if arg in args})


def _cosine(num_done: int, num_epochs: int) -> float:
    return (1 + math.cos(math.pi * num_done / num_epochs)) / 2


def _step(
    num_done: int, num_epochs: int, *, milestones: Sequence[float] = (0.3, 0.6, 0.8), factor: float = 0.2
) -> float:
    return factor ** sum(num_done / num_epochs >= milestone for milestone in milestones)


def _constant(_num_done: int, _num_epochs: int) -> float:
    return 1.0


SCHEDULES: dict[str, Callable[..., float]] = {"cosine": _cosine, "step": _step, "constant": _constant}
