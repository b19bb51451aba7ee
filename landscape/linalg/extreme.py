"""Extreme eigenvalues of a Lanczos run: the outermost one with a bound from outside, and the k largest.

Both look at the first m steps of a run that may be longer already, for the least m that will do, so that what they
return does not depend on who used the run before.
"""

from itertools import count

import numpy as np
import torch

from landscape.linalg.estimate import Estimate, Operator, require_positive
from landscape.linalg.lanczos import Lanczos

_STEPS_A_LOOK = 4  # between looks at the k largest, each of which costs an eigendecomposition of T
_MISSED = 0.01  # probability that the start vector held too little of an eigenvalue in a gap between them
_SETTLED = 0.1  # of the accuracy: a value that still moves by more makes room for an eigenvalue that was missing


def lanczos_extreme(run: Lanczos, *, rel_error: float, max_matvecs: int, end: int = 1) -> Estimate:
    """The largest (end = 1) or least (end = -1) algebraic eigenvalue, to ``rel_error`` of its size at 95 %.

    The value is a Rayleigh quotient, so never beyond the eigenvalue but for rounding. ``error`` is the larger of the
    residual ||Ay - value y|| and of what the start vector leaves possible beyond; both must be within the accuracy
    asked for. Cost: 6 to 10 products for 1 % on trained networks. The residual alone would stop one or two earlier, and
    then at 5 % up to 9 in 100 values are wrong by more (benchmarks, row k).

    Raises:
        ValueError: for ``rel_error`` or ``max_matvecs`` that is not positive.

    Example:
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


def lanczos_largest(A: Operator, *, rel_error: float, max_matvecs: int, generator: torch.Generator) -> Estimate:
    """``lanczos_extreme`` of a run of its own: the largest algebraic eigenvalue of A.

    Example:
        >>> A = torch.diag(torch.tensor([1.0, 2.0, -5.0], dtype=torch.float64))
        >>> found = lanczos_largest(A, rel_error=1e-6, max_matvecs=50, generator=torch.Generator().manual_seed(0))
        >>> round(found.value, 6)
        2.0
    """
    return lanczos_extreme(Lanczos(A, generator=generator), rel_error=rel_error, max_matvecs=max_matvecs)


def lanczos_top(run: Lanczos, k: int, *, rel_error: float, max_matvecs: int) -> Estimate:
    """The k largest algebraic eigenvalues, each to ``rel_error`` of its size by its residual bound.

    An eigenvalue lies within the residual r of each value; where the next Ritz values are a gap g away, within r^2 / g,
    and the smaller of the two is the bound (Kato; Parlett, ch. 11). That an eigenvalue between two of them is still
    missing, no residual can say: all must have moved by no more than a tenth of the accuracy since the look before,
    and the start vector must rule out eigenvalues between them, at 99 % each, but for a tenth of the gap beside each.

    ``value`` and ``error`` are those of the largest; ``details`` holds "eigenvalues" (k,) descending, "residuals" (k,),
    "bounds" (k,) and "vectors", the eigenvectors of T (m, k) for ``run.vectors``. Fewer than k where the dimension is
    smaller. Cost: about 100 products for 50 of them to 1 % on a trained network.

    Raises:
        ValueError: for k, ``rel_error`` or ``max_matvecs`` that is not positive.

    Example:
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
        converged = converged and bool(T.ruled_out(_between(values[:k]), missed=_MISSED).all())
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


def _between(values: np.ndarray) -> np.ndarray:
    """Points in the gaps between adjacent values, from a tenth to nine tenths of each."""
    fractions = np.linspace(0.1, 0.9, 9)
    return (values[1:, None] + fractions * (values[:-1] - values[1:])[:, None]).ravel()


def _bounds(values: np.ndarray, residuals: np.ndarray, rounding: float) -> np.ndarray:
    """How far an eigenvalue may be from each Ritz value: the residual, or its square over the gap to the neighbours."""
    padded, errors = np.concatenate([[np.inf], values, [-np.inf]]), np.concatenate([[0.0], residuals, [0.0]])
    above = padded[:-2] - errors[:-2] - values
    below = values - padded[2:] - errors[2:]
    gap = np.maximum(np.minimum(above, below), 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        quadratic = np.where(gap > 0, residuals**2 / gap, np.inf)
    return np.maximum(np.minimum(residuals, quadratic), rounding)
