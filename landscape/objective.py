"""The loss over a fixed set of data, as a deterministic function of one vector: the parameters.

    L(w) = (1/n) sum_i l_i(w),    n examples (or tokens), w in R^d the trainable parameters that a glob selects.

The mean is over all examples, however they are batched. How a pass over the data is made, without a trace in the model,
is told in ``landscape.passes``. Nothing here differentiates twice: that is ``landscape.operators``.
"""

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from landscape.batches import apart, generators, held, num_rows_of, recut, refuse_changing, refuse_unfixed
from landscape.batchnorm import distance
from landscape.content import digest
from landscape.derivatives import DerivativeError, two_functions, wrong_gradient
from landscape.eager import is_compiled, uncompiled
from landscape.errors import MeasurementError, NonFiniteError, gradient_errors
from landscape.fingerprint import Fingerprint, of_data, of_loss, of_model
from landscape.losses import LossTerms, Terms, refuse_random_modules, refuse_without_numbers
from landscape.minibatches import minibatches
from landscape.params import matches, no_match
from landscape.passes import Passes, same_objects
from landscape.proofs import refuse_acting_modes, refuse_cut_rows, refuse_stale_values, refuse_two_functions
from landscape.surroundings import rng_untouched

__all__ = ["MeasurementError", "NonFiniteError", "Objective"]


