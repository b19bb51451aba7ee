"""The outermost eigenvalue, bounded from outside, from the first steps of a Lanczos run.

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
from scipy.special import betainc, betaincinv

from landscape.linalg.estimate import Estimate, power_of_two, require_positive

if TYPE_CHECKING:
    from landscape.linalg.lanczos import Lanczos

_MISSED = 0.05  # probability, over the start vector, that an eigenvalue lies beyond the bounds
_ENOUGH = 1e100  # of sum_j p_j^2: its chance is nil, and soon it would overflow


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

    def rules_out(self, value: float, *, missed: float = _MISSED, part: float = 1.0) -> bool:
        """Whether ``value``, which is no Ritz value, is no eigenvalue, but for a probability over the start vector."""
        return bool(self.ruled_out(np.array([value]), missed=missed, part=part)[0])

    def ruled_out(self, values: np.ndarray, *, missed: float = _MISSED, part: float = 1.0) -> np.ndarray:
        """Which of ``values`` (n,) are no eigenvalues, but for a probability ``missed`` each over the start vector.

        That is drawn from the whole space, or from a space that holds this ``part`` of the eigenvector's square.
        """
        if len(self.alphas) == self.dimension or not any(self.alphas + self.betas):  # A is known; or it is zero
            return np.ones(len(values), dtype=bool)
        before, now, total = np.zeros(len(values)), np.ones(len(values)), np.ones(len(values))
        chance = np.ones(len(values))  # that the starts hold as little of an eigenvector as they would
        for alpha, beta_before, beta in zip(self.alphas, (0.0, *self.betas), self.betas, strict=False):
            rest = (values - alpha) * now - beta_before * before
            before, now = now, rest / (beta or self.rounding)  # that a space closed is known to rounding only
            total += now * now
            now[total > _ENOUGH] = before[total > _ENOUGH] = 0.0
            if not beta:  # from here on, another start
                chance *= _chance(part * total, self.dimension)
                before, now, total = np.zeros(len(values)), np.ones(len(values)), np.ones(len(values))
        return chance * _chance(part * total, self.dimension) <= missed

    def beyond(self, edge: float, end: int, *, missed: float = _MISSED) -> float:
        """How far above (end = 1) or below (-1) the outermost Ritz value ``edge`` the spectrum may reach, likewise."""
        low = high = self.rounding
        while high and not self.rules_out(edge + end * high, missed=missed):
            low, high = high, 4 * high
        while high > 1.1 * low:  # a tenth of the distance is accurate enough for an error bar
            middle = low * (high / low) ** 0.5
            low, high = (low, middle) if self.rules_out(edge + end * middle, missed=missed) else (middle, high)
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


def _chance(least: np.ndarray, dimension: int) -> np.ndarray:
    """Probability that a random unit vector has a square component of at most 1 / ``least`` in a given direction."""
    return betainc(0.5, (dimension - 1) / 2, np.minimum(1.0, 1.0 / least))


def least_weight(dimension: int) -> float:
    """What the square of a random unit vector's component in a given direction is not below, at 95 %."""
    return float(betaincinv(0.5, (dimension - 1) / 2, _MISSED)) if dimension > 1 else 1.0
