"""Hessian products as differences of gradients, for models that allow nothing else, with an estimate of their error.

    H v ~ (g(w + h v) - g(w - h v)) / 2h,    h = sqrt(eps) ||w|| / ||v||

The step is smaller than the eps^(1/3) that smooth functions would like: a step across the kinks of ReLU gives numbers
that are wrong by an order of magnitude and yet agree with those of half the step. So the error is estimated with a
step eight times smaller, at which rounding is eight times larger: kinks and rounding both show. In float32 a random
direction of a ReLU network is beyond this method, and it says so; in float64 it is good to about 1e-7. What a model
rounds to coarser dtypes on the way makes stairs of the gradient, flat over both steps: it is left out.
"""

from contextlib import nullcontext

import torch
from torch import Tensor

from landscape.derivatives import coarsest_eps
from landscape.objective import MeasurementError, Objective
from landscape.operators.graph import ParameterOperator
from landscape.widened import widened

_SECOND_STEP = 8


class InaccurateProductError(MeasurementError):
    """Finite differences of two step sizes disagree by more than the accuracy asked for."""


class FiniteDifferenceHessian(ParameterOperator):
    """The Hessian by central differences of gradients. Four gradients a product, two of them for its error.

    Args:
        objective: the mean loss whose second derivatives are wanted.
        rel_error: largest estimated error of a product that is returned, relative to the largest ||H v|| / ||v|| met.

    Attributes:
        estimated_error: the largest such error so far.

    Raises:
        InaccurateProductError: for a product whose estimated error exceeds ``rel_error``; it is not returned.

    Example:
        >>> model = torch.nn.Linear(1, 1, bias=False).double()
        >>> batch = (torch.tensor([[1.0], [2.0]]).double(), torch.zeros(2, 1).double())
        >>> H = FiniteDifferenceHessian(Objective(model, torch.nn.MSELoss(), [batch]))
        >>> round((H @ torch.ones(1)).item(), 6)  # mean of 2 x^2
        5.0
    """

    def __init__(self, objective: Objective, *, rel_error: float = 0.01) -> None:
        if not rel_error > 0:
            raise ValueError(f"rel_error={rel_error:g}. Expected a positive number.")
        super().__init__(objective.layout, objective.dtype, objective.device)
        self.objective, self.rel_error, self.estimated_error = objective, rel_error, 0.0
        self._size = 0.0  # the largest ||H v|| / ||v|| so far
        self._rounds = coarsest_eps(objective) > torch.finfo(objective.dtype).eps

    @property
    def engine(self) -> str:
        """What the products are made with, in words."""
        return f"finite differences of gradients, estimated error up to {self.estimated_error:.1e}"

    def _product(self, rows: Tensor) -> Tensor:
        w = self.objective.vector()
        length = torch.finfo(self.dtype).eps ** 0.5 * (w.norm().item() or 1.0)
        return torch.stack([self._difference(w, row, length) for row in rows])

    def _difference(self, w: Tensor, v: Tensor, length: float) -> Tensor:
        norm = v.norm().item()
        if norm == 0:
            return torch.zeros_like(v)
        step = length / norm
        product, check = self._central(w, v, step), self._central(w, v, step / _SECOND_STEP)
        self._size = max(self._size, product.norm().item() / norm)  # in the null space of H a product is nothing
        error = (product - check).norm().item() / (self._size * norm or 1.0)
        self.estimated_error = max(self.estimated_error, error)
        if error > self.rel_error:
            raise InaccurateProductError(
                f"A finite-difference product has an estimated error of {error:.1e}, above {self.rel_error:g}. "
                "Use dtype=torch.float64, or the exact engine."
            )
        return product

    def _central(self, w: Tensor, v: Tensor, step: float) -> Tensor:
        wide = self.objective.accumulation_dtype
        with widened(wide) if self._rounds else nullcontext():
            above, below = (self.objective.gradient(at=w + sign * step * v).to(wide) for sign in (1, -1))
        return ((above - below) / (2 * step)).to(self.dtype)
