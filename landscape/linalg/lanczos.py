"""Lanczos iteration with full, two-pass reorthogonalization (Lanczos 1950; Paige 1972; Parlett, ch. 13).

    A Q = Q T + beta q e_m^T,    Q^T Q = I,  T tridiagonal (m, m)

Eigenvalues of T (Ritz values) approach those of A from the outside in: see ``eigenvalues``. Two passes keep Q
orthogonal to 1e-6 in float32; with one pass or none, copies of converged eigenvalues ("ghosts") appear.

The basis Q takes m d numbers: 4.5 GB for 100 vectors of 11 million entries in float32. It is laid down in blocks, each
on the device of the operator, in main memory or in a temporary file: the first of these half of whose free memory holds
it. What lies farther away is read block by block, once in every pass of the orthogonalization.
"""

import tempfile
import warnings
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from landscape.linalg.eigenvalues import Tridiagonal, lanczos_extreme
from landscape.linalg.estimate import ROUNDING, Estimate, Operator, dot, norm_of, random_unit_vector, rounding_of
from landscape.memory import available_bytes

_BLOCK_BYTES = 256 << 20
_BLOCK_ROWS = 8, 1024  # least and most: a block of few rows makes many small products
_ALWAYS_FITS = 64 << 20  # bytes of a block that goes to the device whatever is free there


