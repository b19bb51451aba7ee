"""A recipe: everything that decides what a training run leaves, as plain values, as TOML, and by name.

Weight decay is the optimizer's, on every parameter. The defaults are for "mlp" on "digits": SGD's usual ones, and the
batch size and number of epochs with which the training loss has settled (100 epochs end no lower, with "sgd" or "sam").

In ``recipes/`` are the protocols of the papers, and small ones for a laptop. The first line of each says what it is,
the comments where its values come from.
"""

import json
import math
import os
import re
import tomllib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, get_origin

from landscape.reading import FileError, read_text
from landscape.registry import check, options
from landscape.training.optimizers import OPTIMIZERS, SCHEDULES

_FOLDER = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class Recipe:
    """What is trained, on what, and how.

    Args:
        model: A key of ``landscape.models.MODELS``.
        model_args: What that model takes beside the shape of its input and the number of classes.
        data: What ``landscape.data.load_data`` takes: "digits", "cifar10:PATH".
        data_args: What that dataset takes, and "num_train", "validation", "label_noise", "split_seed", as all do.
        augment: What ``landscape.data.augment`` takes, such as {"flip": True, "crop": 4}; by default nothing is
            changed.
        optimizer: A key of ``OPTIMIZERS``.
        optimizer_args: What that optimizer takes beside the rate, momentum and decay below, such as {"rho": 0.05}.
        epochs: Passes over the training examples.
        batch_size: Examples a step; the last batch of an epoch may have fewer.
        lr: The largest learning rate.
        momentum: Of SGD, alone or as a base; the others have none.
        weight_decay: Coefficient of w in the gradient; of AdamW, which decays beside it, of lr w.
        schedule: A key of ``SCHEDULES``.
        schedule_args: What that schedule takes: "step" takes "milestones", shares of the epochs, and "factor".
        warmup: Epochs in which the learning rate climbs.
        label_smoothing: Share of each target that is spread over all classes (Szegedy et al. 2016, arXiv:1512.00567).
        clip_norm: The gradient that the update is made of, and no other, is shortened to this norm.
        amp: Forward passes of training in bfloat16 where autocast deems it safe; weights stay float32.
        checkpoint_every: Keep the checkpoint of every so many epochs; 0: of none.
        checkpoint_at: Keep those of these epochs, too.
        seed: Of the first weights, the order of the examples, augmentation, dropout, and the optimizer's own draws.

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
    augment: dict[str, Any] = field(default_factory=dict)
    optimizer: str = "sgd"
    optimizer_args: dict[str, Any] = field(default_factory=dict)
    epochs: int = 60
    batch_size: int = 64
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: str = "cosine"
    schedule_args: dict[str, Any] = field(default_factory=dict)
    warmup: int = 0
    label_smoothing: float = 0.0
    clip_norm: float = math.inf
    amp: bool = False
    checkpoint_every: int = 0
    checkpoint_at: tuple[int, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        for item in fields(self):
            expected = get_origin(item.type) or item.type
            object.__setattr__(self, item.name, _checked(item.name, expected, getattr(self, item.name)))
        if not 0 <= self.warmup < self.epochs:
            raise ValueError(f"warmup={self.warmup} is out of range. Expected 0 <= warmup < epochs ({self.epochs}).")
        own = list(options(SCHEDULES[self.schedule]).items())[2:]  # after epochs done and in all
        check(f"schedule '{self.schedule}'", self.schedule_args, dict(own))

    def keeps(self, epoch: int) -> bool:
        """Whether the checkpoint of this epoch is kept, beside the last one."""
        return (self.checkpoint_every > 0 and epoch % self.checkpoint_every == 0) or epoch in self.checkpoint_at

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values, which ``from_dict`` takes back."""
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

    def to_toml(self) -> str:
        """Return all fields as TOML, one a line, arguments as inline tables; ``from_toml`` takes it back.

        Raises:
            ValueError: An argument that TOML cannot say, such as None; leave it out.

        Example:
            >>> Recipe(epochs=5).to_toml().splitlines()[7]
            'epochs = 5'
        """
        return "".join(f"{name} = {_toml(value)}\n" for name, value in self.to_dict().items())

    @classmethod
    def from_toml(cls, text: str) -> "Recipe":
        r"""Make a recipe of some of its fields, written as TOML.

        Raises:
            ValueError: As ``from_dict``; the text is no TOML.

        Example:
            >>> Recipe.from_toml('epochs = 5\n[optimizer_args]\nnesterov = true').optimizer_args
            {'nesterov': True}
        """
        return cls.from_dict(tomllib.loads(text))


