"""The optimizers of several passes in Lightning, with its automatic optimization.

Lightning calls ``training_step`` and the backward pass for each micro-batch, and the optimizer with the last one of a
step. Here ``training_step`` is put off until then; each pass of the optimizer then runs it, and its backward pass, for
all micro-batches of the step. Afterwards Lightning clips the direction, calls its hooks, and updates, with any
``accumulate_grad_batches``, ``gradient_clip_val``, ``precision`` and scheduler.

What ``training_step`` logs is logged in the clean pass only, and metrics of torchmetrics that are modules in the module
follow that pass only. What else it changes, it changes in every pass, unless it asks ``self.clean_pass``. With
``accumulate_grad_batches`` the output of a micro-batch that was put off is a loss of zero, for callbacks that look at
outputs. A step of which ``training_step`` returns None for all micro-batches is skipped, and counted.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from inspect import signature
from types import NoneType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from landscape.batches import copied
from landscape.integrations.unwrapped import unwrapped

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule
else:
    LightningModule = object


class MultiPassModule(LightningModule):
    """A mix-in for a LightningModule whose ``configure_optimizers`` returns an optimizer of ``landscape.optim``.

    ``class Classifier(MultiPassModule, LightningModule): ...`` with ``training_step`` as for any optimizer.

    Attributes:
        clean_pass: False in a pass of ``training_step`` that is not the first of its step.

    Example:
        >>> class Classifier(MultiPassModule, LightningModule):  # of lightning
        ...     def training_step(self, batch, batch_idx):
        ...         x, y = batch
        ...         return cross_entropy(self.net(x), y)
        ...
        ...     def configure_optimizers(self):
        ...         return SAM(torch.optim.SGD(self.parameters(), lr=0.1), rho=0.05)
    """

    clean_pass = True
    _gathering = _running = False
    _earlier: tuple[tuple[Any, Any], ...] = ()  # micro-batches that were put off
    _losses: list[Tensor]  # of those, in this pass

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not hasattr(cls.training_step, "puts_off"):
            cls.training_step = _put_off(cls.training_step)

    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
        """Run the passes of a step, then what Lightning does between backward pass and update, then the update."""
        multi_pass = unwrapped(optimizer)
        if multi_pass is None:
            return super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        strategy = self.trainer.strategy
        if strategy.handles_gradient_accumulation:
            raise ValueError(f"{type(strategy).__name__} makes the update itself. Expected strategy='auto' or 'ddp'.")
        multi_pass.model = strategy.model
        multi_pass.grad_scaler = getattr(strategy.precision_plugin, "scaler", None)
        results: list[Any] = []

        def closure() -> Tensor | None:
            multi_pass.zero_grad()
            self._losses = []
            self.clean_pass = not results
            with nullcontext() if self.clean_pass else _metrics_as_they_are(self):
                loss = optimizer_closure()
            results.append(optimizer_closure._result)
            losses = [*self._losses, loss] if loss is not None else self._losses
            return torch.stack(losses).sum() if losses else torch.tensor(torch.nan)  # all were skipped: so is the step

        def gather() -> Tensor | None:
            loss = multi_pass.gather(closure)
            if not self._losses and results[-1].loss is None:
                multi_pass.zero_grad()
            return loss

        self._gathering = True
        try:
            optimizer.step(closure=gather, gathered=True)
        finally:
            self._gathering, self.clean_pass, self._earlier = False, True, ()
        optimizer_closure._result = results[0]  # for callbacks: the output at the weights, not at the last pass's
        return None

    def log(self, *args: Any, **kwargs: Any) -> None:
        """Log as Lightning does, in the clean pass."""
        if self.clean_pass:
            super().log(*args, **kwargs)


def _put_off(training_step: Callable[..., Any]) -> Callable[..., Any]:
    """The step of a micro-batch, put off until the last one of the optimizer's step, which runs those before it too."""
    if "dataloader_iter" in signature(training_step).parameters:
        raise TypeError("training_step takes a dataloader_iter, whose batches cannot be had twice. Expected a batch.")

    @functools.wraps(training_step)
    def put_off(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self._running or not self.automatic_optimization or unwrapped(self.optimizers()) is None:
            return training_step(self, *args, **kwargs)
        loop, accumulate = self.trainer.fit_loop, self.trainer.accumulate_grad_batches
        if loop._skip_backward:  # to compute activation statistics at averaged weights
            return training_step(self, *args, **kwargs)
        if loop.batch_idx % accumulate == 0:
            self._earlier = ()
        if loop._should_accumulate():
            self._earlier += ((args, kwargs),)
            return torch.zeros((), device=self.device, requires_grad=True)
        if not self._gathering:
            raise RuntimeError(
                f"optimizer_step() of {type(self).__name__} calls optimizer.step(). Expected it to call "
                "super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure), with MultiPassModule before "
                "LightningModule among the bases: that runs the passes."
            )
        self._running = True  # where a method of this class calls its super's, that one runs as it is
        results = self.trainer._results
        try:
            for some, more in self._earlier:
                results.batch, results.batch_size = some[0], None  # by whose size what is logged is weighted
                output = training_step(self, *copied(some), **copied(more))
                if output is not None:
                    loss = (output["loss"] if isinstance(output, Mapping) else output) / accumulate
                    self._losses.append(loss.detach())
                    self.trainer.strategy.backward(loss, self.optimizers().optimizer)
            results.batch, results.batch_size = args[0], None
            return training_step(self, *copied(args), **copied(kwargs))
        finally:
            self._running = False

    put_off.puts_off = True  # type: ignore[attr-defined]
    return put_off


@contextmanager
def _metrics_as_they_are(module: Any) -> Iterator[None]:
    """Put the metrics among the modules in ``module`` back to what they were before the body."""
    from torchmetrics import Metric  # which Lightning brings

    def state(metric: Metric) -> dict[str, Any]:
        kept = {name: value for name, value in vars(metric).items() if isinstance(value, (Tensor, list, int, NoneType))}
        return {name: value.clone() if isinstance(value, Tensor) else copy.copy(value) for name, value in kept.items()}

    before = [(metric, state(metric)) for metric in module.modules() if isinstance(metric, Metric)]
    try:
        yield
    finally:
        for metric, kept in before:
            vars(metric).update(kept)
