"""The Hessian of an objective, by double backward (Pearlmutter 1994).

    H v = (1/n) sum_i d/dw <d l_i/dw, v>

A product on a kept graph costs about two gradients, and a graph that has to be built for it one more. Forward-mode
engines are not used: torch 2.13 is silently wrong through ``layer_norm`` there.
"""

from contextlib import suppress

import torch
from torch import Tensor

from landscape.losses import Terms
from landscape.objective import MeasurementError, Objective
from landscape.operators.finite_difference import FiniteDifferenceHessian, InaccurateProductError
from landscape.operators.graph import (
    NO_GRAPH,
    Graph,
    GraphOperator,
    building,
    derivatives,
    refuse_wrong_derivatives,
)
from landscape.params import ParameterLayout

_ENGINES = ("auto", "exact", "finite-difference")


class Hessian(GraphOperator):
    """The Hessian of L(w), d x d, of an ``Objective``, symmetric, at the weights as they are.

    Args:
        objective: the mean loss whose second derivatives are wanted; its parameters are the rows, in its order.
        engine: "exact" (double backward), "finite-difference" (see ``FiniteDifferenceHessian``), or "auto": exact, and
            finite differences where part of the model has no second derivative, or no graph of it can be built.
            ``.engine`` says which it is. Finite differences that are too inaccurate in float32 are taken of the same
            weights and data in float64.
        chunk: vectors per batched backward; 1 runs them one by one, and None goes by the sizes of the operations.

    Cost: one product is about two gradients on a kept graph. ``num_matvecs`` counts the products made.

    Raises:
        ValueError: for an unknown engine, a chunk below 1 or a vector of the wrong shape.
        SecondDerivativeError: where a kernel has no second derivative, naming the parameters behind it.
        NonFiniteError: where the loss or a product is NaN or infinite.
        InaccurateProductError: from finite differences whose own error estimate is too large.

    Example:
        >>> x = torch.tensor([[1.0], [2.0]])
        >>> objective = Objective(torch.nn.Linear(1, 1, bias=False), torch.nn.MSELoss(), [(x, torch.zeros(2, 1))])
        >>> Hessian(objective) @ torch.ones(1)  # mean of 2 x^2
        tensor([5.])
    """

    def __init__(self, objective: Objective, *, engine: str = "auto", chunk: int | None = None) -> None:
        if engine not in _ENGINES:
            raise ValueError(f"engine={engine!r}. Expected one of: {', '.join(_ENGINES)}.")
        super().__init__(objective, chunk=chunk)
        self._fall_back = engine == "auto"
        self._differences = FiniteDifferenceHessian(objective) if engine == "finite-difference" else None

    @property
    def engine(self) -> str:
        """What the products are made with, in words."""
        if self._differences is None:
            return super().engine
        return self._differences.engine + (" in float64" if self._differences.dtype != self.dtype else "")

    def _product(self, rows: Tensor) -> Tensor:
        if self._differences is None:
            try:
                return super()._product(rows)
            except NO_GRAPH:
                if not self._fall_back:
                    raise
                self._differences = FiniteDifferenceHessian(self.objective)
                with suppress(InaccurateProductError):  # better, where it can be had
                    return self._in_float64(rows, InaccurateProductError())
        try:
            return (self._differences @ rows.T).T.to(self.dtype)
        except InaccurateProductError as error:
            return self._in_float64(rows, error)

    def _in_float64(self, rows: Tensor, inaccurate: InaccurateProductError) -> Tensor:
        """The products in float64, as are all that follow; raises the error where model or device cannot."""
        objective = self.objective
        if objective.dtype != torch.float32 or objective.accumulation_dtype != torch.float64:
            raise inaccurate
        try:
            wide = FiniteDifferenceHessian(objective.over(objective.data, dtype=torch.float64))
            products = (wide @ rows.T).T.to(self.dtype)
        except (RuntimeError, ValueError, TypeError, LookupError, MeasurementError):
            raise inaccurate from None
        if not torch.equal(wide.objective.vector().to(self.dtype), objective.vector()):  # ours are elsewhere
            raise inaccurate
        self._differences = wide
        return products

    def by_differences(self, v: Tensor, h: float) -> tuple[Tensor, Tensor, Tensor]:
        """Difference quotients of the gradient at w + hv and w - hv, and it at w, (d,) each. Two gradients and one."""
        w, gradient = self.objective.vector(), self.objective.gradient()
        above, below = ((self.objective.gradient(at=w + t * v) - gradient) / t for t in (h, -h))
        return above, below, gradient

    def _graph(self, terms: Terms, leaves: list[Tensor]) -> Graph:
        return _GradientGraph(self.objective.summed(terms), leaves, self.layout)


class _GradientGraph(Graph):
    """The gradient of a microbatch's summed loss, as a differentiable function of the leaves."""

    def __init__(self, summed: Tensor, leaves: list[Tensor], layout: ParameterLayout) -> None:
        super().__init__(leaves, layout)
        grads: tuple[Tensor | None, ...] = ()
        if summed.requires_grad:
            with building():
                grads = torch.autograd.grad(summed, leaves, create_graph=True, allow_unused=True)
        curved = [(i, grad.to_dense()) for i, grad in enumerate(grads) if grad is not None and grad.requires_grad]
        self.used, self.grads = [i for i, _ in curved], [grad for _, grad in curved]  # where it is not constant
        self.roots = self.grads
        refuse_wrong_derivatives(self.roots)

    def _differentiate(self, rows: Tensor, *, batched: bool) -> Tensor:
        if not self.used:
            return torch.zeros_like(rows)
        pieces = self.layout.split(rows)
        products = derivatives(self.grads, self.leaves, [pieces[i] for i in self.used], batched=batched)
        return torch.cat([p.reshape((*rows.shape[:-1], -1)) for p in products], dim=-1)

    def _not_differentiable(self) -> list[str]:
        lost = []
        for i, grad in zip(self.used, self.grads, strict=True):
            try:
                derivatives([grad], self.leaves, [torch.ones_like(grad)], batched=False)
            except Exception:
                lost.append(self.layout.names[i])
        return lost
