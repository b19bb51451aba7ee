"""Per-example losses from what users have: a torch criterion, or a function ``loss(model, batch)``.

The objective is sum(losses) / sum(weights). A weight is 1 an example (or token), except under the class weights of
``CrossEntropyLoss`` and ``NLLLoss``, where torch's mean divides by the summed class weights, and so does ours.
A token whose target is ``ignore_index`` is not counted at all. What makes losses random is refused here by name.
"""

import copy
import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

T = TypeVar("T")

# by name, in checkpoints
LOSSES: dict[str, type[nn.Module]] = {"cross_entropy": nn.CrossEntropyLoss, "mse": nn.MSELoss}
_ELEMENTWISE = (nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss, nn.PoissonNLLLoss, nn.BCEWithLogitsLoss)


class Terms(NamedTuple):
    """What one batch adds.

    Attributes:
        losses: one an example or token, (n,).
        weight: the sum of their weights.
        correct: which of them were classified correctly, where the loss is a classification.
        outputs: the model's output, where that is one tensor from one call.
    """

    losses: Tensor
    weight: Tensor | float
    correct: Tensor | None = None
    outputs: Tensor | None = None


class LossTerms(nn.Module):
    """A model and its loss as one module, so that one functional call reaches everything inside.

    Raises:
        ValueError: for a loss that is no criterion and no function of (model, batch), or that returns a scalar.
    """

    def __init__(self, model: nn.Module, loss: Any, weight: Callable[[Any], float] | None) -> None:
        super().__init__()
        if not callable(loss):
            raise ValueError(
                f"loss is {type(loss).__name__}. Expected a torch criterion or a function loss(model, batch)."
            )
        if getattr(loss, "__module__", "") == "torch.nn.functional":
            raise ValueError(
                f"loss is the function {loss.__name__}. Pass the criterion: torch.nn.CrossEntropyLoss(), say."
            )
        self.model = model
        self.weight_of = weight
        self.function = loss
        self.criterion: nn.Module | None = None
        if isinstance(loss, nn.Module) and hasattr(loss, "reduction"):
            self.criterion = copy.copy(loss)
            self.criterion.__dict__["reduction"] = "none"
        self.sum_over_entries = getattr(loss, "reduction", "mean") in ("sum", "batchmean")

    def forward(self, work: Callable[[], T]) -> T:
        """Do some work; under ``functional_call``, with other parameters and buffers in place until it is done."""
        return work()

    def of(self, batch: Any) -> Terms:
        """The terms of one batch, checked."""
        outputs: list[Any] = []
        handle = self.model.register_forward_hook(lambda *call: outputs.append(call[-1]))
        try:
            terms = self._terms(batch)
        finally:
            handle.remove()
        single = outputs[0] if len(outputs) == 1 and isinstance(outputs[0], Tensor) else None
        return terms._replace(outputs=single)

    def _terms(self, batch: Any) -> Terms:
        if self.criterion is not None:
            return self._criterion_terms(self.criterion, batch)
        losses = self.function(self.model, batch)
        if not isinstance(losses, Tensor):
            raise ValueError(f"loss(model, batch) returned {type(losses).__name__}. Expected a tensor of shape (n,).")
        if losses.ndim == 1 and self.weight_of is None:
            return Terms(losses, len(losses))
        if losses.ndim == 0 and self.weight_of is not None:
            count = float(self.weight_of(batch))
            return Terms(losses.reshape(1) * count, count)
        expected = "a scalar mean, as weight= is given"
        if self.weight_of is None:
            expected = "(n,), one loss an example or token, or a scalar mean and weight=lambda batch: count"
        raise ValueError(f"loss(model, batch) returned shape {tuple(losses.shape)}. Expected {expected}.")

    def _criterion_terms(self, criterion: nn.Module, batch: Any) -> Terms:
        if not (isinstance(batch, (tuple, list)) and len(batch) == 2):
            raise ValueError(
                f"A batch is {type(batch).__name__}, and a torch criterion needs (inputs, targets). "
                "Give loss as a function loss(model, batch) that returns per-example losses."
            )
        inputs, targets = batch
        outputs = self.model(inputs)
        if isinstance(criterion, _ELEMENTWISE) and outputs.shape != targets.shape:
            raise ValueError(
                f"The model's output has shape {tuple(outputs.shape)} and the targets {tuple(targets.shape)}: "
                f"{type(criterion).__name__} would broadcast them. Give them the same shape."
            )
        losses = criterion(outputs, targets)
        if isinstance(criterion, (nn.CrossEntropyLoss, nn.NLLLoss)):
            return _class_terms(criterion, outputs, losses, targets)
        if losses.ndim == 0 or len(losses) != len(targets):
            raise ValueError(
                f"{type(criterion).__name__} gives losses of shape {tuple(losses.shape)} for {len(targets)} examples. "
                "Give loss as a function loss(model, batch) that returns per-example losses."
            )
        entries = losses.flatten(1) if losses.ndim > 1 else losses[:, None]
        per_example = entries.sum(1) if self.sum_over_entries else entries.mean(1)
        return Terms(per_example, len(per_example))


def refuse_random_modules(model: nn.Module, *, training: bool) -> None:
    """Raise ValueError for active dropout and for batch statistics, by the name of the module."""
    for name, module in model.named_modules():
        where = f"{type(module).__name__} {name or 'model'!r}"
        if training and isinstance(module, _DropoutNd) and module.p > 0:
            raise ValueError(
                f"{where} is active in train mode and makes the loss random. Use mode='eval', or set its p to 0."
            )
        if isinstance(module, _BatchNorm) and (training or module.running_mean is None):
            raise ValueError(
                f"{where} would use batch statistics, so that the loss depends on how the data are batched. "
                + ("Use mode='eval'." if module.running_mean is not None else "Give it track_running_stats=True.")
            )


def refuse_random_losses(first: Tensor, second: Tensor) -> None:
    """Raise ValueError where two evaluations of the losses of one batch differ by more than rounding."""
    tolerance = math.sqrt(torch.finfo(first.dtype).eps)
    scale = float(first[torch.isfinite(first)].abs().sum()) / max(len(first), 1)
    if not torch.allclose(first, second, rtol=tolerance, atol=tolerance * scale, equal_nan=True):
        raise ValueError(
            "Two evaluations of the same batch differ: the model or the loss is random (functional dropout with "
            "training=True, noise drawn in forward?). Make it deterministic in eval mode, then measure."
        )


def _class_terms(
    criterion: nn.CrossEntropyLoss | nn.NLLLoss, outputs: Tensor, losses: Tensor, targets: Tensor
) -> Terms:
    losses = losses.reshape(-1)
    if targets.is_floating_point():  # class probabilities: torch divides by the number of examples, weights or not
        return Terms(losses, len(losses))
    correct = outputs.max(1 if outputs.ndim > 1 else 0).indices == targets
    counted = targets != criterion.ignore_index
    if not counted.all():
        losses, correct, targets = losses[counted.reshape(-1)], correct[counted], targets[counted]
    correct, targets = correct.reshape(-1), targets.reshape(-1)
    weight = len(losses) if criterion.weight is None else criterion.weight[targets].sum()
    return Terms(losses, weight, correct)
