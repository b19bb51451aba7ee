"""Train a recipe in a plain loop, so that it can be stopped at any moment and go on bit for bit.

A step depends on the recipe, its own number, and what ``last.pt`` holds: weights, optimizer state, and the states of
the random-number generators. The examples lie in memory, in an order drawn afresh from (seed, epoch), and what
augmentation draws follows from (seed, step); the last batch may be short. Images in files are read ahead by worker
processes, whose number changes nothing. Files are replaced whole, ``last.pt`` last: it says how far the run is,
whatever the others say. Killed, a run goes on from its last whole epoch; Ctrl-C and SIGTERM wait for the end of the
step and save it.

    OUT/last.pt         after every epoch, before the first, and when interrupted
    OUT/epoch-0010.pt   every ``checkpoint_every`` epochs, and those of ``checkpoint_at``
    OUT/metrics.csv     one row an epoch: mean loss and accuracy over all train, validation and test examples, in eval
                        mode and float32, at the end of the epoch; ``lr`` of the epoch; ``gradients``, what all steps
                        up to there cost, a Hessian product as two; ``radius``, the largest distance from the weights
                        at which the epoch's last step took one; ``seconds`` it trained

The loss is the one trained on, with its label smoothing. Not here: loss scaling for float16, several processes.
"""

import csv
import math
import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import cross_entropy

from landscape.checkpoint import Checkpoint, CheckpointError, save_checkpoint
from landscape.checkpoint.building import no_larger_than
from landscape.data import Split, augment, load_data
from landscape.data.pictures import Pictures, decoded
from landscape.files import whole
from landscape.fingerprint import Fingerprint, of_data, of_loss
from landscape.locks import writing
from landscape.models import build_model
from landscape.reading import reading
from landscape.registry import check, options
from landscape.surroundings import rng_untouched
from landscape.training.begun import begun_in, data_before
from landscape.training.going_on import load_optimizer, require_whole
from landscape.training.init import require_start, start_from
from landscape.training.optimizers import BASES, build_optimizer, learning_rate
from landscape.training.recipe import Recipe
from landscape.training.resume import Interrupted, interrupts_wait, rng_states, seed_everything, set_rng_states

_EVAL_BATCH = 2048
_EVAL_PICTURES = 128  # of images in files, which are large
_AT_CHANCE = 5  # epochs at the end of a run after which it is told


class TrainingError(ArithmeticError):
    """The run diverged, or stands still; the message is one line and says which checkpoint is the last finite one."""


def train(
    recipe: Recipe,
    out: str | os.PathLike[str],
    *,
    init: str | os.PathLike[str] | None = None,
    resume: bool = False,
    anyway: bool = False,
    device: str | torch.device = "cpu",
    save_every: int = 1,
    workers: int = 0,
    on_start: Callable[[nn.Module, Mapping[str, Split]], None] | None = None,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
    on_step: Callable[[float], None] | None = None,
) -> Path:
    """Train a recipe and return the path of its last checkpoint, OUT/last.pt.

    The random-number states of the caller are left as they were.

    Args:
        recipe: What is trained, and how.
        out: The folder of the run; it is made if need be.
        init: A checkpoint, anybody's, whose weights to begin with. A head of another number of classes is left at its
            random start, which is said in a warning. The run's own checkpoints say the file and its hash.
        resume: Go on from OUT/last.pt; where there is none, begin. A finished run is left as it is, once ``on_start``
            has seen it, if there is one.
        anyway: Resume over other data than those that the run began with, which its checkpoints say from then on.
        device: Where to train. A run goes on bit for bit on one machine and device only.
        save_every: Epochs after which OUT/last.pt and OUT/metrics.csv are written, as they are after the last: from
            there a run that is killed goes on. More of them save time where an epoch takes less than a file.
        workers: Processes that decode images in files ahead; their number changes no bit.
        on_start: Called before the first step with the model, to measure and not to change, and the data by split.
        on_epoch: Called with the row of metrics after the files of each epoch are written.
        on_step: Called after each step with the number of epochs done, 2.5 in the middle of the third.

    Raises:
        TrainingError: The loss is not finite any more, or no gradient is.
        CheckpointError: OUT/last.pt cannot be read; ``init`` cannot, or its weights are not the model's.
        ValueError: OUT holds a run and ``resume`` is not set, or one of another recipe or other data; another process
            trains there; a recipe that cannot be built.
        KeyboardInterrupt: SIGINT or SIGTERM came; OUT/last.pt holds the run up to there.

    Example:
        >>> import tempfile
        >>> from landscape import load_checkpoint
        >>> with tempfile.TemporaryDirectory() as out:
        ...     last = train(Recipe(epochs=2), out)
        ...     load_checkpoint(last).step
        46
    """
    out, device = Path(out), torch.device(device)
    with writing(out, "training"), rng_untouched(), _deterministic_kernels():
        begun = begun_in(out, recipe, resume=resume)
        if begun is not None and init is not None:
            require_start(begun, init)
        if begun is not None and begun.epoch == recipe.epochs and begun.metrics and on_start is None:
            return begun.path
        run = _built(recipe, out, device, workers, begun)
        if begun is None:
            if init is not None:
                run.fingerprint["init"] = start_from(init, run.model, num_classes=run.data.num_classes)
            run.save("last.pt")
        else:
            run.go_on_from(begun, anyway)
        if on_start:
            on_start(run.model, run.splits)
        with interrupts_wait() as check:

            def after_step(epochs_done: float) -> None:
                if on_step:
                    on_step(epochs_done)
                check()

            try:
                while run.epoch < recipe.epochs:
                    run.train_epoch(after_step, check)
                    run.save_epoch(save_every)
                    if on_epoch:
                        on_epoch(run.metrics[-1])
            except Interrupted:
                if run.is_finite():
                    run.save("last.pt")
                raise
            if run.at_chance():
                warnings.warn(
                    f"training ended at chance: for {_AT_CHANCE} epochs the train accuracy of {recipe.optimizer} was "
                    "that of always naming one class. Lower the learning rate, the radius or a penalty's weight.",
                    stacklevel=2,
                )
    return out / "last.pt"


