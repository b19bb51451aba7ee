"""Lanczos iteration with full, two-pass reorthogonalization (Lanczos 1950; Paige 1972; Parlett, ch. 13).

    A Q = Q T + beta q e_m^T,    Q^T Q = I,  T tridiagonal (m, m)

Eigenvalues of T (Ritz values) approach those of A from the outside in. Two passes keep Q orthogonal to 1e-6 in float32;
with one pass or none, copies of converged eigenvalues ("ghosts") appear. The basis takes m d numbers (see ``rows``).
"""

import numpy as np
import torch
from torch import Tensor

from landscape.linalg.estimate import ROUNDING, Operator, dot, random_unit_vector
from landscape.linalg.rows import Rows
from landscape.linalg.tridiagonal import Tridiagonal


class Lanczos:
    """One Krylov run that can be made longer at any time; what is asked of its first m steps never changes.

    When the space closes (beta = 0 to rounding) the run goes on from a new random vector orthogonal to it, so that
    multiple eigenvalues are found as often as they occur; at m = d it is complete.

    Args:
        A: symmetric operator or dense tensor.
        generator: draws the start vector (and new ones after a breakdown).

    Example:
        >>> run = Lanczos(torch.diag(torch.tensor([3.0, 2.0, 1.0])), generator=torch.Generator().manual_seed(0))
        >>> run.extend(3)
        >>> run.ritz()[0].round(5)
        array([3., 2., 1.])
    """

    def __init__(self, A: Operator, *, generator: torch.Generator) -> None:
        self.A, self.generator = A, generator
        self.alphas: list[float] = []
        self.betas: list[float] = []  # betas[i] couples steps i and i + 1; the last one is the residual
        self._next = random_unit_vector(A, generator)
        self._rows = Rows(A.shape[0], like=self._next)

    def __len__(self) -> int:
        """Number m of steps made, which is the number of products."""
        return len(self.alphas)

    @property
    def complete(self) -> bool:
        """Whether the basis spans the whole space, so that every Ritz value is an eigenvalue."""
        return len(self) == self.A.shape[0]

    @property
    def basis(self) -> Tensor:
        """Q, (d, m), orthonormal columns."""
        return self.first_vectors(len(self))

    def first_vectors(self, num_steps: int) -> Tensor:
        """The columns (d, m) of Q that belong to the first steps."""
        return self._rows.first(num_steps)

    def extend(self, num_steps: int) -> None:
        """Make up to ``num_steps`` more steps, one product each; fewer when the basis becomes complete."""
        for _ in range(min(num_steps, self.A.shape[0] - len(self))):
            self._step()

    def announce(self, num_steps: int) -> None:
        """Warn if the basis of so many steps will not fit in memory: see ``Rows``."""
        self._rows.announce(min(num_steps, self.A.shape[0]))

    def first(self, num_steps: int) -> Tridiagonal:
        """T of the first ``num_steps`` steps, made now if they were not; of fewer where the basis is complete."""
        self.extend(num_steps - len(self))
        m = min(num_steps, len(self))
        return Tridiagonal(tuple(self.alphas[:m]), tuple(self.betas[:m]), self.A.shape[0], self._rounding(m))

    def ritz(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Ritz values, residual bounds and eigenvectors of T after all steps: see ``Tridiagonal.ritz``."""
        return self.first(len(self)).ritz()

    def vectors(self, eigenvectors: np.ndarray) -> Tensor:
        """The Ritz vectors (d, k) that belong to eigenvectors (m, k) of T."""
        coefficients = torch.from_numpy(eigenvectors.copy()).to(self.A.device, self.A.dtype)
        return self._rows.combine(coefficients)

    def _step(self) -> None:
        q = self._next
        self._rows.put(len(self), q)
        w = self.A @ q
        alpha = dot(q, w)
        w, along_q = self._without_rows(torch.sub(w, q, alpha=alpha))
        beta = dot(w, w) ** 0.5
        self.alphas.append(alpha + along_q)
        self.betas.append(beta)
        if self.complete:
            self.betas[-1] = 0.0
        elif beta > self._rounding(len(self)):
            self._next = w.div_(beta)
        else:
            self.betas[-1] = 0.0  # the space is invariant: go on in its complement
            w, _ = self._without_rows(random_unit_vector(self.A, self.generator))
            self._next = w.div_(dot(w, w) ** 0.5)

    def _rounding(self, m: int) -> float:
        """The error that rounding leaves in an eigenvalue: relative to ||A||, estimated by the largest row sum of T."""
        off = np.array([0.0, *self.betas[:m]])
        scale = (np.abs(self.alphas[:m]) + off[:-1] + off[1:]).max(initial=0.0)
        return ROUNDING * torch.finfo(self.A.dtype).eps * float(scale)

    def _without_rows(self, w: Tensor) -> tuple[Tensor, float]:
        """``w``, changed in place, less its components along the rows, and how much of that was along the last one."""
        along_last = sum(self._rows.remove_from(w)[-1].item() for _ in range(2))
        return w, along_last
