"""The entries of z * A z, z random signs: their means are the diagonal of A, their spread is the variance of its trace.

    y = z * A z,    E[y_i] = A_ii,    Var(y_i) = sum_{k != i} A_ik^2
    z^T A z = sum_i y_i,    Var(z^T A z) = 2 sum_{i != k} A_ik^2 = 2 sum_i Var(y_i),    A symmetric (Hutchinson 1989)

The spread of n numbers z^T A z estimates the same variance from n numbers instead of n d. That is a quarter off for
n = 30; and who looks at it until an interval is narrow enough stops at the looks where it came out too small. The
spread of the entries is hardly random where many eigenvalues share the trace, so that there is no luck to wait for; and
where one eigenvalue has it all, it grows with the mean, as the error does.
"""

import math

import torch
from torch import Tensor

from landscape.linalg.estimate import Operator, power_of_two, wide_dtype

_ROWS = 1 << 16  # widened at a time


class Entries:
    """Running mean and sum of squares about it of each entry, (d,) in float64, over ``count`` probes.

    Example:
        >>> entries = Entries(torch.eye(2))
        >>> entries.add(torch.tensor([[1.0, 1.0], [1.0, -1.0]]), torch.tensor([[3.0, 1.0], [3.0, -1.0]]))
        >>> entries.mean.tolist(), entries.trace_deviation  # A = [[2, 1], [1, 2]]
        ([2.0, 2.0], 2.8284271247461903)
    """

    def __init__(self, A: Operator | Tensor) -> None:
        self.count, self.unit = 0, 0.0  # about the first products: squares in it are no larger than float64 holds
        self._mean = torch.zeros(A.shape[0], dtype=wide_dtype(A), device=A.device)
        self._spread = torch.zeros_like(self._mean)

    def add(self, probes: Tensor, products: Tensor) -> None:
        """Take in more probes z and products A z, (d, k) (Chan, Golub & LeVeque 1983)."""
        more = probes.shape[1]
        if not more:
            return
        total, self.unit = self.count + more, self.unit or power_of_two(products)
        parts = (X.split(_ROWS) for X in (self._mean, self._spread, probes, products))
        for mean, spread, z, product in zip(*parts, strict=True):
            y = (z * product).to(mean.dtype) / self.unit
            here = y.mean(1)
            step = here - mean
            spread += (y - here[:, None]).square_().sum(1) + step.square() * (self.count * more / total)
            mean += step * (more / total)
        self.count = total

    @property
    def mean(self) -> Tensor:
        """Of each entry, (d,)."""
        return self._mean * self.unit

    @property
    def deviations(self) -> Tensor:
        """The standard deviation of each entry, (d,)."""
        return (self._spread / (self.count - 1)).sqrt() * self.unit

    @property
    def trace_deviation(self) -> float:
        """That of z^T A z, its square unbiased; at least it where A is not symmetric."""
        return math.sqrt(2 * (self._spread / (self.count - 1)).sum().item()) * self.unit
