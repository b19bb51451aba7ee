"""Symmetric matrices with prescribed eigenvalues, dense or diagonal, and an operator that counts its products."""

from collections.abc import Sequence

import torch
from torch import Tensor


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def symmetric(eigenvalues: Sequence[float] | Tensor, *, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """A dense matrix with these eigenvalues, in a basis turned by three random reflections (O(n^2), not O(n^3))."""
    A = torch.as_tensor(eigenvalues, dtype=torch.float64).diag()
    for _ in range(3):
        u = torch.randn(len(A), dtype=torch.float64, generator=seeded(seed))
        u /= u.norm()
        A = A - 2 * torch.outer(u, u @ A)
        A = A - 2 * torch.outer(A @ u, u)
        seed += 1000
    return ((A + A.T) / 2).to(dtype)


def entries_error(B: Tensor, Z: Tensor) -> float:
    """The standard error of the mean of z^T B z over sign columns z, from the spread of the entries of z * B z."""
    return (2 * (Z * (B @ Z)).var(1).sum().item() / Z.shape[1]) ** 0.5


class Counting:
    """An operator that is nothing but a product, a shape, a dtype and a device."""

    def __init__(self, A: Tensor) -> None:
        self.A, self.shape, self.dtype, self.device, self.columns = A, A.shape, A.dtype, A.device, 0

    def __matmul__(self, v: Tensor) -> Tensor:
        assert v.dtype == self.dtype
        assert v.shape[0] == self.shape[0]
        self.columns += 1 if v.ndim == 1 else v.shape[1]
        return self.A @ v


class Diagonal:
    """diag(entries), without forming it."""

    def __init__(self, entries: Tensor) -> None:
        self.entries = entries
        self.shape, self.dtype, self.device = (len(entries),) * 2, entries.dtype, entries.device

    def __matmul__(self, v: Tensor) -> Tensor:
        return self.entries * v if v.ndim == 1 else self.entries[:, None] * v
