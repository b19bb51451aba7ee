"""The loss at many points w + sum_k t_k u_k around the weights, u_k of length one: the inner loop of every landscape.

The model is entered once for many points, with parameters that are views of one flat vector of ours; a point is one
axpy into it and a forward pass without a graph. Each batch is read once for all points of a call. Where parameters and
operations are so small that entering an operation takes longer than its arithmetic, many points share a forward pass
(``torch.vmap``). Multilayer perceptrons have a way of their own (``landscape.surface.perceptron``), where it gives the
losses of the model. Sums are in float64, and NaN and infinity stay what they are. Nothing is written to the model.

With ``statistics``, batch-normalization statistics are estimated anew at every point, as by
``torch.optim.swa_utils.update_bn``: the average of the batches' statistics, weighted by their size.
"""

import copy
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from landscape.batches import split
from landscape.losses import LossTerms
from landscape.objective import Objective
from landscape.outputs import call, inputs_and_targets, output_of
from landscape.passes import as_real
from landscape.surface.perceptron import Perceptron

_TOGETHER = 8, 32  # points in one vmapped forward pass, least and most
# For many points at once to be faster: how much the parameters of all of them may take (beyond, they leave the caches),
# and an operation of a forward pass may give on average. Calibrated by `python -m benchmarks.sizes` on one thread of an
# AMD EPYC, torch 2.13. Elsewhere than on a processor so many times as much, which is an estimate.
_PARAMETER_BYTES, _OPERATION_BYTES, _ELSEWHERE = 4 << 20, 64 << 10, 64
_EXAMPLES, _ROWS = 1024, 8192  # of a perceptron in one pass, and times the points: what caches hold


