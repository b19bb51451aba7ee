"""The diagonal of A by random signs (Bekas, Kokiopoulou & Saad 2007), or exactly.

    diag(A) ~ (1/n) sum_j z_j * A z_j,    entry by entry, z_j with independent entries +-1

It is unbiased, and one sample of entry i has the variance sum_{k != i} A_ik^2: diagonal matrices are exact, and an
entry that is small beside the rest of its row takes many products.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from landscape.linalg.entries import Entries
from landscape.linalg.estimate import Operator, norm_of, power_of_two, require_positive, wide_dtype
from landscape.linalg.hutchinson import BLOCK, FIRST_LOOK, draw_probes
from landscape.statistics import looks


@dataclass(frozen=True)
class DiagonalEstimate:
    """Entries found by products with an operator, each with its standard error, (d,) in float64."""

    values: Tensor
    errors: Tensor
    num_matvecs: int
    converged: bool
    reason: str


def hutchinson_diagonal(
    A: Operator,
    *,
    generator: torch.Generator,
    rel_error: float = 0.05,
    num_probes: int | None = None,
    max_matvecs: int = 1000,
) -> DiagonalEstimate:
    """The diagonal of A; unbiased. One product a probe.

    Stops when the error to expect of the whole, the norm of the standard errors, is at most ``rel_error`` times the
    norm of the diagonal, or after ``max_matvecs``; ``num_probes`` fixes the number instead. Exact where the next look
    would take d products. The 95 % interval of entry i has the half-width ``half_width(errors[i], num_matvecs)``; of
    an entry with one other in its row, whose samples have two values, it covers 92 % at the first look.
    Memory: a block of 32 probes and their products.

    Raises:
        ValueError: for fewer than 2 probes (where d is larger), or an accuracy that is not positive.

    Example:
        >>> A = torch.diag(torch.tensor([3.0, 1.0]))
        >>> found = hutchinson_diagonal(A, generator=torch.Generator().manual_seed(0))
        >>> found.values.tolist(), found.errors.tolist(), found.num_matvecs
        ([3.0, 1.0], [0.0, 0.0], 2)
    """
    d, budget = A.shape[0], max_matvecs if num_probes is None else num_probes
    require_positive(rel_error=rel_error)
    if budget < min(2, d):
        raise ValueError(f"{budget} probes give no error bar. Expected at least {min(2, d)}.")
    entries = Entries(A)
    for look in looks(FIRST_LOOK, budget, fixed=num_probes is not None):
        if look >= d <= budget - entries.count:
            exact, _ = exact_diagonal(A)
            reason = f"the whole diagonal, by {d} products"
            return DiagonalEstimate(exact, torch.zeros_like(exact), entries.count + d, True, reason)
        while entries.count < look:
            probes = draw_probes(A, min(BLOCK, look - entries.count), generator)
            entries.add(probes, A @ probes)
        errors = entries.deviations / math.sqrt(look)
        error, length = norm_of(errors), norm_of(entries.mean)
        norm = (
            length * math.sqrt(max(0.0, 1 - (error / length) ** 2)) if length else 0.0
        )  # the errors lengthen the mean
        if converged := error <= rel_error * norm:
            break
    ratio = f"{error / norm:.2g} of" if norm else "nothing beside"
    reason = f"expected error {ratio} the norm, {'within' if converged else 'above'} {rel_error:g} after {look} probes"
    return DiagonalEstimate(entries.mean, errors, look, converged, reason)


def exact_diagonal(A: Operator) -> tuple[Tensor, float]:
    """The diagonal (d,) by d products with the columns of the identity, and ||A||_F, which they give too."""
    d, diagonal, size = A.shape[0], [], 0.0
    for start in range(0, d, BLOCK):
        columns = torch.zeros(d, min(BLOCK, d - start), dtype=A.dtype, device=A.device)
        here = slice(start, start + columns.shape[1])
        columns[here].fill_diagonal_(1)
        products = (A @ columns).to(wide_dtype(A))
        diagonal.append(products[here].diagonal())
        unit = power_of_two(products)
        size = math.hypot(size, (products / unit).norm().item() * unit)
    return torch.cat(diagonal), size
