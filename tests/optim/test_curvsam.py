"""CurvSAM: what is its own beside the shared contract and the replay of the paper."""

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD

from landscape.optim import CurvSAM

CURVATURE = torch.tensor([4.0, 0.01, -1.0], dtype=torch.float64)


class Diagonal:
    """Half of the sum of CURVATURE w^2, under CurvSAM: z * H z is CURVATURE z^2, by finite differences as well."""

    def __init__(self, *, lr: float = 0.0, **settings: Any) -> None:
        self.w = nn.Parameter(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))
        self.optimizer = CurvSAM(SGD([self.w], lr=lr), **settings)
        self.seen: list[Tensor] = []
        self.drawn: list[Tensor] = []
        self.bad_pass: int | None = None
        draw = self.optimizer.sample_like
        self.optimizer.sample_like = lambda p: self.drawn.append(draw(p)) or self.drawn[-1]

    def loss(self) -> Tensor:
        factor = math.inf if len(self.seen) == self.bad_pass else 1.0
        self.seen.append(self.w.detach().clone())
        return factor * (CURVATURE * self.w.square()).sum() / 2

    def step(self, *, exact: bool = True, bad_pass: int | None = None) -> None:
        self.seen.clear()
        self.bad_pass = bad_pass

        def closure() -> Tensor:
            self.optimizer.zero_grad()
            loss = self.loss()
            loss.backward()
            return loss

        self.optimizer.step(closure, loss=self.loss if exact else None)


@pytest.mark.parametrize("exact", [True, False])
def test_curvature_is_averaged_every_few_steps_and_shapes_the_ellipsoid(exact: bool) -> None:
    problem = Diagonal(rho=0.3, beta=0.25, delta=0.5, update_every=3)
    w, h = problem.w.detach().clone(), torch.ones(3, dtype=torch.float64)
    for t in range(7):
        problem.step(exact=exact)
        if t % 3 == 0:
            h = 0.25 * h + 0.75 * (CURVATURE * problem.drawn[t // 3].square()).abs()
        assert torch.allclose(problem.optimizer.state[problem.w]["curvature"], h, rtol=1e-9, atol=0)
        D, e, g = h.sqrt().clamp(min=0.5), problem.seen[-1] - w, CURVATURE * w
        assert (e * D * e).sum().item() == pytest.approx(0.3**2, rel=1e-9)
        assert torch.allclose(e * D / g, (e * D / g).mean(), rtol=1e-9)  # e is along D^-1 g
        assert len(problem.seen) == (2 if exact or t % 3 else 4)
        assert problem.optimizer.hvp_used == (None if t % 3 else "exact" if exact else "finite-difference")
    assert len(problem.drawn) == 3


def test_finite_differences_can_be_asked_for_and_are_central() -> None:
    problem = Diagonal(hvp="finite-difference")
    problem.step()
    assert problem.optimizer.hvp_used == "finite-difference"
    clean, plus, minus, _ = problem.seen
    assert torch.allclose(plus - clean, clean - minus)
    assert (plus - clean).norm().item() == pytest.approx(1e-3 * clean.norm().item(), rel=1e-9)


@pytest.mark.parametrize(("exact", "bad_pass"), [(True, 0), (True, 1), (False, 0), (False, 1), (False, 3)])
def test_a_skipped_step_leaves_curvature_counter_and_generator(exact: bool, bad_pass: int) -> None:
    calm, problem = (Diagonal(lr=0.01, update_every=2) for _ in range(2))
    for run in (calm, problem):
        for _ in range(2):
            run.step(exact=exact)
    before = copy.deepcopy(problem.optimizer.state_dict())
    problem.step(exact=exact, bad_pass=bad_pass)
    assert problem.optimizer.num_skipped == 1
    after = problem.optimizer.state_dict()
    assert after["scalars"] == before["scalars"]
    for run in (calm, problem):
        run.step(exact=exact)
    assert torch.equal(problem.w, calm.w)
    assert torch.equal(*(run.optimizer.state[run.w]["curvature"] for run in (calm, problem)))


@pytest.mark.parametrize("steps_before", [1, 3, 5])
def test_a_saved_state_goes_on_alike_in_the_middle_of_a_period(steps_before: int) -> None:
    straight, fresh = Diagonal(lr=0.01, update_every=3), Diagonal(lr=0.01, update_every=3, seed=7)
    for _ in range(steps_before):
        straight.step()
    fresh.optimizer.load_state_dict(straight.optimizer.state_dict())
    with torch.no_grad():
        fresh.w.copy_(straight.w)
    for _ in range(4):
        straight.step()
        fresh.step()
    assert torch.equal(fresh.w, straight.w)
    assert torch.equal(*(run.optimizer.state[run.w]["curvature"] for run in (straight, fresh)))


def test_another_seed_draws_other_numbers() -> None:
    curvatures = []
    for seed in (0, 0, 1):
        problem = Diagonal(seed=seed)
        problem.step()
        curvatures.append(problem.optimizer.state[problem.w]["curvature"])
    assert torch.equal(curvatures[0], curvatures[1])
    assert not torch.equal(curvatures[0], curvatures[2])


def test_an_unperturbed_group_is_not_in_the_product_and_has_no_curvature() -> None:
    a, b = (nn.Parameter(torch.tensor([x], dtype=torch.float64)) for x in (1.0, 2.0))
    optimizer = CurvSAM(SGD([{"params": [a]}, {"params": [b], "perturb": False}], lr=0.0), beta=0.0)
    optimizer.sample_like = torch.ones_like

    def loss() -> Tensor:
        return (3 * a.square() / 2 + 5 * a * b).sum()  # (H z)[0] is 3 at z = (1, 0), 8 at (1, 1)

    optimizer.step(closure_of(optimizer, loss), loss=loss)
    assert optimizer.state[a]["curvature"].item() == pytest.approx(3.0)
    assert b not in optimizer.state


def test_the_passes_of_a_difference_draw_the_same_dropout_masks() -> None:
    w = nn.Parameter(torch.ones(64))
    dropout = nn.Dropout(0.5)
    optimizer = CurvSAM(SGD([w], lr=0.0), hvp="finite-difference")
    masks = []

    def loss() -> Tensor:
        kept = dropout(w)
        masks.append(kept.detach() != 0)
        return kept.square().sum()

    with torch.random.fork_rng():
        torch.manual_seed(0)
        optimizer.step(closure_of(optimizer, loss))
    clean, plus, minus, perturbed = masks
    assert torch.equal(plus, minus)
    assert not torch.equal(clean, plus)
    assert not torch.equal(perturbed, minus)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rho": -0.1}, r"rho=-0.1 is out of range. Expected 0 <= rho"),
        ({"beta": 1.1}, r"beta=1.1 is out of range. Expected 0 <= beta <= 1"),
        ({"delta": 0.0}, r"delta=0.0 is out of range. Expected 0 < delta"),
        ({"update_every": 0}, r"update_every=0 is out of range. Expected 1 <= update_every"),
        ({"hvp": "fd"}, r"hvp='fd' is not known. Expected \"exact\" or \"finite-difference\""),
    ],
)
def test_misuse_says_what_was_expected(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Diagonal(**settings)


def closure_of(optimizer: CurvSAM, loss: Callable[[], Tensor]) -> Callable[[], Tensor]:
    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    return closure
