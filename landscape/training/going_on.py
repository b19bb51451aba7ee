"""Whether a run can go on from a checkpoint of ours: its counts agree, and its states are those of this optimizer.

What is well formed and wrong would be noticed in the middle of a step, or not at all.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from landscape.checkpoint import Checkpoint, CheckpointError
from landscape.forms import AT_LEAST_0, COUNT, NUMBER, Kind, Maybe, misfit
from landscape.reading import reading
from landscape.training.recipe import Recipe

_REMEDY = "Go on from another checkpoint, or train anew in another folder."
_KEY = Kind("624 whole numbers", lambda value: isinstance(value, Tensor) and value.shape == (624,))
_PLACE = Kind("a place from 0 to 624", lambda value: COUNT.holds(value) and value <= 624)  # numpy trusts it
_RNG: dict[str, Any] = {
    "torch": Kind("a state", lambda value: isinstance(value, Tensor) and value.dtype == torch.uint8)
}
_RNG |= {"numpy": {"state": {"key": _KEY, "pos": _PLACE}}, "cuda": Kind("anything", lambda _: True)}
_RNG |= {"python": Kind("a state", lambda value: isinstance(value, tuple))}


def recipe_of(begun: Checkpoint) -> Recipe:
    """The recipe that it was trained with. Raises CheckpointError where it is none."""
    with reading(begun.path, _REMEDY, CheckpointError):
        return Recipe.from_dict(begun.recipe)


def require_whole(begun: Checkpoint, recipe: Recipe, splits: Mapping[str, int]) -> None:
    """Refuse a checkpoint whose epoch, step, rows or random states are not those of a run of this recipe.

    Args:
        begun: the checkpoint.
        recipe: of the run.
        splits: their numbers of examples.

    Raises:
        CheckpointError: naming what is wrong.
    """
    epoch, step = begun.epoch or 0, begun.step or 0
    row: dict[str, Any] = {"epoch": COUNT, "step": COUNT, "lr": NUMBER, "seconds": AT_LEAST_0}
    row |= {"gradients?": COUNT, "radius?": AT_LEAST_0}  # earlier versions had none
    row |= {f"{split}_{what}": Maybe(NUMBER) for split in splits for what in ("loss", "accuracy")}
    wrong = misfit(begun.metrics, [row], "metrics") or misfit(begun.state["rng"], _RNG, "state.rng")
    wrong = wrong or misfit(begun.state.get("loop", {}), {"radius?": AT_LEAST_0}, "state.loop")
    a_epoch = math.ceil(splits["train"] / recipe.batch_size)
    if not epoch * a_epoch <= step <= (epoch + 1) * a_epoch:
        wrong = wrong or f"is of epoch {epoch} and step {step}, at {a_epoch} steps an epoch"
    if len(begun.metrics) != epoch:
        wrong = wrong or f"has {len(begun.metrics)} rows of metrics, of {epoch} epochs"
    if wrong:
        raise CheckpointError(f"{begun.path}: {wrong}. {_REMEDY}")


def load_optimizer(begun: Checkpoint, optimizer: Optimizer) -> None:
    """Load its state, which must be one of such an optimizer. Raises CheckpointError."""
    every = {id(one): one for one in (optimizer, getattr(optimizer, "base", optimizer))}.values()
    before = [[dict(group) for group in one.param_groups] for one in every]
    with reading(begun.path, _REMEDY, CheckpointError):
        optimizer.load_state_dict(begun.state["optimizer"])
        for name in ("num_skipped", "num_gradients"):
            if not COUNT.holds(count := getattr(optimizer, name, 0)):
                raise ValueError(f"the optimizer's {name} is {count!r}")
        for one, groups in zip(every, before, strict=True):
            for group, was in zip(one.param_groups, groups, strict=True):
                for name, value in was.items():
                    if not _alike(group.get(name), value):
                        raise ValueError(f"the optimizer's {name} is {group.get(name)!r}")
            for p, state in one.state.items():
                for name, value in state.items():
                    if isinstance(value, Tensor) and value.shape not in (p.shape, ()):
                        raise ValueError(f"the optimizer's {name} has shape {tuple(value.shape)}")


def _alike(found: Any, value: Any) -> bool:
    """Whether it may stand where the value does: rates change in training, and their kind does not."""
    if isinstance(value, float):
        return NUMBER.holds(found) or not math.isfinite(value)
    return isinstance(found, type(value))
