"""Lanczos iteration with full, two-pass reorthogonalization (Lanczos 1950; Paige 1972; Parlett, ch. 13).

    A Q = Q T + beta q e_m^T,    Q^T Q = I,  T tridiagonal (m, m)

Eigenvalues of T (Ritz values) approach those of A from the outside in, each with a computable bound: some eigenvalue
lies within ||A y - theta y|| = beta |s_m| of theta. Two passes keep Q orthogonal to 1e-6 in float32; with one pass or
none, copies of converged eigenvalues ("ghosts") appear. The basis takes m d numbers.

A small residual does not say that the eigenvalue found is the *largest*: one above it, of which the random start vector
holds little, may not have shown yet (on an untrained network a residual of 1 % was seen with an error of 4 %). What
bounds lambda_max from above is that start vector: with p_j the Lanczos polynomials, an eigenvector of eigenvalue lambda
has squared weight at most 1 / sum_j p_j(lambda)^2 in it, and a random one hardly ever has so little (van Dorsselaer,
Hochstenbach & van der Vorst 2000).
"""

import numpy as np
import torch
from scipy.linalg import eigh_tridiagonal
from scipy.special import betaincinv
from torch import Tensor

from landscape.linalg.estimate import ROUNDING, Estimate, Operator, dot, random_unit_vector, require_positive

_MISSED = 0.01  # probability, over the start vector, that the upper bound of the largest eigenvalue is wrong


