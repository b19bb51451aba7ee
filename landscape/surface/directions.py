"""Directions to look along: random, Hessian eigenvectors, the gradient, a trajectory's plane, other weights.

A step of one along a direction is a displacement by its length. Random directions are normalized to the weights
(``landscape.surface.normalization``); others have a meaning that this would destroy, and are left as they are unless it
is asked for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from landscape.measure import top_eigenvalues
from landscape.measure.metric import generator
from landscape.objective import MeasurementError, Objective
from landscape.surface.normalization import NORMALIZATIONS, excluded, normalized

KINDS = ("random", "eigen", "gradient")
_MARGIN = 1.1  # by how much a plane reaches further than what it is to show


@dataclass(frozen=True)
class Directions:
    """One or two directions, and what there is to say of them.

    Attributes:
        vectors: each (d,), float64, on the CPU.
        kind: "random", "eigen", "gradient", "pca", "to" or "given".
        normalize: how they were normalized; "none" where they were not.
        details: what else: parameters that stay, eigenvalues, the path of a trajectory, marks.
    """

    vectors: tuple[Tensor, ...]
    kind: str
    normalize: str = "none"
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def norms(self) -> list[float]:
        """The length of each: the displacement of a step of one."""
        return [v.norm().item() for v in self.vectors]

    @property
    def cosine(self) -> float | None:
        """Of the angle between the two; None for one."""
        if len(self.vectors) < 2:
            return None
        a, b = self.vectors
        return (a @ b / (a.norm() * b.norm())).item()

    def orthogonalized(self) -> "Directions":
        """The second direction without its part along the first, of the length it had."""
        if len(self.vectors) < 2:
            return self
        a, b = self.vectors
        rest = b - a * (a @ b / (a @ a))
        rest = rest - a * (a @ rest / (a @ a))
        if rest.norm() <= 1e-10 * b.norm():
            raise ValueError("The two directions are parallel and span no plane. Give two that differ.")
        return replace(self, vectors=(a, rest * (b.norm() / rest.norm())))


def random(
    objective: Objective, *, num: int = 2, normalize: str = "filter", seed: int = 0, biases: bool = False
) -> Directions:
    """Gaussian directions, normalized as Li et al. (2018) do; the same draws on every device.

    Example:
        >>> objective = Objective(torch.nn.Linear(2, 3), torch.nn.MSELoss(), [(torch.ones(1, 2), torch.ones(1, 3))])
        >>> found = random(objective, num=1)
        >>> weights = objective.model.weight.detach().double()
        >>> bool(torch.isclose(found.vectors[0].norm(), weights.norm())), found.details["excluded"]
        (True, ['bias'])
    """
    draws = generator(seed)
    drawn = [torch.randn(objective.num_params, generator=draws, dtype=torch.float64) for _ in range(num)]
    vectors = tuple(normalized(objective, v, normalize, biases=biases) for v in drawn)
    return Directions(vectors, "random", normalize, {"excluded": [] if biases else excluded(objective)})


def eigen(objective: Objective, *, num: int = 2, seed: int = 0, rel_error: float = 0.01) -> Directions:
    """Eigenvectors of the largest eigenvalues of the Hessian, of length 1, from the Krylov run that metrics share.

    Raises:
        MeasurementError: where they cannot be computed.
    """
    found = top_eigenvalues(objective, k=num, vectors=True, rel_error=rel_error, seed=seed)
    if "eigenvectors" not in found.details or found.details["eigenvectors"].shape[1] < num:
        raise MeasurementError(f"No {num} eigenvectors to look along: {found.reason}")
    vectors = torch.from_numpy(found.details["eigenvectors"][:, :num]).double()
    vectors = vectors / vectors.norm(dim=0)
    details = {key: [float(value) for value in found.details[key][:num]] for key in ("eigenvalues", "residuals")}
    return Directions(
        tuple(_upright(v) for v in vectors.T.contiguous()),
        "eigen",
        details=details | {"converged": found.converged, "reason": found.reason},
    )


def gradient(objective: Objective, *, num: int = 2, seed: int = 0) -> Directions:
    """The gradient, of length 1, and the eigenvector of the largest eigenvalue without its part along the gradient.

    Raises:
        MeasurementError: where they cannot be computed, or the gradient is zero.
    """
    g = objective.gradient().cpu().double()
    if not g.norm() > 0:
        raise MeasurementError("The gradient is zero here. Look along other directions.")
    details = {"gradient_norm": g.norm().item()}
    first = Directions((g / g.norm(),), "gradient", details=details)
    if num == 1:
        return first
    steepest = eigen(objective, num=1, seed=seed)
    pair = replace(first, vectors=(*first.vectors, *steepest.vectors), details=details | steepest.details)
    return pair.orthogonalized()


def pca(objective: Objective, trajectory: Sequence[Tensor]) -> Directions:
    """The plane through the weights that a trajectory stays nearest to (Li et al. 2018, section 7).

    The two leading right singular vectors of the rows trajectory_i - w. ``details``: "path" (m, 2) and "residuals"
    (m,), the distances from the plane; "explained", the share of the summed squared distances from w along each.

    Args:
        objective: around whose weights; usually those at the end of the trajectory.
        trajectory: at least two flat vectors (d,) beside the weights, in order.

    Raises:
        ValueError: for a trajectory that spans no plane.

    Example:
        >>> model = torch.nn.Linear(3, 1, bias=False)
        >>> objective = Objective(model, torch.nn.MSELoss(), [(torch.eye(3), torch.ones(3, 1))])
        >>> w = objective.vector()
        >>> found = pca(objective, [w + torch.tensor([4.0, 0.0, 0.0]), w + torch.tensor([0.0, 1.0, 0.0]), w])
        >>> found.details["explained"], found.details["residuals"].round(6)
        ([0.941, 0.059], array([0., 0., 0.]))
    """
    w = objective.vector().cpu().double()
    steps = [_flat(point, w) - w for point in trajectory]
    gram = torch.tensor([[(a @ b).item() for b in steps] for a in steps], dtype=torch.float64)
    squares, left = torch.linalg.eigh(gram)
    if len(steps) < 2 or squares[-2] <= 1e-10 * squares[-1]:
        raise ValueError(f"A trajectory of {len(steps)} points on one line spans no plane. Give three that differ.")
    axes: list[Tensor] = []
    for k in (1, 2):
        axis = sum((c * step for c, step in zip(left[:, -k].tolist(), steps, strict=True)), torch.zeros_like(w))
        for earlier in axes:
            axis = axis - earlier * (earlier @ axis)
        axes.append(_upright(axis / axis.norm()))
    path, residuals = project(Directions(tuple(axes), "pca"), steps)
    lengths = [_MARGIN * max(np.abs(path[:, k]).max(), 1e-300) for k in (0, 1)]
    explained = [round((squares[-k] / squares.clamp(min=0).sum()).item(), 3) for k in (1, 2)]
    vectors = tuple(axis * length for axis, length in zip(axes, lengths, strict=True))
    return Directions(vectors, "pca", details={"path": path, "residuals": residuals, "explained": explained})


def towards(objective: Objective, others: Mapping[str, Tensor], *, num: int = 2, seed: int = 0) -> Directions:
    """Towards other weights: the line through one, with a random direction beside it, or the plane through two.

    ``details["marks"]`` says where each lies, and how far from the plane. A line or a plane beside one ends at it; a
    plane through three has orthogonal axes of one scale, and reaches a tenth further than the further one.

    Args:
        objective: around whose weights.
        others: one or two flat vectors (d,), by what to call them.
        num: 1 for a line, which takes one other; 2 for a plane.
        seed: of the random direction, filter-normalized.

    Raises:
        ValueError: for more others than the line or plane can go through, or ones that are the weights themselves.
    """
    if not 1 <= len(others) <= num:
        kind = "plane goes through one or two others" if num == 2 else "line goes through one other"
        raise ValueError(f"A {kind}. Got {len(others)}.")
    w = objective.vector().cpu().double()
    steps = {name: _flat(point, w) - w for name, point in others.items()}
    for name, step in steps.items():
        if not step.norm() > 0:
            raise ValueError(f"{name} has the same weights. Give another checkpoint.")
    vectors = tuple(steps.values())
    beside = random(objective, num=num - len(vectors), seed=seed).vectors
    found = Directions((*vectors, *beside), "to").orthogonalized()
    if len(vectors) == 2:
        length = _MARGIN * max(v.norm().item() for v in vectors)
        found = replace(found, vectors=tuple(v * (length / v.norm()) for v in found.vectors))
    places, residuals = project(found, list(steps.values()))
    marks = {
        name: {"at": place.tolist(), "residual": float(residual)}
        for name, place, residual in zip(steps, places, residuals, strict=True)
    }
    return replace(found, details={"marks": marks})


def project(directions: Directions, steps: Sequence[Tensor]) -> tuple[np.ndarray, np.ndarray]:
    """Where steps w' - w fall in the plane: true displacements (m, k) along its axes, and distances from it (m,)."""
    U = torch.stack([v / v.norm() for v in directions.vectors], dim=1)  # (d, k)
    gram = U.T @ U
    places, residuals = [], []
    for step in steps:
        place = torch.linalg.solve(gram, U.T @ step)
        places.append(place.numpy())
        residuals.append((step - U @ place).norm().item())
    return np.array(places).reshape(len(steps), U.shape[1]), np.array(residuals)


