"""Train a recipe in a plain loop, so that it can be killed at any moment and go on bit for bit.

An epoch depends on the recipe, its own number, and what `last.pt` holds: weights, optimizer state, and the states of
the random-number generators. The examples lie in memory, in an order drawn afresh from (seed, epoch); the last batch
may be short. Files are replaced whole, `last.pt` last: it says how far the run is, whatever the others say.

    OUT/last.pt         after every epoch, and before the first
    OUT/epoch-0010.pt   every `checkpoint_every` epochs
    OUT/metrics.csv     one row an epoch: mean loss and accuracy over all train and test examples, in eval mode, at the
                        end of the epoch; `lr` of the epoch; `seconds` it trained

Not here: augmentation, mixed precision, gradient clipping, several processes.
"""

import csv
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from landscape.checkpoint import Checkpoint, CheckpointError, load_checkpoint, save_checkpoint
from landscape.data import Split, load_data
from landscape.isolation import rng_untouched
from landscape.models import build_model
from landscape.training.recipe import Recipe, build_optimizer, learning_rate
from landscape.training.rng import rng_states, seed_everything, set_rng_states

_COLUMNS = ("epoch", "step", "lr", "train_loss", "train_accuracy", "test_loss", "test_accuracy", "seconds")
_EVAL_BATCH = 2048


class TrainingError(ArithmeticError):
    """The run diverged; the message is one line and says which checkpoint is the last finite one."""


def train(
    recipe: Recipe,
    out: str | os.PathLike[str],
    *,
    resume: bool = False,
    device: str | torch.device = "cpu",
    checkpoint_every: int | None = None,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
) -> Path:
    """Train a recipe and return the path of its last checkpoint, OUT/last.pt.

    The random-number states of the caller are left as they were.

    Args:
        recipe: What is trained, and how.
        out: The folder of the run; it is made if need be.
        resume: Go on from OUT/last.pt; where there is none, begin. A finished run is left as it is.
        device: Where to train. A run goes on bit for bit on one machine and device only.
        checkpoint_every: Keep the checkpoint of every so many epochs, too.
        on_epoch: Called with the row of metrics after the files of each epoch are written.

    Raises:
        TrainingError: The loss is not finite any more.
        CheckpointError: OUT/last.pt cannot be read.
        ValueError: OUT holds a run and `resume` is not set, or one of another recipe; a recipe that cannot be built.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as out:
        ...     last = train(Recipe(epochs=2), out)
        ...     load_checkpoint(last).step
        46
    """
    out, device = Path(out), torch.device(device)
    if checkpoint_every is not None and checkpoint_every < 1:
        raise ValueError(f"checkpoint_every={checkpoint_every} is out of range. Expected at least 1, or None.")
    begun = _begun(recipe, out / "last.pt", resume)
    if begun is not None and begun.epoch == recipe.epochs:
        return begun.path
    with rng_untouched(), _deterministic_kernels():
        run = _Run(recipe, out, device)
        if begun is None:
            run.save("last.pt")
        else:
            run.go_on_from(begun)
        while run.epoch < recipe.epochs:
            run.train_epoch()
            if checkpoint_every and run.epoch % checkpoint_every == 0:
                run.save(f"epoch-{run.epoch:04d}.pt")
            _write_csv(out / "metrics.csv", run.metrics)
            run.save("last.pt")
            if on_epoch:
                on_epoch(run.metrics[-1])
    return out / "last.pt"


def _begun(recipe: Recipe, last: Path, resume: bool) -> Checkpoint | None:
    """Return the checkpoint to go on from, or None where the run has yet to begin."""
    if not last.exists():
        return None
    if not resume:
        raise ValueError(
            f"{last} exists: the folder holds a run. Expected a new folder, or resume=True (--resume) to go on with it."
        )
    begun = load_checkpoint(last)
    if begun.state["optimizer"] is None or begun.state["rng"] is None:
        raise CheckpointError(f"{last}: holds no optimizer state to go on from. Choose another folder.")
    then, now = begun.recipe, recipe.to_dict()
    differ = [f"{name}={now[name]!r} (there {then.get(name)!r})" for name in now if then.get(name) != now[name]]
    if differ:
        raise ValueError(
            f"{last} is of another recipe: {', '.join(differ)}. Resume with the recipe it began with, "
            "or choose another folder."
        )
    for leftover in last.parent.glob(".*.pt.*.tmp"):  # half-written when the run was killed
        leftover.unlink()
    return begun


