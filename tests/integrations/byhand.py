"""Steps made by hand in plain torch: what the optimizers do in the loops of others is held against them."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Gradient = Callable[[], list[Tensor]]  # where the weights are now


def norm(vectors: Sequence[Tensor]) -> Tensor:
    return torch.stack([v.square().sum() for v in vectors]).sum().sqrt()


def at(params: list[Tensor], gradient: Gradient, direction: list[Tensor], radius: float) -> list[Tensor]:
    """The gradient at the weights moved along the direction."""
    saved = [p.detach().clone() for p in params]
    scale = radius / (norm(direction) + 1e-12)
    with torch.no_grad():
        for p, v in zip(params, direction, strict=True):
            p += scale * v
    found = gradient()
    with torch.no_grad():
        for p, w in zip(params, saved, strict=True):
            p.copy_(w)
    return found


def sam(params: list[Tensor], gradient: Gradient, *, rho: float) -> list[Tensor]:
    return at(params, gradient, gradient(), rho)


def crsam(params: list[Tensor], gradient: Gradient, *, rho: float, alpha: float, beta: float) -> list[Tensor]:
    g = gradient()
    up, down = at(params, gradient, g, rho), at(params, gradient, g, -rho)
    return [u + alpha * (u + d - 2 * v) + beta * (u - d) for v, u, d in zip(g, up, down, strict=True)]


def plain(params: list[Tensor], gradient: Gradient) -> list[Tensor]:
    return gradient()


def clip(vectors: list[Tensor], max_norm: float) -> tuple[list[Tensor], Tensor]:
    """The vectors, no longer than that, and how long they were."""
    length = norm(vectors)
    return [v * torch.clamp(max_norm / (length + 1e-6), max=1.0) for v in vectors], length


def gradient_of(params: list[Tensor], losses: Callable[[], Sequence[Tensor]]) -> list[Tensor]:
    """The gradient of the sum of the losses, one backward pass each."""
    total = [torch.zeros_like(p) for p in params]
    for loss in losses():
        for t, g in zip(total, torch.autograd.grad(loss, params), strict=True):
            t += g
    return total


def distance(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """The largest difference, in units of the largest expected entry."""
    largest = max(e.abs().max() for e in expected)
    return max(((f - e).abs().max() / largest).item() for f, e in zip(found, expected, strict=True))
