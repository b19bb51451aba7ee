"""Per-example losses from what users have: a torch criterion, or a function ``loss(model, batch)``.

A model may return its output or, as those of transformers do, an object or a mapping that has ``logits``. Batches are
(inputs, targets) for a criterion, or mappings with "labels" of one label an example.

The objective is sum(losses) / sum(weights). A weight is 1 an example (or token), except under the class weights of
``CrossEntropyLoss`` and ``NLLLoss``, where torch's mean divides by the summed class weights, and so does ours.
A token whose target is ``ignore_index`` is not counted at all. What makes losses random is refused here by name.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple, NoReturn, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.parameter import is_lazy

from landscape.batches import lent
from landscape.outputs import call, inputs_and_targets, output_of

T = TypeVar("T")

# by name, in checkpoints
LOSSES: dict[str, type[nn.Module]] = {"cross_entropy": nn.CrossEntropyLoss, "mse": nn.MSELoss}
_ELEMENTWISE = (nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss, nn.PoissonNLLLoss, nn.BCEWithLogitsLoss)


class BatchError(ValueError, RuntimeError):
    """The model or the loss cannot be called on a batch; the message says which of them, and why."""


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


def token_losses(logits: Tensor, labels: Tensor, *, ignore_index: int = -100, shift: bool = True) -> Tensor:
    """The cross-entropy of each token that counts: what ``loss(model, batch)`` of a language model returns.

    L(w) is then the mean over all counted tokens of all batches, however they are cut and padded. A model's own loss is
    the mean of one batch, and the mean of those is another number wherever batches count different numbers of tokens.
    Labels of padding must be ``ignore_index``: a copy of ``input_ids`` counts it.

    Args:
        logits: (..., T, C), classes last, as models of transformers return them.
        labels: (..., T) integers, those of causal language models as ``input_ids``.
        ignore_index: the label of what is not counted.
        shift: whether the logits at t are of label t + 1, as of causal language models; not of masked and
            sequence-to-sequence ones, nor where labels are shifted already.

    Returns:
        (n,), at least float32, in the order of the tokens.

    Raises:
        ValueError: for shapes that do not belong together, labels that are no integers, or are out of range.

    Example:
        >>> logits = torch.zeros(2, 3, 5)  # of 2 texts of 3 tokens, over 5 words
        >>> labels = torch.tensor([[1, 2, 3], [4, 0, -100]])
        >>> token_losses(logits, labels)  # 2 tokens of the first text are predicted, and 1 of the second
        tensor([1.6094, 1.6094, 1.6094])
    """
    scores, targets = counted_tokens(logits, labels, ignore_index=ignore_index, shift=shift)
    return functional.cross_entropy(scores, targets, reduction="none")


def counted_tokens(
    logits: Tensor, labels: Tensor, *, ignore_index: int = -100, shift: bool = True
) -> tuple[Tensor, Tensor]:
    """The logits (n, C), at least float32, and the labels (n,) of the tokens that count; arguments as there."""
    if labels.is_floating_point() or labels.is_complex() or logits.shape[:-1] != labels.shape or not labels.ndim:
        raise ValueError(
            f"token_losses got logits of shape {tuple(logits.shape)} and labels of shape {tuple(labels.shape)} and "
            f"{labels.dtype}. Expected (..., T, classes), and (..., T) integers."
        )
    if shift:
        logits, labels = logits[..., :-1, :], labels[..., 1:]
    counted = labels != ignore_index
    scores, targets = logits[counted], labels[counted].long()
    if targets.numel() and not (targets.min() >= 0 and targets.max() < scores.shape[-1]):
        raise ValueError(
            f"The labels are from {int(targets.min())} to {int(targets.max())}, and the logits have {scores.shape[-1]} "
            f"classes: expected 0 to {scores.shape[-1] - 1}, or ignore_index={ignore_index}."
        )
    return scores.to(torch.promote_types(scores.dtype, torch.float32)), targets


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
        if weight is not None and not callable(weight):
            raise ValueError(f"weight is {type(weight).__name__}. Expected a function, as lambda batch: count.")
        if getattr(loss, "__module__", "") == "torch.nn.functional":
            raise ValueError(
                f"loss is the function {loss.__name__}. Pass the criterion: torch.nn.CrossEntropyLoss(), say."
            )
        self.model = model
        self.weight_of = weight
        self.function = loss
        self.criterion: nn.Module | None = None
        if isinstance(loss, nn.Module) and hasattr(loss, "reduction"):
            self.criterion = loss
            if weight is not None:
                raise ValueError(_weighs_already(type(loss).__name__))

    def forward(self, work: Callable[[], T]) -> T:
        """Do some work; under ``functional_call``, with other parameters and buffers in place until it is done."""
        return work()

    def of(self, batch: Any, *, check: bool = False) -> Terms:
        """The terms of one batch, of the right shapes; whether all its targets are classes is said where asked."""
        outputs: list[Any] = []
        if isinstance(self.model, torch.jit.ScriptModule):  # which takes no hooks
            return self._terms(batch, check)
        handle = self.model.register_forward_hook(lambda *call: outputs.append(call[-1]))
        try:
            terms = self._terms(batch, check)
        finally:
            handle.remove()
        single = outputs[0] if len(outputs) == 1 and isinstance(outputs[0], Tensor) else None
        return terms if terms.outputs is not None else terms._replace(outputs=single)

    def _terms(self, batch: Any, check: bool) -> Terms:
        if self.criterion is not None:
            return self._criterion_terms(self.criterion, batch, check)
        losses = _called("loss(model, batch)", self.function, self.model, lent(batch))
        if isinstance(losses, Terms):  # of ours
            if self.weight_of is not None:
                raise ValueError(_weighs_already(type(self.function).__name__))
            return losses
        if not isinstance(losses, Tensor):
            raise ValueError(f"loss(model, batch) returned {type(losses).__name__}. Expected a tensor of shape (n,).")
        if not losses.is_floating_point():
            raise ValueError(f"loss(model, batch) returned {losses.dtype}. Expected real floating numbers.")
        if losses.ndim == 1 and self.weight_of is None:
            return Terms(losses, len(losses))
        weight_of = self.weight_of
        if losses.ndim == 0 and weight_of is not None:
            count = _called("weight(batch)", lambda: float(weight_of(batch)))
            if not count >= 0:
                raise ValueError(
                    f"weight(batch) is {count}. Expected how many examples the batch counts for, 0 or more."
                )
            return Terms(losses.reshape(1) * count, count)
        expected = "a scalar mean, as weight= is given"
        if self.weight_of is None:
            expected = (
                "(n,), one loss an example or token (landscape.losses.token_losses makes those of tokens), or a scalar "
                "mean and weight=lambda batch: count, which a problem file returns as a fourth element: "
                '{"weight": lambda batch: count}'
            )
        raise ValueError(f"loss(model, batch) returned shape {tuple(losses.shape)}. Expected {expected}.")

    def _criterion_terms(self, criterion: nn.Module, batch: Any, check: bool) -> Terms:
        inputs, targets = inputs_and_targets(lent(batch))
        run = partial(call, by_name=isinstance(batch, Mapping))
        returned = _called(f"The model, called on inputs {_shape(inputs)},", run, self.model, inputs)
        outputs = output_of(returned, targets)
        if not (isinstance(outputs, Tensor) and isinstance(targets, Tensor)):
            raise ValueError(
                f"The model returned {type(outputs).__name__} for targets {type(targets).__name__}, and a criterion of "
                "torch needs two tensors. Give loss as a function loss(model, batch) that returns per-example losses."
            )
        name = type(criterion).__name__
        if isinstance(criterion, _ELEMENTWISE) and outputs.shape != targets.shape:
            raise ValueError(_would_broadcast(name, outputs, targets))
        if check:
            _refuse_classes_out_of_range(criterion, outputs, targets)
        sum_over_entries = criterion.reduction in ("sum", "batchmean")
        with _unreduced(criterion):
            losses = _called(
                f"{name} of outputs {_shape(outputs)} and targets {_shape(targets)}", criterion, outputs, targets
            )
            if _broadcast(criterion, outputs, targets, losses):
                raise ValueError(_would_broadcast(name, outputs, targets))
        if isinstance(criterion, (nn.CrossEntropyLoss, nn.NLLLoss)):
            terms = _class_terms(criterion, outputs, losses, targets)
        elif losses.ndim == 0 or len(losses) != len(targets):
            raise ValueError(
                f"{type(criterion).__name__} gives losses of shape {tuple(losses.shape)} for {len(targets)} examples. "
                "Give loss as a function loss(model, batch) that returns per-example losses."
            )
        else:
            entries = losses.flatten(1) if losses.ndim > 1 else losses[:, None]
            per_example = entries.sum(1) if sum_over_entries else entries.mean(1)
            terms = Terms(per_example, len(per_example))
        if check:
            _refuse_another_mean(terms, criterion, outputs, targets)
        return terms if returned is outputs else terms._replace(outputs=outputs)


def _refuse_another_mean(terms: Terms, criterion: nn.Module, outputs: Tensor, targets: Tensor) -> None:
    """Raise ValueError where the criterion makes another mean of the terms, as with a mask of its own."""
    if criterion.reduction != "mean":
        return
    own = criterion(outputs, targets).detach().mean().reshape(1)
    ours = terms.losses.detach().sum().reshape(1) / terms.weight
    if torch.isfinite(own).all() and torch.isfinite(ours).all() and not same_losses(own.to(ours), ours):
        raise ValueError(
            f"{type(criterion).__name__} gives {float(own):.6g} for a batch, and {float(ours):.6g} is the mean of the "
            "losses that it gives with reduction='none'. Give loss as a function loss(model, batch) that returns the "
            "mean that is meant, and weight=lambda batch: what it divides by."
        )


@contextmanager
def _unreduced(criterion: nn.Module) -> Iterator[None]:
    """Run the body while the criterion, which is the user's own, does not reduce; it is as it was in any case."""
    attributes = criterion.__dict__
    kept = {key: attributes[key] for key in ("reduction",) if key in attributes}
    try:
        attributes["reduction"] = "none"
        yield
    finally:
        if kept:
            attributes.update(kept)  # in its place among the others
        else:
            attributes.pop("reduction", None)


