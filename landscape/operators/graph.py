"""Operators that are sums over microbatches of something differentiated again: their graphs, kept while they fit.

    A v = (1/n) sum over microbatches of graph.product(v)

Each microbatch's graph is built once and differentiated for every vector, and kept from product to product while all
of them fit in half of the free memory; otherwise each is built once per *block* of vectors. Vectors are multiplied one
after the other or as one batched backward, whichever was clearly faster on the first block; ``chunk`` overrides that.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn.modules.module import register_module_forward_pre_hook

from landscape.losses import Terms
from landscape.memory import available_bytes, saved_bytes
from landscape.objective import NonFiniteError, Objective
from landscape.operators.base import ParameterOperator
from landscape.params import ParameterLayout
from landscape.second_derivatives import twice_differentiable

_BLOCK = 16  # vectors tried in one batched backward: more gained nothing on the networks measured, and cost memory
_TRIED = 8  # of them, to see whether it pays
_CLEARLY_FASTER = 0.8  # of the sequential time, so that noise does not pick other roundings each run
_LONG = 0.05  # seconds for one product: beyond, overhead no longer matters, and trying a block costs too much

_WRONG = {  # by autograd node: seen with torch 2.13, against finite differences, over 73 layer types
    "WeightNormInterfaceBackward0": "weight_norm (remove it with torch.nn.utils.parametrize.remove_parametrizations)",
}


class SecondDerivativeError(RuntimeError):
    """Part of the model has no second derivative in torch, or a wrong one; the message names it."""


class Graph:
    """One microbatch's contribution to a product; subclasses give ``_differentiate``.

    Attributes:
        leaves: the parameters that were differentiated.
        recomputes: whether the model runs again in every product (activation checkpointing).
    """

    def __init__(self, leaves: list[Tensor], layout: ParameterLayout) -> None:
        self.leaves, self.layout = leaves, layout
        self.recomputes = False
        self.batchable = True

    def product(self, rows: Tensor) -> Tensor:  # (k, d) -> (k, d)
        """The microbatch's unnormalized product with each row; more than one row as one batched backward."""
        if len(rows) == 1:
            return self._one(rows[0])[None]
        if self.batchable:
            try:
                return self._differentiate(rows, batched=True)
            except RuntimeError:  # no batching rule for some kernel: GroupNorm in torch 2.13
                self.batchable = False
        return torch.stack([self._one(row) for row in rows])

    def _one(self, row: Tensor) -> Tensor:
        try:
            return self._differentiate(row, batched=False)
        except RuntimeError as error:
            if lost := self._not_differentiable():
                more = f" and {len(lost) - 3} more" if len(lost) > 3 else ""
                raise SecondDerivativeError(
                    f"No second derivative through the operation that uses {', '.join(lost[:3])}{more} "
                    f"({str(error).splitlines()[0]}). Use plain torch operations there, or engine='finite-difference'."
                ) from error
            raise

    def _differentiate(self, rows: Tensor, *, batched: bool) -> Tensor:  # (d,) or (k, d), to the same shape
        raise NotImplementedError

    def _not_differentiable(self) -> list[str]:
        """Names of the parameters whose gradients cannot be differentiated."""
        raise NotImplementedError


