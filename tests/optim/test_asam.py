"""ASAM: what is scaled, and what is refused."""

import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD

from landscape.optim import ASAM


@pytest.mark.parametrize(
    ("names", "options", "settings", "moves"),
    [
        (["w.weight", "norm.weight", "b"], {}, {"eta": 0.5}, [2.5, 2.5, 1.0]),
        (None, {}, {"eta": 0.5}, [2.5, 1.0, 1.0]),
        (["w.weight", "norm.weight", "b"], {"adaptive": False}, {"eta": 0.5}, [1.0, 1.0, 1.0]),
        (["w.weight", "norm.weight", "b"], {"adaptive": True}, {"eta": 0.5}, [2.5, 2.5, 2.5]),
        (None, {}, {"variant": "davda54", "eta": 0.5}, [2.0, 2.0, 2.0]),
    ],
)
def test_which_parameters_are_scaled(
    names: list[str] | None, options: dict[str, Any], settings: dict[str, Any], moves: list[float]
) -> None:
    params = [nn.Parameter(torch.full(shape, 2.0, dtype=torch.float64)) for shape in ((1, 1), (1,), (1,))]
    group = {"params": list(zip(names, params, strict=True)) if names else params, **options}
    optimizer = ASAM(SGD([group], lr=0.1), rho=0.3, **settings)
    seen = []

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        seen.append([p.item() for p in params])
        loss = sum(p.sum() for p in params)  # every gradient is 1
        loss.backward()
        return loss

    optimizer.step(closure)
    norm = math.sqrt(sum(t**2 for t in moves))
    assert seen[1] == pytest.approx([2 + 0.3 * t**2 / norm for t in moves], rel=1e-12)


@pytest.mark.parametrize("settings", [{"rho": -1.0}, {"eta": math.nan}, {"variant": "SAM"}])
def test_misuse_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=rf"{next(iter(settings))}=.*Expected"):
        ASAM(SGD([torch.zeros(1, requires_grad=True)], lr=0.1), **settings)
