"""A problem is what an objective is made of: a model, a loss, and the splits of its data.

A checkpoint of ours describes its own. For anybody else's, a file brings it: ``FILE.py:FUNCTION`` names a function of
no arguments that returns ``(model, loss, {"train": ..., "test": ...})``; the weights of the checkpoint are loaded into
that model. A split is a ``landscape.data.Split`` or any fixed iterable of batches, as ``Objective`` takes them.
"""

import runpy
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from landscape.batches import generators, refuse_unfixed
from landscape.checkpoint import Checkpoint, CheckpointError
from landscape.data import Split, load_data
from landscape.fingerprint import Fingerprint, as_arguments, of_data, of_loss, of_model
from landscape.losses import LOSSES, BatchError
from landscape.models import build_model
from landscape.objective import Objective
from landscape.operators.graph import saved_bytes
from landscape.reading import FileError, running
from landscape.registry import find
from landscape.second_derivatives import twice_differentiable
from landscape.sources import sources
from landscape.surroundings import rng_untouched
from landscape.text import reason_of

_PILOT = 8  # examples whose forward pass is weighed
_BATCH_BYTES = 2**30  # saved by the forward pass of a batch; a Hessian's graph of it saves twice that, which 8 GiB hold
_UNWEIGHED = 128  # examples a batch where that cannot be told
_LARGEST_BATCH = 2048  # beyond, a batch gains nothing and the graph's memory traffic grows


