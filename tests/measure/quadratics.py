"""Quadratic losses as objectives, and their maximum over a ball from the eigenvalues: what ascents are held against."""

import math

import torch
from torch import nn

from landscape import Objective
from tests.matrices import seeded, symmetric


class Point(nn.Module):
    """A model that is nothing but its parameters, one vector."""

    def __init__(self, w):
        super().__init__()
        self.w = nn.Parameter(torch.as_tensor(w).clone())

    def forward(self):
        return self.w


def quadratic(A, b, *, at=None, scale=1.0, num_examples=12, size=None, dtype=torch.float64):
    """The objective 1/2 w^T A w + b^T w at w = ``at`` (or 0), its examples apart by linear terms of sum 0."""
    d = len(b)
    tilts = torch.randn(num_examples, d, generator=seeded(9), dtype=torch.float64)
    tilts = (tilts - tilts.mean(0)).to(dtype)
    A, b = A.to(dtype), b.to(dtype)

    def losses(model, batch):
        w = model()
        return scale * (w @ (A.to(w) @ w) / 2 + b.to(w) @ w + batch[0] @ w)

    batches = [(part,) for part in tilts.split(size or num_examples)]
    return Objective(Point(torch.zeros(d, dtype=dtype) if at is None else at.to(dtype)), losses, batches)


def random_quadratic(kind, seed, d=20):
    """A symmetric matrix, "convex", "tied", "saddle" or "concave", and a vector from 1 to 1/100 in length."""
    generator = seeded(seed)
    eigenvalues = {
        "convex": torch.linspace(0, 1, d) ** 4,
        "tied": torch.cat([torch.linspace(0, 0.5, d - 3), torch.tensor([0.9, 0.95, 1.0])]),
        "saddle": torch.linspace(-1, 1, d),
        "concave": -torch.linspace(0.2, 1, d),
    }[kind]
    b = torch.randn(d, generator=generator, dtype=torch.float64)
    size = 10 ** (-2 * torch.rand(1, generator=generator, dtype=torch.float64))
    return symmetric(eigenvalues, seed=seed), size * b / b.norm()


def largest_over_ball(A, b, rho):
    """Max of 1/2 u^T A u + b^T u over ||u|| <= rho: by duality the minimum over mu >= max(eigenvalues, 0) of the convex

    1/2 (sum_i b_i^2 / (mu - lambda_i) + mu rho^2), by bisection on its derivative (the secular equation).
    """
    eigenvalues, basis = torch.linalg.eigh(A)
    squares = (basis.T @ b) ** 2
    there = squares > 1e-28 * max(1.0, float(squares.max()))  # what rounding leaves of a component that is zero
    eigenvalues, squares = eigenvalues[there], squares[there]
    lowest = max(float(torch.linalg.eigvalsh(A)[-1]), 0.0)
    low, high = lowest, lowest + math.sqrt(float(squares.sum())) / rho + 1e-300
    for _ in range(200):
        middle = (low + high) / 2
        if float((squares / (middle - eigenvalues) ** 2).sum()) > rho**2:
            low = middle
        else:
            high = middle
    return (float((squares / (high - eigenvalues)).sum()) + high * rho**2) / 2


def largest_gradient(A, b, rho):
    """Max of ||A u + b|| over the ball: its square is a quadratic too: twice that of (A^2, A b), and ||b||^2."""
    return (2 * largest_over_ball(A @ A, A @ b, rho) + float(b @ b)) ** 0.5
