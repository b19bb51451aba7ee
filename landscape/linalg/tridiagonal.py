"""What m steps of a Lanczos run say about the spectrum: Ritz values, residual bounds, and what cannot be missing.

Some eigenvalue lies within the residual beta |s_m| of each Ritz value. A small residual does not say that the
eigenvalue found is the *largest*: one above it, of which the random start vector holds little, may not have shown yet
(on an untrained network a residual of 1 % was seen with an error of 4 %). What bounds the spectrum from outside is the
start vector: with p_j the Lanczos polynomials, an eigenvector of eigenvalue lambda has squared weight at most
1 / sum_j p_j(lambda)^2 in it, and a random one hardly ever has so little (van Dorsselaer, Hochstenbach & van der Vorst
2000).
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh_tridiagonal
from scipy.special import betaincinv

_MISSED = 0.05  # probability, over the start vector, that an eigenvalue lies beyond the bounds


@dataclass(frozen=True)
class Tridiagonal:
    """T of the first m steps, with the dimension d of the whole space and the error that rounding leaves.

    Attributes:
        alphas: the diagonal, m entries.
        betas: what couples each step to the next, m entries; the last one is the residual. Zero where a space closed.
        dimension: d.
        rounding: absolute error of an eigenvalue by rounding.
    """

    alphas: tuple[float, ...]
    betas: tuple[float, ...]
    dimension: int
    rounding: float

    @property
    def closed(self) -> bool:
        """Whether a Krylov space closed: the first one then has a part of every eigenspace in it."""
        return 0.0 in self.betas

    def ritz(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Ritz values (m,), descending, their residual bounds (m,) with rounding, and the eigenvectors of T (m, m)."""
        values, vectors = eigh_tridiagonal(np.array(self.alphas), np.array(self.betas[:-1]))
        values, vectors = values[::-1], vectors[:, ::-1]
        return values, self.betas[-1] * np.abs(vectors[-1]) + self.rounding, vectors

    def rules_out(self, value: float) -> bool:
        """Whether ``value``, which is no Ritz value, is no eigenvalue, with probability 95 % over the start vector."""
        return bool(self.ruled_out(np.array([value]))[0])

    def ruled_out(self, values: np.ndarray, *, missed: float = _MISSED) -> np.ndarray:
        """Which of ``values`` (n,) are no eigenvalues, but for a probability ``missed`` each over the start vector."""
        out = np.full(len(values), self.closed)
        if self.closed:
            return out
        least_weight = betaincinv(0.5, (self.dimension - 1) / 2, missed)  # of one entry of a random unit vector
        before, now, total = np.zeros(len(values)), np.ones(len(values)), np.ones(len(values))
        for alpha, beta_before, beta in zip(self.alphas, (0.0, *self.betas), self.betas, strict=False):
            before, now = now, ((values - alpha) * now - beta_before * before) / beta
            total += now * now
            out |= total * least_weight > 1
            before[out] = now[out] = 0.0  # settled: what follows could only overflow
            if out.all():
                break
        return out

    def beyond(self, edge: float, end: int) -> float:
        """How far above (end = 1) or below (-1) the outermost Ritz value ``edge`` the spectrum may reach, at 95 %."""
        high = self.rounding
        if high == 0 or self.rules_out(edge + end * high):
            return high
        low = high
        while not self.rules_out(edge + end * high):
            low, high = high, 4 * high
        while high > 1.1 * low:  # a tenth of the distance is accurate enough for an error bar
            middle = (low * high) ** 0.5
            low, high = (low, middle) if self.rules_out(edge + end * middle) else (middle, high)
        return high
