"""Eigenvalues from the first steps of a Lanczos run: the outermost one, bounded from outside, and the k largest.

Some eigenvalue lies within the residual beta |s_m| of each Ritz value. A small residual does not say that it is the
*largest*: one above it, of which the random start vector holds little, may not have shown yet. What bounds the spectrum
from outside is the start vector: with p_j the Lanczos polynomials, an eigenvector of eigenvalue lambda has squared
weight at most 1 / sum_j p_j(lambda)^2 in it, and a random one hardly ever has so little (van Dorsselaer, Hochstenbach &
van der Vorst 2000).

Of a run that may be longer already, the least number m of steps that will do is looked at, so that what is found does
not depend on who used the run before.
"""

from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.linalg import eigh_tridiagonal
from scipy.special import betaincinv

from landscape.linalg.estimate import Estimate, power_of_two, require_positive

if TYPE_CHECKING:
    from landscape.linalg.lanczos import Lanczos

_MISSED = 0.05  # probability, over the start vector, that an eigenvalue lies beyond the bounds
_MISSED_BETWEEN = 0.01  # the same, in a gap between the k largest
_STEPS_A_LOOK = 4  # between looks at the k largest, each of which costs an eigendecomposition of T
_SETTLED = 0.1  # of the accuracy: a value that still moves by more makes room for an eigenvalue that was missing


@dataclass(frozen=True)
class Tridiagonal:
    """T of the first m steps.

    Attributes:
        alphas: the diagonal, m entries.
        betas: what couples each step to the next, m entries; the last one is the residual. Zero where a space closed.
        dimension: d, of the whole space.
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

    def matrix(self) -> torch.Tensor:
        """T itself, (m, m) in float64, of one step at least."""
        alphas, betas = (torch.tensor(entries, dtype=torch.float64) for entries in (self.alphas, self.betas[:-1]))
        return alphas.diag() + betas.diag(1) + betas.diag(-1)

    def ritz(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Ritz values (m,), descending, their residual bounds (m,) with rounding, and the eigenvectors of T (m, m)."""
        unit = power_of_two(torch.tensor(self.alphas + self.betas, dtype=torch.float64))
        values, vectors = eigh_tridiagonal(np.array(self.alphas) / unit, np.array(self.betas[:-1]) / unit)
        values, vectors = values[::-1] * unit, vectors[:, ::-1]
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
            middle = low * (high / low) ** 0.5
            low, high = (low, middle) if self.rules_out(edge + end * middle) else (middle, high)
        return high


def lanczos_extreme(run: "Lanczos", *, rel_error: float, max_matvecs: int, end: int = 1) -> Estimate:
    """The largest (end = 1) or least (end = -1) algebraic eigenvalue, to ``rel_error`` of its size at 95 %.

    The value is a Rayleigh quotient, so never beyond the eigenvalue but for rounding. ``error`` is the larger of the
    residual ||Ay - value y|| and of what the start vector leaves possible beyond; both must be within the accuracy
    asked for. Cost: 6 to 10 products for 1 % on trained networks.

    Raises:
        ValueError: for ``rel_error`` or ``max_matvecs`` that is not positive.

    Example:
        >>> import torch
        >>> from landscape.linalg import Lanczos
        >>> A = torch.diag(torch.tensor([10.0, 9.9, -9.8], dtype=torch.float64))
        >>> run = Lanczos(A, generator=torch.Generator().manual_seed(0))
        >>> found = lanczos_extreme(run, rel_error=1e-6, max_matvecs=50)
        >>> round(found.value, 6), found.converged
        (10.0, True)
    """
    require_positive(rel_error=rel_error, max_matvecs=max_matvecs)
    last = min(max_matvecs, run.A.shape[0])
    run.announce(min(last, 10))
    for m in count(1):
        T = run.first(m)
        values, residuals, _ = T.ritz()
        index = 0 if end > 0 else -1
        value, residual = float(values[index]), float(residuals[index])
        tolerance = rel_error * abs(value)
        converged = residual <= tolerance and T.rules_out(value + end * tolerance)
        finest = tolerance < T.rounding and residual <= 2 * T.rounding  # more steps would find rounding only
        if converged or finest or m == last:
            break
    beyond = T.beyond(value, end)
    if converged:
        beyond = min(beyond, tolerance)
    reason = (
        f"{'within' if converged else 'not within'} {rel_error:g} of the value after {m} products: "
        f"residual {residual:.1e}, and with probability 95 % no eigenvalue beyond {value + end * beyond:.6g}"
        f"{'; the rest is rounding, try dtype=torch.float64' if finest and not converged else ''}"
    )
    return Estimate(value, max(residual, beyond), m, converged, reason, {"residual": residual})


