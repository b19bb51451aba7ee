"""The run that a folder holds: one goes on with it where it is of the same recipe, over the same data."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from landscape.checkpoint import Checkpoint, CheckpointError, load_checkpoint
from landscape.checkpoint.content import told
from landscape.fingerprint import differences, refuse_other
from landscape.training.going_on import recipe_of
from landscape.training.recipe import Recipe


def begun_in(out: Path, recipe: Recipe, *, resume: bool) -> Checkpoint | None:
    """The checkpoint to go on from, OUT/last.pt, or None where the run has yet to begin.

    Raises:
        ValueError: the folder holds a run, or what is left of one, and it is not to go on, or is of another recipe.
        CheckpointError: last.pt cannot be read, or cannot be gone on from.
    """
    last = out / "last.pt"
    if not last.exists():
        _require_none_of_another(recipe, last, resume)
        return None
    if not resume:
        raise ValueError(
            f"{last} exists: the folder holds a run. Expected a new folder, or resume=True (--resume) to go on with it."
        )
    begun = load_checkpoint(last)
    if begun.state["optimizer"] is None or begun.state["rng"] is None:
        raise CheckpointError(f"{last}: holds no optimizer state to go on from. Choose another folder.")
    _require_recipe(recipe, begun)
    return begun


def _require_recipe(recipe: Recipe, begun: Checkpoint) -> None:
    then, now = recipe_of(begun).to_dict(), recipe.to_dict()
    differ = [f"{name}={now[name]!r} (there {then[name]!r})" for name in now if not _same(then[name], now[name])]
    if differ:
        raise ValueError(
            f"{begun.path} is of another recipe: {', '.join(differ)}. Resume with the recipe it began with, "
            "or choose another folder."
        )


def _require_none_of_another(recipe: Recipe, last: Path, resume: bool) -> None:
    """Where ``last.pt`` was removed, what else the run left is not written over, but by the same run again."""
    kept = sorted(last.parent.glob("epoch-*.pt"))
    if kept and resume:
        _require_recipe(recipe, load_checkpoint(kept[-1]))
    elif kept or (last.with_name("metrics.csv").exists() and not resume):
        raise ValueError(
            f"{kept[-1] if kept else last.with_name('metrics.csv')} exists: the folder holds what is left of a run. "
            "Expected a new folder, or resume=True (--resume) to train the same again."
        )


def data_before(begun: Checkpoint, fingerprint: Mapping[str, Any], *, anyway: bool) -> list[dict[str, Any]]:
    """What a run was trained on before it went on over other data, each with the step up to which it was.

    Raises:
        ValueError: these are other data than those of the checkpoint, and it is not to go on anyway.
    """
    then = begun.fingerprint
    if not then:
        warnings.warn(f"{begun.path} does not say what data it was trained on: they cannot be compared.", stacklevel=4)
    if not anyway:
        remedy = "Give it the data that it began with, another folder, or anyway=True (--anyway) to go on over these."
        refuse_other(begun.path, then, fingerprint, remedy)
    before: list[dict[str, Any]] = list(then.get("before", []))
    if changed := differences(then, fingerprint):
        before.append({"epoch": begun.epoch, "step": begun.step, "changed": changed, "data": then["data"]})
    return before


def _same(then: Any, now: Any) -> bool:
    """Whether two settings are the same, whatever they are made of."""
    then, now = told(then), told(now)
    return bool(then == now) or repr(then) == repr(now)  # NaN