def _called(what: str, function: Callable[..., Any], *args: Any) -> Any:
    """What it returns; errors in it, which may be torch's own, are told in one line."""
    try:
        return function(*args)
    except (BatchError, torch.OutOfMemoryError):
        raise
    except (RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError, ArithmeticError) as error:
        text = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise BatchError(f"{what} failed: {type(error).__name__}: {text}.") from error


def _weighs_already(name: str) -> str:
    return (
        f"weight= is of a loss(model, batch) that returns a mean, and {name} gives a loss an example or token. Leave "
        "it out; for weights of your own, give loss as a function that returns their mean."
    )


def _shape(value: Any) -> str:
    return f"of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"({type(value).__name__})"


def _would_broadcast(name: str, outputs: Tensor, targets: Tensor) -> str:
    return (
        f"The model's output has shape {tuple(outputs.shape)} and the targets {tuple(targets.shape)}: "
        f"{name} would broadcast them. Give them the same shape."
    )


def _broadcast(criterion: nn.Module, outputs: Tensor, targets: Tensor, losses: Tensor) -> bool:
    """Whether an example's losses are of other examples' targets too: in shapes first, and then in numbers."""
    whole = losses.shape == outputs.shape or losses.numel() > outputs.numel()
    if (
        not whole
        or outputs.shape == targets.shape
        or len(outputs) != len(targets)
        or losses.shape[:1] != targets.shape[:1]
    ):
        return losses.numel() > outputs.numel()
    with torch.no_grad():
        alone = [criterion(outputs[i : i + 1], targets[i : i + 1]).mean() for i in range(min(len(targets), 4))]
    together = losses[: len(alone)].flatten(1).mean(1) if losses.ndim > 1 else losses[: len(alone)]
    return bool(alone) and not same_losses(together.detach(), torch.stack(alone))