class _Run:
    """A run between two epochs."""

    def __init__(self, recipe: Recipe, out: Path, device: torch.device) -> None:
        self.recipe, self.out, self.device = recipe, out, device
        self.data = load_data(recipe.data, **recipe.data_args)
        self.train, self.test = self.data.train.to(device), self.data.test.to(device)
        self.model_args: dict[str, Any] = {"input_shape": self.data.input_shape, "num_classes": self.data.num_classes}
        self.model_args |= recipe.model_args
        seed_everything(recipe.seed)
        self.model = build_model(recipe.model, **self.model_args).to(device)
        self.optimizer = build_optimizer(recipe, self.model)
        self.epoch = self.step = 0
        self.metrics: list[dict[str, Any]] = []

    def go_on_from(self, begun: Checkpoint) -> None:
        begun.load_into(self.model)
        self.optimizer.load_state_dict(begun.state["optimizer"])
        set_rng_states(begun.state["rng"], self.device)
        self.epoch, self.step, self.metrics = begun.epoch or 0, begun.step or 0, begun.metrics

    def save(self, name: str) -> None:
        save_checkpoint(
            self.out / name,
            model=self.model,
            model_spec={"name": self.recipe.model, "args": self.model_args},
            data_spec={"name": self.data.name, "args": self.data.args},
            loss_spec={"name": "cross_entropy", "args": {}},
            recipe=self.recipe.to_dict(),
            epoch=self.epoch,
            step=self.step,
            metrics=self.metrics,
            optimizer=self.optimizer,
            rng=rng_states(self.device),
        )

    def train_epoch(self) -> None:
        start = time.perf_counter()
        self.epoch += 1
        lr = learning_rate(self.recipe, self.epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        order = torch.from_numpy(np.random.default_rng((self.recipe.seed, self.epoch)).permutation(len(self.train)))
        self.model.train()
        losses = [self._train_step(batch) for batch in order.to(self.device).split(self.recipe.batch_size)]
        # looked at once an epoch: after every step the device would wait for the host
        values = torch.stack(losses).tolist()
        seconds = time.perf_counter() - start
        measured = [*_evaluate(self.model, self.train), *_evaluate(self.model, self.test)]
        self._refuse_non_finite([*values, measured[0]])
        self.step += len(losses)
        self.metrics.append(dict(zip(_COLUMNS, [self.epoch, self.step, lr, *measured, seconds], strict=True)))

    def _train_step(self, batch: Tensor) -> Tensor:
        inputs, targets = self.train.prepare(self.train.inputs[batch]), self.train.targets[batch]

        def closure() -> Any:
            self.optimizer.zero_grad()
            loss = cross_entropy(self.model(inputs), targets)
            loss.backward()
            return loss.detach()

        loss: Any = self.optimizer.step(closure)
        return loss

    def _refuse_non_finite(self, losses: list[float]) -> None:
        for number, loss in enumerate(losses):
            if not math.isfinite(loss):
                raise TrainingError(
                    f"training diverged: the loss is {loss} after {self.step + number} steps, in epoch {self.epoch}; "
                    f"{self.out / 'last.pt'} keeps epoch {self.epoch - 1}. Lower the learning rate ({self.recipe.lr})."
                )


@torch.no_grad()
def _evaluate(model: nn.Module, split: Split) -> tuple[float, float]:
    """Mean loss and accuracy over all examples, in eval mode."""
    model.eval()
    loss, correct = 0.0, 0.0
    for inputs, targets in split.batches(_EVAL_BATCH):
        logits = model(inputs)
        loss += cross_entropy(logits, targets, reduction="sum").item()
        correct += (logits.argmax(dim=1) == targets).sum().item()
    return loss / len(split), correct / len(split)


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, _COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    temporary.replace(path)


@contextmanager
def _deterministic_kernels() -> Iterator[None]:
    cudnn = torch.backends.cudnn
    before = cudnn.deterministic, cudnn.benchmark
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    finally:
        cudnn.deterministic, cudnn.benchmark = before
