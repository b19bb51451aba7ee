"""A recipe: everything that decides which weights a training run ends with, as plain values.

The learning rate is constant within an epoch. Of T epochs, epoch t = 1 ... T has, with the cosine schedule
(Loshchilov and Hutter 2017, arXiv:1608.03983),

    lr_t = lr / 2 * (1 + cos(pi * (t - 1) / T)).

Weight decay is the optimizer's, on every parameter. The defaults are for "mlp" on "digits": SGD's usual ones, and the
batch size and number of epochs with which the training loss has settled (100 epochs end no lower, with "sgd" or "sam").
"""

import inspect
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from typing import Any, get_origin

from torch import nn
from torch.optim import SGD, Optimizer

from landscape.optim import SAM


@dataclass(frozen=True)
class Recipe:
    """What is trained, on what, and how.

    Args:
        model: A key of `landscape.models.MODELS`.
        model_args: What that model takes beside the shape of its input and the number of classes.
        data: A key of `landscape.data.DATA`.
        data_args: What that dataset takes.
        optimizer: A key of `OPTIMIZERS`.
        optimizer_args: What that optimizer takes beside the rate, momentum and decay below, such as {"rho": 0.05}.
        epochs: Passes over the training examples.
        batch_size: Examples a step; the last batch of an epoch may have fewer.
        lr: Learning rate of the first epoch.
        momentum: Of SGD, which "sam" is built on too.
        weight_decay: Coefficient of w in the gradient.
        schedule: One of `SCHEDULES`.
        seed: Of the first weights, the order of the examples, and dropout.

    Raises:
        ValueError: A field of the wrong type or out of its range.

    Example:
        >>> Recipe(optimizer="sam", optimizer_args={"rho": 0.1}, lr=0.2).to_dict()["lr"]
        0.2
    """

    model: str = "mlp"
    model_args: dict[str, Any] = field(default_factory=dict)
    data: str = "digits"
    data_args: dict[str, Any] = field(default_factory=dict)
    optimizer: str = "sgd"
    optimizer_args: dict[str, Any] = field(default_factory=dict)
    epochs: int = 60
    batch_size: int = 64
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: str = "cosine"
    seed: int = 0

    def __post_init__(self) -> None:
        for item in fields(self):
            expected = get_origin(item.type) or item.type
            object.__setattr__(self, item.name, _checked(item.name, expected, getattr(self, item.name)))

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values, which `from_dict` takes back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Recipe":
        """Make a recipe of some of its fields; the others have their defaults.

        Raises:
            ValueError: An unknown field, one of the wrong type, or one out of its range.

        Example:
            >>> Recipe.from_dict({"epochs": 5}) == Recipe(epochs=5)
            True
        """
        known = [item.name for item in fields(cls)]
        for name in values:
            if name not in known:
                raise ValueError(f"a recipe has no field '{name}'. Expected fields: {', '.join(known)}.")
        return cls(**values)


def build_optimizer(recipe: Recipe, model: nn.Module) -> Optimizer:
    """Build the optimizer of a recipe over the parameters of `model`.

    Raises:
        ValueError: The optimizer does not take these arguments, or one is out of its range.

    Example:
        >>> build_optimizer(Recipe(lr=0.2), nn.Linear(2, 1)).param_groups[0]["lr"]
        0.2
    """
    build = OPTIMIZERS[recipe.optimizer]
    _, _, *expected = inspect.signature(build).parameters  # after the recipe and the model
    for arg in recipe.optimizer_args:
        if arg not in expected:
            raise ValueError(
                f"optimizer '{recipe.optimizer}' does not take '{arg}'. Expected arguments: {', '.join(expected)}."
            )
    return build(recipe, model, **recipe.optimizer_args)


def learning_rate(recipe: Recipe, epoch: int) -> float:
    """Return the learning rate of an epoch, counted from 1.

    Example:
        >>> [round(learning_rate(Recipe(lr=1.0, epochs=4), epoch), 3) for epoch in (1, 2, 3, 4)]
        [1.0, 0.854, 0.5, 0.146]
    """
    if recipe.schedule == "constant":
        return recipe.lr
    return recipe.lr / 2 * (1 + math.cos(math.pi * (epoch - 1) / recipe.epochs))


def _sgd(recipe: Recipe, model: nn.Module, *, nesterov: bool = False) -> Optimizer:
    return SGD(
        model.parameters(),
        lr=recipe.lr,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=nesterov,
    )


def _sam(recipe: Recipe, model: nn.Module, *, rho: float = 0.05, coupled_weight_decay: bool = False) -> Optimizer:
    return SAM(_sgd(recipe, model), rho=rho, coupled_weight_decay=coupled_weight_decay, model=model)


OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {"sgd": _sgd, "sam": _sam}
SCHEDULES = ("cosine", "constant")

# what holds for the fields that are not free, and how to say it
_RANGES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "optimizer": (lambda value: value in OPTIMIZERS, f"one of: {', '.join(OPTIMIZERS)}"),
    "epochs": (lambda value: value >= 1, "at least 1"),
    "batch_size": (lambda value: value >= 1, "at least 1"),
    "lr": (lambda value: 0 < value < math.inf, "0 < lr < inf"),
    "momentum": (lambda value: 0 <= value < 1, "0 <= momentum < 1"),
    "weight_decay": (lambda value: 0 <= value < math.inf, "0 <= weight_decay < inf"),
    "schedule": (lambda value: value in SCHEDULES, f"one of: {', '.join(SCHEDULES)}"),
    "seed": (lambda value: 0 <= value < 2**63, "0 <= seed < 2**63"),
}


def _checked(name: str, expected: Any, value: Any) -> Any:
    """Return the value in its canonical form: a whole number for a float made one, lists in arguments made tuples."""
    if isinstance(value, bool) or not isinstance(value, (int, float) if expected is float else expected):
        raise ValueError(f"{name}={value!r} is of type {type(value).__name__}. Expected {expected.__name__}.")
    if name in _RANGES:
        holds, words = _RANGES[name]
        if not holds(value):
            raise ValueError(f"{name}={value!r} is out of range. Expected {words}.")
    if isinstance(value, dict):
        return {key: tuple(item) if isinstance(item, list) else item for key, item in value.items()}
    return expected(value)
