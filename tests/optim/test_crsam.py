"""CRSAM: the terms that "log" leaves out, and what is refused."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD

from landscape.optim import CRSAM


@pytest.mark.parametrize(("curvature", "slope"), [(1.0, 1.0), (-1.0, 3.0), (1.0, -1.0), (-1.0, -0.1)])
def test_terms_of_the_logarithm_without_a_positive_argument_are_left_out_and_counted(
    curvature: float, slope: float
) -> None:
    w = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = CRSAM(SGD([w], lr=1.0), rho=0.5, alpha=0.2, beta=0.1, regularizer="log")
    numbers = iter(range(3))

    def closure() -> Tensor:  # the gradient is 1 + w; what is returned has the wanted slope and curvature
        optimizer.zero_grad()
        (w + w.square() / 2).sum().backward()
        return [torch.zeros(()), torch.tensor(slope + curvature), torch.tensor(curvature - slope)][next(numbers)]

    optimizer.step(closure)
    expected = 1.5
    expected += 0.0 if curvature < 0 else 0.2 * (1.5 + 0.5 - 2) / (2 * curvature)
    expected += 0.0 if slope < 0 else 0.1 * (1.5 - 0.5) / (2 * slope)
    assert w.item() == pytest.approx(-expected, rel=1e-6)
    assert optimizer.num_dropped == (curvature < 0) + (slope < 0)
    other = CRSAM(SGD([w], lr=1.0), regularizer="log")
    other.load_state_dict(optimizer.state_dict())
    assert other.num_dropped == optimizer.num_dropped


def test_each_regularizer_has_defaults_of_its_own() -> None:
    w = [torch.zeros(1, requires_grad=True)]
    found = {name: CRSAM(SGD(w, lr=0.1), regularizer=name) for name in ("plain", "log")}
    assert {name: (one.alpha, one.beta) for name, one in found.items()} == {"plain": (0.1, 0.01), "log": (1e-4, 1e-5)}
    given = CRSAM(SGD(w, lr=0.1), regularizer="log", alpha=0.0, beta=0.2)
    assert (given.alpha, given.beta) == (0.0, 0.2)


@pytest.mark.parametrize("settings", [{"rho": -1.0}, {"alpha": math.nan}, {"beta": -0.1}, {"regularizer": "exp"}])
def test_misuse_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=rf"{next(iter(settings))}=.*Expected"):
        CRSAM(SGD([torch.zeros(1, requires_grad=True)], lr=0.1), **settings)
