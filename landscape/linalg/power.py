"""Power iteration (von Mises 1929) for the largest algebraic eigenvalue.

    v <- (A - s I) v / ||(A - s I) v||,   lambda = v^T A v

It finds the eigenvalue of largest modulus. Where that is negative, the iteration goes on with s at it, so that the
spectrum of A - s I is non-negative. Kept because the papers used it: Lanczos needs fewer products for every spectrum.

The residual r = ||Av - lambda v|| says that *some* eigenvalue is near. That none is larger, the random start says,
which hardly ever holds nothing, c, of an eigenvector. After m steps, n_i being what was divided by, its mu obeys

    |c| (mu - s)^(m-1) (mu - lambda) <= r n_1 .. n_(m-1)    and    |c| (mu - s)^m <= n_1 .. n_m

since no vector is shorter than its part along that eigenvector. The second is the bound of Kuczynski & Wozniakowski
(1992), good to log(d) / m; the first follows the residual.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import brentq
from torch import Tensor

from landscape.linalg.eigenvalues import least_weight
from landscape.linalg.estimate import (
    Estimate,
    Operator,
    dot,
    norm_of,
    random_unit_vector,
    require_positive,
    rounding_of,
)


def power_iteration(A: Operator, *, rel_error: float, max_matvecs: int, generator: torch.Generator) -> Estimate:
    """The largest algebraic eigenvalue of A, to ``rel_error`` of its size at 95 %. One product a step.

    ``error`` is the larger of the residual and of what the start vector leaves possible above the value; both must be
    within the accuracy asked for. For the latter, the residual must fall by a factor of sqrt(d) or so more than for
    itself: half as many steps again on trained networks. Near-ties ({10, 9.9}) and near-opposites ({10, -9.8}) converge
    slowly, exact opposites not at all. ``details`` holds the vector.

    Raises:
        ValueError: for ``rel_error`` or ``max_matvecs`` that is not positive.

    Example:
        >>> A = torch.diag(torch.tensor([1.0, 2.0, -5.0], dtype=torch.float64))
        >>> found = power_iteration(A, rel_error=1e-6, max_matvecs=200, generator=torch.Generator().manual_seed(0))
        >>> round(found.value, 4)
        2.0
    """
    require_positive(rel_error=rel_error, max_matvecs=max_matvecs)
    found, steps = _iterate(A, 0.0, rel_error, max_matvecs, generator)
    if found.value < 0 and steps < max_matvecs:  # the low end of the spectrum: move it to zero, look for the other end
        found, more = _iterate(A, found.value - found.residual, rel_error, max_matvecs - steps, generator)
        steps += more
    error = max(found.residual, found.beyond)
    converged = error <= rel_error * abs(found.value)
    reason = (
        f"{'within' if converged else 'not within'} {rel_error:g} of the value after {steps} steps: residual "
        f"{found.residual:.1e}, and with probability 95 % no eigenvalue above {found.value + found.beyond:.6g}"
    )
    details = {"vector": found.vector, "residual": found.residual}
    return Estimate(found.value, error, steps, converged, reason, details)


@dataclass(frozen=True)
class _Found:
    value: float
    residual: float
    beyond: float  # how far above the value an eigenvalue may be
    vector: Tensor


def _iterate(
    A: Operator, shift: float, rel_error: float, budget: int, generator: torch.Generator
) -> tuple[_Found, int]:
    """What iterating with A - shift I has found, and the steps: until it is within the accuracy, or negative to it."""
    v = random_unit_vector(A, generator)
    rounding = rounding_of(A)
    log_n = -math.log(least_weight(A.shape[0])) / 2
    for step in range(1, budget + 1):
        product = A @ v
        value = dot(v, product)
        rest = product - value * v
        residual = norm_of(rest) + rounding * norm_of(product)
        shifted = product - shift * v
        norm = norm_of(shifted)
        if norm == 0:  # A is a multiple of the identity, since v is random
            return _Found(value, residual, 0.0, v), step
        tolerance = rel_error * abs(value)
        if residual <= tolerance or step == budget:
            beyond = _beyond(value, residual, norm, log_n, step, shift)
            if beyond <= tolerance or step == budget or (value < 0 and shift == 0):
                break
        log_n += math.log(norm)
        v = shifted / norm
    return _Found(value, residual, beyond, v), step


def _beyond(value: float, residual: float, norm: float, log_n: float, m: int, shift: float) -> float:
    """How far above the value an eigenvalue may be after m steps, ``log_n`` being that of n_1 .. n_(m-1) / |c|."""
    if residual == 0:
        return 0.0
    by_norms = math.exp((log_n + math.log(norm)) / m) + shift - value
    if value <= shift:
        return by_norms
    log_base = math.log(value - shift)
    log_bound = math.log(residual) + log_n - (m - 1) * log_base  # of mu - value, were mu - shift no larger than that

    def excess(log_distance: float) -> float:
        return log_distance - log_bound + (m - 1) * (np.logaddexp(log_base, log_distance) - log_base)

    log_least = log_bound - (m - 1) * (np.logaddexp(log_base, log_bound) - log_base)
    if excess(log_least) >= 0:  # to rounding, both are where it is zero: the residual is far below the value
        return min(by_norms, math.exp(log_bound))
    return min(by_norms, math.exp(brentq(excess, log_least, log_bound)))
