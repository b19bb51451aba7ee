"""Gauss-Newton and empirical Fisher: the curvature that is left when the model's own second derivative is not counted.

    G = (1/n) sum_i J_i^T (d^2 l_i / dz^2) J_i,    J_i = dz_i/dw, z_i the model's output   (Schraudolph 2002)
    F = (1/n) sum_i g_i g_i^T,                     g_i = dl_i/dw                           (empirical Fisher)

Both are R^T M R for a Jacobian R, of the outputs or of the per-example losses. R v comes from differentiating R^T u,
which is linear in u, with respect to u.
"""

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from landscape.losses import Terms
from landscape.objective import Objective
from landscape.operators.graph import Graph, GraphOperator, building, derivatives, refuse_wrong_derivatives
from landscape.params import ParameterLayout


class _Sandwich(GraphOperator):
    """R^T M R as a sum of graphs; subclasses give ``_ends``."""

    def _ends(self, terms: Terms) -> tuple[Tensor, Tensor | None]:
        """What R is the Jacobian of, and what M is that of, by it; None for the identity."""
        raise NotImplementedError

    def _graph(self, terms: Terms, leaves: list[Tensor]) -> Graph:
        return _SandwichGraph(*self._ends(terms), leaves, self.layout)

    def by_differences(self, v: Tensor, h: float) -> tuple[Tensor, Tensor, Tensor]:
        """R^T M of difference quotients of R's function at w + hv and w - hv, and of itself at w, (d,) each."""
        objective, w = self.objective, self.objective.vector()
        leaves = objective.leaves()

        def ends(at: Tensor) -> list[Tensor]:
            return list(objective.over_batches(objective.leaves(at), lambda terms: self._ends(terms)[0].detach()))

        def product(vectors: Iterator[Tensor], terms: Terms) -> Tensor:
            outputs, slope = self._ends(terms)
            back = next(vectors)
            if slope is not None:
                back = derivatives([slope], [outputs], [back], batched=False)[0] if slope.requires_grad else 0 * back
            return objective.layout.flatten(derivatives([outputs], leaves, [back], batched=False))

        centre = ends(w)
        sides = [[(a - c) / t for a, c in zip(ends(w + t * v), centre, strict=True)] for t in (h, -h)]
        above, below, itself = (
            sum(objective.over_batches(leaves, partial(product, iter(one))), torch.zeros_like(w))
            / objective.total_weight
            for one in (*sides, centre)
        )
        return above, below, itself


class GaussNewton(_Sandwich):
    """The generalized Gauss-Newton matrix of L(w), d x d; semi-definite where the loss is convex in the output.

    The loss may be any function of the model's output: cross-entropy, MSE, or ``loss(model, batch)`` that calls the
    model once. It equals the Hessian in trace and diagonal for piecewise-linear networks, and nearly everywhere at zero
    residual. Cost: one product is about two gradients on a kept graph.

    Raises:
        ValueError: where the model's output is not one tensor through which alone the loss depends on the parameters.
        SecondDerivativeError, NonFiniteError: as ``Hessian``.

    Example:
        >>> x = torch.tensor([[1.0], [2.0]])
        >>> objective = Objective(torch.nn.Linear(1, 1, bias=False), torch.nn.MSELoss(), [(x, torch.zeros(2, 1))])
        >>> GaussNewton(objective) @ torch.ones(1)  # mean of 2 x^2: the model is linear
        tensor([5.])
    """

    def __init__(self, objective: Objective, *, chunk: int | None = None) -> None:
        super().__init__(objective, chunk=chunk)

    def _ends(self, terms: Terms) -> tuple[Tensor, Tensor | None]:
        outputs = terms.outputs
        if outputs is None or not outputs.requires_grad:
            raise ValueError(
                "Gauss-Newton needs a model whose output is one tensor from which the loss is computed. "
                "Write the loss as a function of model(inputs), called once, or use Hessian."
            )
        with building():
            (slope,) = torch.autograd.grad(self.objective.summed(terms), [outputs], create_graph=True)
        return outputs, slope


class EmpiricalFisher(_Sandwich):
    """The second moment of the per-example gradients, d x d: the mean of g_i g_i^T. No approximation of the Hessian.

    Cost: one product is about two gradients on a kept graph.

    Raises:
        ValueError: where only batch means of the loss are known (``weight=``).
        SecondDerivativeError, NonFiniteError: as ``Hessian``.

    Example:
        >>> x = torch.tensor([[1.0], [2.0]])
        >>> model = torch.nn.Linear(1, 1, bias=False)
        >>> _ = torch.nn.init.ones_(model.weight)
        >>> objective = Objective(model, torch.nn.MSELoss(), [(x, torch.zeros(2, 1))])
        >>> EmpiricalFisher(objective) @ torch.ones(1)  # mean of (2 x^2)^2
        tensor([34.])
    """

    def __init__(self, objective: Objective, *, chunk: int | None = None) -> None:
        if not objective.per_example:
            raise ValueError("The empirical Fisher needs per-example losses. Return them from loss(model, batch).")
        super().__init__(objective, chunk=chunk)

    def _ends(self, terms: Terms) -> tuple[Tensor, Tensor | None]:
        return terms.losses.to(self.objective.accumulation_dtype), None


class _SandwichGraph(Graph):
    """R^T M R, R the Jacobian of ``outputs``, M the derivative of ``slope`` by them, or the identity without one."""

    def __init__(self, outputs: Tensor, slope: Tensor | None, leaves: list[Tensor], layout: ParameterLayout) -> None:
        super().__init__(leaves, layout)
        self.outputs, self.slope = outputs, slope
        self.u = torch.zeros_like(outputs, requires_grad=True)
        with building():
            transposed = torch.autograd.grad(outputs, leaves, self.u, create_graph=True, allow_unused=True)
        used = [(i, t) for i, t in enumerate(transposed) if t is not None]
        self.used, self.transposed = [i for i, _ in used], [t for _, t in used]
        self.roots = self.transposed
        refuse_wrong_derivatives(self.roots)

    def _differentiate(self, rows: Tensor, *, batched: bool) -> Tensor:
        pieces = self.layout.split(rows)
        (forward,) = derivatives(self.transposed, [self.u], [pieces[i] for i in self.used], batched=batched)
        if self.slope is not None:
            if not self.slope.requires_grad:  # the loss is linear in the output
                return torch.zeros_like(rows)
            (forward,) = derivatives([self.slope], [self.outputs], [forward], batched=batched)
        products = derivatives([self.outputs], self.leaves, [forward], batched=batched)
        return torch.cat([p.reshape((*rows.shape[:-1], -1)) for p in products], dim=-1)

    def _not_differentiable(self) -> list[str]:
        lost = []
        for i, transposed in zip(self.used, self.transposed, strict=True):
            try:
                derivatives([transposed], [self.u], [torch.ones_like(transposed)], batched=False)
            except Exception:
                lost.append(self.layout.names[i])
        return lost
