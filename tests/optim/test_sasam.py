"""SA-SAM: what is its own beside SA-SGD, with which test_sasgd runs it too."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from landscape.optim import SASAM


@pytest.mark.parametrize("preset", [None, "official"])
def test_the_radius_is_the_root_of_the_new_step_size_in_the_paper_and_of_the_old_one_in_the_code(
    preset: str | None,
) -> None:
    w = nn.Parameter(torch.tensor([3.0, 4.0], dtype=torch.float64))
    optimizer = SASAM([w], lr=0.01, preset=preset)
    old_eta = 0.01
    for num_passes in (2, 3, 3):
        at, seen = w.detach().clone(), run(optimizer, [w], lambda: 3 * w.square().sum())
        radius = math.sqrt(old_eta if preset else optimizer.eta)
        assert len(seen) == num_passes
        assert torch.equal(seen[0][0], at)
        assert (seen[-1][0] - at).norm().item() == pytest.approx(radius, rel=1e-8)
        assert optimizer.param_groups[0]["rho"] == pytest.approx(radius, rel=1e-12)
        assert w.tolist() == pytest.approx((at - optimizer.eta * 6 * seen[-1][0]).tolist(), rel=1e-12)
        old_eta = optimizer.eta
    assert old_eta == pytest.approx(0.01 * (1.02**0.5) ** 3 if preset else 1 / 12, rel=1e-3)


def test_an_unperturbed_group_is_in_the_estimate_but_not_in_the_perturbation() -> None:
    a, b = (nn.Parameter(torch.tensor([x], dtype=torch.float64)) for x in (1.0, 2.0))
    optimizer = SASAM([{"params": [a]}, {"params": [b], "perturb": False}], lr=0.01)
    for _ in range(2):
        before = [a.item(), b.item()]
        seen = run(optimizer, [a, b], lambda: (a.square() + 4 * b.square()).sum())
        assert seen[-1][0].item() == pytest.approx(before[0] + math.sqrt(optimizer.eta), rel=1e-9)
        assert seen[-1][1].item() == before[1]
    weights_apart, gradients_apart = math.hypot(0.01 * 2 * 1.1, 0.01 * 16), math.hypot(0.01 * 4 * 1.1, 0.01 * 128)
    assert optimizer.eta == pytest.approx(weights_apart / (2 * gradients_apart), rel=1e-9)
    for group in optimizer.param_groups:
        group["perturb"] = False
    assert len(run(optimizer, [a, b], lambda: (a.square() + 4 * b.square()).sum())) == 2  # it is SA-SGD's step


def run(optimizer: SASAM, params: list[Tensor], loss: Callable[[], Tensor]) -> list[list[Tensor]]:
    """Make a step; return the weights of every pass."""
    seen = []

    def closure() -> Tensor:
        seen.append([p.detach().clone() for p in params])
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    optimizer.step(closure)
    return seen