@dataclass(frozen=True)
class Problem:
    """A model with its weights, a loss, and data by split.

    Attributes:
        origin: what is known of where they came from, as parts of the fingerprint.

    Example:
        >>> problem = Problem(nn.Linear(1, 1), nn.MSELoss(), {"train": [(torch.ones(4, 1), torch.ones(4, 1))]})
        >>> problem.objective("train").num_examples
        4
    """

    model: nn.Module
    loss: Any
    splits: Mapping[str, Split | Iterable[Any]]
    origin: Fingerprint = field(default_factory=dict)

    @classmethod
    def of(
        cls, checkpoint: Checkpoint, *, model: str | None = None, data: str | None = None, file: str | None = None
    ) -> "Problem":
        """The problem that a checkpoint describes, with the named model and data, or that of ``from_file``, if given.

        Raises:
            CheckpointError: the checkpoint does not say which model or data, or its weights do not fit.
            ValueError: for an unknown model, data or loss.
        """
        if file:
            return cls.from_file(file, checkpoint)
        data_spec: dict[str, Any] | None = {"name": data, "args": {}} if data else checkpoint.data
        if data_spec is None or not (model or checkpoint.model):
            raise CheckpointError(
                f"{checkpoint.path}: holds weights, and does not say of which model and data. "
                "Give --model NAME --data NAME, or --problem FILE.py:FUNCTION."
            )
        loss_spec = checkpoint.loss or {"name": "cross_entropy", "args": {}}
        if data:
            loaded = load_data(data)
        else:
            with _described(checkpoint, "data that cannot be loaded"):
                loaded = load_data(data_spec["name"], **data_spec["args"])
            checkpoint.require_steps(len(loaded.train))
        with _described(checkpoint, "a loss that there is not"):
            loss = find(LOSSES, "loss", loss_spec["name"])(**loss_spec["args"])
        if model:
            with torch.random.fork_rng(devices=[]):
                network = build_model(model, input_shape=loaded.input_shape, num_classes=loaded.num_classes)
            checkpoint.load_into(network)
        else:
            network = checkpoint.build_model()
        made_of = {"name": model} if model else as_arguments(checkpoint.model)
        origin = {"model": made_of, "data_spec": {"name": loaded.name, "args": loaded.args}}
        return cls(network, loss, {"train": loaded.train, "test": loaded.test}, origin)

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
        if not Path(file).exists():
            raise FileNotFoundError(2, "no such file", file)
        with running(Path(file)):
            function = runpy.run_path(file).get(name)
        if not callable(function):
            raise FileError(f"{file}: defines no function {name}(). Expected one of no arguments.")
        with running(Path(file)):
            made = function()
        match made:
            case (nn.Module() as model, loss, Mapping() as splits) if splits and callable(loss):
                checkpoint.load_into(model)
                return cls(model, loss, splits, {"problem": {"function": name, "files": sources(Path(file))}})
            case returned:
                found = type(returned).__name__
                raise FileError(f"{where}() returned {found}. Expected (model, loss, {{'train': ..., 'test': ...}}).")

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
        """The mean loss over a split, or over a stratified sample of it.

        A ``Split`` is cut into batches of a power of two of examples, at most 2048, for which autograd saves at most
        1 GiB in a forward pass: by sizes alone, so that the same data are cut alike whatever else the machine does.
        ``Objective.batch_size`` tells it, and so does every analysis.

        Raises:
            ValueError: for a split that is not there, or a sample of data that are not a ``Split``.
        """
        data = self._data(split, num_samples, seed)
        objective = partial(Objective, self.model, self.loss, params=params, dtype=dtype, device=device)
        if isinstance(data, Split):
            pilot = objective(data.batches(_PILOT)[:1])
            made = pilot.over(data.batches(_batch_size(pilot)), prove=True)
        else:
            made = objective(data)
        made.origin = self._origin(num_samples, seed)
        return made

    def objectives(self, split: str = "both", **options: Any) -> dict[str, Objective]:
        """The objectives of a split, or of all splits where it is "both"; the options are those of ``objective``."""
        return {name: self.objective(name, **options) for name in self._names(split)}

    def fingerprint(self, split: str = "both", *, num_samples: int | None = None, seed: int = 0) -> Fingerprint:
        """What ``objectives`` with these options are functions of beside the weights, without a forward pass."""
        hashes = {}
        for name in self._names(split):
            data = self._data(name, num_samples, seed)
            batches = data.batches() if isinstance(data, Split) else data
            refuse_unfixed(batches)
            with rng_untouched(*generators(batches)):
                hashes[name] = of_data(batches)
        told = {"loss": of_loss(self.loss, model=self.model), "model": of_model(self.model)}
        return {"data": hashes, **told, **self._origin(num_samples, seed)}

    def _origin(self, num_samples: int | None, seed: int) -> Fingerprint:
        return self.origin | ({} if num_samples is None else {"sample": {"num_samples": num_samples, "seed": seed}})

    def _names(self, split: str) -> list[str]:
        return list(self.splits) if split == "both" else [split]

    def _data(self, split: str, num_samples: int | None, seed: int) -> Split | Iterable[Any]:
        if split not in self.splits:
            raise ValueError(f"There is no split {split!r}. Expected one of: {', '.join(self.splits)}.")
        data = self.splits[split]
        if num_samples is None or (isinstance(data, Split) and num_samples >= len(data)):
            return data
        if not isinstance(data, Split):
            raise ValueError("--samples needs data of ours. Let the problem's function return fewer examples.")
        return data.sample(num_samples, seed=seed)


@contextmanager
def _described(checkpoint: Checkpoint, what: str) -> Iterator[None]:
    """Tell any error in the body as one of what the checkpoint describes."""
    try:
        yield
    except FileError:
        raise
    except Exception as error:
        raise CheckpointError(
            f"{checkpoint.path}: describes {what}: {reason_of(error)}. "
            "Give --problem FILE.py:FUNCTION, or --model and --data."
        ) from error


def _batch_size(pilot: Objective) -> int:
    """Examples a batch, by the bytes that the second half of the pilot adds: parameters are saved but once."""
    _, (inputs, targets) = next(pilot.batches())
    half = (len(targets) + 1) // 2
    try:
        added = _saved_bytes(pilot, (inputs, targets)) - _saved_bytes(pilot, (inputs[:half], targets[:half]))
    except BatchError:  # torch.func inside of a model runs under no hooks that would weigh
        return _UNWEIGHED
    fits = _BATCH_BYTES * (len(targets) - half) // max(added, 1)
    return min(_LARGEST_BATCH, 1 << max(fits.bit_length() - 1, 0))


def _saved_bytes(pilot: Objective, batch: Any) -> int:
    with twice_differentiable():
        return saved_bytes(lambda: pilot.with_parameters(pilot.leaves(), lambda: pilot.terms(batch)))
