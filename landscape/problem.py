"""A problem is what an objective is made of: a model, a loss, and the splits of its data.

A checkpoint of ours describes its own, and a folder of transformers its model (``landscape.huggingface``). For anybody
else's, a file brings it: ``FILE.py:FUNCTION`` names a function of no arguments that returns

    (model, loss, {"train": ..., "test": ...})
    (model, loss, {"train": ..., "test": ...}, {"weight": ..., "params": ..., "mode": ...})

or a ``Problem``; the weights of the checkpoint are loaded into that model. A split is a ``landscape.data.Split`` or any
fixed iterable of batches, and the fourth element's entries, any of which may be left out, are what ``Objective`` takes.
"""

import runpy
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from landscape import huggingface
from landscape.batches import generators, num_rows_of, refuse_unfixed
from landscape.batches import split as cut
from landscape.checkpoint import Checkpoint, CheckpointError
from landscape.data import Split, load_data
from landscape.data.examples import Examples
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

_HOW = ("weight", "params", "mode")  # what a problem function may say of the objective, beside model, loss and data
_WANTED = {
    "model": "a torch module",
    "loss": "a torch criterion, or a function loss(model, batch)",
    "splits": "data by name: {'train': ..., 'test': ...}",
    "weight": "a function, as lambda batch: count",
    "params": "a glob of names, as 'layer1.*'",
    "mode": "'eval', 'train' or 'reestimate'",
}
_PILOT = 8  # examples whose forward pass is weighed
_BATCH_BYTES = 2**30  # saved by the forward pass of a batch; a Hessian's graph of it saves twice that, which 8 GiB hold
MODES = ("eval", "train", "reestimate")
_UNWEIGHED = 128  # examples a batch where that cannot be told
_LARGEST_BATCH = 2048  # beyond, a batch gains nothing and the graph's memory traffic grows