class GraphOperator(ParameterOperator):
    """An operator of an objective that is a sum of graphs; subclasses give ``_graph`` for the terms of a microbatch."""

    def __init__(self, objective: Objective, *, chunk: int | None = None) -> None:
        if chunk is not None and chunk < 1:
            raise ValueError(f"chunk={chunk}. Expected at least 1 vector.")
        super().__init__(objective.layout, objective.dtype, objective.device)
        self.objective = objective
        self.chunk = chunk
        self._kept: list[Graph] | None = None
        self._keep: bool | None = None  # whether all graphs fit; None until known
        self._version = -1  # of the weights that the kept graphs stand for

    @property
    def engine(self) -> str:
        """What the products are made with, in words."""
        graphs = {None: "graphs not built yet", True: "graphs kept", False: "graphs rebuilt per block"}[self._keep]
        block = {None: "", 1: ", vectors one by one"}.get(self.chunk, f", {self.chunk} vectors at once")
        return f"double backward, {graphs}{block}"

    def graph_bytes(self) -> int:
        """Bytes that the graph of the first microbatch keeps, counted while building it once. About one gradient."""
        return saved_bytes(lambda: next(self._build()))

    def _graph(self, terms: Terms, leaves: list[Tensor]) -> Graph:
        raise NotImplementedError

    def _product(self, rows: Tensor) -> Tensor:
        products = self._products(rows)
        total = next(products)
        for product in products:
            total = total.to(self.objective.accumulation_dtype).add_(product)
        product = total.div_(self.objective.total_weight).to(self.dtype)
        if not torch.isfinite(product.sum()) and not torch.isfinite(product).all():
            raise NonFiniteError(
                "A curvature-vector product is not finite, while the loss is. Try dtype=torch.float64."
            )
        return product

    def _products(self, rows: Tensor) -> Iterator[Tensor]:
        """The unnormalized products of one microbatch after the other."""
        for graph in self._graphs():
            if self.chunk is None and len(rows) > 1:
                self.chunk = _faster_chunk(graph, rows)
            parts = [self._product_with(graph, part) for part in rows.split(self.chunk or 1)]
            del graph  # before the next one is built
            yield torch.cat(parts) if len(parts) > 1 else parts[0]

    def _product_with(self, graph: Graph, rows: Tensor) -> Tensor:
        if not graph.recomputes:
            return graph.product(rows)
        with twice_differentiable():
            return self.objective.with_parameters(graph.leaves, lambda: graph.product(rows))

    def _graphs(self) -> "Iterator[Graph] | list[Graph]":
        self.objective.refresh()
        if self._version != self.objective.version:
            self._kept, self._version = None, self.objective.version
        if self._kept is not None:
            return self._kept
        if self._keep is None:
            self._keep = self._graphs_fit()
        graphs = self._build()
        if not self._keep:
            return graphs
        self._kept = list(graphs)
        return self._kept

    def _build(self) -> Iterator[Graph]:
        leaves = self.objective.leaves()

        def build(terms: Terms) -> Graph:
            with _counting_forwards() as forwards:
                graph = self._graph(terms, leaves)
            graph.recomputes = bool(forwards)
            return graph

        return self.objective.over_batches(leaves, build, context=twice_differentiable)

    def _graphs_fit(self) -> bool:
        """Whether the graphs of all microbatches fit in half of the free memory, by the size of the first one."""
        num_graphs = sum(1 for _ in self.objective.batches())
        if num_graphs == 1:
            return True  # a product needs the graph in any case
        return self.graph_bytes() * num_graphs <= available_bytes(self.device) // 2


def derivatives(
    outputs: Sequence[Tensor], inputs: Sequence[Tensor], vectors: Sequence[Tensor], *, batched: bool
) -> list[Tensor]:
    """Vector-Jacobian products on a graph that is kept; zeros for inputs that the outputs do not depend on.

    ``vectors`` have the shapes of the outputs, behind a dimension k if ``batched``; so has what is returned.
    """
    found = torch.autograd.grad(
        outputs, inputs, vectors, retain_graph=True, allow_unused=True, is_grads_batched=batched
    )
    lead = vectors[0].shape[:1] if batched else torch.Size()
    return [g if g is not None else t.new_zeros(lead + t.shape) for g, t in zip(found, inputs, strict=True)]


def refuse_wrong_derivatives(tensors: Sequence[Tensor]) -> None:
    """Raise SecondDerivativeError where an operation is known to have a wrong second derivative in torch."""
    todo, seen = [tensor.grad_fn for tensor in tensors], set()
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        if node.name() in _WRONG:
            raise SecondDerivativeError(f"torch's second derivative is wrong through {_WRONG[node.name()]}.")
        seen.add(node)
        todo += [parent for parent, _ in node.next_functions]


def _faster_chunk(graph: Graph, rows: Tensor) -> int:
    """1, or the number of vectors for which one batched backward clearly beats as many single ones."""
    block = rows[:_TRIED]
    single = _seconds(lambda: graph.product(block[:1]))
    if single > _LONG:
        return 1
    batched = _seconds(lambda: graph.product(block)) / len(block)
    return _BLOCK if graph.batchable and batched < _CLEARLY_FASTER * single else 1


def _seconds(work: Callable[[], Tensor]) -> float:
    """The better of two timed runs, the device synchronized."""

    def once() -> float:
        start = time.perf_counter()
        work().sum().item()
        return time.perf_counter() - start

    return min(once(), once())


@contextmanager
def _counting_forwards() -> Iterator[list[str]]:
    """The names of the modules that run while the body does."""
    ran: list[str] = []
    handle = register_module_forward_pre_hook(lambda module, _: ran.append(type(module).__name__))
    try:
        yield ran
    finally:
        handle.remove()
