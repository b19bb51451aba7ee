"""What every algorithm here returns: a number, how far it can be trusted, and what it cost."""

import math
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

ROUNDING = 32  # a product is taken to be accurate to this many eps of its dtype, relative to the norm of the operator
_SQUARES = 1e-250, 1e250  # between which nothing in a sum of squares that matters is lost
_BLOCK = 1 << 20  # entries widened at a time: two whole vectors in float64 would be memory, and time to obtain it


class Operator(Protocol):
    """A symmetric d x d matrix known by its products. A dense tensor qualifies."""

    @property
    def shape(self) -> Any:
        """(d, d)."""

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the vectors."""

    @property
    def device(self) -> torch.device:
        """Device of the vectors."""

    def __matmul__(self, v: Tensor, /) -> Tensor:
        """The product with a vector (d,) or with the columns of (d, k)."""


@dataclass(frozen=True)
class Estimate:
    """A number found by products with an operator.

    ``error`` is the standard error of a random estimate, or the bound on the error of an eigenvalue; ``num_samples``
    the independent samples that a standard error comes from, of which Student's t makes the interval.
    """

    value: float
    error: float
    num_matvecs: int
    converged: bool
    reason: str
    details: dict[str, Any] = field(default_factory=dict)
    num_samples: int = 0


def rounding_of(A: Operator) -> float:
    """What products are taken to be off by, relative to the norm of A: 32 eps, or more where the operator says so."""
    return max(ROUNDING * torch.finfo(A.dtype).eps, getattr(A, "rounding", 0.0))


def random_unit_vector(A: Operator, generator: torch.Generator) -> Tensor:
    """A direction drawn uniformly, (d,), the same on every device for the same generator state."""
    v = torch.randn(A.shape[0], generator=generator, device=generator.device, dtype=torch.float64)
    return (v / v.norm()).to(A.device, A.dtype)


def wide_dtype(X: Tensor | Operator) -> torch.dtype:
    """The widest dtype on its device: float64, but on mps."""
    return torch.float32 if X.device.type == "mps" else torch.float64


def dot(x: Tensor, y: Tensor) -> float:
    """The inner product accumulated in float64: in float32, millions of entries lose four digits."""
    wide = wide_dtype(x)
    if len(x) <= _BLOCK:
        return torch.dot(x.to(wide), y.to(wide)).item()
    parts = [torch.dot(a.to(wide), b.to(wide)) for a, b in zip(x.split(_BLOCK), y.split(_BLOCK), strict=True)]
    return torch.stack(parts).sum().item()


def norm_of(x: Tensor) -> float:
    """The length of x (d,), also where its square is beyond the range of float64.

    Example:
        >>> x = torch.tensor([3.0, 4.0], dtype=torch.float64)
        >>> norm_of(x), norm_of(2.0**700 * x) / 2.0**700, norm_of(0 * x)
        (5.0, 5.0, 0.0)
    """
    square = dot(x, x)
    if _SQUARES[0] < square < _SQUARES[1]:
        return square**0.5
    unit = power_of_two(x)
    return dot(x / unit, x / unit) ** 0.5 * unit


def deviation(samples: Tensor) -> float:
    """The standard deviation of samples (n,), of whatever size they are; NaN of a single one."""
    unit = power_of_two(samples)
    return (samples / unit).std().item() * unit


def power_of_two(x: Tensor) -> float:
    """One near the largest |entry|, by which dividing and multiplying is exact; 1 for zeros and what is not finite."""
    largest = x.abs().max().item() if x.numel() else 0.0
    return 2.0 ** (math.frexp(largest)[1] - 1) if 0 < largest < math.inf else 1.0


def require_positive(**arguments: float) -> None:
    """Raise ValueError for the first argument that is not positive."""
    for name, value in arguments.items():
        if not value > 0:
            raise ValueError(f"{name}={value:g}. Expected a positive number.")
