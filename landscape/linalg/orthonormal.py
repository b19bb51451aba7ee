"""Orthonormal columns that grow block by block, and inner products, in float64 whatever the dtype of the vectors."""

import torch
from torch import Tensor

from landscape.linalg.estimate import ROUNDING, power_of_two, wide_dtype

_ROWS = 1 << 20  # converted at once, so that no second copy of all vectors is made


def gram(X: Tensor, Y: Tensor) -> Tensor:
    """X^T Y, (k, n), on the CPU in float64, for X (d, k) and Y (d, n).

    Example:
        >>> gram(torch.eye(3)[:, :2], torch.ones(3, 1)).tolist()
        [[1.0], [1.0]]
    """
    wide = wide_dtype(X)
    total = torch.zeros(X.shape[1], Y.shape[1], dtype=wide, device=X.device)
    for x, y in zip(X.split(_ROWS), Y.split(_ROWS), strict=True):
        total += x.to(wide).T @ y.to(wide)
    return total.cpu().double()


def column_dots(X: Tensor, Y: Tensor) -> Tensor:
    """The inner product of each column of X (d, k) with that of Y, (k,), on the CPU, added up in float64.

    Example:
        >>> column_dots(torch.eye(2), torch.tensor([[1.0, 2.0], [3.0, 4.0]])).tolist()
        [1.0, 4.0]
    """
    return (X * Y).sum(0, dtype=wide_dtype(X)).cpu().double()


def new_directions(Q: Tensor, Y: Tensor, *, scale: float) -> Tensor:
    """Orthonormal columns that, together with the orthonormal columns of Q (d, k), span those of Y (d, n).

    Directions smaller than the rounding of vectors of norm ``scale`` are left out: none for a Y in the span of Q.

    Example:
        >>> Q, Y = torch.eye(3)[:, :1], torch.tensor([[3.0, 1.0], [-2.0, 0.0], [0.0, 0.0]])
        >>> new_directions(Q, Y, scale=1.0).abs().T
        tensor([[0., 1., 0.]])
    """
    unit = power_of_two(Y)
    directions, R = torch.linalg.qr(_without(Q, _without(Q, Y.to(wide_dtype(Y)) / unit)))
    U, sizes, _ = torch.linalg.svd(R)
    kept = directions @ U[:, sizes > ROUNDING * torch.finfo(Y.dtype).eps * (scale / unit)]
    return torch.linalg.qr(_without(Q, kept)).Q.to(Y.dtype)  # again: what is small in Y had much of Q in it


def _without(Q: Tensor, Y: Tensor) -> Tensor:
    return Y - Q @ gram(Q, Y).to(Q)
