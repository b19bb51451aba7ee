"""Power iteration (von Mises 1929) for the largest algebraic eigenvalue, stopping on the residual ||Av - lambda v||.

    v <- A v / ||A v||,   lambda = v^T A v

It finds the eigenvalue of largest modulus. Where that is negative, the iteration goes on with A - lambda I, whose
spectrum is non-negative. Kept because the papers used it: Lanczos needs fewer products for every spectrum.
"""

import torch
from torch import Tensor

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
    """The largest algebraic eigenvalue of A, to a residual of ``rel_error`` times its size. One product a step.

    Near-ties ({10, 9.9}) and near-opposites ({10, -9.8}) converge slowly. ``details`` holds the vector. That the value
    is the *largest* eigenvalue, and not another one, the residual cannot say: ``lanczos_largest`` can.

    Raises:
        ValueError: for ``rel_error`` or ``max_matvecs`` that is not positive.

    Example:
        >>> A = torch.diag(torch.tensor([1.0, 2.0, -5.0], dtype=torch.float64))
        >>> found = power_iteration(A, rel_error=1e-6, max_matvecs=200, generator=torch.Generator().manual_seed(0))
        >>> round(found.value, 4)
        2.0
    """
    require_positive(rel_error=rel_error, max_matvecs=max_matvecs)
    value, residual, v, used = _iterate(A, 0.0, rel_error, max_matvecs, generator)
    if value < 0 and used < max_matvecs:  # the low end of the spectrum: move it to zero and look for the other end
        value, residual, v, more = _iterate(A, value - residual, rel_error, max_matvecs - used, generator)
        used += more
    converged = residual <= rel_error * abs(value)
    within = "within" if converged else "above"
    reason = f"residual {residual:.1e} {within} {rel_error:g} of the value after {used} steps"
    return Estimate(value, residual, used, converged, reason, {"vector": v, "residual": residual})


def _iterate(
    A: Operator, shift: float, rel_error: float, budget: int, generator: torch.Generator
) -> tuple[float, float, Tensor, int]:
    """Value and residual of A, the vector and the products used, iterating with A - shift I."""
    v = random_unit_vector(A, generator)
    value, residual = float("nan"), float("inf")
    rounding = rounding_of(A)
    for step in range(1, budget + 1):
        product = A @ v
        value = dot(v, product)
        rest = product - value * v
        residual = norm_of(rest) + rounding * norm_of(product)
        shifted = product - shift * v
        norm = norm_of(shifted)
        if residual <= rel_error * abs(value) or norm == 0:
            return value, residual, v, step
        v = shifted / norm
    return value, residual, v, budget
