"""The optimizers by name, and how a recipe becomes one.

A recipe's `lr`, `momentum`, `weight_decay` and `seed` go to whatever takes them; `optimizer_args` are the rest. An
optimizer that is built on another takes "base" among them, one of `BASES` ("sgd" by default), and that base's own
arguments too: {"rho": 0.1, "base": "adamw", "betas": (0.9, 0.95)}.
"""

from collections.abc import Callable
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
    """Build the optimizer of a recipe over the parameters of `model`.

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
    """Return what the optimizer takes from `Recipe.optimizer_args`, over that base if it has one.

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


def _call(build: Callable[..., Optimizer], args: dict[str, Any]) -> Optimizer:
    return build(**{arg: args[arg] for arg in options(build) if arg in args})
