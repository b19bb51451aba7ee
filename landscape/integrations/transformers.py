"""The optimizers of several passes in the Trainer of transformers, with all its arguments.

The Trainer calls ``training_step`` for each micro-batch, then clips, steps the optimizer and its scheduler, and logs.
Here ``training_step`` keeps a micro-batch for later until it has all those of a step; then it gathers the direction,
each pass over all of them by the Trainer's own ``training_step``, and leaves it in ``.grad`` like a gradient.
So gradient accumulation (with its average over tokens), ``max_grad_norm``, weight decay, schedulers, mixed precision,
checkpoints and callbacks are the Trainer's own. The loss that is logged is the clean one; ``grad_norm`` is the norm of
the direction.

``compute_loss`` is called once for each micro-batch in each pass. Hessian products are finite differences. Not here:
DeepSpeed, and optimizers that update weights during the backward pass (LOMO, layer-wise GaLore); they are refused.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from landscape.batches import copied
from landscape.integrations.unwrapped import unwrapped
from landscape.optim.base import MultiPassOptimizer

if TYPE_CHECKING:
    from transformers import Trainer
else:
    Trainer = object


class MultiPassTrainer(Trainer):
    """A mix-in for ``transformers.Trainer`` and its subclasses: ``class SAMTrainer(MultiPassTrainer, Trainer): ...``.

    Args:
        *args: as of the Trainer.
        multi_pass: makes the optimizer from the one that the Trainer creates by its arguments (``optim``,
            ``learning_rate``, ``weight_decay``, ...). None where ``optimizers=`` brings one.
        **kwargs: as of the Trainer.

    Raises:
        ValueError: DeepSpeed, or an ``optim`` that updates weights during the backward pass; at the start of training,
            an optimizer that is not of ``landscape.optim``.

    Example:
        >>> class SAMTrainer(MultiPassTrainer, Trainer):  # of transformers
        ...     pass
        >>> options = {"multi_pass": lambda base: SAM(base, rho=0.05)}  # SAMTrainer(model, args, **options, ...)
    """

    current_gradient_accumulation_steps: int

    def __init__(
        self, *args: Any, multi_pass: Callable[[Optimizer], MultiPassOptimizer] | None = None, **kwargs: Any
    ) -> None:
        self._multi_pass = multi_pass
        self._micro_batches: list[tuple[Any, Any, int]] = []  # with the number of items and of micro-batches of a step
        super().__init__(*args, **kwargs)
        name = str(getattr(self.args.optim, "value", self.args.optim))
        if self.is_deepspeed_enabled or "lomo" in name or "layerwise" in name:
            raise ValueError(
                f"{'DeepSpeed' if self.is_deepspeed_enabled else f'optim={name!r}'} updates the weights itself, with "
                "no room for further passes. Expected another: optim='adamw_torch', without DeepSpeed."
            )

    def create_optimizer(self, *args: Any, **kwargs: Any) -> Optimizer:
        """The Trainer's optimizer as the base of ``multi_pass``."""
        self._micro_batches = []  # of a run that was interrupted
        base = super().create_optimizer(*args, **kwargs)
        if unwrapped(base) is None and self._multi_pass is not None:
            self.optimizer = self._multi_pass(base)
        if unwrapped(self.optimizer) is None:
            raise ValueError(
                f"the optimizer of {type(self).__name__} is {type(self.optimizer).__name__}. Expected one of "
                "landscape.optim: multi_pass=lambda base: SAM(base, rho=0.05)."
            )
        return self.optimizer

    def training_step(self, model: nn.Module, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        """Keep a micro-batch; with the last one of a step, gather the direction and return the sum of clean losses."""
        self._micro_batches.append((inputs, num_items_in_batch, self.current_gradient_accumulation_steps))
        if not self.accelerator.sync_gradients:
            return torch.zeros((), device=self.args.device)
        micro_batches, self._micro_batches = self._micro_batches, []
        optimizer = unwrapped(self.optimizer)
        assert optimizer is not None
        optimizer.model, optimizer.grad_scaler = model, self.accelerator.scaler
        backward = super().training_step

        def closure() -> Tensor:
            model.zero_grad()
            losses = []
            for index, (inputs, num_items, num_steps) in enumerate(micro_batches, 1):
                self.current_gradient_accumulation_steps = num_steps
                with nullcontext() if index == len(micro_batches) else self.accelerator.no_sync(model):
                    losses.append(backward(model, copied(inputs), num_items))
            return torch.stack(losses).sum()

        return optimizer.gather(closure)
