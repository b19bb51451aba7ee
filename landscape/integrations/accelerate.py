"""The optimizers of several passes in a loop of accelerate, with ``accelerator.accumulate``.

    passes = Accumulated(accelerator, model, optimizer, lambda x, y: cross_entropy(model(x), y))
    for x, y in loader:
        with accelerator.accumulate(model):
            passes.backward(x, y)                                  # instead of accelerator.backward(loss)
            if accelerator.sync_gradients:
                accelerator.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()

The prepared optimizer calls no closure while ``accumulate`` accumulates, so a closure would see the last micro-batch
only. Here micro-batches are kept until accelerate has all those of a step.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from landscape.batches import copied
from landscape.integrations.unwrapped import unwrapped


class Accumulated:
    """The passes of an optimizer over all micro-batches of a step.

    Args:
        accelerator: the ``accelerate.Accelerator``.
        model: as ``accelerator.prepare`` returned it; its buffers follow the clean pass only.
        optimizer: one of ``landscape.optim``, as ``accelerator.prepare`` returned it.
        loss: of one micro-batch, whose parts it takes as arguments: the mean over the micro-batch, with its graph.

    Raises:
        ValueError: the optimizer is another.
    """

    def __init__(self, accelerator: Any, model: nn.Module, optimizer: Any, loss: Callable[..., Tensor]) -> None:
        multi_pass = unwrapped(optimizer)
        if multi_pass is None:
            raise ValueError(
                f"optimizer={type(optimizer).__name__} is none of landscape.optim. Expected one, as prepared: "
                "accelerator.prepare(SAM(torch.optim.SGD(model.parameters(), lr=0.1)))."
            )
        multi_pass.model, multi_pass.grad_scaler = model, accelerator.scaler
        self._accelerator = accelerator
        self._optimizer = multi_pass
        self._loss = loss
        self._micro_batches: list[tuple[Any, ...]] = []

    def backward(self, *micro_batch: Any) -> Tensor | None:
        """Keep a micro-batch; with the last one of a step, gather the direction of the step in ``.grad``.

        Returns:
            The mean of the clean losses of the step's micro-batches; None where more of them are to come.
        """
        self._micro_batches.append(micro_batch)
        if not self._accelerator.sync_gradients:
            return None
        micro_batches, self._micro_batches = self._micro_batches, []

        def closure() -> Tensor:
            self._optimizer.zero_grad()
            losses = []
            for micro_batch in micro_batches:
                loss = self._loss(*copied(micro_batch))
                self._accelerator.backward(loss)
                losses.append(loss.detach())
            return torch.stack(losses).mean()

        return self._optimizer.gather(closure)