class Walk:
    """Losses and accuracies at points given by their displacements along fixed directions.

    Args:
        objective: the loss to evaluate, around its weights as they are now.
        vectors: the directions, each (d,), of any length but zero.
        statistics: an objective of the same model on whose data to estimate batch-normalization statistics anew at
            every point; by default they stay as they are.
        points_at_once: how many points share a forward pass; by default by the sizes of the model and a batch.

    Raises:
        ValueError: for a direction of another length or of norm 0, ``statistics`` of another model, or without
            batch normalization.

    Example:
        >>> model = torch.nn.Linear(1, 1, bias=False)
        >>> _ = torch.nn.init.constant_(model.weight, 3.0)
        >>> objective = Objective(model, torch.nn.MSELoss(), [(torch.ones(1, 1), torch.zeros(1, 1))])
        >>> Walk(objective, [torch.tensor([5.0])])([[-1.0], [0.0], [1.0]])  # (3 + t)^2
        (array([ 4.,  9., 16.]), None)
    """

    def __init__(
        self,
        objective: Objective,
        vectors: Sequence[Tensor],
        *,
        statistics: Objective | None = None,
        points_at_once: int | None = None,
    ) -> None:
        self.objective, self.statistics = objective, statistics
        self._w = objective.vector()
        self._units = [_unit(v, self._w) for v in vectors]
        self._norms_moving = [m for m in objective.model.modules() if isinstance(m, _BatchNorm)] if statistics else []
        if statistics is not None and statistics.model is not objective.model:
            raise ValueError("Batch statistics are estimated on data of another model. Give objectives of one model.")
        if statistics is not None and not self._norms_moving:
            raise ValueError("mode='reestimate' needs batch normalization, and this model has none. Use mode='eval'.")
        self._leaves = self._storage()
        self._whole = self._w.clone()  # the point as one vector; the leaves are views of it where the dtypes agree
        self._views = self.objective.layout.split(self._whole)
        if all(leaf.dtype == self._whole.dtype for leaf in self._leaves):
            self._leaves, self._views = self._views, []
        self._num_rows = self._rows_of_batches()
        self._loss = self._loss_of_outputs() if objective.classifies and objective.criterion else None
        self._network: Perceptron | None = None
        if statistics is None and points_at_once != 1:
            self._network = self._as_perceptron()
        self.points_at_once = 1 if statistics is not None else points_at_once or self._by_size()

    def __call__(self, points: np.ndarray | Sequence[Sequence[float]]) -> tuple[np.ndarray, np.ndarray | None]:
        """Losses (k,) and accuracies (k,), or None where the loss is no classification, at displacements (k, m)."""
        points = np.asarray(points, dtype=np.float64)
        if self.statistics is not None:
            sums = self.objective.with_parameters(self._leaves, lambda: self._restated(points))
        elif self.points_at_once == 1:
            sums = self.objective.with_parameters(self._leaves, lambda: self._one_by_one(points))
        else:
            num_rows = _EXAMPLES if self._network else None
            parts = (part for _, batch in self.objective.batches() for part in split(batch, num_rows))
            sums = torch.stack([self._together(part, points) for part in parts]).sum(0)
        totals = sums.cpu().numpy()  # (k, 3): loss, correct, counted
        losses = totals[:, 0] / self.objective.total_weight
        return losses, totals[:, 1] / totals[:, 2] if self.objective.classifies else None

    @property
    def num_directions(self) -> int:
        """How many displacements a point has."""
        return len(self._units)

    def point(self, displacement: Sequence[float] | np.ndarray) -> Tensor:
        """The parameters (d,) at one point, a new vector."""
        self._move(displacement)
        return self._whole.clone()

    # --- one point after the other, in place -----------------------------------------------------------------------

    def _one_by_one(self, points: np.ndarray) -> Tensor:
        return torch.stack([self._along(batch, points) for _, batch in self.objective.batches()]).sum(0)

    def _along(self, batch: Any, points: np.ndarray) -> Tensor:
        """All the points on one batch, (k, 3). Those that differ in their last displacement only share the rest."""
        rows, base, there = [], self._w, None
        for point in points:
            if there is None or not np.array_equal(point[:-1], there):
                there = point[:-1]
                base = self._from(self._w, there)
            self._set(base, point[-1])
            rows.append(self._sums(batch))
        return torch.stack(rows)

    def _restated(self, points: np.ndarray) -> Tensor:
        rows = []
        for point in points:
            self._move(point)
            self._estimate_statistics()
            rows.append(torch.stack([self._sums(batch) for _, batch in self.objective.batches()]).sum(0))
        return torch.stack(rows)

    def _move(self, point: Sequence[float] | np.ndarray) -> None:
        self._set(self._from(self._w, point[:-1]), point[-1])

    def _from(self, w: Tensor, displacements: Sequence[float] | np.ndarray) -> Tensor:
        for t, u in zip(displacements, self._units, strict=False):
            w = torch.add(w, u, alpha=float(t))
        return w

    def _set(self, base: Tensor, t: float) -> None:
        torch.add(base, self._units[-1], alpha=float(t), out=self._whole)
        for leaf, view in zip(self._leaves, self._views, strict=False):  # no views where the leaves are views
            leaf.copy_(view)

    def _sums(self, batch: Any) -> Tensor:
        terms = self.objective.terms(batch)
        total = self.objective.summed(terms)
        if terms.correct is None:
            return torch.stack([total, torch.zeros_like(total), torch.ones_like(total)])
        correct = terms.correct.sum(dtype=total.dtype)
        return torch.stack([total, correct, torch.full_like(total, terms.correct.numel())])

    # --- many points in one forward pass ---------------------------------------------------------------------------

    def _together(self, batch: Any, points: np.ndarray) -> Tensor:
        parts = torch.as_tensor(points).to(self._w).split(self.points_at_once)
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):  # attention whose batching rules exist
            if self._loss is None:
                sums = torch.vmap(lambda w: self._at(w, lambda: self._sums(batch)))
                return torch.cat([sums(self._stacked(part)) for part in parts])
            return torch.cat([self._classified(self._loss, batch, part) for part in parts])

    def _classified(self, loss: LossTerms, batch: Any, points: Tensor) -> Tensor:
        """The sums of several points, their loss taken at once, with the classes along the second dimension."""
        inputs, targets = inputs_and_targets(batch)
        outputs = self._network(inputs, points) if self._network else self._outputs(batch, self._stacked(points))
        terms = loss.of((outputs, targets.expand(len(points), *targets.shape)))
        assert terms.correct is not None
        total = terms.losses.view(len(points), -1).sum(1, dtype=self.objective.accumulation_dtype)
        correct = terms.correct.view(len(points), -1).sum(1, dtype=total.dtype)
        return torch.stack([total, correct, torch.full_like(total, terms.correct.numel() / len(points))], dim=1)

    def _outputs(self, batch: Any, stack: Tensor) -> Tensor:
        """The model's outputs, (k, classes, n, ...)."""
        inputs, targets = inputs_and_targets(batch)
        run = partial(call, self.objective.model, inputs, by_name=isinstance(batch, Mapping))
        return torch.vmap(lambda w: self._at(w, lambda: output_of(run(), targets)))(stack).transpose(1, 2)

    def _stacked(self, displacements: Tensor) -> Tensor:  # (k, m) -> (k, d)
        stack = self._w.expand(len(displacements), -1)
        for t, u in zip(displacements.unbind(1), self._units, strict=True):  # no matmul, which may round to TF32
            stack = torch.addcmul(stack, t[:, None], u)
        return stack

    def _at(self, w: Tensor, work: Callable[[], Tensor]) -> Tensor:
        return self.objective.with_parameters(self.objective.layout.split(w), work)

    def _as_perceptron(self) -> Perceptron | None:
        """The model as one, where that gives the losses of the model at a point on the first examples; else None."""
        if self._loss is None or self._views or not Perceptron.is_one(self.objective):
            return None
        self._network, self.points_at_once = Perceptron(self.objective, self._units), 1
        part = next(part for _, batch in self.objective.batches() for part in split(batch, _EXAMPLES))
        point = np.ones((1, len(self._units)))
        wanted = self.objective.with_parameters(self._leaves, lambda: self._along(part, point))
        tolerance = torch.finfo(self._w.dtype).eps ** 0.5
        same = torch.allclose(self._together(part, point), wanted, rtol=tolerance, atol=tolerance, equal_nan=True)
        return self._network if same else None

    def _by_size(self) -> int:
        """How many points to put together: up to 32 where what they compute is small, or what suits a perceptron."""
        batch = next(batch for _, batch in self.objective.batches())
        if self._network:
            return max(2, _ROWS // min(len(batch[0]), _EXAMPLES))
        (least, most), factor = _TOGETHER, 1 if self._w.device.type == "cpu" else _ELSEWHERE
        together = min(most, factor * _PARAMETER_BYTES // self._w.nbytes)
        if together < least:
            return 1
        self.points_at_once = 2
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="There is a performance drop")
            try:
                if self._operation_bytes(batch) > factor * _OPERATION_BYTES:
                    return 1
                self._together(batch, np.zeros((2, len(self._units))))
            except Exception:  # no batching rule, no examples, or what a model says of batches of weights
                return 1
        return together

    def _operation_bytes(self, batch: Any) -> float:
        """How much an operation of a forward pass gives on average."""
        with _Weighed() as made:
            self.objective.with_parameters(self._leaves, lambda: self._along(batch, np.zeros((1, len(self._units)))))
        return float(np.mean(made.num_bytes))

    # --- storage and batch statistics ------------------------------------------------------------------------------

    def _storage(self) -> list[Tensor]:
        """Parameters in the dtypes in which the model has them, so that the objective need not copy ours to cast."""
        chosen, leaves = set(self.objective.names), self.objective.leaves(requires_grad=False)
        dtypes = self.objective.with_parameters(
            leaves,
            lambda: {name: as_real(p).dtype for name, p in self.objective.model.named_parameters() if name in chosen},
        )
        return [leaf.to(dtypes[name], copy=True) for name, leaf in zip(self.objective.names, leaves, strict=True)]

    def _loss_of_outputs(self) -> LossTerms:
        """The loss as a function of (outputs, targets), its class weights where the outputs are and in their dtype."""
        criterion = self.objective.with_parameters(self._leaves, lambda: copy.deepcopy(self.objective.criterion))
        return LossTerms(nn.Identity(), criterion, None)

    def _rows_of_batches(self) -> list[int]:
        if (statistics := self.statistics) is None:
            return []
        batches = (batch for _, batch in statistics.batches())
        leaves = self._leaves
        return statistics.with_parameters(leaves, lambda: [len(statistics.terms(batch).losses) for batch in batches])

    def _estimate_statistics(self) -> None:
        assert self.statistics is not None
        num_seen = 0
        with _training(self._norms_moving):
            for module in self._norms_moving:
                module.reset_running_stats()
            for (_, batch), num_rows in zip(self.statistics.batches(), self._num_rows, strict=True):
                num_seen += num_rows
                for module in self._norms_moving:
                    module.momentum = num_rows / num_seen
                self.statistics.terms(batch)


@contextmanager
def _training(modules: Sequence[_BatchNorm]) -> Iterator[None]:
    before = [(module, module.training, module.momentum) for module in modules]
    try:
        for module in modules:
            module.training = True
        yield
    finally:
        for module, training, momentum in before:
            module.training, module.momentum = training, momentum


def _unit(v: Tensor, like: Tensor) -> Tensor:
    if v.shape != like.shape:
        raise ValueError(
            f"A direction has shape {tuple(v.shape)}. Expected {tuple(like.shape)}, one entry a parameter."
        )
    norm = v.double().norm() if like.device.type != "mps" else v.norm()
    if not (torch.isfinite(norm) and norm > 0):
        raise ValueError(f"A direction has norm {norm.item()}. Expected a positive, finite one.")
    return (v / norm).to(like)


class _Weighed(TorchFunctionMode):
    """Notes how large every tensor is that is made inside."""

    def __init__(self) -> None:
        super().__init__()
        self.num_bytes: list[int] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.num_bytes.append(result.nbytes)
        return result
