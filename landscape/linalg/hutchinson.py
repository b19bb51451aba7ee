"""Hutchinson's trace estimator with an honest stop (Hutchinson 1989).

    tr(A) = E[z^T A z] ~ (1/n) sum_j z_j^T A z_j,    z_j with independent entries +-1 (Rademacher)

The variance of one sample is 2 (||A||_F^2 - sum_i A_ii^2): diagonal matrices are exact, and error shrinks as 1/sqrt(n).
It stops when the 95 % confidence interval is within the accuracy asked for, not when the running mean stops moving.
"""

import math

import torch
from scipy.special import stdtrit
from torch import Tensor

from landscape.linalg.estimate import Estimate, Operator, require_positive

_FIRST_LOOK = 16  # with fewer samples the estimated variance is too often far too small
_NEXT_LOOK = 1.25  # looking after every sample would stop at the luckiest moment; this keeps the looks few


def hutchinson_trace(
    A: Operator,
    *,
    generator: torch.Generator,
    rel_error: float = 0.05,
    num_probes: int | None = None,
    max_probes: int = 1000,
) -> Estimate:
    """The trace of A, with standard error, by Rademacher probes; unbiased. One product a probe.

    Stops when the half-width of the 95 % interval (Student's t) is at most ``rel_error`` times the mean, or after
    ``max_probes``. ``num_probes`` fixes the number instead; ``converged`` then says whether it was enough.
    The probes depend on the generator alone. ``details["samples"]`` holds z_j^T A z_j.

    Raises:
        ValueError: for fewer than 2 probes or a negative accuracy.

    Example:
        >>> found = hutchinson_trace(torch.diag(torch.tensor([1.0, 2.0])), generator=torch.Generator().manual_seed(0))
        >>> found.value, found.error, found.converged
        (3.0, 0.0, True)
    """
    budget = max_probes if num_probes is None else num_probes
    if budget < 2:
        raise ValueError(f"{budget} probes give no error bar. Expected at least 2.")
    require_positive(rel_error=rel_error)
    samples = torch.empty(0, dtype=torch.float64)
    look = budget if num_probes is not None else min(_FIRST_LOOK, budget)
    while True:
        samples = torch.cat([samples, *_samples(A, look - len(samples), generator)])
        mean, error = samples.mean().item(), samples.std().item() / math.sqrt(len(samples))
        half_width = half_width_95(error, len(samples))
        converged = half_width <= rel_error * abs(mean)
        if len(samples) == budget or (converged and num_probes is None):
            break
        look = min(budget, math.ceil(len(samples) * _NEXT_LOOK))
    relative = (
        f"95 % interval +-{half_width / abs(mean):.2g} of the value" if mean else f"95 % interval +-{half_width:.2g}"
    )
    reason = f"{relative} {'within' if converged else 'above'} {rel_error:g} after {len(samples)} probes"
    return Estimate(mean, error, len(samples), converged, reason, {"samples": samples.numpy()})


def half_width_95(std_error: float, num_samples: int) -> float:
    """Half the width of the 95 % interval of a mean of ``num_samples`` with this standard error (Student's t)."""
    return float(stdtrit(num_samples - 1, 0.975)) * std_error


def _samples(A: Operator, num_probes: int, generator: torch.Generator, block: int = 32) -> list[Tensor]:
    """z^T A z for new probes, drawn one by one, so as not to depend on the block, and multiplied a block at a time."""
    found = []
    while num_probes > 0:
        probes = torch.stack([_rademacher(A, generator) for _ in range(min(block, num_probes))], dim=1)
        found.append((probes * (A @ probes)).sum(0, dtype=torch.float64).cpu())
        num_probes -= probes.shape[1]
    return found


def _rademacher(A: Operator, generator: torch.Generator) -> Tensor:
    signs = torch.randint(0, 2, (A.shape[0],), generator=generator, device=generator.device, dtype=torch.int8)
    return (2 * signs - 1).to(A.device, A.dtype)