class Lanczos:
    """One Krylov run that can be made longer at any time; everything asked of it later is free.

    When the space closes (beta = 0 to rounding) the run goes on from a new random vector orthogonal to it, so that
    multiple eigenvalues are found as often as they occur; at m = d it is complete.

    Args:
        A: symmetric operator or dense tensor.
        generator: draws the start vector (and new ones after a breakdown).

    Example:
        >>> run = Lanczos(torch.diag(torch.tensor([3.0, 2.0, 1.0])), generator=torch.Generator().manual_seed(0))
        >>> run.extend(3)
        >>> run.ritz()[0].round(5)
        array([3., 2., 1.])
    """

    def __init__(self, A: Operator, *, generator: torch.Generator) -> None:
        self.A, self.generator = A, generator
        self.alphas: list[float] = []
        self.betas: list[float] = []  # betas[i] couples steps i and i + 1; the last one is the residual
        self._rows = torch.empty(0, A.shape[0], dtype=A.dtype, device=A.device)
        self._next = random_unit_vector(A, generator)

    def __len__(self) -> int:
        """Number m of steps made, which is the number of products."""
        return len(self.alphas)

    @property
    def complete(self) -> bool:
        """Whether the basis spans the whole space, so that every Ritz value is an eigenvalue."""
        return len(self) == self.A.shape[0]

    @property
    def basis(self) -> Tensor:
        """Q, (d, m), orthonormal columns."""
        return self._rows[: len(self)].T

    @property
    def scale(self) -> float:
        """An estimate from below of ||A||: the largest row sum of T so far."""
        off = np.array([0.0, *self.betas])
        return float((np.abs(self.alphas) + off[:-1] + off[1:]).max(initial=0.0))

    @property
    def rounding(self) -> float:
        """The error that rounding leaves in an eigenvalue."""
        return ROUNDING * torch.finfo(self.A.dtype).eps * self.scale

    def extend(self, num_steps: int) -> None:
        """Make up to ``num_steps`` more steps, one product each; fewer when the basis becomes complete."""
        for _ in range(min(num_steps, self.A.shape[0] - len(self))):
            self._step()

    def ritz(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Ritz values (m,), descending, their residual bounds (m,) with rounding, and the eigenvectors of T (m, m)."""
        values, vectors = eigh_tridiagonal(np.array(self.alphas), np.array(self.betas[:-1]))
        values, vectors = values[::-1], vectors[:, ::-1]
        residuals = self.betas[-1] * np.abs(vectors[-1]) + self.rounding
        return values, residuals, vectors

    def rules_out(self, value: float) -> bool:
        """Whether no eigenvalue is as large as ``value``, which exceeds every Ritz value, with probability 99 %."""
        if self.complete or 0.0 in self.betas:
            return True  # the first Krylov space closed: a random start has a part of every eigenspace in it
        d = self.A.shape[0]
        least_weight = betaincinv(0.5, (d - 1) / 2, _MISSED)  # the squared entry of a random unit vector, 1 % quantile
        before, now, total = 0.0, 1.0, 1.0
        for alpha, beta_before, beta in zip(self.alphas, [0.0, *self.betas], self.betas, strict=False):
            before, now = now, ((value - alpha) * now - beta_before * before) / beta
            total += now * now
            if total * least_weight > 1:
                return True
        return False

    def upper_bound(self) -> float:
        """A value that exceeds the largest eigenvalue with probability 99 % over the start vector."""
        largest = float(self.ritz()[0][0])
        high = self.rounding
        if high == 0 or self.rules_out(largest + high):
            return largest + high
        low = high
        while not self.rules_out(largest + high):
            low, high = high, 4 * high
        while high > 1.1 * low:  # a tenth of the distance is accurate enough for an error bar
            middle = (low * high) ** 0.5
            low, high = (low, middle) if self.rules_out(largest + middle) else (middle, high)
        return largest + high

    def _step(self) -> None:
        self._append(self._next)
        rows = self._rows[: len(self) + 1]
        q = rows[-1]
        w = self.A @ q
        alpha = dot(q, w)
        w, along_q = _without(rows, w - alpha * q)
        beta = dot(w, w) ** 0.5
        self.alphas.append(alpha + along_q)
        self.betas.append(beta)
        if self.complete:
            self.betas[-1] = 0.0
        elif beta > self.rounding:
            self._next = w / beta
        else:
            self.betas[-1] = 0.0  # the space is invariant: go on in its complement
            w, _ = _without(rows, random_unit_vector(self.A, self.generator))
            self._next = w / dot(w, w) ** 0.5

    def _append(self, row: Tensor) -> None:
        if len(self) == len(self._rows):
            grown = self._rows.new_empty(max(8, 2 * len(self)), self.A.shape[0])
            grown[: len(self)] = self._rows
            self._rows = grown
        self._rows[len(self)] = row


def lanczos_largest(A: Operator, *, rel_error: float, max_matvecs: int, generator: torch.Generator) -> Estimate:
    """The largest algebraic eigenvalue of A, to within ``rel_error`` of its size with probability 99 %.

    The value is a Rayleigh quotient, so never above the eigenvalue but for rounding. ``error`` is the larger of the
    residual ||Ay - value y|| and the distance to the upper bound; both must be within the accuracy asked for.
    ``details`` holds the run and the residual. Cost: 6 to 10 products for 1 % on trained networks.

    Raises:
        ValueError: for ``rel_error`` or ``max_matvecs`` that is not positive.

    Example:
        >>> A = torch.diag(torch.tensor([10.0, 9.9, -9.8], dtype=torch.float64))
        >>> found = lanczos_largest(A, rel_error=1e-6, max_matvecs=50, generator=torch.Generator().manual_seed(0))
        >>> round(found.value, 6), found.converged
        (10.0, True)
    """
    require_positive(rel_error=rel_error, max_matvecs=max_matvecs)
    run = Lanczos(A, generator=generator)
    value, residual, tolerance, converged = 0.0, np.inf, 0.0, False
    while len(run) < max_matvecs and not run.complete and not converged:
        run.extend(1)
        values, residuals, _ = run.ritz()
        value, residual, tolerance = float(values[0]), float(residuals[0]), rel_error * abs(float(values[0]))
        converged = residual <= tolerance and run.rules_out(value + tolerance)
    above = min(run.upper_bound() - value, tolerance) if converged else run.upper_bound() - value
    reason = (
        f"{'within' if converged else 'not within'} {rel_error:g} of the value after {len(run)} products: "
        f"residual {residual:.1e}, and with probability 99 % no eigenvalue beyond {value + above:.6g}"
    )
    return Estimate(value, max(residual, above), len(run), converged, reason, {"run": run, "residual": residual})


def _without(rows: Tensor, w: Tensor) -> tuple[Tensor, float]:
    """``w`` less its components along the rows, in two passes, and how much of that was along the last row."""
    along_last = 0.0
    for _ in range(2):
        components = rows @ w
        w = w - components @ rows
        along_last += components[-1].item()
    return w, along_last
