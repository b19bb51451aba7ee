"""Weights to begin with, from a file: fine-tuning.

All of the model's weights are the file's, but for a head of another number of classes, which stays at its random start.
"""

import os
import warnings
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from landscape.checkpoint import Checkpoint, load_checkpoint
from landscape.checkpoint.names import match_names
from landscape.fingerprint import Fingerprint


def start_from(path: str | os.PathLike[str], model: nn.Module, *, num_classes: int) -> Fingerprint:
    """Put the weights of a checkpoint, anybody's, into a model; tell in a warning what stays as it was drawn.

    Args:
        path: what ``landscape.load_checkpoint`` reads.
        model: whose weights are replaced.
        num_classes: that it has, the first size of the tensors of its head.

    Returns:
        What the run says of its start: path, hash of the file, and names that stay.

    Raises:
        CheckpointError: the file cannot be read, or its weights are not the model's.
    """
    checkpoint = load_checkpoint(path)
    left = _head_of_other_classes(checkpoint, model, num_classes)
    if left:
        own = model.state_dict()
        weights = checkpoint.state["model"] | {theirs: own[name] for name, theirs in left.items()}
        checkpoint = replace(checkpoint, state=checkpoint.state | {"model": weights})
    checkpoint.load_into(model)
    if left:
        names = ", ".join(left)
        warnings.warn(f"{path}: is of other classes than the data: {names} stay at their random start.", stacklevel=4)
    return {"path": os.path.abspath(path), "sha256": checkpoint.sha256, "left": list(left)}


def require_start(begun: Checkpoint, path: str | os.PathLike[str]) -> None:
    """Refuse to go on with a run that did not begin from this file. Raises ValueError."""
    began = begun.fingerprint.get("init")
    if not isinstance(began, dict) or began.get("sha256") != load_checkpoint(path).sha256:
        how = f"from {began.get('path')}" if isinstance(began, dict) else "from random weights"
        raise ValueError(
            f"{begun.path} began {how}, and not from {path}. Resume without --init, or choose another folder."
        )


def _head_of_other_classes(checkpoint: Checkpoint, model: nn.Module, num_classes: int) -> dict[str, str]:
    """The names of the tensors of one module that differ in their first size alone, the number of classes; theirs."""
    own: dict[str, Tensor] = model.state_dict()
    found: dict[str, Any] = checkpoint.state["model"]
    match = match_names(found, own, lambda _: False)
    other = {
        name: theirs
        for name, theirs in match.found.items()
        if isinstance(found[theirs], Tensor) and found[theirs].shape != own[name].shape
    }
    is_head = len({name.rpartition(".")[0] for name in other}) == 1 and all(
        own[name].shape[:1] == (num_classes,) and own[name].shape[1:] == found[theirs].shape[1:]
        for name, theirs in other.items()
    )
    return other if is_head else {}
