"""Operators over parameters, and those among them that are sums of something differentiated again.

    A v = (1/n) sum over microbatches of graph.product(v)

Each microbatch's graph is built once and differentiated for every vector. All graphs are kept from product to product
where they fit in half of the free memory; otherwise each is built once per *block* of vectors: the numbers are the
same. Vectors are multiplied one after the other, or 16 as one batched backward where the operations of the graph are
small, so that entering them takes longer than their arithmetic; ``chunk`` overrides that.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from math import prod

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator
from torch import Tensor, UntypedStorage
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.modules.module import register_module_forward_pre_hook

from landscape.derivatives import in_words, nodes, wrong_curvature, wrong_products
from landscape.errors import GradientError
from landscape.losses import BatchError, Terms
from landscape.memory import available_bytes
from landscape.objective import NonFiniteError, Objective
from landscape.params import ParameterLayout, matches
from landscape.second_derivatives import twice_differentiable
from landscape.surroundings import no_autocast

_TOGETHER = 16  # vectors in one batched backward: more gained nothing on the networks measured, and cost memory
# How much an operation of a graph may give, on average, for many vectors at once to be faster. Calibrated by
# `python -m benchmarks.sizes` on one thread of an AMD EPYC, torch 2.13. Elsewhere than on a processor so many times as
# much, which is an estimate: a kernel takes about as long to launch, and does about a hundred times the work meanwhile.
_OPERATION_BYTES, _ELSEWHERE = 72 << 10, 64

_WRONG = {  # by autograd node: seen with torch 2.13, against finite differences, over 73 layer types
    "WeightNormInterfaceBackward0": "weight_norm (remove it with torch.nn.utils.parametrize.remove_parametrizations)",
}


class SecondDerivativeError(RuntimeError):
    """Part of the model has no second derivative in torch, or a wrong one; the message names it."""


NO_GRAPH = (SecondDerivativeError, GradientError, BatchError)  # where the forward pass that builds it fails, too


class ParameterOperator:
    """A symmetric d x d matrix over the parameters of a layout; subclasses give ``_product`` for rows of vectors.

    Attributes:
        layout: names and shapes of the parameters, in the order of the rows.
        shape: (d, d).
        dtype: of the vectors.
        device: of the vectors.
        num_matvecs: products made so far; a block of k columns is k.
        rounding: what is known of their error by rounding, relative to the norm of the matrix.
    """

    rounding = 0.0

    def __init__(self, layout: ParameterLayout, dtype: torch.dtype, device: torch.device) -> None:
        self.layout, self.dtype, self.device = layout, dtype, device
        self.shape = (layout.size, layout.size)
        self.num_matvecs = 0

    def __matmul__(self, v: Tensor) -> Tensor:
        """The product with a vector (d,) or a block of columns (d, k); one matvec a column."""
        d = self.shape[0]
        if v.ndim not in (1, 2) or v.shape[0] != d:
            raise ValueError(f"The vector has shape {tuple(v.shape)}. Expected ({d},) or ({d}, k).")
        rows = v.to(self.device, self.dtype).reshape(d, -1).T.contiguous()
        with no_autocast(self.device):
            product = self._product(rows)
        self.num_matvecs += len(rows)
        return product.T.reshape(v.shape)

    def _product(self, rows: Tensor) -> Tensor:  # (k, d) -> (k, d)
        raise NotImplementedError

    def to_scipy(self) -> LinearOperator:
        """The same operator on numpy arrays, for ``scipy.sparse.linalg``."""
        dtype = np.dtype(str(self.dtype).removeprefix("torch."))

        def matmat(V: np.ndarray) -> np.ndarray:
            return (self @ torch.from_numpy(np.ascontiguousarray(V, dtype=dtype))).cpu().numpy()

        return LinearOperator(self.shape, matvec=matmat, rmatvec=matmat, matmat=matmat, rmatmat=matmat, dtype=dtype)


class Restricted(ParameterOperator):
    """The diagonal block of an operator that belongs to the parameters a glob, or their names, select: P A P^T.

    Costs a full product each; ``Objective(..., params=glob)`` gives the same block of the Hessian for less.

    Raises:
        ValueError: where no parameter is selected.
    """

    def __init__(self, operator: ParameterOperator, chosen: str | Collection[str]) -> None:
        layout = operator.layout
        self.indices = layout.indices(chosen).to(operator.device)
        shapes = {name: shape for name, shape in zip(layout.names, layout.shapes, strict=True) if matches(name, chosen)}
        super().__init__(ParameterLayout(tuple(shapes), tuple(shapes.values())), operator.dtype, operator.device)
        self.operator, self.rounding = operator, operator.rounding

    def _product(self, rows: Tensor) -> Tensor:
        padded = rows.new_zeros(len(rows), self.operator.shape[0])
        padded[:, self.indices] = rows
        return (self.operator @ padded.T).T[:, self.indices]


class Graph:
    """One microbatch's contribution to a product; subclasses give ``_differentiate``.

    Attributes:
        leaves: the parameters that were differentiated.
        roots: what is differentiated again; subclasses set it.
        recomputes: whether the model runs again in every product (activation checkpointing).
    """

    def __init__(self, leaves: list[Tensor], layout: ParameterLayout) -> None:
        self.leaves, self.layout = leaves, layout
        self.roots: Sequence[Tensor] = ()
        self.recomputes = False

    def products(self, rows: Tensor) -> Tensor:  # (k, d) -> (k, d)
        """The microbatch's unnormalized product with each row, as one batched backward.

        Raises:
            RuntimeError: where a kernel has no batching rule: GroupNorm in torch 2.13.
        """
        return self._differentiate(rows, batched=True)

    def product(self, row: Tensor) -> Tensor:  # (d,) -> (d,)
        """The microbatch's unnormalized product with one vector."""
        try:
            return self._differentiate(row, batched=False)
        except (torch.OutOfMemoryError, MemoryError):
            raise
        except Exception as error:  # whatever a backward function of the user's raises
            through = f"the operation that uses {in_words(lost)}" if (lost := self._not_differentiable()) else "a part"
            raise SecondDerivativeError(
                f"No second derivative through {through} ({_first_line(error)}). Use plain torch operations there, or "
                "engine='finite-difference'."
            ) from error

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

    def by_differences(self, v: Tensor, h: float) -> tuple[Tensor, Tensor, Tensor]:
        """The product with v as difference quotients at w + hv and w - hv, and what they are differences of, at w."""
        raise NotImplementedError

    def _verify(self) -> None:
        """Hold products against differences on a few examples: once an objective, before the first."""
        self.objective.verify()
        doubts, kind = self.objective.doubts, type(self)
        if kind not in doubts:
            doubts[kind] = []  # for the operator of the few examples
            doubts[kind] = wrong_products(self.objective, kind)
            if doubts[kind]:
                doubts["gradient"] = wrong_curvature(self.objective)
                self.objective.verify()
        if doubts[kind]:
            raise SecondDerivativeError(
                f"Products are not what differences give, in {in_words(doubts[kind])}: an operation on the way is not "
                "twice differentiable, and does not say so. Use plain torch operations there, or "
                "engine='finite-difference'."
            )

    def _product(self, rows: Tensor) -> Tensor:
        self._verify()
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
                small = _OPERATION_BYTES * (1 if self.device.type == "cpu" else _ELSEWHERE)
                self.chunk = _TOGETHER if operation_bytes(graph.roots) <= small else 1
            products = self._products_with(graph, rows)
            del graph  # before the next one is built
            yield products

    def _products_with(self, graph: Graph, rows: Tensor) -> Tensor:
        if graph.recomputes:
            with twice_differentiable():
                return self.objective.with_parameters(graph.leaves, lambda: self._in_chunks(graph, rows))
        return self._in_chunks(graph, rows)

    def _in_chunks(self, graph: Graph, rows: Tensor) -> Tensor:
        if len(rows) == 1:
            return graph.product(rows[0])[None]
        if self.chunk != 1:
            try:
                parts = [graph.products(part) for part in rows.split(self.chunk or 1)]
                return torch.cat(parts) if len(parts) > 1 else parts[0]
            except torch.OutOfMemoryError:
                raise  # to go on one by one would give other roundings, for what the memory was at the moment
            except Exception:  # no batching rule, or no product at all
                self.chunk = 1
        return torch.stack([graph.product(row) for row in rows])

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
        try:
            return self.graph_bytes() * num_graphs <= available_bytes(self.device) // 2
        except (BatchError, GradientError):  # torch.func inside of a model runs under no hooks that would weigh
            return False