def lanczos_top(run: "Lanczos", k: int, *, rel_error: float, max_matvecs: int) -> Estimate:
    """The k largest algebraic eigenvalues, each to ``rel_error`` of its size by its residual bound.

    The bound is the residual r, or r^2 / g where the next Ritz values are a gap g away (Kato; Parlett, ch. 11). So that
    no eigenvalue between two of them is missing, all must have moved by no more than a tenth of the accuracy since the
    look before, and the start vector must rule out others, at 99 % each, but for a tenth of the gap beside each.

    ``value`` and ``error`` are those of the largest; ``details`` holds "eigenvalues" (k,) descending, "residuals" (k,),
    "bounds" (k,) and "vectors", the eigenvectors of T (m, k) for ``run.vectors``. Fewer than k where the dimension is
    smaller. Cost: about 100 products for 50 of them to 1 % on a trained network.

    Raises:
        ValueError: for k, ``rel_error`` or ``max_matvecs`` that is not positive.

    Example:
        >>> import torch
        >>> from landscape.linalg import Lanczos
        >>> A = torch.diag(torch.tensor([4.0, 3.0, 3.0, 1.0], dtype=torch.float64))
        >>> run = Lanczos(A, generator=torch.Generator().manual_seed(0))
        >>> lanczos_top(run, 3, rel_error=1e-6, max_matvecs=50).details["eigenvalues"].round(6)
        array([4., 3., 3.])
    """
    require_positive(k=k, rel_error=rel_error, max_matvecs=max_matvecs)
    k = min(k, run.A.shape[0])
    last = min(max_matvecs, run.A.shape[0])
    m = min(last, k + _STEPS_A_LOOK)
    run.announce(min(last, 2 * k + 10))
    before = np.full(k, np.inf)
    while True:
        T = run.first(m)
        values, residuals, vectors = T.ritz()
        bounds = _bounds(values, residuals, T.rounding)[:k]
        tolerance = np.maximum(rel_error * np.abs(values[:k]), T.rounding)
        reached = bounds <= tolerance
        if len(values) >= k and m < run.A.shape[0]:
            reached &= np.abs(values[:k] - before) <= _SETTLED * tolerance
            before = values[:k]
        converged = len(values) >= k and bool(reached.all())
        if converged:
            gaps = values[: k - 1] - values[1:k]
            between = values[1:k, None] + np.linspace(0.1, 0.9, 9) * gaps[:, None]
            converged = bool(T.ruled_out(between.ravel(), missed=_MISSED_BETWEEN).all())
        if converged or m == last:
            break
        m = min(last, m + _STEPS_A_LOOK)
    reason = f"{int(reached.sum())} of {k} within {rel_error:g} of their values after {m} products"
    details = {
        "eigenvalues": values[:k].copy(),
        "residuals": residuals[:k].copy(),
        "bounds": bounds,
        "vectors": vectors[:, :k].copy(),
    }
    return Estimate(float(values[0]), float(bounds[0]), m, converged, reason, details)


def _bounds(values: np.ndarray, residuals: np.ndarray, rounding: float) -> np.ndarray:
    """How far an eigenvalue may be from each Ritz value: the residual, or its square over the gap to the neighbours."""
    padded, errors = np.concatenate([[np.inf], values, [-np.inf]]), np.concatenate([[0.0], residuals, [0.0]])
    above = padded[:-2] - errors[:-2] - values
    below = values - padded[2:] - errors[2:]
    gap = np.maximum(np.minimum(above, below), 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        quadratic = np.where(gap > 0, residuals * (residuals / gap), np.inf)
    return np.maximum(np.minimum(residuals, quadratic), rounding)
