"""SAM against a transcription of the paper that knows no optimizer class, and against closed forms."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD, Adam, AdamW

from landscape.optim import SAM
from landscape.optim.vectors import global_norm


def test_replays_the_paper_over_sgd_with_momentum_and_weight_decay() -> None:
    settings = [
        {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01, "rho": 0.05},
        {"lr": 0.02, "momentum": 0.5, "weight_decay": 0.0, "rho": 0.3},
    ]
    weights, loss = problem()
    params = [w.clone().requires_grad_() for w in weights]
    base = SGD([{"params": params[:2], **settings[0]}, {"params": params[2:], **settings[1]}], lr=1.0)
    optimizer = SAM(base, rho=9.0)
    per_weight = [settings[0], settings[0], settings[1], settings[1]]
    momenta: list[Tensor | None] = [None] * 4
    for step in range(30):
        expected_loss = loss(weights, step)
        d = naive_sam_gradient(weights, lambda w, step=step: loss(w, step), [s["rho"] for s in per_weight])
        for i, s in enumerate(per_weight):
            g = d[i] + s["weight_decay"] * weights[i]
            momenta[i] = g if momenta[i] is None else s["momentum"] * momenta[i] + g
            weights[i] = weights[i] - s["lr"] * momenta[i]
        got_loss = optimizer.step(closure_of(params, lambda w, step=step: loss(w, step), optimizer))
        assert got_loss.item() == pytest.approx(expected_loss.item(), rel=1e-12)
        assert distance(params, weights) < 1e-12


@pytest.mark.parametrize("base_class", [SGD, Adam, AdamW])
def test_coupled_weight_decay_is_the_penalty_inside_the_loss_of_both_passes(base_class: type) -> None:
    weights, loss = problem()
    decay = 0.1

    def penalized(w: list[Tensor], step: int) -> Tensor:
        return loss(w, step) + decay / 2 * sum(x.square().sum() for x in w)

    # the oracle's base is Adam for AdamW too: with no decay of their own the two are one optimizer
    oracle_params = [w.clone().requires_grad_() for w in weights]
    oracle = (SGD if base_class is SGD else Adam)(oracle_params, lr=0.01)
    params = [w.clone().requires_grad_() for w in weights]
    optimizer = SAM(base_class(params, lr=0.01, weight_decay=decay), rho=0.3, coupled_weight_decay=True)
    for step in range(10):
        here = [p.detach().clone() for p in oracle_params]
        for p, d in zip(
            oracle_params, naive_sam_gradient(here, lambda w, step=step: penalized(w, step), [0.3] * 4), strict=True
        ):
            p.grad = d
        oracle.step()
        optimizer.step(closure_of(params, lambda w, step=step: loss(w, step), optimizer))
        assert distance(params, oracle_params) < 1e-12
    assert optimizer.param_groups[0]["weight_decay"] == decay


def test_coupled_weight_decay_needs_a_base_that_has_one() -> None:
    with pytest.raises(ValueError, match="LBFGS has no weight_decay"):
        SAM(torch.optim.LBFGS([torch.zeros(1, requires_grad=True)]), coupled_weight_decay=True)


@pytest.mark.parametrize("coupled", [False, True])
@pytest.mark.parametrize("base_class", [SGD, Adam])
def test_rho_zero_is_the_base_bit_for_bit_with_dropout_and_batchnorm(base_class: type, coupled: bool) -> None:
    def run(wrap: Callable[[torch.optim.Optimizer], torch.optim.Optimizer]) -> dict[str, Tensor]:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))
            optimizer = wrap(base_class(model.parameters(), lr=0.01, weight_decay=0.1))
            for _ in range(5):
                x, y = torch.randn(16, 4), torch.randint(3, (16,))

                def closure(x: Tensor = x, y: Tensor = y) -> Tensor:
                    optimizer.zero_grad()
                    loss = cross_entropy(model(x), y)
                    loss.backward()
                    return loss

                optimizer.step(closure)
        return model.state_dict()

    expected, got = run(lambda base: base), run(lambda base: SAM(base, rho=0.0, coupled_weight_decay=coupled))
    assert all(torch.equal(got[name], expected[name]) for name in expected)


def test_an_unperturbed_group_stays_and_is_not_in_the_norm() -> None:
    a, b, c = (nn.Parameter(torch.tensor([x])) for x in (3.0, 4.0, 12.0))
    base = SGD([{"params": [a]}, {"params": [b], "rho": 2.0}, {"params": [c], "perturb": False}], lr=0.0)
    optimizer = SAM(base, rho=0.5)
    seen = []

    def loss(w: list[Tensor]) -> Tensor:  # half the squared norm: the gradient is the weights
        seen.append([x.item() for x in w])
        return sum(x.square().sum() for x in w) / 2

    optimizer.step(closure_of([a, b, c], loss, optimizer))
    assert seen[0] == [3.0, 4.0, 12.0]
    assert seen[1] == pytest.approx([3.0 + 0.5 * 3 / 5, 4.0 + 2.0 * 4 / 5, 12.0])


def test_a_zero_gradient_moves_nothing() -> None:
    w = nn.Parameter(torch.zeros(3))
    optimizer = SAM(SGD([w], lr=1.0))
    optimizer.step(closure_of([w], lambda p: p[0].square().sum(), optimizer))
    assert torch.equal(w.detach(), torch.zeros(3))
    assert optimizer.num_skipped == 0


def test_the_norm_is_joint_and_accumulated_in_float32_or_wider() -> None:
    half = torch.full((1000,), 3000.0, dtype=torch.float16)  # the norm, 94868, is above float16's largest number
    assert global_norm([half, half]).item() == pytest.approx(3000 * math.sqrt(2000), rel=1e-6)
    mixed = global_norm([torch.tensor([3.0]), torch.tensor([4.0], dtype=torch.float64)])
    assert mixed.dtype == torch.float64
    assert mixed.item() == 5.0


@pytest.mark.parametrize("rho", [-0.1, math.nan, math.inf])
def test_a_bad_rho_is_refused_and_the_base_left_as_it_was(rho: float) -> None:
    base = SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    groups, options = base.param_groups, dict(base.param_groups[0])
    with pytest.raises(ValueError, match=f"rho={rho} is out of range. Expected 0 <= rho"):
        SAM(base, rho=rho)
    assert base.param_groups is groups
    assert groups == [options]


def test_the_root_of_the_rate_follows_a_schedule_and_is_saved() -> None:
    w = nn.Parameter(torch.tensor([3.0, 4.0], dtype=torch.float64))
    optimizer = SAM(SGD([w], lr=0.0), rho="sqrt-lr")
    seen = []

    def loss(p: list[Tensor]) -> Tensor:
        seen.append(p[0].detach().norm().item())
        return p[0].square().sum() / 2

    for lr in (0.04, 0.01, 0.0):
        with torch.no_grad():
            w.copy_(torch.tensor([3.0, 4.0]))
        optimizer.param_groups[0]["lr"] = lr
        optimizer.step(closure_of([w], loss, optimizer))
    assert seen == pytest.approx([5, 5.2, 5, 5.1, 5])  # no second pass where the radius is zero
    assert optimizer.state_dict()["base"]["param_groups"][0]["rho"] == "sqrt-lr"


@pytest.mark.parametrize("rho", ["sqrt_lr", "0.05"])
def test_another_word_for_a_radius_is_refused(rho: str) -> None:
    base = SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    with pytest.raises(ValueError, match=rf"rho='{rho}' is out of range. Expected 0 <= rho < inf or 'sqrt-lr'; 0.05"):
        SAM(base, rho=rho)


def problem() -> tuple[list[Tensor], Callable[[list[Tensor], int], Tensor]]:
    """Weights of a tanh network and its loss on the mini-batch of a step, in float64."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    weights = [draw(5, 8), draw(8), draw(8, 3), draw(3)]
    x, y = draw(40, 6, 5), torch.randint(3, (40, 6), generator=generator)

    def loss(w: list[Tensor], step: int) -> Tensor:
        return cross_entropy((x[step] @ w[0] + w[1]).tanh() @ w[2] + w[3], y[step])

    return weights, loss


def naive_sam_gradient(
    weights: list[Tensor], loss: Callable[[list[Tensor]], Tensor], rhos: list[float]
) -> list[Tensor]:
    def gradient(at: list[Tensor]) -> list[Tensor]:
        at = [w.detach().clone().requires_grad_() for w in at]
        return list(torch.autograd.grad(loss(at), at))

    g = gradient(weights)
    norm = math.sqrt(sum(float(x) ** 2 for tensor in g for x in tensor.flatten()))
    return gradient([w + rho * x / (norm + 1e-12) for w, rho, x in zip(weights, rhos, g, strict=True)])


def closure_of(
    params: list[Tensor], loss: Callable[[list[Tensor]], Tensor], optimizer: torch.optim.Optimizer
) -> Callable[[], Tensor]:
    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(params)
        value.backward()
        return value

    return closure


def distance(got: list[Tensor], expected: list[Tensor]) -> float:
    return max((a - b).detach().abs().max().item() for a, b in zip(got, expected, strict=True))
