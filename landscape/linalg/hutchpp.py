"""Hutch++ (Meyer, Musco, Musco & Woodruff 2021, arXiv:2010.09649): deflate a random range of A, probe the rest.

    tr(A) ~ tr(Q^T A Q) + (1/n) sum_j z_j^T (I - Q Q^T) A (I - Q Q^T) z_j,    Q = orth(A S),  S, z_j random signs

A third of the products each go to A S, A Q and the A z_j. Q does not depend on the z_j: the estimate is unbiased, its
samples are independent, and Student's interval holds. The error shrinks as 1/products for positive A, faster where the
spectrum decays; Hutchinson's as 1/sqrt(products).
"""

import torch

from landscape.linalg.adaptive import DeflatedSamples, estimate_trace
from landscape.linalg.estimate import Estimate, Operator
from landscape.linalg.hutchinson import draw_probes
from landscape.linalg.orthonormal import new_directions


def hutchpp_trace(
    A: Operator,
    *,
    generator: torch.Generator,
    rel_error: float = 0.05,
    num_matvecs: int | None = None,
    max_matvecs: int = 1000,
) -> Estimate:
    """The trace of symmetric A with standard error, as ``deflated_trace`` has it. Memory: a vector a product.

    Raises:
        ValueError: for an accuracy that is not positive, or fewer than 4 products.

    Example:
        >>> A = torch.diag(torch.tensor([5.0, 2.0] + 98 * [0.0]))
        >>> found = hutchpp_trace(A, generator=torch.Generator().manual_seed(0), rel_error=0.01)
        >>> round(found.value, 3), found.converged
        (7.0, True)
    """
    sampling = _HutchPP(A, generator)
    return estimate_trace(sampling, rel_error=rel_error, num_matvecs=num_matvecs, max_matvecs=max_matvecs)


class _HutchPP(DeflatedSamples):
    def spend(self, num_matvecs: int) -> None:
        end = self.num_matvecs + num_matvecs
        range_of_A = self.multiply(draw_probes(self.A, num_matvecs // 3, self.generator))
        size = float(range_of_A.norm(dim=0).max()) if range_of_A.shape[1] else 0.0
        self.add_columns(new_directions(self.Q, range_of_A, scale=size))
        self.add_probes(end - self.num_matvecs)
