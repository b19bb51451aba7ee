"""The k largest eigenvalues, each as often as it occurs.

A Krylov space K holds one vector of an eigenspace, however many there are. The others are outside K, and so may be what
the start holds hardly anything of. That none of these is missing follows where A, restricted to the complement of the
k - 1 first Ritz vectors y_j (and of others that have settled), has no eigenvalue above b. For then

    A  <=  ( diag(theta_j)  C^T )      with the couplings C_j of y_j to what is outside K; |C_j| is its residual,
           (       C        b I )

and the i-th largest eigenvalue of A is at least theta_i (Cauchy) and at most the i-th largest on the right (Weyl; see
Parlett, ch. 10). With b a little above theta_k, that says it all. Another run, restricted to that complement, proves
such a b in a few steps, since it starts at random outside K, which has most of what is large. An eigenvector there, of
eigenvalue mu > b, with the other Ritz vectors z_j and with c outside K, is

    u = sum_j a_j z_j + c,   (mu - theta_j) a_j = C_j . c,   so   |c|^2 >= 1 / (1 + sum_j |C_j|^2 / (b - theta_j)^2),

and the start hardly ever holds nothing of c: see ``eigenvalues``. Where an eigenvalue above b is found instead, what
its vector has outside K is added to K, and a third run follows.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy.linalg import block_diag
from torch import Tensor

from landscape.linalg.eigenvalues import lanczos_extreme
from landscape.linalg.estimate import Estimate, norm_of, power_of_two, random_unit_vector, require_positive
from landscape.linalg.lanczos import Lanczos
from landscape.linalg.orthonormal import gram

_MISSED = 0.02  # probability, over the starts, that one of the k is missing or beyond its bound
_LOOKS = 16  # while K grows e-fold: each costs an eigendecomposition of S
_SLACK = 0.75  # of the accuracy of the k-th value: b is so much above it
_FAR = 0.75  # of the way to b: the residuals of the Ritz vectors below it are smaller before the second run starts
_SETTLED = 0.5  # of that accuracy: the residual of a Ritz vector beyond the k-th that is taken for an eigenvector

Parts = tuple[tuple[Lanczos, int], ...]  # runs, each in the complement of those before it, and how many steps of each


def lanczos_top(run: Lanczos, k: int, *, rel_error: float, max_matvecs: int, vectors: bool = False) -> Estimate:
    """The k largest algebraic eigenvalues, each as often as it occurs, to ``rel_error`` of its size.

    With probability 98 % (95 % for k = 1) over the random starts, for all i at once, the i-th value is no farther below
    the i-th largest eigenvalue than its bound, multiple ones counted as often as they occur; and it is never above, but
    for rounding. Gaps may be of any size: eigenvalues that differ by less than the accuracy are found like equal ones.

    ``value`` and ``error`` are those of the largest; ``details`` holds "eigenvalues" (k,) descending, "residuals" (k,),
    "bounds" (k,) and, with ``vectors``, "vectors" (d, k). Fewer than k where the dimension is smaller. Cost: about 115
    products for 50 of them to 1 % on a trained network; ten more, or so, for each further copy of an eigenvalue.

    Raises:
        ValueError: for k, ``rel_error`` or ``max_matvecs`` that is not positive.

    Example:
        >>> import torch
        >>> from landscape.linalg import Lanczos
        >>> A = torch.diag(torch.tensor([4.0, 3.0, 3.0, 1.0], dtype=torch.float64))
        >>> run = Lanczos(A, generator=torch.Generator().manual_seed(0))
        >>> lanczos_top(run, 3, rel_error=1e-6, max_matvecs=50).details["eigenvalues"].round(6)
        array([4., 3., 3.])
    """
    require_positive(k=k, rel_error=rel_error, max_matvecs=max_matvecs)
    k, generator = min(k, run.dimension), run.restarts()
    run.announce(min(max_matvecs, 2 * k + 10))
    if k == 1:  # its own start bounds the largest
        found = lanczos_extreme(run, rel_error=rel_error, max_matvecs=max_matvecs)
        space = _Space.of(((run, found.num_matvecs),), 1, rel_error)
        return replace(found, details=space.details(np.array([found.error]), vectors=vectors))
    space = _Space.of(((run, min(k + 1, max_matvecs, run.dimension)),), k, rel_error)
    b, num_restarts, spent = math.inf, 0, 0
    while b == math.inf and not space.complete and (left := max_matvecs - spent - len(space.values)) > 0:
        if not space.settled:
            space = _Space.of(space.longer(left, generator), k, rel_error)
            continue
        num_restarts += 1
        other = space.restarted(generator)
        b = space.upper_bound(other, left, _MISSED / num_restarts / (num_restarts + 1))
        spent += len(other)
        if b == math.inf and len(other) < left:
            largest = other.vectors(other.ritz()[2][:, :1])[:, 0]
            space = _Space.of((*space.parts, (space.another(largest, generator), 1)), k, rel_error)
    converged = space.complete or b < math.inf
    if not converged:  # nothing is larger than the first start allows
        T = run.first(space.parts[0][1])
        edge = float(T.ritz()[0][0])
        b = edge + T.beyond(edge, 1)
    bounds, used = space.bounds(b), len(space.values) + spent
    reached = int((bounds <= space.tolerance).sum())
    reason = (
        f"{reached} of {k} within {rel_error:g} of their values after {used} products"
        f"{f', none missing with probability 98 % ({num_restarts} restarts)' if converged else ''}"
    )
    details = space.details(bounds, vectors=vectors)
    return Estimate(float(space.values[0]), float(bounds[0]), used, converged, reason, details)


@dataclass(frozen=True)
class _Space:
    """K, the sum of all parts, and the Ritz values (m,) in it, descending.

    Attributes:
        parts: runs and steps.
        values: the eigenvalues of S = Q^T A Q.
        vectors: its eigenvectors, (m, m).
        rests: what each part leaves, as columns in an orthonormal basis of them all, (parts, parts).
        rounding: of a value.
        tolerance: what is asked of the first k values, no less than eight times that, (k,).
    """

    parts: Parts
    values: np.ndarray
    vectors: np.ndarray
    rests: np.ndarray
    rounding: float
    tolerance: np.ndarray

    @classmethod
    def of(cls, parts: Parts, k: int, rel_error: float) -> "_Space":
        T = [run.first(num_steps) for run, num_steps in parts]
        ends = np.cumsum([num_steps for _, num_steps in parts])
        S, rests = block_diag(*(t.matrix() for t in T)), []
        for i, (run, num_steps) in enumerate(parts):
            rest = run.rest(num_steps)
            for (later, n), end in zip(parts[i + 1 :], ends[i + 1 :], strict=True):
                components = later.components(rest, n)
                S[ends[i] - 1, end - n : end] = S[end - n : end, ends[i] - 1] = components.cpu()
                rest = rest - later.combine(components[:, None])[:, 0]
            rests.append(rest)
        R = torch.stack(rests, 1)
        unit = power_of_two(R)
        squares, directions = torch.linalg.eigh(gram(R / unit, R / unit))
        coordinates = (unit * squares.clamp(min=0).sqrt() * directions).T.numpy()
        values, vectors = (array[..., ::-1] for array in np.linalg.eigh(S)) if len(T) > 1 else T[0].ritz()[::2]
        rounding = max(t.rounding for t in T)
        tolerance = np.maximum(rel_error * np.abs(values[:k]), 8 * rounding)
        return cls(parts, values, vectors, coordinates, rounding, tolerance)

    @property
    def complete(self) -> bool:
        """Whether there is nothing outside K."""
        return len(self.values) == self.parts[0][0].dimension

    @property
    def sizes(self) -> list[int]:
        """Steps of each part."""
        return [num_steps for _, num_steps in self.parts]

    @property
    def last(self) -> np.ndarray:
        """What each Ritz vector has of the last vector of each part, (parts, m)."""
        return self.vectors[np.cumsum(self.sizes) - 1]

    @property
    def C(self) -> np.ndarray:
        """Coupling of the Ritz vectors to what is outside K, (parts, m); the norm of a column is a residual."""
        return self.rests @ self.last

    @property
    def taken(self) -> np.ndarray:
        """Which Ritz vectors the complement is that of, (m,)."""
        taken = _lengths(self.C) <= _SETTLED * self.tolerance[-1]
        taken[: len(self.tolerance) - 1] = True
        return taken

    @property
    def kth(self) -> float:
        """The k-th value."""
        return float(self.values[len(self.tolerance) - 1])

    @property
    def above(self) -> float:
        """The b to be proved."""
        return self.kth + _SLACK * float(self.tolerance[-1])

    @property
    def settled(self) -> bool:
        """Whether that b would do, and no Ritz vector that is not taken may by its residual be of such a value."""
        rest, b = ~self.taken, self.above
        near = _lengths(self.C[:, rest]) > _FAR * (b - self.values[rest])
        return not near.any() and bool((self.bounds(b) <= self.tolerance).all())

    def bounds(self, b: float) -> np.ndarray:
        """How far above each of the k values the eigenvalue may be, if those of the complement are at most b."""
        k = len(self.tolerance)
        if self.complete:
            return np.full(k, self.rounding)
        taken = self.taken
        C = self.C[:, taken]
        majorant = np.block([[np.diag(self.values[taken]), C.T], [C, b * np.eye(len(C))]])
        largest = np.maximum(np.linalg.eigvalsh(majorant)[::-1][:k], b)
        return np.maximum(largest - self.values[:k], 0.0) + self.rounding

    def outside(self, b: float) -> float:
        """At least how much of the square of an eigenvector of the complement, of a value above b, is outside K."""
        rest = ~self.taken
        ratios = _lengths(self.C[:, rest]) / (b - self.values[rest])
        return float(1 / (1 + (ratios**2).sum()))

    def upper_bound(self, other: Lanczos, max_matvecs: int, missed: float) -> float:
        """What no eigenvalue of the complement is above, but for a probability: infinite if that is not proved."""

        def proved(b: float) -> bool:
            return edge <= b and T.rules_out(b, missed=missed, part=self.outside(b))

        for num_steps in range(1, min(max_matvecs, other.dimension) + 1):
            T = other.first(num_steps)
            edge = T.ritz()[0][0]
            b = self.above
            if proved(b):
                while b - self.kth > self.rounding and proved((b + self.kth) / 2):
                    b = (b + self.kth) / 2
                return b
            if edge > b:
                break
        return math.inf

    def longer(self, max_matvecs: int, generator: torch.Generator) -> Parts:
        """The parts and more steps from what limits the accuracy: of the last run, or of a new one that takes it up."""
        errors = _lengths(self.rests)[:, None] * np.abs(self.last[:, : len(self.tolerance)])
        worst = int((errors / self.tolerance).max(1).argmax())
        run, num_steps = self.parts[worst]
        more = min(1 + num_steps // _LOOKS, max_matvecs, run.A.shape[0] - len(self.values))
        if run is self.parts[-1][0]:
            return (*self.parts[:-1], (run, num_steps + more))
        return (*self.parts, (self.another(run.rest(num_steps), generator), more))

    def restarted(self, generator: torch.Generator) -> Lanczos:
        """A run in the complement, from a random start outside K."""
        A = self.parts[0][0].A
        taken = torch.from_numpy(self.vectors[:, self.taken]).to(A.device, A.dtype)
        return Lanczos(
            A,
            generator=generator,
            start=self._outside(random_unit_vector(A, generator)),
            deflate=lambda w: self._remove_from(w, taken),
            num_deflated=taken.shape[1],
        )

    def another(self, start: Tensor, generator: torch.Generator) -> Lanczos:
        """A run outside K, from what ``start``, which is changed, has there."""
        return Lanczos(
            self.parts[0][0].A,
            generator=generator,
            start=self._outside(start),
            deflate=self._remove_from,
            num_deflated=len(self.values),
        )

    def _outside(self, w: Tensor) -> Tensor:
        """The direction of what ``w`` (d,), which is changed, has outside K."""
        for _ in range(2):
            self._remove_from(w)
        return w.div_(norm_of(w))

    def _remove_from(self, w: Tensor, V: Tensor | None = None) -> None:
        """Subtract from ``w`` (d,), in place, what is in K, or along the Ritz vectors of the eigenvectors V (m, n)."""
        components = torch.cat([run.components(w, num_steps) for run, num_steps in self.parts])
        if V is not None:
            components = V @ (V.T @ components)
        for (run, _), part in zip(self.parts, components.split(self.sizes), strict=True):
            w.sub_(run.combine(part[:, None])[:, 0])

    def details(self, bounds: np.ndarray, *, vectors: bool) -> dict[str, Any]:
        """What is told of as many values as there are bounds."""
        k = len(bounds)
        told: dict[str, Any] = {
            "eigenvalues": self.values[:k].copy(),
            "residuals": _lengths(self.C[:, :k]) + self.rounding,
            "bounds": bounds,
        }
        if vectors:
            blocks = np.split(self.vectors[:, :k], np.cumsum(self.sizes)[:-1])
            told["vectors"] = sum(run.vectors(block) for (run, _), block in zip(self.parts, blocks, strict=True))
        return told


def _lengths(columns: np.ndarray) -> np.ndarray:
    """The norm of each column (n,), whose squares may be too small or too large for float64."""
    unit = power_of_two(torch.from_numpy(columns))
    return unit * np.linalg.norm(columns / unit, axis=0)
