"""The Hessian of an objective as an operator: ``H @ v`` and ``H @ V``, never the matrix.

    H v = (1/n) sum_i d/dw <d l_i/dw, v>        (double backward; Pearlmutter 1994)

Each microbatch's first-derivative graph is built once and differentiated again for every vector: a product on a kept
graph costs about two gradients, and a graph that has to be built anew for it three. Graphs are kept from product to
product while they fit in half of the free memory; otherwise each is built once per *block* of vectors. Products of
several vectors run one after the other or as one batched backward, whichever was faster the first time.

Forward-mode engines are not used: torch 2.13 is silently wrong through ``layer_norm`` there.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.module import register_module_forward_pre_hook

from landscape.losses import Terms
from landscape.memory import available_bytes
from landscape.objective import NonFiniteError, Objective
from landscape.params import ParameterLayout, matches

_BLOCK = 16  # vectors tried in one batched backward: more gained nothing on the networks measured, and cost memory
_CLEARLY_FASTER = 0.8  # of the sequential time, so that noise does not pick other roundings each run
_LONG = 0.05  # seconds for one product: beyond, overhead no longer matters, and trying a block costs too much
_WRONG = {  # by autograd node: seen with torch 2.13, against finite differences, over 73 layer types
    "WeightNormInterfaceBackward0": "weight_norm (remove it with torch.nn.utils.parametrize.remove_parametrizations)",
}


class SecondDerivativeError(RuntimeError):
    """Part of the model has no second derivative in torch; the message names the parameters behind it."""


class ParameterOperator:
    """A symmetric d x d matrix over the parameters of a layout; subclasses give ``_product`` for rows of vectors."""

    def __init__(self, layout: ParameterLayout, dtype: torch.dtype, device: torch.device) -> None:
        self.layout, self.dtype, self.device = layout, dtype, device
        self.shape = (layout.size, layout.size)
        self.num_matvecs = 0

    def __matmul__(self, v: Tensor) -> Tensor:
        """The product with a vector (d,) or a block of columns (d, k); one matvec a column."""
        if v.ndim not in (1, 2) or v.shape[0] != self.shape[0]:
            raise ValueError(
                f"The vector has shape {tuple(v.shape)}. Expected ({self.shape[0]},) or ({self.shape[0]}, k)."
            )
        rows = v.to(self.device, self.dtype).reshape(self.shape[0], -1).T.contiguous()
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


class Hessian(ParameterOperator):
    """The Hessian of L(w), d x d, of an ``Objective``; exact and symmetric to rounding, at the weights as they are.

    Args:
        objective: the mean loss whose second derivatives are wanted; its parameters are the rows, in its order.
        engine: "exact" (double backward), or "auto", which is that.
        chunk: vectors per batched backward; 1 runs them one by one, and None takes the faster, measured once.

    Cost: one product is about two gradients on a kept graph. ``num_matvecs`` counts the products made.

    Raises:
        ValueError: for an unknown engine, a chunk below 1 or a vector of the wrong shape.
        SecondDerivativeError: where a kernel has no second derivative, naming the parameters behind it.
        NonFiniteError: where the loss or a product is NaN or infinite.

    Example:
        >>> x = torch.tensor([[1.0], [2.0]])
        >>> objective = Objective(torch.nn.Linear(1, 1, bias=False), torch.nn.MSELoss(), [(x, torch.zeros(2, 1))])
        >>> Hessian(objective) @ torch.ones(1)  # mean of 2 x^2
        tensor([5.])
    """

    def __init__(self, objective: Objective, *, engine: str = "auto", chunk: int | None = None) -> None:
        if engine not in ("auto", "exact"):
            raise ValueError(f"engine={engine!r}. Expected 'auto' or 'exact'.")
        if chunk is not None and chunk < 1:
            raise ValueError(f"chunk={chunk}. Expected at least 1 vector.")
        super().__init__(objective.layout, objective.dtype, objective.device)
        self.objective = objective
        self.chunk = chunk
        self._kept: list[_Graph] | None = None
        self._keep: bool | None = None  # whether all graphs fit; None until known
        self._version = -1  # of the weights that the kept graphs stand for

    @property
    def engine(self) -> str:
        """What the products are made with, in words."""
        graphs = {None: "graphs not built yet", True: "graphs kept", False: "graphs rebuilt per block"}[self._keep]
        block = {None: "", 1: ", vectors one by one"}.get(self.chunk, f", {self.chunk} vectors at once")
        return f"double backward, {graphs}{block}"

    def _product(self, rows: Tensor) -> Tensor:
        total = torch.zeros(rows.shape, dtype=self.objective.accumulation_dtype, device=self.device)
        for graph in self._graphs():
            if self.chunk is None and len(rows) > 1:
                self.chunk = _faster_chunk(graph, rows)
            for part, into in zip(rows.split(self.chunk or 1), total.split(self.chunk or 1), strict=True):
                into += self._product_with(graph, part)
        product = (total / self.objective.total_weight).to(self.dtype)
        if not torch.isfinite(product).all():
            raise NonFiniteError("A Hessian-vector product is not finite, while the loss is. Try dtype=torch.float64.")
        return product

    def _product_with(self, graph: "_Graph", rows: Tensor) -> Tensor:
        if not graph.recomputes:
            return graph.product(rows)
        return self.objective.with_parameters(graph.leaves, lambda: graph.product(rows))

    def _graphs(self) -> "Iterator[_Graph] | list[_Graph]":
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

    def _build(self) -> "Iterator[_Graph]":
        leaves = self.objective.leaves()
        return self.objective.over_batches(
            leaves, lambda terms: self._differentiate(terms, leaves), context=_twice_differentiable
        )

    def _differentiate(self, terms: Terms, leaves: list[Tensor]) -> "_Graph":
        summed = self.objective.summed(terms)
        grads: Sequence[Tensor | None] = ()
        with _counting_forwards() as forwards:
            if summed.requires_grad:
                grads = torch.autograd.grad(summed, leaves, create_graph=True, allow_unused=True)
        curved = [(i, grad) for i, grad in enumerate(grads) if grad is not None and grad.requires_grad]
        graph = _Graph(leaves, [i for i, _ in curved], [grad for _, grad in curved], self.layout)
        _refuse_wrong_derivatives(graph.grads)
        graph.recomputes = bool(forwards)
        return graph

    def graph_bytes(self) -> int:
        """Bytes that the graph of the first microbatch keeps, counted while building it once. About one gradient."""
        return _saved_bytes(lambda: next(self._build()))

    def _graphs_fit(self) -> bool:
        """Whether the graphs of all microbatches fit in half of the free memory, by the size of the first one."""
        num_graphs = sum(1 for _ in self.objective.batches())
        if num_graphs == 1:
            return True  # a product needs the graph in any case
        return self.graph_bytes() * num_graphs <= available_bytes(self.device) // 2


class Restricted(ParameterOperator):
    """The diagonal block of an operator that belongs to the parameters a glob selects: P A P^T.

    Costs a full product each; ``Objective(..., params=glob)`` gives the same block of the Hessian for less.

    Raises:
        ValueError: where the glob selects no parameter.
    """

    def __init__(self, operator: ParameterOperator, glob: str) -> None:
        self.indices = operator.layout.indices(glob).to(operator.device)
        chosen = [i for i, name in enumerate(operator.layout.names) if matches(name, glob)]
        layout = ParameterLayout(
            tuple(operator.layout.names[i] for i in chosen), tuple(operator.layout.shapes[i] for i in chosen)
        )
        super().__init__(layout, operator.dtype, operator.device)
        self.operator = operator

    def _product(self, rows: Tensor) -> Tensor:
        padded = rows.new_zeros(len(rows), self.operator.shape[0])
        padded[:, self.indices] = rows
        return (self.operator @ padded.T).T[:, self.indices]


@dataclass
class _Graph:
    """The gradient of one microbatch's summed loss as a differentiable function of the leaves."""

    leaves: list[Tensor]
    used: list[int]  # the leaves on which the gradient is not constant
    grads: list[Tensor]  # one for each of those
    layout: ParameterLayout
    batchable: bool = True
    recomputes: bool = False  # activation checkpointing: the model runs again in every product

    def product(self, rows: Tensor) -> Tensor:  # (k, d) -> (k, d)
        """The unnormalized Hessian of the microbatch times each row; more than one row as one batched backward."""
        if not self.used:
            return torch.zeros_like(rows)
        if len(rows) > 1 and self.batchable:
            try:
                return self._backward(self.layout.split(rows), batched=True).reshape(rows.shape)
            except RuntimeError:  # no batching rule for some kernel: GroupNorm in torch 2.13
                self.batchable = False
        return torch.stack([self._single(row) for row in rows])

    def _single(self, row: Tensor) -> Tensor:
        try:
            return self._backward(self.layout.split(row), batched=False)
        except RuntimeError as error:
            self._explain(error)
            raise

    def _backward(self, pieces: list[Tensor], *, batched: bool) -> Tensor:
        products = torch.autograd.grad(
            self.grads,
            self.leaves,
            [pieces[i] for i in self.used],
            retain_graph=True,
            allow_unused=True,
            is_grads_batched=batched,
        )
        filled = [p if p is not None else torch.zeros_like(v) for p, v in zip(products, pieces, strict=True)]
        return torch.cat([p.flatten(1 if batched else 0) for p in filled], dim=-1)

    def _explain(self, error: RuntimeError) -> None:
        """Raise SecondDerivativeError naming the parameters whose gradients cannot be differentiated, if any."""
        lost = []
        for i, grad in zip(self.used, self.grads, strict=True):
            try:
                torch.autograd.grad(grad.sum(), self.leaves, retain_graph=True, allow_unused=True)
            except RuntimeError:
                lost.append(self.layout.names[i])
        if lost:
            raise SecondDerivativeError(
                f"No second derivative through the operation that uses {', '.join(lost[:3])}"
                f"{f' and {len(lost) - 3} more' if len(lost) > 3 else ''} ({str(error).splitlines()[0]}). "
                "Use an implementation of plain torch operations there."
            ) from error