def _built(recipe: Recipe, out: Path, device: torch.device, workers: int, begun: Checkpoint | None) -> "_Run":
    """The run before its first step, or that of the checkpoint, which is to blame where it cannot be built."""
    if begun is not None:
        with no_larger_than(begun.state["model"]), reading(begun.path, "Choose another folder.", CheckpointError):
            return _Run(recipe, out, device, workers)
    try:
        return _Run(recipe, out, device, workers)
    except (ValueError, ArithmeticError):
        raise
    except (TypeError, RuntimeError, MemoryError) as error:  # of torch, on arguments that make no sense
        raise ValueError(f"the recipe cannot be built: {' '.join(str(error).split())}") from error


class _Run:
    """A run between two steps."""

    def __init__(self, recipe: Recipe, out: Path, device: torch.device, workers: int) -> None:
        self.recipe, self.out, self.device, self.workers = recipe, out, device, workers
        self.data = load_data(recipe.data, **recipe.data_args)
        self.splits = {name: split.to(device) for name, split in self.data.splits.items()}
        self.train = self.splits["train"]
        check("augment", recipe.augment, options(augment, "inputs", "prepare", "generator"))
        changes = dict(recipe.augment)
        self.smallest = changes.pop("resized_crop", 0.0)  # of images in files, which are cut where they are read
        if not 0 <= self.smallest <= isinstance(self.train, Pictures):
            raise ValueError(
                f"augment: resized_crop={self.smallest} is out of range. Expected a share of the area for images of a "
                "folder with size=, else 0."
            )
        self.augment: Callable[..., Tensor] = partial(augment, **changes)
        self.model_args: dict[str, Any] = {"input_shape": self.data.input_shape, "num_classes": self.data.num_classes}
        self.model_args |= recipe.model_args
        seed_everything(recipe.seed)
        self.model = build_model(recipe.model, **self.model_args).to(device)
        self.optimizer = build_optimizer(recipe, self.model)
        if recipe.clip_norm < math.inf:
            # of an optimizer in several passes, its base is what sees the direction that they led to
            getattr(self.optimizer, "base", self.optimizer).register_step_pre_hook(self._clip)
        self.loss: Callable[..., Tensor] = partial(cross_entropy, label_smoothing=recipe.label_smoothing)
        self.begun: Path | None = None  # until the first step from there
        self.epoch = self.step = 0
        self.radius = 0.0  # of the last step that was looked at
        self.metrics: list[dict[str, Any]] = []
        self.fingerprint: Fingerprint = {
            "data": {name: of_data(split.batches()) for name, split in self.data.splits.items()},
            "loss": of_loss(nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)),
            "model": {"name": recipe.model, **self.model_args},
            "data_spec": {"name": self.data.name, "args": self.data.args},
        }

    def go_on_from(self, begun: Checkpoint, anyway: bool) -> None:
        require_whole(begun, self.recipe, {name: len(split) for name, split in self.splits.items()})
        if "init" in begun.fingerprint:
            self.fingerprint["init"] = begun.fingerprint["init"]
        if before := data_before(begun, self.fingerprint, anyway=anyway):
            self.fingerprint["before"] = before
        begun.load_into(self.model)
        load_optimizer(begun, self.optimizer)
        self.begun = begun.path
        with reading(begun.path, "Choose another folder.", CheckpointError):
            set_rng_states(begun.state["rng"], self.device)
        self.radius = begun.state.get("loop", {}).get("radius", 0.0)  # earlier versions had none
        self.epoch, self.step, self.metrics = begun.epoch or 0, begun.step or 0, begun.metrics

    def save(self, name: str) -> None:
        smoothing = {"label_smoothing": self.recipe.label_smoothing} if self.recipe.label_smoothing else {}
        save_checkpoint(
            self.out / name,
            model=self.model,
            model_spec={"name": self.recipe.model, "args": self.model_args},
            data_spec={"name": self.data.name, "args": self.data.args},
            loss_spec={"name": "cross_entropy", "args": smoothing},
            recipe=self.recipe.to_dict(),
            epoch=self.epoch,
            step=self.step,
            metrics=self.metrics,
            optimizer=self.optimizer,
            rng=rng_states(self.device),
            loop={"radius": self.radius},
            fingerprint=self.fingerprint,
        )

    def save_epoch(self, save_every: int) -> None:
        if self.recipe.keeps(self.epoch):
            self.save(f"epoch-{self.epoch:04d}.pt")
        if self.epoch % save_every and self.epoch < self.recipe.epochs:
            return
        with whole(self.out / "metrics.csv") as part, part.open("w", newline="") as file:
            # the last: rows of earlier versions had fewer columns
            writer = csv.DictWriter(file, list(self.metrics[-1]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.metrics)
        self.save("last.pt")

    def is_finite(self) -> bool:
        return all(bool(value.isfinite().all()) for value in self.model.state_dict().values())

    def at_chance(self) -> bool:
        """Whether it knew no more than the most frequent class of train, epoch after epoch."""
        most = self.train.targets.bincount().max().item() / len(self.train)
        last = [row["train_accuracy"] <= most for row in self.metrics[-_AT_CHANCE:]]
        return len(last) == _AT_CHANCE and all(last)

    def train_epoch(self, after_step: Callable[[float], None], check: Callable[[], None]) -> None:
        """Train what is left of the epoch and measure it."""
        start = time.perf_counter()
        number = self.epoch + 1
        lr = learning_rate(self.recipe, number)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        order = torch.from_numpy(np.random.default_rng((self.recipe.seed, number)).permutation(len(self.train)))
        batches = order.to(self.device).split(self.recipe.batch_size)
        self.model.train()
        skipped_before = getattr(self.optimizer, "num_skipped", 0)
        losses = []
        todo = batches[self.step - self.epoch * len(batches) :]
        for batch, inputs in zip(todo, self._inputs(todo), strict=True):
            train_step = self._first_step if self.begun else self._train_step
            losses.append(train_step(batch, inputs, watched=batch is batches[-1]))
            self.step += 1
            after_step(self.step / len(batches))
        # looked at once an epoch: after every step the device would wait for the host
        values = [float(loss) for loss in losses]
        seconds = time.perf_counter() - start
        num_skipped = getattr(self.optimizer, "num_skipped", 0)
        if skipped := num_skipped - skipped_before:
            warnings.warn(f"{skipped} steps of epoch {number} were skipped: a gradient was not finite.", stacklevel=4)
        row: dict[str, Any] = {"epoch": number, "step": self.step, "lr": lr}
        for name, split in self.splits.items():
            row[f"{name}_loss"], row[f"{name}_accuracy"] = self._evaluate(split, check)
        self._refuse_non_finite([*values, row["train_loss"]])
        if losses and skipped == len(losses) and (skipped > 1 or num_skipped == self.step):
            raise TrainingError(
                f"training stands still: all {skipped} steps of epoch {number} were skipped, as a gradient of "
                f"{self.recipe.optimizer} was not finite; {self.out / 'last.pt'} keeps epoch {self.epoch}. "
                f"Lower the learning rate ({self.recipe.lr}) or the radius, or look for NaN and infinity in the data."
            )
        self.epoch = number
        row |= {"gradients": getattr(self.optimizer, "num_gradients", self.step), "radius": self.radius}
        self.metrics.append(row | {"seconds": seconds})

    def _inputs(self, batches: Sequence[Tensor]) -> Iterator[Tensor]:
        """The inputs of the batches of the steps to come, before augmentation."""
        if not isinstance(self.train, Pictures):
            return (self.train.inputs[batch] for batch in batches)
        seeds = [(self.recipe.seed, self.step + k) for k in range(len(batches))] if self.smallest else None
        rows = [batch.cpu() for batch in batches]
        return decoded(self.train.files, rows, seeds=seeds, smallest=self.smallest, workers=self.workers)

    def _first_step(self, batch: Tensor, inputs: Tensor, *, watched: bool) -> Tensor:
        """The first step from a checkpoint, whose state it is where that fails; nothing is written before it."""
        begun, self.begun = self.begun, None
        try:
            return self._train_step(batch, inputs, watched=watched)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise CheckpointError(
                f"{begun}: its optimizer's state is none of this run ({reason}). Go on from another checkpoint."
            ) from error

    def _train_step(self, batch: Tensor, inputs: Tensor, *, watched: bool) -> Tensor:
        of_step = np.random.SeedSequence(self.recipe.seed, spawn_key=(self.step,))
        generator = torch.Generator().manual_seed(int(of_step.generate_state(1, np.uint64)[0]))
        inputs = self.augment(inputs, self.train.prepare, generator=generator)
        targets = self.train.targets[batch]

        params = [p.detach() for p in self.model.parameters()] if watched else []
        before = [p.clone() for p in params]
        self.radius = 0.0

        def loss() -> Tensor:
            if params:
                moved = torch._foreach_norm(torch._foreach_sub(params, before))
                self.radius = max(self.radius, torch.stack(moved).norm().item())
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.amp):
                logits = self.model(inputs)
            return self.loss(logits.float(), targets)

        def closure() -> Tensor:
            self.optimizer.zero_grad()
            value = loss()
            value.backward()
            return value.detach()

        def twice_differentiable() -> Tensor:
            with sdpa_kernel(SDPBackend.MATH):
                return loss()

        if self.recipe.optimizer in BASES:
            value = closure()
            self.optimizer.step()
        else:
            step: Any = self.optimizer.step
            value = step(closure, loss=twice_differentiable)
        return value

    @torch.no_grad()
    def _evaluate(self, split: Split, check: Callable[[], None]) -> tuple[float, float]:
        """Mean loss and accuracy over all examples, in eval mode."""
        self.model.eval()
        total, correct = 0.0, 0.0
        for inputs, targets in self._in_order(split):
            logits = self.model(inputs)
            total += self.loss(logits, targets, reduction="sum").item()
            correct += (logits.argmax(dim=1) == targets).sum().item()
            check()
        return total / len(split), correct / len(split)

    def _in_order(self, split: Split) -> Iterable[tuple[Tensor, Tensor]]:
        if not isinstance(split, Pictures):
            return split.batches(_EVAL_BATCH)
        batches = torch.arange(len(split)).split(_EVAL_PICTURES)
        pixels = decoded(split.files, batches, workers=self.workers)
        targets = split.targets.split(_EVAL_PICTURES)
        return ((split.prepare(some), classes) for some, classes in zip(pixels, targets, strict=True))

    def _clip(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        params = [p for group in optimizer.param_groups for p in group["params"]]
        nn.utils.clip_grad_norm_(params, self.recipe.clip_norm)

    def _refuse_non_finite(self, losses: list[float]) -> None:
        for number, loss in enumerate(losses, start=self.step - len(losses) + 1):
            if not math.isfinite(loss):
                raise TrainingError(
                    f"training diverged: the loss is {loss} after {number} steps, in epoch {self.epoch + 1}; "
                    f"{self.out / 'last.pt'} keeps epoch {self.epoch}. Lower the learning rate ({self.recipe.lr})."
                )


@contextmanager
def _deterministic_kernels() -> Iterator[None]:
    cudnn = torch.backends.cudnn
    before = cudnn.deterministic, cudnn.benchmark
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    finally:
        cudnn.deterministic, cudnn.benchmark = before
