"""Read any checkpoint: ours, which is read whole, and anybody's, of which the weights are.

Nothing in a file is run. What it describes is read first (``containers``, ``folders``), then its weights are found
(``weights``), and only their numbers are taken from it (``tensors``).
"""

import os
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from landscape.checkpoint.checkpoint import (
    Checkpoint,
    CheckpointError,
    NoCheckpointError,
    to_device,
    without_prefixes,
)
from landscape.checkpoint.containers import Opened, identities, open_container
from landscape.checkpoint.content import FORMAT, fields_of_ours, require_plain
from landscape.checkpoint.describe import hash_of
from landscape.checkpoint.folders import is_json, open_checkpoint
from landscape.checkpoint.stored import Storage, Stored
from landscape.checkpoint.tensors import Tensors
from landscape.checkpoint.weights import NoWeightsError, training_facts, weights_of
from landscape.reading import FileError, reading

_RUN = "torch, trusted"
_SAVE_WEIGHTS = "Save the weights alone: torch.save(model.state_dict(), PATH)."


def load_checkpoint(
    path: str | os.PathLike[str],
    *,
    map_location: str | torch.device = "cpu",
    key: str | None = None,
    trust: bool = False,
) -> Checkpoint:
    """Read a checkpoint without running anything in it.

    What it is, its bytes say and never its name. Read are files of ``torch.save`` (zip and legacy) and safetensors,
    single or in shards (``*.index.json``); folders of ``save_pretrained``, of a Trainer, of an adapter, of
    ``torch.distributed.checkpoint``; and in them a checkpoint of ours, or a state dict at any depth. Where a file holds
    several, the usual one of a single model is taken and not its average (``others`` names those that are there).
    Whatever lies beside the weights and is no plain value is left out, and named in ``left_out``.

    Weights on the CPU stay in the file until they are used: while the ``Checkpoint`` is in use do not overwrite the
    file in place (``save_checkpoint`` replaces it, which is safe).

    Args:
        path: the file or folder.
        map_location: the device for the model's and the optimizer's tensors; generator states stay on the CPU.
        key: where the state dict is in the file, with dots between the keys; None for the usual one.
        trust: run what the file says (``torch.load(weights_only=False)``), as whole pickled modules need.

    Raises:
        CheckpointError: the file is missing, damaged, refused, or no checkpoint.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     path = Path(directory, "weights.pt")
        ...     torch.save({"state_dict": {"model.bias": torch.ones(2)}}, path)
        ...     load_checkpoint(path).state["model"]
        {'bias': tensor([1., 1.])}
    """
    path = Path(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what torch finds odd in a file either loads all the same or raises
            opened = _trusted(path) if trust else open_checkpoint(path)
            fields = _fields(path, opened, key)
        sha256 = hash_of(opened.files)
        changed = identities(*opened.files) != opened.files
    except OSError as error:
        reason = error.strerror or error
        raise CheckpointError(f"{path}: cannot be read: {reason}. Check the path and its permissions.") from error
    except FileError as error:
        kind = NoCheckpointError if type(error.__cause__) is NoWeightsError else CheckpointError
        raise kind(str(error)) from error
    if changed:
        raise CheckpointError(f"{path}: changed while it was being read. Run again.")
    state = {"optimizer": None, "rng": None} | fields.pop("state")
    state |= to_device({"model": state["model"], "optimizer": state["optimizer"]}, torch.device(map_location))
    return Checkpoint(
        path=path, sha256=sha256, state=state, container=opened.container, trusted=opened.container == _RUN, **fields
    )


def _trusted(path: Path) -> Opened:
    """What the file makes when it is run; what says nothing that could be run is read as ever."""
    container = "" if path.is_dir() or is_json(path) else open_container(path, verify=False).container
    if container in ("", "safetensors"):
        return open_checkpoint(path)
    files = identities(path)
    with reading(path, "Load it where it was made, and save model.state_dict() alone.", CheckpointError):
        if container == "pickle":
            with path.open("rb") as file:
                content = pickle.load(file)
        else:
            content = torch.load(path, map_location="cpu", weights_only=False)
        return Opened(_RUN, _described(path, content), (), files)


def _described(path: Path, made: Any) -> Any:
    """The object with descriptions in place of its tensors and arrays, and a whole module as its state dict."""
    if isinstance(made, nn.Module):
        return _described(path, made.state_dict())
    if isinstance(made, np.ndarray) and made.dtype.kind in "fiubc":
        return _described(path, torch.tensor(made))
    if isinstance(made, Tensor):
        shape, storage = tuple(made.shape), Storage(path, 0, 0)
        return Stored(str(made.dtype).removeprefix("torch."), shape, storage, kind="made", args=(made.detach(),))
    if isinstance(made, Mapping):
        return {key: _described(path, value) for key, value in made.items()}
    return type(made)(_described(path, value) for value in made) if type(made) in (list, tuple) else made


def _fields(path: Path, opened: Opened, key: str | None) -> dict[str, Any]:
    """The fields of a ``Checkpoint``, of which those of somebody else's are few."""
    if (ours := fields_of_ours(path, opened)) is not None:
        with reading(path, _SAVE_WEIGHTS):
            return {"format": FORMAT, **Tensors().of(ours)}
    weights = weights_of(path, opened, key)
    with reading(path, _SAVE_WEIGHTS):
        require_plain(weights.state, opened.num_bytes)
        state = Tensors().of(weights.state)
    return {
        "format": "state_dict",
        "state": {"model": without_prefixes(state, lightning=weights.key == "state_dict")},
        "key": weights.key,
        "others": weights.others,
        "left_out": opened.left_out,
        **(training_facts(opened.content) | opened.facts),
    }