class Objective(Passes):
    """The mean loss L(w) of ``model`` over all examples of ``data``: value, gradient and per-example losses.

    Args:
        model: the network, never written to; a compiled one is measured through its original module. Edits of its
            weights, buffers and attributes between calls are noticed, and so are those of the loss (a module) and of
            the data's tensors in memory.
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
            active dropout, batch statistics, shuffling or augmenting loaders, ``drop_last``, one-shot generators; for
            what it may depend on beside (calls before, caches, acts of ``train()``); for batches it cannot be made of.

    Attributes:
        names: of the parameters, in the order of the vector.
        num_params: length d of the vector.
        num_examples: n, over all batches.
        num_batches: how many the data are.
        batch_size: examples computed at once, at most.
        criterion: the torch criterion, None where the loss is a function.
        classifies: whether the loss tells which examples are classified correctly.
        num_gradients: full-data gradients computed so far, for the cost of measurements.
        work: what measurements share (``landscape.measure.metric``), until the weights change.
        compiled: whether the model or the loss is compiled: passes run it eagerly, and leave it compiled.
        origin: what is known of where model and data came from, as parts of the fingerprint.
        training: batches of the training split, where they are known.
        optimizer: the state dict of the optimizer that made the weights, where it is known.

    Cost: construction is two forward passes, after which the losses at the weights are known, and two passes over the
    data alone where ``data`` is not a list.

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
            hint = " Batch statistics are re-estimated by Objective.reestimated." if mode == "reestimate" else ""
            raise ValueError(f"mode={mode!r}. Expected 'eval' or 'train'.{hint}")
        if dtype is not None and not dtype.is_floating_point:
            raise ValueError(f"dtype={dtype}. Expected a floating dtype such as torch.float64.")
        if microbatch is not None and microbatch < 1:
            raise ValueError(f"microbatch={microbatch}. Expected at least 1 row.")
        refuse_unfixed(data)
        data = apart(data)
        self.compiled = is_compiled(model) or is_compiled(loss)
        model, loss = uncompiled(model), uncompiled(loss)
        terms = LossTerms(model, loss, weight)
        refuse_without_numbers(model)
        trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
        chosen = {name: p for name, p in trainable.items() if matches(name, params)}
        if not chosen:
            raise ValueError(no_match(params, tuple(trainable)))
        super().__init__(terms, data, chosen, device=device, cast=dtype, mode=mode, microbatch=microbatch)
        self.params = params
        self.criterion = terms.criterion
        self.num_gradients = 0
        refuse_random_modules(model, training=mode == "train")
        self.origin: Fingerprint = {}
        self.training: Iterable[Any] | None = None
        self.optimizer: Any = None
        with rng_untouched(*generators(data)):
            content = refuse_changing(data)
        self.refresh()
        self._content: tuple[list[tuple[Any, int]], str | None] = self._held, content
        self._count(prove_fixed=True)
        self._refuse_hidden_state()

    def forget(self) -> None:
        """Forget what was found at the weights as they are: losses, gradient, and what measurements share."""
        self._evaluation: tuple[Tensor, Tensor | None] | None = None
        self._gradient: Tensor | None = None
        self.known_unused: list[str] = []  # where a gradient was computed
        self.work: Any = None
        self.doubts: dict[Any, Any] = {}  # what differences told of derivatives, shared with those that ``over`` makes

    def vector(self) -> Tensor:
        """The parameters as they are now, a new vector (d,)."""
        self.refresh()
        return self.layout.flatten(self.leaves(requires_grad=False)).detach()

    def value(self, at: Tensor | None = None) -> float:
        """L at the parameters, or at a vector (d,): the mean over all examples. One forward pass, as ``losses``."""
        return self.losses(at).to(self.accumulation_dtype).sum().item() / self.total_weight

    def losses(self, at: Tensor | None = None) -> Tensor:
        """Per-example losses (n,) in the order of the data (times their class weights, if any).

        One forward pass at a vector; none at the parameters, where they are known.

        Raises:
            NonFiniteError: naming the first batch whose loss is NaN or infinite.
        """
        return self._evaluate(at)[0].clone()

    def accuracy(self, at: Tensor | None = None) -> float:
        """The fraction of examples (or tokens) whose largest output is their target. One forward pass, as ``losses``.

        Raises:
            ValueError: where the loss is no classification: it takes CrossEntropyLoss or NLLLoss with class indices.
            NonFiniteError: as ``losses``.
        """
        correct = self._evaluate(at)[1]
        if correct is None:
            raise ValueError("accuracy needs CrossEntropyLoss or NLLLoss with class indices as targets.")
        return correct.to(self.accumulation_dtype).mean().item()

    def gradient(self, at: Tensor | None = None) -> Tensor:
        """The gradient of L, (d,), accumulated in float64; entries of unused parameters are zero. One gradient.

        Raises:
            NonFiniteError: naming the first batch whose loss is not finite, or the parameter whose gradient is not.
            DerivativeError: where it is not the loss' (``verify``).
            GradientError: where part of the model has no gradient, a ``MeasurementError`` too.
        """
        self.refresh()
        self.verify()
        if at is None and self._gradient is not None:
            return self._gradient.clone()
        leaves = self.leaves(at)
        total = torch.zeros(self.num_params, dtype=self.accumulation_dtype, device=self.device)
        unused = set(self.names)
        with_gradients = total.new_zeros(())
        for summed, grads in self.over_batches(leaves, partial(self._differentiate, leaves)):
            with_gradients += summed
            unused -= {name for name, grad in zip(self.names, grads, strict=True) if grad is not None}
            pairs = zip(grads, leaves, strict=True)
            total += self.layout.flatten([torch.zeros_like(p) if g is None else g for g, p in pairs])
        gradient = (total / self.total_weight).to(self.dtype)
        self.num_gradients += 1
        if not torch.isfinite(gradient).all():
            pieces = zip(self.names, self.layout.split(gradient), strict=True)
            name = next(name for name, piece in pieces if not torch.isfinite(piece).all())
            raise NonFiniteError(f"The gradient is not finite, first in parameter {name!r}, while the loss is.")
        if at is None:
            self._refuse_other_value(with_gradients)
            self._gradient, self.known_unused = gradient, [name for name in self.names if name in unused]
        return gradient.clone()

    def fingerprint(self) -> Fingerprint:
        """What L is a function of beside the weights: data, loss and model (``landscape.fingerprint``).

        The data are hashed once, until they are edited, at about a gigabyte a second; data that are no list were in the
        passes that proved them fixed.
        """
        self.refresh()
        known = held(self.data)
        if self._content[1] is None or not same_objects(known, self._content[0]):
            with rng_untouched(*generators(self.data)):
                self._content = known, of_data(self.data)
        function, weight = self.loss_terms.function, self.loss_terms.weight_of
        told = {"data": self._content[1], "loss": of_loss(function, weight=weight, model=self.model)}
        how = {"mode": self.mode, "dtype": str(self.dtype).removeprefix("torch.")}
        if self.statistics is not None:
            with rng_untouched(*generators(self.statistics)):
                how["statistics"] = of_data(self.statistics)
        return {**told, "model": of_model(self.model), **how, **self.origin}

    def state_hash(self) -> str:
        """The hash of buffers and of weights that are not among the parameters."""
        self.refresh()
        chosen = {f"model.{name}" for name in self.names}
        others = {name: t for name, t in self._snapshot.items() if name.startswith("model.") and name not in chosen}
        return digest(others)

    def verify(self) -> None:
        """Hold the gradient against differences of the loss on a few examples: once for the weights as they are.

        Cost: a gradient and some four forward passes over at most 64 examples.

        Raises:
            DerivativeError: saying by how much it is another, and in which parameters.
        """
        if "gradient" not in self.doubts:
            self.doubts["gradient"] = ""  # for what is asked meanwhile
            self.doubts["gradient"] = wrong_gradient(self)
        if self.doubts["gradient"]:
            raise DerivativeError(self.doubts["gradient"])

    def unused(self) -> list[str]:
        """Names of the selected parameters on which the loss does not depend; their rows of the Hessian are zero."""
        self.gradient()
        return list(self.known_unused)

    def recut(self, num_rows: int) -> Iterator[list[Any]]:
        """All examples in their order, cut anew: lists of parts that hold ``num_rows`` rows together.

        Raises:
            ValueError: where the losses of a batch's first examples are others in smaller parts, or it has no rows.
        """
        return recut(self._proved(), num_rows)

    def minibatches(
        self, num_rows: int, *, generator: torch.Generator, num_examples: int | None = None
    ) -> list[list[Any]]:
        """Random mini-batches of so many rows, each a list of parts (``landscape.minibatches``); errors as ``recut``.

        Args:
            num_rows: of a mini-batch.
            generator: of the draw.
            num_examples: rows that take part, which are held in memory; None for all.
        """
        return minibatches(self._proved, num_rows, generator=generator, num_examples=num_examples)

    def _proved(self) -> Iterator[Any]:
        """The batches, once they are known to have the same losses in parts."""
        seen: set[int | None] = set()
        for _, batch in self.batches(whole=True):
            if num_rows_of(batch) not in seen:
                refuse_cut_rows(self, batch)
                seen.add(num_rows_of(batch))
            yield batch

    def over(
        self,
        batches: Iterable[Any],
        *,
        dtype: torch.dtype | None = None,
        move: Tensor | None = None,
        prove: bool = False,
    ) -> "Objective":
        """The same mean loss over other fixed batches, such as some of ours, or in another dtype. One forward pass.

        It shares the weights with this one. Where they are to be moved by a vector (d,), it stays there, whatever the
        model's become. That another pass gives the same losses is proved where asked, in one more.
        """
        other = copy.copy(self)
        other.data, other.num_gradients, other._counted, other._fixed = batches, 0, None, False
        if dtype is not None:
            other.dtype = other._cast = dtype
            other._snapshot = {}  # so that the weights are cast anew
        other._content = [], None
        other.forget()
        other.refresh()
        other.doubts = self.doubts
        if move is not None:
            other._move(move)
        other._count(prove_fixed=prove)
        return other

    def reestimated(self, batches: Iterable[Any]) -> "Objective":
        """The same mean loss with the training statistics of these batches for those that the model keeps.

        They are found anew whenever the weights change (``landscape.batchnorm``, which tells the cost), and the model
        keeps its own. Without batch normalization nothing changes.

        Raises:
            ValueError: in train mode; for batches that are not the same in every pass; as ``reestimate``.
        """
        if self.mode == "train":
            raise ValueError("Batch statistics are re-estimated for eval mode, and this objective is in train mode.")
        refuse_unfixed(batches)
        other = copy.copy(self)
        other.mode, other.statistics = "reestimate", apart(batches)
        other._snapshot = {}  # so that a pass is made
        other._content = [], None
        other.refresh()
        return other

    def staleness(self, batches: Iterable[Any]) -> float:
        """How far the model's batch statistics are from those of these batches (``landscape.batchnorm.staleness``)."""
        self.refresh()
        return self.on_other(batches, lambda passes: distance(passes.forwards))

    def _refuse_hidden_state(self) -> None:
        """Refuse what the loss may depend on beside weights and data, by numbers on the first examples."""
        if self.microbatch is not None:
            for _ in self.recut(self.microbatch):
                pass
        _, batch = next(self.batches(whole=True))
        refuse_two_functions(self, batch)
        refuse_acting_modes(self, batch)
        refuse_stale_values(self, batch)

    def _differentiate(self, leaves: list[Tensor], terms: Terms) -> tuple[Tensor, Sequence[Tensor | None]]:
        summed = self.summed(terms)
        if not summed.requires_grad:
            return summed, [None] * len(leaves)
        with gradient_errors():
            grads = torch.autograd.grad(summed, leaves, allow_unused=True)
        return summed.detach(), [None if grad is None else grad.to_dense() for grad in grads]  # of sparse embeddings

    def _refuse_other_value(self, with_gradients: Tensor) -> None:
        """Raise DerivativeError where the losses, if they are known, were others when gradients were off."""
        if self._counted is None:
            return
        losses = self.losses()
        change = abs(float(with_gradients - losses.sum(dtype=with_gradients.dtype)))
        if change > math.sqrt(max(torch.finfo(losses.dtype).eps, self.eps)) * float(losses.abs().sum()):
            raise DerivativeError(two_functions(self.value(), float(with_gradients) / self.total_weight))

    def _evaluate(self, at: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Losses (n,) and which examples are classified correctly, at the parameters (remembered) or at a vector."""
        self.refresh()
        if at is None and self._evaluation is not None:
            return self._evaluation
        leaves = self.leaves(at, requires_grad=False)
        if at is None and self._counted is not None:
            terms = [self.finite(found, index) for index, found in self._counted]
        else:
            found = self.over_batches(leaves, lambda terms: terms)
            terms = [t._replace(losses=t.losses.detach()) for t in found]
        correct = None if terms[0].correct is None else torch.cat([t.correct for t in terms if t.correct is not None])
        evaluation = torch.cat([t.losses for t in terms]), correct
        if at is None:
            self._evaluation = evaluation
        return evaluation