@contextmanager
def building() -> Iterator[None]:
    """Tell errors of building a graph in one line: raise SecondDerivativeError for them."""
    try:
        yield
    except (SecondDerivativeError, torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:
        raise SecondDerivativeError(
            f"No graph of the gradient, which would be differentiated again: torch says {_first_line(error)!r}. Use "
            "plain torch operations, or engine='finite-difference'."
        ) from error


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
    return [g.to_dense() if g is not None else t.new_zeros(lead + t.shape) for g, t in zip(found, inputs, strict=True)]


def refuse_wrong_derivatives(tensors: Sequence[Tensor]) -> None:
    """Raise SecondDerivativeError where an operation is known to have a wrong second derivative in torch."""
    for node in nodes(tensors):
        if node.name() in _WRONG:
            raise SecondDerivativeError(f"torch's second derivative is wrong through {_WRONG[node.name()]}.")


def operation_bytes(tensors: Sequence[Tensor]) -> float:
    """How much the operations that led to the tensors give on average, which is the same in every run.

    Example:
        >>> w = torch.ones(10, requires_grad=True)
        >>> operation_bytes([w.exp()]), operation_bytes([w.repeat(1000).exp()])  # of w and exp; of w, repeat and exp
        (40.0, 26680.0)
    """
    sizes = [sum(prod(one.shape) * one.dtype.itemsize for one in node._input_metadata) for node in nodes(tensors)]
    return sum(sizes) / max(len(sizes), 1)


def saved_bytes(build: Callable[[], object]) -> int:
    """Bytes that autograd saves while ``build`` runs, each storage once; what it returns is kept until the end."""
    saved: dict[int, UntypedStorage] = {}  # by address; held, so that none is used twice and the sum is always the same

    def weigh(tensor: Tensor) -> Tensor:
        if tensor.layout == torch.strided:
            storage = tensor.untyped_storage()
            saved[storage.data_ptr()] = storage
        return tensor.detach()  # the tensor itself would make a cycle that is never freed

    with saved_tensors_hooks(weigh, lambda tensor: tensor):
        built = build()
    del built
    return sum(storage.nbytes() for storage in saved.values())


@contextmanager
def _counting_forwards() -> Iterator[list[str]]:
    """The names of the modules that run while the body does."""
    ran: list[str] = []
    handle = register_module_forward_pre_hook(lambda module, _: ran.append(type(module).__name__))
    try:
        yield ran
    finally:
        handle.remove()


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
