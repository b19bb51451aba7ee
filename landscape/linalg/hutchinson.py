"""Hutchinson's trace estimator (1989), which stops when its 95 % confidence interval is narrow enough.

    tr(A) = E[z^T A z] ~ (1/n) sum_j z_j^T A z_j,    z_j with independent entries of variance 1

With entries +-1 (Rademacher) the variance of one sample is 2 (||A||_F^2 - sum_i A_ii^2): diagonal matrices are exact.
With Gaussian ones it is 2 ||A||_F^2. The error shrinks as 1/sqrt(n) either way. The variance is taken from the entries
of the products, not from the spread of the samples (see ``entries``; with Gaussian probes, ||A||_F^2 = E ||A z||^2).
"""

import math

import torch
from torch import Tensor

from landscape.linalg.entries import Entries
from landscape.linalg.estimate import Estimate, Operator, power_of_two, require_positive
from landscape.linalg.orthonormal import column_dots
from landscape.statistics import half_width, interval_reason, looks

FIRST_LOOK = 16  # with fewer samples the estimated variance is too often far too small
BLOCK = 32  # vectors multiplied at once


def hutchinson_trace(
    A: Operator,
    *,
    generator: torch.Generator,
    rel_error: float = 0.05,
    num_probes: int | None = None,
    max_probes: int = 1000,
    probes: str = "rademacher",
) -> Estimate:
    """The trace of A, with standard error, by random probes; unbiased. One product a probe.

    Stops when the half-width of the 95 % interval (Student's t) is at most ``rel_error`` times the mean, or after
    ``max_probes``. ``num_probes`` fixes the number instead; ``converged`` then says whether it was enough.
    ``probes`` are "rademacher" (less variance) or "gaussian"; they depend on the generator alone.
    ``details["samples"]`` holds z_j^T A z_j.

    Raises:
        ValueError: for fewer than 2 probes, a negative accuracy or another kind of probes.

    Example:
        >>> found = hutchinson_trace(torch.diag(torch.tensor([1.0, 2.0])), generator=torch.Generator().manual_seed(0))
        >>> found.value, found.error, found.converged
        (3.0, 0.0, True)
    """
    budget = max_probes if num_probes is None else num_probes
    if budget < 2:
        raise ValueError(f"{budget} probes give no error bar. Expected at least 2.")
    require_positive(rel_error=rel_error)
    samples, entries, squares = torch.empty(0, dtype=torch.float64), Entries(A), 0.0
    unit = 0.0  # in which squares are added up
    for look in looks(FIRST_LOOK, budget, fixed=num_probes is not None):
        while len(samples) < look:
            z = draw_probes(A, min(BLOCK, look - len(samples)), generator, probes)
            product = A @ z
            samples = torch.cat([samples, column_dots(z, product)])
            if probes == "gaussian":
                unit = unit or power_of_two(product)
                squares += column_dots(product / unit, product / unit).sum().item()
            else:
                entries.add(z, product)
        deviation = math.sqrt(2 * squares / look) * unit if probes == "gaussian" else entries.trace_deviation
        mean, error = samples.mean().item(), deviation / math.sqrt(look)
        half = half_width(error, look)
        if converged := half <= rel_error * abs(mean):
            break
    reason = f"{interval_reason(mean, half, rel_error)} after {len(samples)} probes"
    return Estimate(mean, error, len(samples), converged, reason, {"samples": samples.numpy()})


def draw_probes(A: Operator, num_probes: int, generator: torch.Generator, kind: str = "rademacher") -> Tensor:
    """Columns (d, num_probes), drawn one by one, so as not to depend on how many are asked for at once.

    Raises:
        ValueError: for an unknown kind.
    """
    if kind not in _PROBES:
        raise ValueError(f"probes={kind!r}. Expected one of {', '.join(map(repr, _PROBES))}.")
    columns = [_PROBES[kind](A.shape[0], generator).to(A.device, A.dtype) for _ in range(num_probes)]
    return torch.stack(columns, dim=1) if columns else torch.empty(A.shape[0], 0, device=A.device, dtype=A.dtype)


def block_product(A: Operator, V: Tensor) -> Tensor:
    """A @ V, a block of columns at a time."""
    return torch.cat([A @ block for block in V.split(BLOCK, dim=1)], dim=1) if V.shape[1] else V


def _rademacher(size: int, generator: torch.Generator) -> Tensor:
    return 2 * torch.randint(0, 2, (size,), generator=generator, device=generator.device, dtype=torch.int8) - 1


def _gaussian(size: int, generator: torch.Generator) -> Tensor:
    return torch.randn(size, generator=generator, device=generator.device, dtype=torch.float64)


_PROBES = {"rademacher": _rademacher, "gaussian": _gaussian}