def _refuse_classes_out_of_range(criterion: nn.Module, outputs: Tensor, targets: Tensor) -> None:
    """Raise ValueError for class indices that the outputs have no class for, on which kernels of a GPU would abort."""
    if not isinstance(criterion, (nn.CrossEntropyLoss, nn.NLLLoss)) or targets.is_floating_point() or not outputs.ndim:
        return
    counted, num_classes = targets[targets != criterion.ignore_index], outputs.shape[1 if outputs.ndim > 1 else 0]
    if counted.numel() and not (counted.min() >= 0 and counted.max() < num_classes):
        raise ValueError(
            f"The targets are from {int(counted.min())} to {int(counted.max())}, and the model's output has "
            f"{num_classes} classes: expected 0 to {num_classes - 1}, or ignore_index={criterion.ignore_index}."
        )


def refuse_without_numbers(model: nn.Module) -> None:
    """Raise ValueError for parameters and buffers that the first call is to make, or that are on no device."""
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if is_lazy(tensor):
            raise ValueError(
                f"{name!r} of a lazy module has no shape yet. Call the model once on a batch, then measure."
            )
        if tensor.is_meta:
            raise ValueError(f"{name!r} is on the meta device and has no numbers. Load weights, then measure.")


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


def same_losses(first: Tensor, second: Tensor, *, eps: float = 0.0) -> bool:
    """Whether two evaluations of the losses of one batch agree to rounding, of ``eps`` where that is coarser."""
    if first.shape != second.shape:
        return False
    tolerance = math.sqrt(max(torch.finfo(first.dtype).eps, eps))
    scale = float(first[torch.isfinite(first)].abs().sum()) / max(len(first), 1)
    return torch.allclose(first, second, rtol=tolerance, atol=tolerance * scale, equal_nan=True)


def refuse_unequal(index: int, names: list[str], *, remembers: bool) -> NoReturn:
    """Raise ValueError for losses that differ from evaluation to evaluation, for one reason or the other."""
    where = f" (attributes {', '.join(dict.fromkeys(names))})" if names else ""
    why = (
        f"remembers earlier calls{where}, and its loss depends on them. Let it start anew in every call in eval mode, "
        "or keep what it starts from in a buffer."
        if remembers
        else "is random (functional dropout with training=True, noise drawn in forward?). Make it deterministic in "
        "eval mode, then measure."
    )
    raise ValueError(f"Two evaluations of batch {index} differ: the model or the loss {why}")


def nothing_counted(criterion: nn.Module | None, num_batches: int) -> str:
    """The error message for data without an example."""
    if not num_batches:
        return "data holds no examples. Expected at least one batch."
    ignored = getattr(criterion, "ignore_index", None)
    why = "" if ignored is None else f", or all their targets are {ignored}, which {type(criterion).__name__} ignores"
    return f"data holds no examples: its batches ({num_batches}) are empty{why}. Expected at least one that counts."


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
