"""RSAM: where its noise comes from, how large it is, and that a step that did not happen drew none."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD

from landscape.optim import RSAM


def closure_of(
    optimizer: RSAM, params: list[nn.Parameter], seen: list[list[Tensor]], *, nan: bool = False
) -> Callable[[], Tensor]:
    def closure() -> Tensor:
        optimizer.zero_grad()
        seen.append([p.detach().clone() for p in params])
        loss = sum(p.square().sum() for p in params) * (math.nan if nan else 1.0)
        loss.backward()
        return loss

    return closure


def test_the_noise_is_in_units_of_each_output_filter_or_of_the_whole_tensor() -> None:
    scale = torch.logspace(-2, 2, 5, dtype=torch.float64)
    params = [
        nn.Parameter(scale[:, None, None].expand(5, 40, 50).clone()),
        nn.Parameter(scale[:, None, None].expand(5, 40, 50).clone()),
        nn.Parameter(torch.ones(2000, dtype=torch.float64)),
    ]
    optimizer, seen = RSAM(SGD(params, lr=0.0), sigma=0.1), []
    optimizer.step(closure_of(optimizer, params, seen))
    noise = [(a - b.detach()) / 0.1 for a, b in zip(seen[0], params, strict=True)]
    assert noise[0].flatten(1).std(1) == pytest.approx(scale * math.sqrt(2000), rel=0.1)
    assert noise[2].std() == pytest.approx(math.sqrt(2000), rel=0.1)
    assert abs(torch.corrcoef(torch.stack([noise[0][0].flatten(), noise[1][0].flatten()]))[0, 1]) < 0.1


def test_noise_follows_the_seed_alone_and_goes_on_after_loading() -> None:
    def run(num_steps: int, *, seed: int = 0, state: dict | None = None, skip: bool = False) -> tuple[Tensor, dict]:
        params = [nn.Parameter(torch.ones(6))]
        optimizer, seen = RSAM(SGD(params, lr=0.0), sigma=0.1, seed=seed), []
        if state:
            optimizer.load_state_dict(state)
        if skip:
            optimizer.step(closure_of(optimizer, params, [], nan=True))
        torch.randn(3)  # is none of its business
        for _ in range(num_steps):
            optimizer.step(closure_of(optimizer, params, seen))
        return torch.stack([w for (w,) in seen[::2]]), optimizer.state_dict()

    straight, _ = run(4)
    first, state = run(2)
    assert torch.equal(straight, torch.cat([first, run(2, seed=9, state=state)[0]]))
    assert torch.equal(straight, run(4, skip=True)[0])
    assert not torch.equal(straight, run(4, seed=1)[0])
    assert not torch.equal(straight[0], straight[1])


def test_without_a_radius_it_is_the_base_in_one_pass_and_draws_nothing() -> None:
    params, seen = [nn.Parameter(torch.ones(3))], []
    optimizer = RSAM(SGD(params, lr=0.1), rho=0.0, sigma=0.1)
    optimizer.step(closure_of(optimizer, params, seen))
    assert len(seen) == 1
    assert optimizer.state_dict()["generators"] == {}
    assert torch.allclose(params[0], torch.full((3,), 0.8))


@pytest.mark.parametrize("name", ["rho", "sigma"])
def test_misuse_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}=-1.0 is out of range. Expected 0 <= {name} < inf"):
        RSAM(SGD([torch.zeros(1, requires_grad=True)], lr=0.1), **{name: -1.0})