def recipe_names() -> dict[str, str]:
    """Return the named recipes with a line on each.

    Example:
        >>> recipe_names()["digits-sam"]
        'SAM on the digits: an MLP, one minute at most'
    """
    return {
        file.stem: file.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
        for file in sorted(_FOLDER.glob("*.toml"))
    }


def load_recipe(name: str | os.PathLike[str]) -> Recipe:
    """Return a named recipe, or the one of a TOML file.

    Raises:
        ValueError: There is neither.
        FileError: The file is no TOML, or no recipe.
        OSError: The file cannot be read.

    Example:
        >>> load_recipe("digits-sam").optimizer
        'sam'
    """
    file = _FOLDER / f"{name}.toml" if str(name) in recipe_names() else Path(name)
    if file.suffix != ".toml" and not file.exists():
        raise ValueError(f"recipe '{name}' is unknown. Expected a TOML file, or one of: {', '.join(recipe_names())}.")
    text = read_text(file, "TOML file")
    try:
        return Recipe.from_toml(text)
    except tomllib.TOMLDecodeError as error:
        raise FileError(f"{file}: is no TOML file: {error}.") from error
    except FileError:
        raise
    except Exception as error:  # whatever values that make no sense lead to
        raise FileError(f"{file}: {' '.join(str(error).split()) or type(error).__name__}") from error


# what holds for the fields that are not free, and how to say it
_RANGES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "optimizer": (lambda value: value in OPTIMIZERS, f"one of: {', '.join(OPTIMIZERS)}"),
    "epochs": (lambda value: value >= 1, "at least 1"),
    "batch_size": (lambda value: value >= 1, "at least 1"),
    "lr": (lambda value: 0 < value < math.inf, "0 < lr < inf"),
    "momentum": (lambda value: 0 <= value < 1, "0 <= momentum < 1"),
    "weight_decay": (lambda value: 0 <= value < math.inf, "0 <= weight_decay < inf"),
    "schedule": (lambda value: value in SCHEDULES, f"one of: {', '.join(SCHEDULES)}"),
    "label_smoothing": (lambda value: 0 <= value < 1, "0 <= label_smoothing < 1"),
    "clip_norm": (lambda value: value > 0, "0 < clip_norm; inf, the default, for no clipping"),
    "checkpoint_every": (lambda value: value >= 0, "at least 0, which is none"),
    "checkpoint_at": (lambda value: all(type(epoch) is int and epoch >= 1 for epoch in value), "numbers of epochs"),
    "seed": (lambda value: 0 <= value < 2**63, "0 <= seed < 2**63"),
}


def _checked(name: str, expected: Any, value: Any) -> Any:
    """Return the value in its canonical form: a whole number for a float made one, lists made tuples."""
    accepted = {float: (int, float), tuple: (list, tuple)}.get(expected, expected)
    if not isinstance(value, accepted) or (isinstance(value, bool) and expected is not bool):
        raise ValueError(f"{name}={value!r} is of type {type(value).__name__}. Expected {expected.__name__}.")
    if name in _RANGES:
        holds, words = _RANGES[name]
        if not holds(value):
            raise ValueError(f"{name}={value!r} is out of range. Expected {words}.")
    return expected(_without_lists(value))


def _without_lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_lists(item) for key, item in value.items()}
    return tuple(map(_without_lists, value)) if isinstance(value, (list, tuple)) else value


def _toml(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case int() | float():
            return str(value)
        case str():  # JSON's strings are TOML's, but for DEL, which JSON does not escape
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case tuple():
            return f"[{', '.join(map(_toml, value))}]"
        case dict():
            keys = (key if re.fullmatch("[A-Za-z0-9_-]+", key) else _toml(key) for key in value)
            items = (f"{key} = {_toml(item)}" for key, item in zip(keys, value.values(), strict=True))
            return f"{{{', '.join(items)}}}"
    raise ValueError(f"{value!r} cannot be written as TOML. Expected strings, numbers, booleans, and lists or dicts.")
