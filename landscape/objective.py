"""The loss over a fixed set of data, as a deterministic function of one vector: the parameters.

    L(w) = (1/n) sum_i l_i(w),    n examples (or tokens), w in R^d the trainable parameters that a glob selects.

The mean is over all examples, however they are batched. The model is called on copies of its parameters and buffers
(``torch.func.functional_call``), so nothing here writes to it; a change that somebody else makes to it is noticed at
the next call. It does *not* differentiate twice: that is ``landscape.operators``.
"""

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from landscape.batches import generators, refuse_changing, refuse_unfixed, split, to
from landscape.isolation import other_random_numbers, rng_untouched, undisturbed
from landscape.losses import LossTerms, Terms
from landscape.params import ParameterLayout, matches, no_match

T = TypeVar("T")


class MeasurementError(ArithmeticError):
    """What was asked cannot be computed here; a metric reports it as its reason instead of failing."""


class NonFiniteError(MeasurementError):
    """A loss, gradient or product is NaN or infinite; the message says where it began."""


class Objective:
    """The mean loss L(w) of ``model`` over all examples of ``data``: value, gradient and per-example losses.

    Args:
        model: the network; it is never written to, and its weights may change between calls.
        loss: a torch criterion (batches are (inputs, targets)), or ``loss(model, batch)`` -> per-example losses (n,).
        data: a re-iterable of batches (list, ``DataLoader(shuffle=False)``), the same in every pass.
        params: glob of parameter names, comma-separated; frozen parameters (``requires_grad=False``) never take part.
        device: where to compute; by default where the model is.
        dtype: floating dtype for parameters, buffers and inputs; by default the model's. Vectors are float32 at least.
        mode: "eval" or "train", the mode in which the model is called.
        microbatch: rows computed at once; it changes memory, not the numbers.
        weight: ``weight(batch) -> count``, where ``loss(model, batch)`` returns a batch mean, not per-example losses.

    Raises:
        ValueError: for anything that would make L random or dependent on its batching, named with what to do:
            active dropout, batch statistics, shuffling or augmenting loaders, ``drop_last``, one-shot generators.

    Weights and buffers may be edited between calls. Edits to anything else (attributes of the model, the data) are not
    noticed: make a new ``Objective``.

    Cost: construction is one forward pass, and two passes over the data alone where ``data`` is not a list.

    Example:
        >>> x = torch.tensor([[1.0], [2.0]])
        >>> model = nn.Linear(1, 1, bias=False)
        >>> _ = nn.init.constant_(model.weight, 3.0)
        >>> objective = Objective(model, nn.MSELoss(), [(x, torch.zeros(2, 1))])
        >>> objective.value(), objective.gradient()  # mean of (3x)^2, and of 6x^2
        (22.5, tensor([15.]))
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Any,
        data: Iterable[Any],
        *,
        params: str = "*",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        mode: str = "eval",
        microbatch: int | None = None,
        weight: Callable[[Any], float] | None = None,
    ) -> None:
        if mode not in ("eval", "train"):
            raise ValueError(f"mode={mode!r}. Expected 'eval' or 'train'.")
        if dtype is not None and not dtype.is_floating_point:
            raise ValueError(f"dtype={dtype}. Expected a floating dtype such as torch.float64.")
        if microbatch is not None and microbatch < 1:
            raise ValueError(f"microbatch={microbatch}. Expected at least 1 row.")
        refuse_unfixed(data)
        self.model, self.data, self.params, self.mode, self.microbatch = model, data, params, mode, microbatch
        self._terms = LossTerms(model, loss, weight)
        self._tied = _other_names(self._terms)
        trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
        chosen = {name: p for name, p in trainable.items() if matches(name, params)}
        if not chosen:
            raise ValueError(no_match(params, tuple(trainable)))
        self.layout = ParameterLayout.of(chosen)
        first = next(iter(chosen.values()))
        self.device = torch.device(device) if device is not None else first.device
        self._cast = dtype
        self.dtype = torch.float32  # of the vectors: at least float32, whatever the model computes in
        for p in chosen.values():
            self.dtype = torch.promote_types(self.dtype, dtype or p.dtype)
        self.per_example = weight is None
        self.accumulation_dtype = torch.float32 if self.device.type == "mps" else torch.float64

        self.num_gradients = 0  # full-data gradients computed so far, for the cost of measurements
        self.version = 0  # counts the changes seen in the weights and buffers
        self.memo: dict[Any, Any] = {}  # measurements at the current weights; cleared when they change
        self._snapshot: dict[str, Tensor] = {}  # as last seen in the model
        self._state: dict[str, Tensor] = {}  # the same on our device and dtype
        self._prove_fixed()

    @property
    def names(self) -> list[str]:
        """Names of the parameters, in the order of the vector."""
        return list(self.layout.names)

    @property
    def criterion(self) -> nn.Module | None:
        """The torch criterion that the loss was given as, with reduction "none"; None for a function."""
        return self._terms.criterion

    @property
    def num_params(self) -> int:
        """Length d of the vector."""
        return self.layout.size

    def vector(self) -> Tensor:
        """The parameters as they are now, a new vector (d,)."""
        self.refresh()
        return self.layout.flatten([self._state[f"model.{name}"] for name in self.layout.names]).to(self.dtype)

    def value(self, at: Tensor | None = None) -> float:
        """L at the parameters, or at a vector (d,): the mean over all examples. One forward pass.

        Raises:
            NonFiniteError: naming the first batch whose loss is NaN or infinite.
        """
        return self.losses(at).to(self.accumulation_dtype).sum().item() / self.total_weight

    def losses(self, at: Tensor | None = None) -> Tensor:
        """Per-example losses (n,) in the order of the data (times their class weights, if any). One forward pass.

        Raises:
            NonFiniteError: naming the first batch whose loss is NaN or infinite.
        """
        return self._evaluate(at)[0].clone()

    def accuracy(self, at: Tensor | None = None) -> float:
        """The fraction of examples (or tokens) whose largest output is their target. One forward pass.

        Raises:
            ValueError: where the loss is no classification: it takes CrossEntropyLoss or NLLLoss with class indices.
            NonFiniteError: as ``value``.
        """
        correct = self._evaluate(at)[1]
        if correct is None:
            raise ValueError("accuracy needs CrossEntropyLoss or NLLLoss with class indices as targets.")
        return correct.to(self.accumulation_dtype).mean().item()

    def gradient(self, at: Tensor | None = None) -> Tensor:
        """The gradient of L, (d,), accumulated in float64; entries of unused parameters are zero. One gradient.

        Raises:
            NonFiniteError: naming the first batch whose loss is not finite, or the parameter whose gradient is not.
        """
        self.refresh()
        if at is None and "gradient" in self.memo:
            return self.memo["gradient"].clone()
        leaves = self.leaves(at)
        total = torch.zeros(self.num_params, dtype=self.accumulation_dtype, device=self.device)
        unused = set(self.names)
        for grads in self.over_batches(leaves, lambda terms: self._differentiate(terms, leaves)):
            unused -= {name for name, grad in zip(self.names, grads, strict=True) if grad is not None}
            total += self.layout.flatten(
                [g if g is not None else torch.zeros_like(p) for g, p in zip(grads, leaves, strict=True)]
            )
        gradient = (total / self.total_weight).to(self.dtype)
        self.num_gradients += 1
        self._require_finite(gradient)
        if at is None:
            self.memo["gradient"], self.memo["unused"] = gradient, [name for name in self.names if name in unused]
        return gradient.clone()

    def unused(self) -> list[str]:
        """Names of the selected parameters on which the loss does not depend; their rows of the Hessian are zero."""
        self.gradient()
        return list(self.memo["unused"])

    # --- what operators and measurements build on -----------------------------------------------------------------

    def refresh(self) -> None:
        """Take a new copy of the model's weights and buffers if anybody changed them; forget what was measured then."""
        if torch.is_inference_mode_enabled():
            raise ValueError("Gradients do not exist inside torch.inference_mode(). Measure outside of it.")
        live = dict(self._terms.named_parameters()) | dict(self._terms.named_buffers())
        known = self._snapshot
        if live.keys() == known.keys() and all(_same(live[name], known[name]) for name in live):
            return
        self._snapshot = {name: tensor.detach().clone() for name, tensor in live.items()}
        self._state = to(self._snapshot, self.device, self._cast)
        self.memo.clear()
        self.version += 1

    def over(self, batches: Iterable[Any], *, dtype: torch.dtype | None = None) -> "Objective":
        """The same mean loss over other fixed batches, such as some of ours, or in another dtype. One forward pass.

        It shares the weights with this one, and nothing is proved again.
        """
        other = copy.copy(self)
        other.data, other.memo, other.num_gradients = batches, {}, 0
        if dtype is not None:
            other.dtype = other._cast = dtype
            other._snapshot = {}  # so that the weights are cast anew
        other.refresh()
        terms = list(other.over_batches(other.leaves(requires_grad=False), lambda terms: terms))
        other.total_weight, other.num_batches = sum(float(t.weight) for t in terms), len(terms)
        other.num_examples = round(sum(len(t.losses) if self.per_example else float(t.weight) for t in terms))
        return other

    def leaves(self, at: Tensor | None = None, *, requires_grad: bool = True) -> list[Tensor]:
        """The parameters, or a vector (d,), as tensors of their shapes to differentiate with respect to."""
        if at is None:
            pieces = [self._state[f"model.{name}"].to(self.dtype) for name in self.layout.names]
        elif at.shape == (self.num_params,):
            pieces = self.layout.split(at.to(self.device, self.dtype))
        else:
            raise ValueError(f"The point has shape {tuple(at.shape)}. Expected ({self.num_params},).")
        return [piece.detach().requires_grad_(requires_grad) for piece in pieces]

    def over_batches(
        self,
        leaves: list[Tensor],
        work: Callable[[Terms], T],
        *,
        context: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> Iterator[T]:
        """What ``work`` makes of the loss terms of each microbatch, while the model has ``leaves`` for parameters.

        Differentiating belongs inside ``work``: activation checkpointing runs the model again during the backward pass.
        ``context()`` is entered around each.

        Raises:
            NonFiniteError: naming the first batch whose loss is NaN or infinite.
        """
        for index, batch in self.batches():
            with context():
                result = self.with_parameters(leaves, partial(self._then, work, index, batch))
            yield result
            del result  # a graph, before the next one is built

    def with_parameters(self, leaves: list[Tensor], work: Callable[[], T]) -> T:
        """What ``work`` returns while the model has ``leaves`` for parameters, copies of its buffers, and our mode."""
        names = [f"model.{name}" for name in self.layout.names]
        params = {name: leaf.to(self._state[name].dtype) for name, leaf in zip(names, leaves, strict=True)}
        buffers = {name: self._state[name].clone() for name, _ in self._terms.named_buffers()}
        training, grad = self.mode == "train", leaves[0].requires_grad
        with undisturbed(self.model, training=training), torch.set_grad_enabled(grad):
            tensors = self._state | buffers | params
            tied = {other: tensors[name] for name, others in self._tied.items() for other in others}
            return functional_call(self._terms, tensors | tied, (work,), tie_weights=False)

    def terms(self, batch: Any) -> Terms:
        """The loss terms of a microbatch, NaN and infinity kept: inside ``with_parameters``."""
        return self._terms.of(batch)

    def batches(self) -> Iterator[tuple[int, Any]]:
        """(index of the batch in ``data``, microbatch on our device and dtype), in order."""
        fixed = isinstance(self.data, (list, tuple))  # which draws no random numbers
        undrawn = nullcontext if fixed else partial(rng_untouched, *generators(self.data))
        with undrawn():
            iterator = enumerate(self.data)
        while True:
            with undrawn():  # while the loader works; the caller's loop keeps its own draws
                index, batch = next(iterator, (-1, None))
            if index < 0:
                return
            for part in split(batch, self.microbatch):
                yield index, to(part, self.device, self._cast)

    def summed(self, terms: Terms) -> Tensor:
        """The sum of the terms' losses in the accumulation dtype: what is differentiated."""
        return terms.losses.to(self.accumulation_dtype).sum()

    def _differentiate(self, terms: Terms, leaves: list[Tensor]) -> Sequence[Tensor | None]:
        summed = self.summed(terms)
        if not summed.requires_grad:
            return [None] * len(leaves)
        return torch.autograd.grad(summed, leaves, allow_unused=True)

    def _then(self, work: Callable[[Terms], T], index: int, batch: Any) -> T:
        return work(self._finite(index, batch))

    def _finite(self, index: int, batch: Any) -> Terms:
        """The terms of a microbatch of batch ``index``, whose losses are finite."""
        terms = self._terms.of(batch)
        losses = terms.losses
        if not torch.isfinite(losses.sum(dtype=self.accumulation_dtype)):
            bad = losses[~torch.isfinite(losses)]
            what = f"{bad[0].item()}" if len(bad) else "too large to add up"
            raise NonFiniteError(
                f"The loss is {what}, first at batch {index} ({len(bad)} of its {len(losses)} examples)."
            )
        return terms

    def _evaluate(self, at: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Losses (n,) and which examples are classified correctly, at the parameters (remembered) or at a vector."""
        self.refresh()
        if at is None and "evaluation" in self.memo:
            return self.memo["evaluation"]
        terms = list(self.over_batches(self.leaves(at, requires_grad=False), lambda terms: terms))
        correct = None if terms[0].correct is None else torch.cat([t.correct for t in terms if t.correct is not None])
        evaluation = torch.cat([t.losses for t in terms]), correct
        if at is None:
            self.memo["evaluation"] = evaluation
        return evaluation

    # --- refusals --------------------------------------------------------------------------------------------------

    def _prove_fixed(self) -> None:
        """Refuse by name what would change between passes, then measure the losses once and count the examples."""
        _refuse_random_modules(self.model, training=self.mode == "train")
        with rng_untouched(*generators(self.data)):
            refuse_changing(self.data)
        self.refresh()
        leaves = self.leaves(requires_grad=False)
        self.total_weight, self.num_examples, self.num_batches, self.classifies = 0.0, 0, 0, False
        for index, batch in self.batches():
            terms = self.with_parameters(leaves, partial(self._terms.of, batch))
            if index == 0:
                with other_random_numbers(self.device):
                    _refuse_random_losses(
                        terms.losses, self.with_parameters(leaves, partial(self._terms.of, batch)).losses
                    )
            self.num_batches, self.classifies = index + 1, terms.correct is not None
            self.num_examples += len(terms.losses) if self.per_example else round(float(terms.weight))
            self.total_weight += float(terms.weight)
        if not self.num_examples:
            raise ValueError("data holds no examples. Expected at least one batch.")
        if not self.total_weight > 0:
            raise ValueError(f"The examples' weights sum to {self.total_weight}. Expected a positive sum.")

    def _require_finite(self, gradient: Tensor) -> None:
        if not torch.isfinite(gradient).all():
            pieces = zip(self.names, self.layout.split(gradient), strict=True)
            name = next(name for name, piece in pieces if not torch.isfinite(piece).all())
            raise NonFiniteError(f"The gradient is not finite, first in parameter {name!r}, while the loss is.")


def _other_names(model: nn.Module) -> dict[str, list[str]]:
    """Further names of tied parameters and buffers, by their first: one a module, however often that is used.

    ``functional_call`` by itself ties all names, and leaves its own tensor in a module that has two of them.
    """
    names: dict[Tensor, list[str]] = {}
    for owner, module in model.named_modules():
        for key, tensor in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
            names.setdefault(tensor, []).append(f"{owner}.{key}" if owner else key)
    return {first: others for first, *others in names.values() if others}


def _refuse_random_modules(model: nn.Module, *, training: bool) -> None:
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


def _refuse_random_losses(first: Tensor, second: Tensor) -> None:
    tolerance = math.sqrt(torch.finfo(first.dtype).eps)
    scale = float(first[torch.isfinite(first)].abs().sum()) / max(len(first), 1)
    if not torch.allclose(first, second, rtol=tolerance, atol=tolerance * scale, equal_nan=True):
        raise ValueError(
            "Two evaluations of the same batch differ: the model or the loss is random (functional dropout with "
            "training=True, noise drawn in forward?). Make it deterministic in eval mode, then measure."
        )


def _same(live: Tensor, known: Tensor) -> bool:
    return live.device == known.device and live.dtype == known.dtype and torch.equal(live, known)