def find_directions(
    objective: Objective,
    directions: "str | Directions | Tensor | Sequence[Tensor]",
    *,
    num: int,
    normalize: str | None = None,
    seed: int = 0,
    biases: bool = False,
) -> Directions:
    """The directions that a name, a tensor for each, or ``Directions`` stand for, normalized as asked.

    Raises:
        ValueError: for an unknown name or normalization, or another number of directions than ``num``.
        MeasurementError: where eigenvectors or the gradient cannot be computed.
    """
    if normalize is not None and normalize not in NORMALIZATIONS:
        raise ValueError(f"normalize={normalize!r}. Expected one of: {', '.join(NORMALIZATIONS)}.")
    if directions == "random":
        return random(objective, num=num, normalize=normalize or "filter", seed=seed, biases=biases)
    if isinstance(directions, str):
        if directions not in KINDS:
            raise ValueError(f"directions={directions!r}. Expected one of: {', '.join(KINDS)}; or {num} tensors.")
        computed = eigen if directions == "eigen" else gradient
        found = computed(objective, num=num, seed=seed)
    elif isinstance(directions, Directions):
        found = directions
    else:
        tensors = [directions] if isinstance(directions, Tensor) else list(directions)
        w = objective.vector().cpu().double()
        found = Directions(tuple(_flat(v, w) for v in tensors), "given")
    if len(found.vectors) != num:
        raise ValueError(f"Got {len(found.vectors)} directions. Expected {num}.")
    if normalize in (None, "none"):
        return found
    vectors = tuple(normalized(objective, v, normalize, biases=biases) for v in found.vectors)
    return replace(found, vectors=vectors, normalize=normalize)


def _flat(v: Tensor, like: Tensor) -> Tensor:
    if not isinstance(v, Tensor) or v.shape != like.shape:
        got = tuple(v.shape) if isinstance(v, Tensor) else type(v).__name__
        raise ValueError(f"A direction or point is {got}. Expected a tensor of shape {tuple(like.shape)}.")
    return v.detach().to(like)


def _upright(v: Tensor) -> Tensor:
    """The one of v and -v whose largest entry is positive, so that a picture does not flip from run to run."""
    return v if v[v.abs().argmax()] > 0 else -v