@dataclass(frozen=True)
class Problem:
    """A model with its weights, a loss, and data by split.

    Attributes:
        model: the network.
        loss: a torch criterion, or a function ``loss(model, batch)``.
        splits: data by name: a ``Split``, ``Examples``, or a fixed iterable of batches.
        origin: what is known of where they came from, as parts of the fingerprint.
        weight: what a batch counts for, where the loss is a mean of it, as ``Objective`` has it.
        params: glob of the parameters that are measured, where no other is asked for.
        mode: "eval", "train", or "reestimate": in eval mode, with the batch statistics of the split "train" for those
            that the model keeps (``landscape.batchnorm``).
        unasked: splits that are not meant by "both".
        optimizer: the state dict of the optimizer that made the weights, or empty; of those that are loaded later, too.

    Raises:
        ValueError: for another mode.

    Example:
        >>> problem = Problem(nn.Linear(1, 1), nn.MSELoss(), {"train": [(torch.ones(4, 1), torch.ones(4, 1))]})
        >>> problem.objective("train").num_examples
        4
    """

    model: nn.Module
    loss: Any
    splits: Mapping[str, Split | Examples | Iterable[Any]]
    origin: Fingerprint = field(default_factory=dict)
    weight: Callable[[Any], float] | None = None
    params: str = "*"
    mode: str = "eval"
    unasked: tuple[str, ...] = ()
    optimizer: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        checkpoint: Checkpoint,
        *,
        model: str | None = None,
        data: str | None = None,
        file: str | None = None,
        context: int | None = None,
        mode: str | None = None,
    ) -> "Problem":
        """The problem that a checkpoint describes, with the named model and data, or that of ``from_file``, if given.

        Args:
            checkpoint: with its weights; a folder of transformers brings model, tokenizer and image processor.
            model: a name of ours, where the checkpoint does not say.
            data: a name of ours with a path; for a folder of transformers text:FILE, csv:FILE, images:FOLDER, ...
            file: FILE.py:FUNCTION.
            context: tokens a block, of text for a language model.
            mode: "eval", "train" or "reestimate"; by default what the file says, or "eval".

        Raises:
            CheckpointError: the checkpoint does not say which model or data, or its weights do not fit.
            ValueError: for an unknown model, data, loss or mode.
        """
        if mode is not None:
            if mode not in MODES:
                raise ValueError(f"--mode {mode} is unknown. Expected one of: {', '.join(MODES)}.")
            made = cls.of(checkpoint, model=model, data=data, file=file, context=context)
            return replace(made, mode=mode)
        by_its_folder = _of_transformers(checkpoint) and not (file or model)
        if context is not None and not by_its_folder:
            raise ValueError(
                f"--context {context} is for a folder of transformers with text. Leave it out with --problem, --model "
                "and other checkpoints."
            )
        if file:
            return cls.from_file(file, checkpoint)
        if by_its_folder:
            return cls(*huggingface.problem(checkpoint, data, context))
        data_spec: dict[str, Any] | None = {"name": data, "args": {}} if data else checkpoint.data
        if data_spec is None or not (model or checkpoint.model):
            beside = Path(checkpoint.path).parent
            folder = f"Give its folder {beside} with --data, or " if (beside / "config.json").is_file() else "Give "
            raise CheckpointError(
                f"{checkpoint.path}: holds weights, and does not say of which model and data. "
                f"{folder}--model NAME --data NAME, or --problem FILE.py:FUNCTION."
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
        state = dict(checkpoint.state.get("optimizer") or {})
        return cls(network, loss, loaded.splits, origin, unasked=("validation",), optimizer=state)

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
            case (model, loss, splits):
                problem = cls(model, loss, splits)
            case (model, loss, splits, Mapping() as how):
                if others := [str(key) for key in how if key not in _HOW]:
                    raise FileError(
                        f"{where}() returned the options {', '.join(others)}. Expected some of {', '.join(_HOW)}."
                    )
                problem = cls(model, loss, splits, **how)
            case Problem() as problem:
                pass
            case returned:
                found = type(returned).__name__
                raise FileError(
                    f"{where}() returned {found}. Expected (model, loss, {{'train': ..., 'test': ...}}), and a fourth "
                    f"element {{{', '.join(f'{key!r}: ...' for key in _HOW)}}} where there is more to say."
                )
        _require_sound(where, problem)
        load_into(checkpoint, problem.model)
        told = {"function": name, "files": sources(Path(file))}
        state = dict(checkpoint.state.get("optimizer") or {})
        return replace(problem, origin=problem.origin | {"problem": told}, optimizer=state)

    def load(self, checkpoint: Checkpoint) -> None:
        """Load the weights of another checkpoint of the same kind, which an objective notices."""
        if (
            _of_transformers(checkpoint)
            and isinstance(self.loss, huggingface.ModelLoss)
            and "problem" not in self.origin
        ):
            huggingface.load_into(checkpoint, self.model)
        else:
            load_into(checkpoint, self.model)
        self.optimizer.clear()
        self.optimizer.update(checkpoint.state.get("optimizer") or {})

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
        """The mean loss over a split, or over a stratified sample of it, of ``params`` or else those of the problem.

        A ``Split`` is cut into batches of a power of two of examples, at most 2048, for which autograd saves at most
        1 GiB in a forward pass: by sizes alone, so that the same data are cut alike whatever else the machine does.
        ``Objective.batch_size`` tells it, and so does every analysis. In mode "reestimate" the batch statistics are of
        the whole split "train", whatever the split and the sample.

        Raises:
            ValueError: for a split that is not there, or a sample of data that are not a ``Split``.
        """
        data = self._data(split, num_samples, seed)
        params = self.params if params == "*" else params
        objective = partial(Objective, self.model, self.loss, params=params, dtype=dtype, device=device)
        objective = partial(objective, mode="eval" if self.mode == "reestimate" else self.mode, weight=self.weight)
        if isinstance(data, (Split, Examples)):
            pilot = objective([data.pilot(_PILOT)])
            made = pilot.over(data.batches(_batch_size(pilot)), prove=True)
        else:
            made = objective(data)
        made.origin, made.optimizer = self._origin(num_samples, seed), self.optimizer
        if self.mode == "reestimate":
            return made.reestimated(_batches(self._data("train", None, seed), made.batch_size))
        if "train" in self.splits:
            training = self.splits["train"]
            sampled = self._data("train", num_samples, seed) if isinstance(training, (Split, Examples)) else training
            made.training = _batches(sampled, made.batch_size)
        return made

    def objectives(self, split: str = "both", **options: Any) -> dict[str, Objective]:
        """The objectives of a split, or of all but the unasked where it is "both"; options as of ``objective``."""
        return {name: self.objective(name, **options) for name in self._names(split)}

    def fingerprint(self, split: str = "both", *, num_samples: int | None = None, seed: int = 0) -> Fingerprint:
        """What ``objectives`` with these options are functions of beside the weights, without a forward pass."""
        hashes = {}
        for name in self._names(split):
            hashes[name] = _hash(_batches(self._data(name, num_samples, seed)))
        loss = of_loss(self.loss, weight=self.weight, model=self.model)
        told = {"loss": loss, "model": of_model(self.model), "mode": self.mode}
        if self.mode == "reestimate":
            told["statistics"] = _hash(_batches(self._data("train", None, seed)))
        return {"data": hashes, **told, **self._origin(num_samples, seed)}

    def _origin(self, num_samples: int | None, seed: int) -> Fingerprint:
        return self.origin | ({} if num_samples is None else {"sample": {"num_samples": num_samples, "seed": seed}})

    def _names(self, split: str) -> list[str]:
        return [name for name in self.splits if name not in self.unasked] if split == "both" else [split]

    def _data(self, split: str, num_samples: int | None, seed: int) -> Split | Examples | Iterable[Any]:
        if split not in self.splits:
            raise ValueError(f"There is no split {split!r}. Expected one of: {', '.join(self.splits)}.")
        data = self.splits[split]
        if num_samples is None or (isinstance(data, (Split, Examples)) and num_samples >= len(data)):
            return data
        if not isinstance(data, (Split, Examples)):
            raise ValueError("--samples needs data of ours. Let the problem's function return fewer examples.")
        return data.sample(num_samples, seed=seed)


def _batches(data: Split | Examples | Iterable[Any], batch_size: int | None = None) -> Iterable[Any]:
    return data.batches(batch_size) if isinstance(data, (Split, Examples)) else data


def load_into(checkpoint: Checkpoint, model: nn.Module) -> None:
    """``checkpoint.load_into(model)``; into a model of transformers or peft also weights under its former names.

    Raises:
        CheckpointError: they do not fit. ``model`` is untouched.
    """
    try:
        checkpoint.load_into(model)
    except CheckpointError:
        state = huggingface.under_own_names(checkpoint, model)
        if state is None:
            raise
        replace(checkpoint, state=checkpoint.state | {"model": state}).load_into(model)


def _hash(batches: Iterable[Any]) -> str:
    refuse_unfixed(batches)
    with rng_untouched(*generators(batches)):
        return of_data(batches)


def _require_sound(where: str, problem: Problem) -> None:
    sound = {
        "model": isinstance(problem.model, nn.Module),
        "loss": callable(problem.loss),
        "splits": isinstance(problem.splits, Mapping) and bool(problem.splits),
        "weight": problem.weight is None or callable(problem.weight),
        "params": isinstance(problem.params, str),
        "mode": problem.mode in MODES,
    }
    if bad := next((name for name, is_sound in sound.items() if not is_sound), None):
        found = " ".join(repr(getattr(problem, bad)).split())[:100]
        raise FileError(f"{where}() returned {found} for {bad}. Expected {_WANTED[bad]}.")


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


def _of_transformers(checkpoint: Checkpoint) -> bool:
    return checkpoint.config is not None or checkpoint.adapter is not None


def _batch_size(pilot: Objective) -> int:
    """Examples a batch, by the bytes that the second half of the pilot adds: parameters are saved but once."""
    _, batch = next(pilot.batches())
    num_rows = num_rows_of(batch) or 1
    half = (num_rows + 1) // 2
    try:
        added = _saved_bytes(pilot, batch) - _saved_bytes(pilot, next(cut(batch, half)))
    except BatchError:  # torch.func inside of a model runs under no hooks that would weigh
        return _UNWEIGHED
    fits = _BATCH_BYTES * (num_rows - half) // max(added, 1)
    return min(_LARGEST_BATCH, 1 << max(fits.bit_length() - 1, 0))


def _saved_bytes(pilot: Objective, batch: Any) -> int:
    with twice_differentiable():
        return saved_bytes(lambda: pilot.with_parameters(pilot.leaves(), lambda: pilot.terms(batch)))
