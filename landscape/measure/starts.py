"""Where ascents in a ball start: in few dimensions at the peaks of points that cover it, in many at random.

The points are quasi-random (Sobol 1967): normal directions, and radii of a ball that is a tenth larger, those beyond
ours put on its sphere. A start is a point that has no higher one within the critical distance of multi-level single
linkage (Rinnooy Kan & Timmer 1987, Math. Program. 39, 57, eq. 6)

    r = rho (sigma log N / N)^(1/d),    N points, sigma = 1

and, where these are too few, the highest others that lie so far from one another. In the plane that covers the ball. In
many dimensions no number of points does, and the highest of 16 led trained networks no higher than random ones.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from scipy.spatial.distance import cdist
from scipy.stats import qmc
from torch import Tensor

_FEW = 32  # dimensions
_POINTS = 2048  # over the dimension
_STARTS = 8  # over the dimension, times as many ascents as were asked for
_BEYOND = 1.1
_SIGMA = 1.0


def num_points(dimension: int) -> int:
    """How many points of the ball are looked at, to start at the highest ones; none where starts are random."""
    return _POINTS // dimension if dimension <= _FEW else 0


def num_starts(dimension: int, num_restarts: int) -> int:
    """How many starts ``num_restarts`` are: several times as many in fewer than 8 dimensions.

    Example:
        >>> num_starts(2, 3), num_starts(1000, 3), num_points(2), num_points(1000)
        (12, 3, 1024, 0)
    """
    return num_restarts * max(1, _STARTS // dimension)


def starts(
    height: Callable[[Tensor], float], origin: Tensor, *, rho: float, number: int, generator: torch.Generator
) -> tuple[list[Tensor], float]:
    """So many points (d,) of the ball to ascend from, and how long a first step from them should be.

    Args:
        height: what is looked for the maximum of; called ``num_points(d)`` times.
        origin: the centre of the ball, a vector of zeros (d,), for its length, dtype and device.
        rho: the radius.
        number: of starts.
        generator: of the points.

    Example:
        >>> found, apart = starts(lambda u: -float((u - 0.5).norm()), torch.zeros(2), rho=1.0, number=2,
        ...                       generator=torch.Generator().manual_seed(0))
        >>> bool((found[0] - 0.5).norm() < 0.1), bool((found[0] - found[1]).norm() > apart)
        (True, True)
    """
    d = len(origin)
    if not num_points(d):
        drawn = [torch.randn(d, generator=generator, dtype=torch.float64) for _ in range(number)]
        return [(u * (rho / u.norm())).to(origin) for u in drawn], rho
    points = rho * _points(d, generator)
    heights = np.array([height(u.to(origin)) for u in points])
    distances = cdist(points, points)
    apart = rho * min(1.0, (_SIGMA * math.log(len(points)) / len(points)) ** (1 / d))
    hidden = ((distances < apart) & (heights[:, None] < heights)).any(1)  # beside a higher one
    chosen: list[int] = []
    for index in np.lexsort((-heights, hidden)):
        if len(chosen) == number:
            break
        if (distances[index, chosen] >= apart).all():
            chosen.append(int(index))
    return [points[index].to(origin) for index in chosen], apart


def _points(dimension: int, generator: torch.Generator) -> Tensor:
    """Points of the unit ball, (N, d) in float64."""
    number = num_points(dimension)
    seed = int(torch.randint(1 << 31, (), generator=generator))
    cube = torch.from_numpy(qmc.Sobol(dimension + 1, rng=seed).random_base2((number - 1).bit_length()))[:number]
    directions = torch.special.ndtri(cube[:, :dimension].clamp(1e-9, 1 - 1e-9))
    radii = (_BEYOND * cube[:, dimension] ** (1 / dimension)).clamp(max=1)
    return directions * (radii / directions.norm(dim=1))[:, None]
