"""Traces by deflation: exact on a subspace, random probes on the rest, more of both until the interval is narrow.

    tr(A) = tr(H) + E[x^T A x],    H = Q^T A Q,  Q^T Q = I,  x = (I - Q Q^T) z,  z random with E[z z^T] = I

For symmetric A the products A z give x^T A x for *every* basis Q, so that a growing one takes small matrices only,

    x^T A x = z^T A z - 2 u^T r + u^T H u,    u = Q^T z,  r = Q^T A z.

Where the next look would take d products, the whole diagonal is taken. The estimators differ in how Q grows.
"""

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from landscape.linalg.diagonal import exact_diagonal
from landscape.linalg.entries import Entries
from landscape.linalg.estimate import Estimate, Operator, power_of_two, require_positive, rounding_of
from landscape.linalg.hutchinson import BLOCK, block_product, draw_probes
from landscape.linalg.orthonormal import column_dots, gram
from landscape.statistics import half_width, interval_reason, looks

LEAST = 4  # products with which an estimator has two samples
_FIRST_LOOK = 24


class DeflatedSamples(ABC):
    """A basis Q, made from ``source``, and probes to sample the trace with; subclasses say how to spend products."""

    kind = "rademacher"  # of the probes

    def __init__(self, A: Operator, generator: torch.Generator, source: Any = None) -> None:
        self.A, self.generator, self.source, self.num_matvecs = A, generator, source, 0
        self.Q = torch.empty(A.shape[0], 0, dtype=A.dtype, device=A.device)
        self.H = torch.empty(0, 0, dtype=torch.float64)
        self.AQ, self.probes, self.products = self.Q, self.Q, self.Q
        self.quadratic = torch.empty(0, dtype=torch.float64)  # z^T A z

    @abstractmethod
    def spend(self, num_matvecs: int) -> None:
        """Make at most so many more products."""

    def samples(self) -> tuple[Tensor, float]:
        """Samples of the trace (n,), and the standard error of their mean."""
        U, R = gram(self.Q, self.probes), gram(self.Q, self.products)
        samples, entries = self.H.trace() + self.rest(U, R), Entries(self.A)
        columns = (X.split(BLOCK, dim=1) for X in (self.probes, self.products, U, R - self.H @ U))
        for z, product, u, within in zip(*columns, strict=True):
            entries.add(z, self.outside(product, u, within))
        return samples, entries.trace_deviation / math.sqrt(len(samples))

    def outside(self, products: Tensor, U: Tensor, within: Tensor) -> Tensor:
        """(I - Q Q^T) A x (d, n), of A z, U = Q^T z (k, n) and Q^T A x (k, n)."""
        return products - self.AQ @ U.to(self.AQ) - self.Q @ within.to(self.Q)

    @property
    def scale(self) -> float:
        """||A||_F, roughly: the root mean square of ||A z||."""
        unit = power_of_two(self.products)
        return column_dots(self.products / unit, self.products / unit).mean().sqrt().item() * unit

    def rest(self, U: Tensor, R: Tensor) -> Tensor:
        """z^T A z less what the vectors Q U (k, n) have in it, (n,); R = Q^T A z (k, n)."""
        return self.quadratic - (U * (2 * R - self.H @ U)).sum(0)

    def add_probes(self, num_probes: int) -> None:
        """Draw probes; one product each."""
        probes = draw_probes(self.A, num_probes, self.generator, self.kind)
        products = self.multiply(probes)
        self.probes, self.products = torch.cat([self.probes, probes], 1), torch.cat([self.products, products], 1)
        self.quadratic = torch.cat([self.quadratic, column_dots(probes, products)])

    def add_columns(self, columns: Tensor) -> None:
        """Make Q larger by orthonormal columns orthogonal to it; one product each."""
        old = self.Q.shape[1]
        self.Q = torch.cat([self.Q, columns], 1)
        products = self.multiply(columns)
        self.AQ = torch.cat([self.AQ, products], 1)
        border = gram(self.Q, products)
        corner = (border[old:] + border[old:].T) / 2
        self.H = torch.cat([torch.cat([self.H, border[:old]], 1), torch.cat([border[:old].T, corner], 1)])

    def multiply(self, V: Tensor) -> Tensor:
        """A @ V, counted."""
        self.num_matvecs += V.shape[1]
        return block_product(self.A, V)


def estimate_trace(
    sampling: DeflatedSamples, *, rel_error: float, num_matvecs: int | None, max_matvecs: int, least: int = LEAST
) -> Estimate:
    """The trace to ``rel_error`` (half-width of the 95 % interval) within ``max_matvecs``, or with ``num_matvecs``.

    Raises:
        ValueError: for an accuracy that is not positive, or a budget that is neither ``least`` nor d.
    """
    A, budget = sampling.A, max_matvecs if num_matvecs is None else num_matvecs
    least = min(least, A.shape[0])
    require_positive(rel_error=rel_error)
    if budget < least:
        raise ValueError(f"{budget} products give no error bar. Expected at least {least}.")
    for look in looks(max(_FIRST_LOOK, least), budget, fixed=num_matvecs is not None):
        if look >= A.shape[0] <= budget - sampling.num_matvecs:
            return _exact(A, sampling.num_matvecs, rel_error)
        sampling.spend(look - sampling.num_matvecs)
        samples, error = sampling.samples()
        value = samples.mean().item()
        error = max(error, rounding_of(A) * sampling.scale)
        half = half_width(error, len(samples))
        if converged := half <= rel_error * abs(value):
            break
    reason = f"{interval_reason(value, half, rel_error)} after {sampling.num_matvecs} products"
    return Estimate(value, error, sampling.num_matvecs, converged, reason, {"samples": samples.numpy()})


def _exact(A: Operator, num_before: int, rel_error: float) -> Estimate:
    """The sum of the diagonal; its error is 0 but for rounding that the operator knows of."""
    diagonal, norm = exact_diagonal(A)
    value = diagonal.sum().item()
    converged = rounding_of(A) * norm <= rel_error * abs(value)
    reason = f"the whole diagonal, by {len(diagonal)} products"
    if not converged:
        reason += ", whose sum is no more than rounding"
    error = norm * getattr(A, "rounding", 0.0)
    return Estimate(value, error, num_before + len(diagonal), converged, reason, {"samples": np.array([value])})