def _faster_chunk(graph: _Graph, rows: Tensor) -> int:
    """1, or the number of vectors for which one batched backward clearly beats as many single ones."""
    block = rows[:_BLOCK]
    single = _seconds(lambda: graph.product(block[:1]))
    if single > _LONG:
        return 1
    batched = _seconds(lambda: graph.product(block)) / len(block)
    return len(block) if graph.batchable and batched < _CLEARLY_FASTER * single else 1


def _seconds(work: Callable[[], Tensor]) -> float:
    """The better of two timed runs after one to warm up, the device synchronized."""

    def once() -> float:
        start = time.perf_counter()
        work().sum().item()
        return time.perf_counter() - start

    once()
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


def _refuse_wrong_derivatives(grads: Sequence[Tensor]) -> None:
    """Raise SecondDerivativeError where an operation is known to have a wrong second derivative in torch."""
    todo, seen = [grad.grad_fn for grad in grads], set()
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        if node.name() in _WRONG:
            raise SecondDerivativeError(f"torch's second derivative is wrong through {_WRONG[node.name()]}.")
        seen.add(node)
        todo += [parent for parent, _ in node.next_functions]


def _twice_differentiable() -> AbstractContextManager[None]:
    """Scaled dot-product attention has second derivatives in its math form alone."""
    return sdpa_kernel(SDPBackend.MATH)


def _saved_bytes(build: Callable[[], object]) -> int:
    """Bytes that autograd saves while ``build`` runs, each storage once."""
    saved: dict[int, int] = {}

    def weigh(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # the tensor itself would make a cycle that is never freed

    with saved_tensors_hooks(weigh, lambda tensor: tensor):
        built = build()
    del built
    return sum(saved.values())
