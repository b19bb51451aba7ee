"""How much the loss rises away from the weights: what every sharpness is made of.

    f(u) = L(w + s u) - L(w),    s = 1, or |w| entry by entry where adaptive

The adaptive form is that of ASAM (Kwon et al. 2021, arXiv:2102.11600) without its constant: rescaling the layers of a
ReLU network, its function unchanged, leaves f over a ball unchanged too.
"""

from contextlib import AbstractContextManager, nullcontext
from functools import cached_property

import torch
from torch import Tensor

from landscape.objective import Objective
from landscape.widened import widened


class Rise:
    """f as a function of the step u, a vector (d,), at the weights as they are.

    Attributes:
        origin: the step of length zero, (d,).

    Example:
        >>> model = torch.nn.Linear(1, 1, bias=False)
        >>> _ = torch.nn.init.constant_(model.weight, 3.0)
        >>> rise = Rise(Objective(model, torch.nn.MSELoss(), [(torch.ones(1, 1), torch.zeros(1, 1))]))
        >>> rise(torch.ones(1)), rise.with_slope(torch.ones(1))  # 4^2 - 3^2, and its derivative 2 * 4
        (7.0, (7.0, tensor([8.])))
    """

    def __init__(self, objective: Objective, *, adaptive: bool = False) -> None:
        self.objective, self.adaptive = objective, adaptive
        self._w = objective.vector()
        self._scale = self._w.abs() if adaptive else torch.ones_like(self._w)
        self._base = objective.value()
        self.origin = torch.zeros_like(self._w)

    def __call__(self, u: Tensor) -> float:
        """f(u). One forward pass."""
        return self.objective.value(at=self._point(u)) - self._base

    def with_slope(self, u: Tensor) -> tuple[float, Tensor]:
        """f(u) and its gradient with respect to u, together for the price of a gradient."""
        objective = self.objective
        leaves = objective.leaves(self._point(u))
        total, gradient = 0.0, torch.zeros_like(self.origin, dtype=objective.accumulation_dtype)
        parts = objective.over_batches(leaves, lambda terms: _differentiated(objective.summed(terms), leaves))
        for value, grads in parts:
            total += value
            gradient += objective.layout.flatten(grads)
        objective.num_gradients += 1
        slope = self._scale * (gradient / objective.total_weight).to(self.origin.dtype)
        return total / objective.total_weight - self._base, slope

    def rounding_error(self, u: Tensor) -> float:
        """By how much rounding moved f(u), with its sign: the difference to f in float64, whatever the model casts to.

        Where all is in float64 already, it is estimated from float32, scaled down by the ratio of their eps. Two
        forward passes, one of them in the other precision.

        Raises:
            ValueError: where the loss cannot be computed in the other precision.
        """
        reference, share = self._reference
        with self._unrounded():
            exact = reference(u)
        return share * (self(u) - exact)

    def _point(self, u: Tensor) -> Tensor:
        return self._w + self._scale * u.to(self._w)

    @cached_property
    def _reference(self) -> tuple["Rise", float]:
        wide = self._all_wide
        dtype = torch.float32 if wide else torch.float64
        try:
            with self._unrounded():
                reference = Rise(self.objective.over(self.objective.data, dtype=dtype), adaptive=self.adaptive)
        except RuntimeError as error:
            raise ValueError(
                f"The loss cannot be computed in {dtype} to find its rounding error ({str(error).splitlines()[0]}). "
                "Let the tensors in it take their dtype from the model's output."
            ) from error
        share = torch.finfo(torch.float64).eps / torch.finfo(torch.float32).eps if wide else 1.0
        return reference, share

    @cached_property
    def _all_wide(self) -> bool:
        """Whether everything is in float64, inside the model too."""
        if self.objective.dtype != torch.float64:
            return False
        batch = [next(self.objective.batches())[1]]
        losses = self.objective.over(batch).losses()
        with widened(torch.float64):
            return torch.equal(losses, self.objective.over(batch).losses())

    def _unrounded(self) -> AbstractContextManager[None]:
        return nullcontext() if self._all_wide else widened(torch.float64)


def _differentiated(summed: Tensor, leaves: list[Tensor]) -> tuple[float, list[Tensor]]:
    if not summed.requires_grad:  # a loss that depends on none of the parameters
        return summed.item(), [torch.zeros_like(leaf) for leaf in leaves]
    return summed.item(), list(torch.autograd.grad(summed, leaves, materialize_grads=True))
