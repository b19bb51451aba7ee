"""Passes over the data: what is asked of the loss batch by batch, with given parameters, and leaves no trace.

    over_batches(leaves, work)             each microbatch in its order, on our device and dtype
      with_parameters(leaves, ...)           the mode and the random states are put back afterwards
        torch.func.functional_call(...)        the leaves take the places of the model's parameters ...
          work(terms of the microbatch)          the forward pass, and the backward pass too
        ...                                    ... until here

``work`` is called back from the inside because activation checkpointing runs the model again *during the backward
pass*: the leaves must still be in their places then, and torch offers no public context manager that puts them there.

Parameters, buffers and ``.grad`` need no restoring, as nothing here writes to them: the model is called on copies. All
other attributes are put back (``landscape.attributes``). Train/eval flags are set as attributes, not through
``model.eval()``, which some models override to do work.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial, reduce
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils import parametrize

from landscape.attributes import Attributes
from landscape.batches import generators, held, split, to
from landscape.batchnorm import settle
from landscape.eager import eager
from landscape.errors import MeasurementError, NonFiniteError, gradient_errors
from landscape.losses import BatchError, LossTerms, Terms, nothing_counted, refuse_unequal, same_losses
from landscape.params import ParameterLayout
from landscape.surroundings import mode_of, no_autocast, other_random_numbers, rng_untouched

T = TypeVar("T")


class Passes:
    """Passes of a model and its loss over fixed data, with any vector for parameters: the machinery of an objective.

    Attributes:
        layout: names and shapes of the parameters that the vector holds.
        device: where everything is computed.
        loss_terms: the model and its loss, as one module.
        dtype: of the vectors: at least float32, whatever the model computes in.
        accumulation_dtype: of sums over examples: float64 where the device has it.
        version: counts the changes seen in the model's weights, buffers and attributes, and in the data.
        attributes: of the model and the loss, as last seen.
    """

    def __init__(
        self,
        terms: LossTerms,
        data: Iterable[Any],
        params: Mapping[str, Tensor],
        *,
        device: torch.device | str | None,
        cast: torch.dtype | None,
        mode: str,
        microbatch: int | None,
    ) -> None:
        self.model, self.data, self.mode, self.microbatch = terms.model, data, mode, microbatch
        self.layout = ParameterLayout.of({name: as_real(p) for name, p in params.items()})
        self.names, self.num_params = list(params), self.layout.size
        self.device = torch.device(device) if device is not None else next(iter(params.values())).device
        self.dtype = reduce(torch.promote_types, [cast or as_real(p).dtype for p in params.values()], torch.float32)
        self.accumulation_dtype = torch.float32 if self.device.type == "mps" else torch.float64
        self.per_example = terms.weight_of is None
        self.version = 0
        self.attributes: Attributes | None = None
        self.loss_terms, self._cast = terms, cast
        self._tied: dict[str, list[str]] = {}  # further names, by the first
        self._fixed = False  # whether changes are not looked for: by whom it is at other weights, or nobody makes them
        self._differentiates = False  # whether the loss itself calls autograd, and fails where gradients are off
        self._snapshot: dict[str, Tensor] = {}  # as last seen in the model
        self._state: dict[str, Tensor] = {}  # the same on our device and dtype
        self._buffers: list[str] = []  # names of those that are buffers
        self._modules: list[nn.Module] = []  # of the model
        self._recurrent = False  # whether some are layers of recurrent networks
        self._held: list[tuple[Any, int]] = []  # as last seen in the data
        self._written: dict[int, Tensor] = {}  # attributes to which the model writes in place, by id
        self._restless = False  # whether a pass changes attributes
        self._counted: list[tuple[int, Terms]] | None = None  # at the weights as they are
        self.statistics: Iterable[Any] | None = None  # batches, whose batch statistics take the place of the model's
        self._held_statistics: list[tuple[Any, int]] = []  # as last seen in them
        self._estimates: dict[str, Tensor] = {}  # the buffers with the statistics of those batches

    def refresh(self) -> None:
        """Take a new copy of the model's weights and buffers if anybody changed them; forget what was found there.

        Edits of other attributes, of the loss and of data in memory are noticed too, and the examples counted anew.
        """
        if torch.is_inference_mode_enabled():
            raise ValueError("Gradients do not exist inside torch.inference_mode(). Measure outside of it.")
        if getattr(parametrize, "_cache_enabled", 0) and any(map(parametrize.is_parametrized, self.model.modules())):
            raise ValueError(
                "Inside torch.nn.utils.parametrize.cached(), weights are computed once, and not at those measured. "
                "Measure outside of it."
            )
        if self._fixed:
            return
        live = dict(self.loss_terms.named_parameters()) | dict(self.loss_terms.named_buffers())
        known, data = self._snapshot, held(self.data)
        statistics = [] if self.statistics is None else held(self.statistics)
        edited = [name for name, tensor in live.items() if name not in known or not _same(tensor, known[name])]
        same_data = same_objects(data, self._held)
        same_statistics = same_objects(statistics, self._held_statistics)
        same_attributes = self.attributes is not None and self.attributes.unchanged()
        same = len(live) == len(known) and same_attributes and same_statistics and not edited
        if same and same_data:
            return
        self._refuse_other_parameters(live)
        if live.keys() != known.keys():
            self._tied = _other_names(self.loss_terms)
        self._snapshot = {name: tensor.detach().clone() for name, tensor in live.items()}
        self._state = to(self._snapshot, self.device, self._cast)
        self._held = data
        self._buffers = [name for name, _ in self.loss_terms.named_buffers()]
        if not same_attributes:
            self.attributes, self._modules = Attributes(self.loss_terms), list(self.model.modules())
            self._recurrent = any(isinstance(module, nn.RNNBase) for module in self._modules)
        if self.statistics is not None and not same:
            self._estimates, self._held_statistics = self._reestimated(self.statistics), statistics
        self._state |= self._estimates
        self.version += 1
        counted, self._counted = self._counted, None
        self.forget()
        of_loss = any(not name.startswith("model.") for name in edited)
        if counted is not None and (of_loss or not same_data or not same_attributes):
            self._count()

    def _refuse_other_parameters(self, live: dict[str, Tensor]) -> None:
        """Raise ValueError where the model no longer has the parameters that the vector is made of."""
        for name, shape in zip(self.layout.names, self.layout.shapes, strict=True):
            now = live.get(f"model.{name}")
            if now is None:
                how = "is not there any more: it was removed, tied to another or given a parametrization"
            elif as_real(now).shape != shape:
                how = f"has shape {tuple(now.shape)} now"
            elif untied := [other for other in self._tied.get(f"model.{name}", ()) if other in live]:
                how = f"is not tied to {untied[0].removeprefix('model.')!r} any more"
            else:
                continue
            raise ValueError(
                f"The parameter {name!r} {how}. Expected those with which the Objective was made: make a new one."
            )

    def _reestimated(self, batches: Iterable[Any]) -> dict[str, Tensor]:
        """The buffers, with the training statistics of these batches (``landscape.batchnorm``), at the weights."""

        def buffers(passes: "Passes") -> dict[str, Tensor]:
            settle(passes.forwards)
            return {name: tensor.clone() for name, tensor in self.loss_terms.named_buffers()}

        return self.on_other(batches, buffers)

    def on_other(self, batches: Iterable[Any], work: Callable[["Passes"], T]) -> T:
        """What ``work`` makes of passes over other batches with the weights and buffers as they are here."""
        other = copy.copy(self)
        other.data, other.statistics, other._fixed = batches, None, True
        return other.with_parameters(other.leaves(requires_grad=False), lambda: work(other))

    def forwards(self) -> Iterator[Terms]:
        """A pass: the loss terms of each microbatch, inside ``with_parameters``."""
        return (self.terms(batch) for _, batch in self.batches())

    @contextmanager
    def unchanging(self) -> Iterator[None]:
        """Run the body without looking for changes of the model, the loss or the data, after a look at its start."""
        self.refresh()
        before, self._fixed = self._fixed, True
        try:
            yield
        finally:
            self._fixed = before

    def _move(self, by: Tensor) -> None:
        """Move the parameters by a vector (d,), and see nothing any more of the model's."""
        names = [f"model.{name}" for name in self.names]
        pieces = zip(names, self.leaves(requires_grad=False), self.layout.split(by), strict=True)
        self._state = self._state | {
            name: _like(leaf.detach() + move, self._state[name]) for name, leaf, move in pieces
        }
        self._fixed = True

    def forget(self) -> None:
        """Forget what was found at the weights as they are."""
        raise NotImplementedError

    @property
    def eps(self) -> float:
        """The coarsest eps of the weights' dtypes: other kernels round losses so, which may be of a finer dtype."""
        floating = [t.dtype for t in self._state.values() if t.is_floating_point() or t.is_complex()]
        return max((torch.finfo(dtype).eps for dtype in floating), default=0.0)

    def leaves(self, at: Tensor | None = None, *, requires_grad: bool = True) -> list[Tensor]:
        """The parameters, or a vector (d,), as tensors of their shapes to differentiate with respect to."""
        if at is None:
            pieces = [as_real(self._state[f"model.{name}"]).to(self.dtype) for name in self.layout.names]
        elif at.shape == (self.num_params,):
            pieces = self.layout.split(at.to(self.device, self.dtype))
        else:
            raise ValueError(f"The point has shape {tuple(at.shape)}. Expected ({self.num_params},).")
        return [piece.detach().requires_grad_(requires_grad or self._differentiates) for piece in pieces]

    def over_batches(
        self,
        leaves: list[Tensor],
        work: Callable[[Terms], T],
        *,
        context: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> Iterator[T]:
        """What ``work`` makes of the loss terms of each microbatch, while the model has ``leaves`` for parameters.

        Differentiating belongs inside ``work``. ``context()`` is entered around each.

        Raises:
            NonFiniteError: naming the first batch whose loss is NaN or infinite.
        """
        for index, batch in self.batches():
            with context():
                result = self.with_parameters(leaves, partial(self._on_finite_terms, work, index, batch))
            yield result
            del result  # a graph, before the next one is built

    def with_parameters(self, leaves: Sequence[Tensor], work: Callable[[], T]) -> T:
        """What ``work`` returns while the model has ``leaves`` for parameters, copies of its buffers, and our mode."""
        attributes = self.attributes
        if attributes is None or not attributes.unchanged():
            attributes = Attributes(self.loss_terms)
        attributes.lend_copies(lambda tensor: id(tensor) in self._written)
        try:
            result = self._in_place(leaves, work)
        finally:
            attributes.put_back()
        if attributes.written()[1]:
            raise MeasurementError(
                "The model wrote in place to a tensor that is one of its attributes, which it did not do before: it is "
                "not as it was. Make it a buffer (register_buffer), or do not write to it in eval mode."
            )
        return result

    def _in_place(self, leaves: Sequence[Tensor], work: Callable[[], T]) -> T:
        """What ``work`` returns, and the attributes as it leaves them."""
        names = [f"model.{name}" for name in self.layout.names]
        params = {name: _like(leaf, self._state[name]) for name, leaf in zip(names, leaves, strict=True)}
        buffers = {name: self._state[name].clone() for name in self._buffers}
        with (
            mode_of(self._modules, *self._generators(), training=self.mode == "train"),
            torch.set_grad_enabled(leaves[0].requires_grad or self._differentiates),
            no_autocast(self.device),
            eager(recurrent=self._recurrent),
        ):
            tensors = self._state | buffers | params
            tied = {other: tensors[name] for name, others in self._tied.items() for other in others}
            return functional_call(self.loss_terms, tensors | tied, (work,), tie_weights=False)

    def _generators(self) -> list[Any]:
        """The random generators that the model and the loss keep."""
        return [] if self.attributes is None else self.attributes.generators

    @contextmanager
    def copied(self) -> Iterator[None]:
        """Run the body with copies of the weights, frozen ones too, to which the model may write."""
        kept, self._state = self._state, {name: tensor.clone() for name, tensor in self._state.items()}
        try:
            yield
        finally:
            self._state = kept

    def terms(self, batch: Any) -> Terms:
        """The loss terms of a microbatch, NaN and infinity kept: inside ``with_parameters``."""
        if not self._restless:
            return self.loss_terms.of(batch)
        attributes = Attributes(self.loss_terms)  # which hold what another pass left, where there were more inside
        attributes.lend_copies(lambda tensor: id(tensor) in self._written)
        try:
            return self.loss_terms.of(batch)
        finally:
            attributes.put_back()

    def batches(self, *, whole: bool = False) -> Iterator[tuple[int, Any]]:
        """(index of the batch in ``data``, microbatch, or the whole, on our device and dtype), in order."""
        fixed = isinstance(self.data, (list, tuple))  # which draws no random numbers
        undrawn = nullcontext if fixed else partial(rng_untouched, *generators(self.data))
        with undrawn():
            iterator = enumerate(self.data)
        while True:
            with undrawn():  # while the loader works; the caller's loop keeps its own draws
                index, batch = next(iterator, (-1, None))
            if index < 0:
                return
            for part in split(batch, None if whole else self.microbatch):
                yield index, to(part, self.device, self._cast)

    def summed(self, terms: Terms) -> Tensor:
        """The sum of the terms' losses in the accumulation dtype: what is differentiated."""
        return terms.losses.to(self.accumulation_dtype).sum()

    def _count(self, *, prove_fixed: bool = False) -> None:
        """Count batches and examples in a forward pass; prove in another that it is the same in any other order."""
        self.total_weight, self.num_batches, self.batch_size = 0.0, 0, 0
        leaves, attributes = self.leaves(requires_grad=False), self.attributes or Attributes(self.loss_terms)
        self._counted = []
        try:
            for index, batch in self.batches():
                self._restless |= bool(attributes.put_back())
                attributes.lend_copies(lambda _: True)
                terms = self._first_terms(leaves, index, batch)
                self._written |= {id(tensor): tensor for tensor in attributes.written()[0]}
                self._counted.append((index, terms._replace(losses=terms.losses.detach(), outputs=None)))
                num_examples = len(terms.losses) if self.per_example else round(float(terms.weight))
                self.num_batches, self.classifies = index + 1, terms.correct is not None
                self.batch_size = max(self.batch_size, num_examples)
                self.total_weight += float(terms.weight)
            if prove_fixed:
                self._prove_fixed(leaves, attributes)
        finally:
            self._restless |= bool(attributes.put_back())
        counted = sum(len(terms.losses) for _, terms in self._counted)
        self.num_examples = counted if self.per_example else round(self.total_weight)
        if not self.num_batches or (self.per_example and not counted):
            raise ValueError(nothing_counted(self.loss_terms.criterion, self.num_batches))
        if not self.total_weight > 0:
            raise ValueError(f"The examples' weights sum to {self.total_weight}. Expected a positive sum.")

    def _first_terms(self, leaves: list[Tensor], index: int, batch: Any) -> Terms:
        """The terms of a batch, which errors are told of; finds out whether the loss itself differentiates."""
        work = partial(self.loss_terms.of, batch, check=True)
        try:
            try:
                return self._in_place(leaves, work)
            except RuntimeError as error:
                if self._differentiates or "does not require grad" not in str(error):
                    raise
            self._differentiates = True
            return self._in_place([leaf.requires_grad_() for leaf in leaves], work)
        except ValueError as error:
            cut = "" if self.microbatch is None else " It was cut along its rows, as microbatch= asks."
            raise type(error)(f"Batch {index}: {error}{cut}") from error

    def _prove_fixed(self, leaves: list[Tensor], attributes: Attributes) -> None:
        """Go over all batches once more, from the state in which the model is and with other random numbers."""
        live = {name: p.detach() for name, p in self.loss_terms.named_parameters()}
        for name, handed_over in to(live, self.device, self._cast).items():
            if not torch.equal(self._state[name].nan_to_num(), handed_over.nan_to_num()):
                raise ValueError(
                    f"The model writes to its {name.removeprefix('model.')!r} when it is called, as does "
                    "Embedding(max_norm=...). Expected weights that stay: write to them after the optimizer's step."
                )

        def again(batch: Any) -> Tensor:
            with other_random_numbers(self.device, *self._generators()):
                return self._in_place(leaves, partial(self.loss_terms.of, batch)).losses

        for (index, batch), (_, terms) in zip(self.batches(), self._counted or [], strict=False):
            if not same_losses(terms.losses, again(batch)):
                names = attributes.put_back()
                attributes.lend_copies(lambda _: True)
                refuse_unequal(index, names, remembers=same_losses(terms.losses, again(batch)))

    def finite(self, terms: Terms, index: int) -> Terms:
        """The terms of a batch. Raises NonFiniteError, which names it, where a loss is not finite."""
        losses = terms.losses
        if not torch.isfinite(losses.sum(dtype=self.accumulation_dtype)):
            bad = losses[~torch.isfinite(losses)]
            what = f"{bad[0].item()}" if len(bad) else "too large to add up"
            raise NonFiniteError(
                f"The loss is {what}, first at batch {index} ({len(bad)} of its {len(losses)} examples)."
            )
        return terms

    def _on_finite_terms(self, work: Callable[[Terms], T], index: int, batch: Any) -> T:
        try:
            terms = self.terms(batch)
        except BatchError:
            if not torch.is_grad_enabled():
                raise
            with torch.no_grad():
                self.terms(batch)  # which raises, unless gradients are what fails
            with gradient_errors():
                raise
        return work(self.finite(terms, index))


def as_real(p: Tensor) -> Tensor:
    """A complex tensor (*shape) as a real one (*shape, 2), any other as it is."""
    return torch.view_as_real(p) if p.is_complex() else p


def _like(leaf: Tensor, p: Tensor) -> Tensor:
    """A leaf as the parameter that it stands for."""
    if not p.is_complex():
        return leaf.to(p.dtype)
    return torch.complex(*leaf.to(as_real(p).dtype).unbind(-1))  # which no storage is too odd for


def _other_names(model: nn.Module) -> dict[str, list[str]]:
    """Further names of tied parameters and buffers, by their first: one a module, however often that is used.

    ``functional_call`` by itself ties all names, and leaves its own tensor in a module that has two of them.
    """
    names: dict[Tensor, list[str]] = {}
    for owner, module in model.named_modules():
        for key, tensor in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
            names.setdefault(tensor, []).append(f"{owner}.{key}" if owner else key)
    return {first: others for first, *others in names.values() if others}


def same_objects(now: list[tuple[Any, int]], before: list[tuple[Any, int]]) -> bool:
    """Whether the data are made of the same tensors and nobody wrote to them: (object, its version) each."""
    return len(now) == len(before) and all(a is b and v == w for (a, v), (b, w) in zip(now, before, strict=True))


def _same(live: Tensor, known: Tensor) -> bool:
    return live.device == known.device and live.dtype == known.dtype and torch.equal(live, known)
