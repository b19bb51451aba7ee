"""A problem is what an objective is made of: a model, a loss, and the splits of its data.

A checkpoint of ours describes its own. For anybody else's, a file brings it: ``FILE.py:FUNCTION`` names a function of
no arguments that returns ``(model, loss, {"train": ..., "test": ...})``; the weights of the checkpoint are loaded into
that model. A split is a ``landscape.data.Split`` or any fixed iterable of batches, as ``Objective`` takes them.
"""

import runpy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from landscape.checkpoint import Checkpoint, CheckpointError
from landscape.data import Data, Split, load_data
from landscape.losses import LOSSES
from landscape.memory import available_bytes
from landscape.models import build_model
from landscape.objective import NonFiniteError, Objective
from landscape.operators import Hessian
from landscape.registry import find

_PILOT = 8  # examples from whose graph the memory of a batch is foreseen
_LARGEST_BATCH = 2048  # beyond, a batch gains nothing and the graph's memory traffic grows


@dataclass(frozen=True)
class Problem:
    """A model with its weights, a loss, and data by split.

    Example:
        >>> problem = Problem(nn.Linear(1, 1), nn.MSELoss(), {"train": [(torch.ones(4, 1), torch.ones(4, 1))]})
        >>> problem.objective("train").num_examples
        4
    """

    model: nn.Module
    loss: Any
    splits: Mapping[str, Split | Iterable[Any]]

    @classmethod
    def of(cls, checkpoint: Checkpoint, *, model: str | None = None, data: str | None = None) -> "Problem":
        """The problem that a checkpoint describes, or the named model and data where they are given.

        Raises:
            CheckpointError: the checkpoint does not say which model or data, or its weights do not fit.
            ValueError: for an unknown model, data or loss.
        """
        data_spec: dict[str, Any] | None = {"name": data, "args": {}} if data else checkpoint.data
        if data_spec is None or not (model or checkpoint.model):
            raise CheckpointError(
                f"{checkpoint.path}: holds weights, and does not say of which model and data. "
                "Give --model NAME --data NAME, or --problem FILE.py:FUNCTION."
            )
        loaded = load_data(data_spec["name"], **data_spec["args"])
        loss_spec = checkpoint.loss or {"name": "cross_entropy", "args": {}}
        criterion = find(LOSSES, "loss", loss_spec["name"])
        network = _named_model(model, loaded, checkpoint) if model else checkpoint.build_model()
        return cls(network, criterion(**loss_spec["args"]), {"train": loaded.train, "test": loaded.test})

    @classmethod
    def from_file(cls, where: str, checkpoint: Checkpoint) -> "Problem":
        """The problem that the function ``FILE.py:FUNCTION`` returns, with the weights of the checkpoint.

        Raises:
            OSError: the file cannot be read.
            ValueError: there is no such function, or it does not return (model, loss, {split: data}).
            CheckpointError: the weights do not fit the model.
        """
        file, _, name = where.rpartition(":")
        if not file.endswith(".py") or not name.isidentifier():
            raise ValueError(f"--problem {where} is not of the form FILE.py:FUNCTION.")
        if not Path(file).is_file():
            raise FileNotFoundError(2, "no such file", file)
        function = runpy.run_path(file).get(name)
        if not callable(function):
            raise ValueError(f"{file} defines no function {name}().")
        match function():
            case (nn.Module() as model, loss, Mapping() as splits) if splits and callable(loss):
                checkpoint.load_into(model)
                return cls(model, loss, splits)
            case returned:
                found = type(returned).__name__
                raise ValueError(f"{where}() returned {found}. Expected (model, loss, {{'train': ..., 'test': ...}}).")

    def objective(
        self,
        split: str,
        *,
        num_samples: int | None = None,
        seed: int = 0,
        params: str = "*",
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Objective:
        """The mean loss over a split, in batches whose graphs fit in memory, or over a stratified sample of it.

        Raises:
            ValueError: for a split that is not there, or a sample of data that are not a ``Split``.
        """
        if split not in self.splits:
            raise ValueError(f"There is no split {split!r}. Expected one of: {', '.join(self.splits)}.")
        data = self.splits[split]
        objective = partial(Objective, self.model, self.loss, params=params, dtype=dtype, device=device)
        if not isinstance(data, Split):
            if num_samples is not None:
                raise ValueError("--samples needs data of ours. Let the problem's function return fewer examples.")
            return objective(data)
        if num_samples is not None and num_samples < len(data):
            data = data.sample(num_samples, seed=seed)
        return objective(data.batches(_batch_size(objective(data.batches(_PILOT)[:1]))))


def _named_model(name: str, data: Data, checkpoint: Checkpoint) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        model = build_model(name, input_shape=data.input_shape, num_classes=data.num_classes)
    checkpoint.load_into(model)
    return model


def _batch_size(pilot: Objective) -> int:
    """The power of two of examples whose graph takes at most an eighth of the free memory: steady from run to run."""
    try:
        per_example = Hessian(pilot).graph_bytes() / pilot.num_examples
    except NonFiniteError:  # which the measurements will say, each for itself
        return _LARGEST_BATCH
    fits = int(available_bytes(pilot.device) / 8 / max(per_example, 1))
    return min(_LARGEST_BATCH, 1 << max(fits.bit_length() - 1, 0))