class Lanczos:
    """One Krylov run that can be made longer at any time; what is asked of its first m steps never changes.

    When the space closes (beta = 0 to rounding) the run goes on from a new random vector orthogonal to it, so that
    multiple eigenvalues are found as often as they occur; at m = d it is complete.

    Args:
        A: symmetric operator or dense tensor.
        generator: draws the start vector (and new ones after a breakdown).
        start: the start vector (d,) instead, of length one.
        deflate: what removes from a vector, in place, the part along ``num_deflated`` orthonormal directions: A is
            then restricted to their complement, in which the start must be.
        num_deflated: how many these are.

    Example:
        >>> run = Lanczos(torch.diag(torch.tensor([3.0, 2.0, 1.0])), generator=torch.Generator().manual_seed(0))
        >>> run.extend(3)
        >>> run.ritz()[0].round(5)
        array([3., 2., 1.])
    """

    def __init__(
        self,
        A: Operator,
        *,
        generator: torch.Generator,
        start: Tensor | None = None,
        deflate: Callable[[Tensor], object] | None = None,
        num_deflated: int = 0,
    ) -> None:
        self.A, self.generator, self._deflate = A, generator, deflate
        self.dimension: int = A.shape[0] - num_deflated
        self.alphas: list[float] = []
        self.betas: list[float] = []  # betas[i] couples steps i and i + 1; the last one is the residual
        self._basis = Basis(A.shape[0], like=torch.empty(0, dtype=A.dtype, device=A.device))
        self._next = random_unit_vector(A, generator) if start is None else start
        self._seed = int(torch.randint(1 << 62, (), generator=generator.clone_state(), device=generator.device))

    def __len__(self) -> int:
        """Number m of steps made, which is the number of products."""
        return len(self.alphas)

    @property
    def complete(self) -> bool:
        """Whether the basis spans the whole space, so that every Ritz value is an eigenvalue."""
        return len(self) == self.dimension

    @property
    def basis(self) -> Tensor:
        """Q, (d, m), orthonormal columns."""
        return self.first_vectors(len(self))

    def first_vectors(self, num_steps: int) -> Tensor:
        """The columns (d, m) of Q that belong to the first steps."""
        return self._basis.first(num_steps)

    def extend(self, num_steps: int) -> None:
        """Make up to ``num_steps`` more steps, one product each; fewer when the basis becomes complete."""
        for _ in range(min(num_steps, self.dimension - len(self))):
            self._step()

    def announce(self, num_steps: int) -> None:
        """Warn if the basis of so many steps will not fit in memory: see ``Basis``."""
        self._basis.announce(min(num_steps, self.dimension))

    def first(self, num_steps: int) -> Tridiagonal:
        """T of the first ``num_steps`` steps, made now if they were not; of fewer where the basis is complete."""
        self.extend(num_steps - len(self))
        m = min(num_steps, len(self))
        rounding = self._size(m) * rounding_of(self.A)
        return Tridiagonal(tuple(self.alphas[:m]), tuple(self.betas[:m]), self.dimension, rounding)

    def ritz(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Ritz values, residual bounds and eigenvectors of T after all steps: see ``Tridiagonal.ritz``."""
        return self.first(len(self)).ritz()

    def vectors(self, eigenvectors: np.ndarray) -> Tensor:
        """The Ritz vectors (d, k) that belong to eigenvectors (m, k) of T."""
        return self.combine(torch.from_numpy(eigenvectors.copy()).to(self.A.device, self.A.dtype))

    def combine(self, coefficients: Tensor) -> Tensor:
        """The combinations (d, k) of the first m vectors with the columns of ``coefficients`` (m, k)."""
        return self._basis.combine(coefficients)

    def components(self, w: Tensor, num_steps: int) -> Tensor:
        """Those of ``w`` (d,) along the first vectors, (num_steps,)."""
        return self._basis.components(w, num_steps)

    def rest(self, num_steps: int) -> Tensor:
        """A Q - Q T of the first steps, of which the last column alone is not zero: that column, (d,)."""
        following = self._basis.row(num_steps) if len(self._basis) > num_steps else self._next
        return following * self.betas[num_steps - 1]

    def restarts(self) -> torch.Generator:
        """A generator of further starts for A: always the same draws, which have nothing to do with this run's."""
        return torch.Generator(self.generator.device).manual_seed(self._seed)

    def _step(self) -> None:
        q = self._next
        self._basis.put(len(self), q)
        w = self.A @ q
        alpha = dot(q, w)
        w, along_q = self._without_basis(torch.sub(w, q, alpha=alpha))
        beta = norm_of(w)
        self.alphas.append(alpha + along_q)
        self.betas.append(beta)
        if self.complete:
            self.betas[-1] = 0.0
        elif beta > ROUNDING * torch.finfo(self.A.dtype).eps * self._size(len(self)):
            self._next = w.div_(beta)
        else:
            self.betas[-1] = 0.0  # the space is invariant: go on in its complement
            w, _ = self._without_basis(random_unit_vector(self.A, self.generator))
            self._next = w.div_(norm_of(w))

    def _size(self, m: int) -> float:
        """||A||, estimated by the largest row sum of T."""
        off = np.array([0.0, *self.betas[:m]])
        return float((np.abs(self.alphas[:m]) + off[:-1] + off[1:]).max(initial=0.0))

    def _without_basis(self, w: Tensor) -> tuple[Tensor, float]:
        """``w``, changed in place, less its components along the rows, and how much of that was along the last one."""
        along_last = 0.0
        for _ in range(2):
            if self._deflate is not None:
                self._deflate(w)
            along_last += self._basis.remove_from(w)[-1].item()
        return w, along_last


def lanczos_largest(A: Operator, *, rel_error: float, max_matvecs: int, generator: torch.Generator) -> Estimate:
    """``lanczos_extreme`` of a run of its own: the largest algebraic eigenvalue of A.

    Example:
        >>> A = torch.diag(torch.tensor([1.0, 2.0, -5.0], dtype=torch.float64))
        >>> found = lanczos_largest(A, rel_error=1e-6, max_matvecs=50, generator=torch.Generator().manual_seed(0))
        >>> round(found.value, 6)
        2.0
    """
    return lanczos_extreme(Lanczos(A, generator=generator), rel_error=rel_error, max_matvecs=max_matvecs)


class Basis:
    """Vectors (d,) of one dtype and device, one after the other.

    Args:
        dimension: d, which is also the most rows there may be.
        like: a tensor of their dtype and device.

    Example:
        >>> basis = Basis(3, like=torch.zeros(()))
        >>> basis.put(0, torch.tensor([1.0, 0.0, 0.0]))
        >>> w = torch.tensor([3.0, 2.0, 1.0])
        >>> basis.remove_from(w), w
        (tensor([3.]), tensor([0., 2., 1.]))
    """

    def __init__(self, dimension: int, *, like: Tensor) -> None:
        self.dimension, self._like = dimension, like
        self._blocks: list[Tensor] = []  # (rows, d) each, on whatever device
        self._num_rows = 0

    def __len__(self) -> int:
        return self._num_rows

    @property
    def row_bytes(self) -> int:
        """Bytes of one vector."""
        return self.dimension * self._like.element_size()

    def put(self, index: int, row: Tensor) -> None:
        """Keep a copy of a vector as row ``index``, the next one or one that is there; later ones are forgotten."""
        self._num_rows = index
        for block in self._blocks:
            if index < len(block):
                break
            index -= len(block)
        else:
            block = self._new_block()
            self._blocks.append(block)
        block[index] = row
        self._num_rows += 1

    def row(self, index: int) -> Tensor:
        """One vector (d,), on the device."""
        for block in self._blocks:
            if index < len(block):
                break
            index -= len(block)
        return block[index].to(self._like.device)

    def components(self, w: Tensor, num_rows: int) -> Tensor:
        """Those of ``w`` (d,) along the first rows, (num_rows,)."""
        return torch.cat([block @ w for block in self._filled(num_rows)])

    def remove_from(self, w: Tensor) -> Tensor:
        """Subtract from ``w`` (d,), in place, its components along the rows, (m,), which are returned."""
        components = []
        for block in self._filled(len(self)):
            components.append(block @ w)
            w.addmv_(block.T, components[-1], alpha=-1)
        return torch.cat(components)

    def combine(self, coefficients: Tensor) -> Tensor:
        """The combinations (d, k) of the first m rows with the columns of ``coefficients`` (m, k)."""
        total = self._like.new_zeros(self.dimension, coefficients.shape[1])
        start = 0
        for block in self._filled(len(coefficients)):
            total.addmm_(block.T, coefficients[start : start + len(block)])
            start += len(block)
        return total

    def first(self, num_rows: int) -> Tensor:
        """The first rows as columns, (d, m), on the device: a view if they are one block there, else a copy."""
        blocks = list(self._filled(num_rows))
        return (blocks[0] if len(blocks) == 1 else torch.cat([self._like.new_empty(0, self.dimension), *blocks])).T

    def announce(self, num_rows: int) -> None:
        """Warn, before so many rows are made, if they will not all fit on the device."""
        needed = (num_rows - len(self)) * self.row_bytes
        if needed > _BLOCK_BYTES and needed > (free := available_bytes(self._like.device)) // 2:
            place = "a temporary file" if self._like.device.type == "cpu" else "main memory, or a temporary file,"
            warnings.warn(
                f"A Krylov basis of {num_rows} vectors takes {num_rows * self.row_bytes / 2**30:.3g} GiB, and "
                f"{free / 2**30:.3g} GiB are free on {self._like.device}: what does not fit into half of it goes to "
                f"{place} and is slower to read.",
                stacklevel=2,
            )

    def _filled(self, num_rows: int) -> Iterator[Tensor]:
        """The first rows, block by block, on the device."""
        for block in self._blocks:
            if num_rows > 0:
                yield block[:num_rows].to(self._like.device)
            num_rows -= len(block)

    def _new_block(self) -> Tensor:
        least, most = _BLOCK_ROWS
        num_rows = min(max(least, min(most, _BLOCK_BYTES // self.row_bytes)), self.dimension - len(self))
        num_bytes = num_rows * self.row_bytes
        for device in dict.fromkeys([self._like.device, torch.device("cpu")]):
            if num_bytes <= _ALWAYS_FITS or num_bytes <= available_bytes(device) // 2:
                return self._like.new_empty(num_rows, self.dimension, device=device)
        with tempfile.NamedTemporaryFile(prefix="krylov-") as file:  # its space is freed with the tensor
            size = num_rows * self.dimension
            flat = torch.from_file(file.name, shared=True, size=size, dtype=self._like.dtype)
        return flat.view(num_rows, self.dimension)
