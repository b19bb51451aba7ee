"""The trace, deflated by a subspace that does not depend on the probes: given, of Lanczos, or a random range (Hutch++).

    tr(A) ~ tr(Q^T A Q) + (1/n) sum_j z_j^T (I - Q Q^T) A (I - Q Q^T) z_j,    z_j random signs

The estimate is unbiased and its samples are independent. The variance of a sample is at most
2 ||(I - Q Q^T) A (I - Q Q^T)||_F^2, and is taken from the entries of these products, not from the spread of the few
samples: an interval looked at until it is narrow enough would be one that came out too narrow (see ``entries``). A
Krylov basis (Gambhir, Stathopoulos & Orginos 2017) costs one product a column, where Hutch++ and XTrace pay two, and
holds the large eigenvalues at least as well.
"""

import torch
from torch import Tensor

from landscape.linalg.adaptive import LEAST, DeflatedSamples, estimate_trace
from landscape.linalg.estimate import Estimate, Operator, power_of_two
from landscape.linalg.hutchinson import draw_probes
from landscape.linalg.lanczos import Lanczos
from landscape.linalg.orthonormal import gram, new_directions


def deflated_trace(
    A: Operator,
    basis: Tensor | Lanczos | None = None,
    *,
    generator: torch.Generator,
    rel_error: float = 0.05,
    num_matvecs: int | None = None,
    max_matvecs: int = 1000,
) -> Estimate:
    """The trace of symmetric A with standard error; unbiased. Products are made in blocks.

    Stops when the half-width of the 95 % interval (Student's t) is at most ``rel_error`` times the value, or when the
    budget ends; exact where the next look would take d products. ``details["samples"]`` has the mean ``value``.

    Args:
        A: symmetric operator or dense tensor.
        basis: orthonormal columns (d, k), for k products; or a Lanczos run of A; by default a new one. Of a run, as
            many first steps are used as there are probes, and made if they were not.
        generator: draws the probes, and the start of a new run. A basis must not come from it in the same state.
        rel_error: the accuracy asked for.
        num_matvecs: how many products to make instead; ``converged`` says whether they reached ``rel_error``.
        max_matvecs: the budget. Steps of a run count, whoever made them.

    Raises:
        ValueError: for an accuracy that is not positive, fewer than 4 products (k + 2 with given columns), or columns
            that are not orthonormal.

    Example:
        >>> A = torch.diag(torch.tensor([100.0] + 99 * [1.0]))
        >>> found = deflated_trace(A, torch.eye(100)[:, :1], generator=torch.Generator().manual_seed(0))
        >>> found.value, found.num_matvecs  # the rest is diagonal, so that probes are exact
        (199.0, 24)
    """
    if isinstance(basis, Tensor):
        sampling: DeflatedSamples = _Given(A, generator, _checked(A, basis))
        least = basis.shape[1] + 2
    else:
        run = Lanczos(A, generator=generator) if basis is None else basis
        sampling, least = _Krylov(A, generator, run), LEAST
    return estimate_trace(sampling, rel_error=rel_error, num_matvecs=num_matvecs, max_matvecs=max_matvecs, least=least)


def hutchpp_trace(
    A: Operator,
    *,
    generator: torch.Generator,
    rel_error: float = 0.05,
    num_matvecs: int | None = None,
    max_matvecs: int = 1000,
) -> Estimate:
    """Hutch++ (Meyer, Musco, Musco & Woodruff 2021, arXiv:2010.09649): ``deflated_trace`` by Q = orth(A S), S random.

    A third of the products each go to A S, A Q and probes. The error shrinks as 1/products for positive A, faster where
    the spectrum decays; Hutchinson's as 1/sqrt(products). Memory: a vector a product.

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


class _Given(DeflatedSamples):
    """A basis (d, k) that stays as it is."""

    def spend(self, num_matvecs: int) -> None:
        end = self.num_matvecs + num_matvecs
        if self.num_matvecs == 0:
            self.add_columns(self.source)
        self.add_probes(end - self.num_matvecs)


class _Krylov(DeflatedSamples):
    """As many steps of a Lanczos run as there are probes."""

    def spend(self, num_matvecs: int) -> None:
        run: Lanczos = self.source
        before = len(self.H)
        steps = max(0, (num_matvecs + self.probes.shape[1] - before + 1) // 2)
        T = run.first(before + min(num_matvecs, steps))
        self.H = T.matrix()
        self.Q, self.left = run.first_vectors(len(self.H)), run.rest(len(self.H))
        self.num_matvecs += len(self.H) - before
        self.add_probes(num_matvecs - (len(self.H) - before))

    def outside(self, products: Tensor, U: Tensor, within: Tensor) -> Tensor:  # A Q is Q H but for its last column
        return products - self.Q @ (within + self.H @ U).to(self.Q) - self.left[:, None] * U[-1].to(self.Q)


class _HutchPP(DeflatedSamples):
    def spend(self, num_matvecs: int) -> None:
        end = self.num_matvecs + num_matvecs
        range_of_A = self.multiply(draw_probes(self.A, num_matvecs // 3, self.generator))
        unit = power_of_two(range_of_A)
        size = float((range_of_A / unit).norm(dim=0).max()) * unit if range_of_A.shape[1] else 0.0
        self.add_columns(new_directions(self.Q, range_of_A, scale=size))
        self.add_probes(end - self.num_matvecs)


def _checked(A: Operator, basis: Tensor) -> Tensor:
    if basis.ndim != 2 or basis.shape[0] != A.shape[0]:
        raise ValueError(f"The basis has shape {tuple(basis.shape)}. Expected ({A.shape[0]}, k).")
    basis = basis.to(A.device, A.dtype)
    off = (gram(basis, basis) - torch.eye(basis.shape[1])).abs().max().item() if basis.shape[1] else 0.0
    if not off < torch.finfo(A.dtype).eps ** 0.5:
        raise ValueError(f"The columns of the basis are not orthonormal (off by {off:.1g}). Take Q of torch.linalg.qr.")
    return basis
