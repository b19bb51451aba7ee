"""SA-SGD: what is its own beside the shared contract and the replay of the paper."""

import io
import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from landscape.optim import SASAM, SASGD

BOTH = pytest.mark.parametrize("cls", [SASGD, SASAM])


@pytest.mark.parametrize(("damping", "eta"), [(2.0, 1 / 8), (0.5, 1 / 2), (8.0, 1 / 32)])
@pytest.mark.parametrize("weight_decay", [0.0, 3.0])
def test_on_a_quadratic_the_step_is_the_inverse_of_its_curvature(
    damping: float, eta: float, weight_decay: float
) -> None:
    w = parameter(1.0, 2.0, 3.0)
    optimizer = SASGD([w], lr=0.01, damping=damping, weight_decay=weight_decay)
    step(optimizer, lambda: 2 * w.square().sum())
    assert w.tolist() == pytest.approx([x * (1 - 0.01 * (4 + weight_decay)) for x in (1, 2, 3)], rel=1e-12)
    at = w.tolist()
    step(optimizer, lambda: 2 * w.square().sum())
    assert optimizer.eta == pytest.approx(eta, rel=1e-12)
    assert w.tolist() == pytest.approx([x * (1 - eta * (4 + weight_decay)) for x in at], rel=1e-12)


def test_the_second_pass_is_exactly_at_the_weights_before_and_the_first_step_has_none() -> None:
    w = parameter(0.1, 0.7)
    optimizer = SASGD([w], lr=0.3)
    before, seen = [], []

    def loss() -> Tensor:
        seen.append(w.detach().clone())
        return w.square().square().sum()

    for k in range(4):
        before.append(w.detach().clone())
        seen.clear()
        step(optimizer, loss)
        expected = before[k : k - 2 if k > 1 else None : -1]
        assert len(seen) == min(k + 1, 2)
        assert all(torch.equal(a, b) for a, b in zip(seen, expected, strict=True))


@BOTH
def test_an_infinite_growth_bound_keeps_the_step_size(cls: type[SASGD]) -> None:
    for delta, etas in ((0.0, [0.1, 0.1, 0.1]), (0.21, [0.1, 0.1, 0.1 * math.sqrt(1.21)])):
        w = parameter(1.0)
        optimizer = cls([w], lr=0.1, delta=delta)
        for eta in etas:
            step(optimizer, w.sum)  # the gradient never changes
            assert optimizer.eta == pytest.approx(eta, rel=1e-12)
            assert optimizer.param_groups[0]["eta"] == optimizer.eta


def test_without_delta_the_step_size_never_grows() -> None:
    w = parameter(1.0)
    optimizer = SASGD([w], lr=0.1, delta=0.0)
    for _ in range(3):
        step(optimizer, lambda: w.square().sum())  # the inverse of the curvature allows 0.25
        assert optimizer.eta == 0.1


@BOTH
@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_where_nothing_moves_the_step_size_grows_and_nothing_is_nan(cls: type[SASGD], noise: float) -> None:
    w, numbers = parameter(0.0), itertools.count()
    optimizer = cls([w], lr=0.1, delta=1.0, damping=7.0, preset="official")
    optimizer.param_groups[0]["lr"] = 0.0
    for _ in range(3):
        step(optimizer, lambda: (w.square() + noise * next(numbers) * w).sum())
    theta1 = math.sqrt(2)
    theta2 = math.sqrt(1 + theta1)
    assert optimizer.eta == pytest.approx(0.1 * theta1 * theta2 * math.sqrt(1 + theta2), rel=1e-12)
    assert w.item() == 0
    assert optimizer.damping == 1


@BOTH
def test_gradients_that_differ_by_more_than_the_largest_number_skip_the_step(cls: type[SASGD]) -> None:
    w, signs = nn.Parameter(torch.zeros(1)), itertools.cycle([1.0, -1.0])
    optimizer = cls([w], lr=1e-3)
    step(optimizer, lambda: w.sum())
    step(optimizer, lambda: 2e38 * next(signs) * w.sum())
    assert optimizer.num_skipped == 1
    assert optimizer.scalars["step"] == 1


def test_a_scheduler_and_the_lr_of_a_group_multiply_the_step_size() -> None:
    a, b = parameter(0.0), parameter(0.0)
    optimizer = SASGD([{"params": [a]}, {"params": [b], "lr": 0.01, "weight_decay": 0.5}], lr=0.1, delta=0.0)
    scheduler = LambdaLR(optimizer, lambda epoch: 1 / (1 + epoch))
    for k in range(3):
        before = [a.item(), b.item()]
        step(optimizer, lambda: (a + b).sum())
        assert optimizer.eta == 0.1
        factor = 1 / (1 + k)
        assert [group["eta"] for group in optimizer.param_groups] == pytest.approx([0.1 * factor, 0.01 * factor])
        assert a.item() == pytest.approx(before[0] - 0.1 * factor, rel=1e-12)
        assert b.item() == pytest.approx(before[1] - 0.01 * factor * (1 + 0.5 * before[1]), rel=1e-12)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1 * factor)
        scheduler.step()


def test_a_parameter_that_stayed_counts_with_its_gradient_but_not_with_its_weight() -> None:
    a, b = parameter(1.0), parameter(1.0)
    optimizer = SASGD([a, b], lr=0.1)

    def coupled() -> Tensor:
        return (a * b).sum()

    step(optimizer, lambda: a.square().sum())  # b has no gradient, a goes to 0.8
    assert (a.item(), b.item()) == pytest.approx((0.8, 1.0))
    step(optimizer, coupled)  # weights apart: (-0.2, 0), gradients apart: (0, -0.2)
    assert optimizer.eta == pytest.approx(0.5, rel=1e-12)
    step(optimizer, lambda: a.square().sum())  # b, which moved in the last step, stays and forgets it
    assert b not in optimizer.state


@BOTH
@pytest.mark.parametrize("steps_before", [0, 1, 3])
def test_a_saved_state_goes_on_alike_in_an_optimizer_made_with_other_numbers(
    cls: type[SASGD], steps_before: int
) -> None:
    w, other = parameter(3.0, 1.0), parameter(0.0, 0.0)
    optimizer, fresh = cls([w], lr=0.01), cls([other], lr=0.5)
    for _ in range(steps_before):
        step(optimizer, lambda: w.square().square().sum())
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    fresh.load_state_dict(torch.load(file, weights_only=True))
    with torch.no_grad():
        other.copy_(w)
    for _ in range(3):
        step(optimizer, lambda: w.square().square().sum())
        step(fresh, lambda: other.square().square().sum())
        assert fresh.eta == optimizer.eta
        assert fresh.scalars == optimizer.scalars
        assert torch.equal(other, w)


@BOTH
@pytest.mark.parametrize("bad_pass", [0, 1])
@pytest.mark.parametrize("error", [False, True])
def test_a_step_that_fails_leaves_the_step_size_and_the_weights_before(
    cls: type[SASGD], bad_pass: int, error: bool
) -> None:
    runs = []
    for fails in (False, True):
        w = parameter(3.0, 1.0)
        optimizer = cls([w], lr=0.01)
        for _ in range(2):
            step(optimizer, lambda w=w: w.square().square().sum())
        if fails:
            passes = iter(range(9))

            def loss(w: Tensor = w, passes: object = passes) -> Tensor:
                if next(passes) != bad_pass:
                    return w.square().square().sum()
                if error:
                    raise KeyboardInterrupt
                return w.sum() * math.inf

            if error:
                with pytest.raises(KeyboardInterrupt):
                    step(optimizer, loss)
            else:
                step(optimizer, loss)
        for _ in range(2):
            step(optimizer, lambda w=w: w.square().square().sum())
        runs.append((w.detach(), optimizer.scalars))
    assert torch.equal(runs[0][0], runs[1][0])
    assert runs[0][1] == runs[1][1]


@pytest.mark.parametrize(("cls", "others"), [(SASGD, []), (SASAM, [2])])
def test_both_evaluations_draw_the_same_dropout_masks_and_the_random_stream_goes_on(
    cls: type[SASGD], others: list[int]
) -> None:
    w = parameter(*range(64))
    dropout = nn.Dropout(0.5)
    optimizer = cls([w], lr=1e-3)
    masks: list[Tensor] = []

    def loss() -> Tensor:
        kept = dropout(w + 1)
        masks.append(kept.detach() != 0)
        return kept.sum()

    with torch.random.fork_rng():
        torch.manual_seed(0)
        for _ in range(3):
            masks.clear()
            state = torch.get_rng_state()
            step(optimizer, loss)
            after = torch.get_rng_state()
            torch.set_rng_state(state)
            drawn = [torch.equal(mask, masks[0]) for mask in masks]
            for _ in {0, *others}:
                dropout(w)
            assert torch.equal(torch.get_rng_state(), after)
            assert drawn[0]
            if optimizer.scalars["step"] > 1:
                assert drawn[1]
                assert not any(drawn[k] for k in others)


@BOTH
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr": 0.0}, r"lr=0.0 is out of range. Expected 0 < lr"),
        ({"damping": math.nan}, r"damping=nan is out of range"),
        ({"delta": -1.0}, r"delta=-1.0 is out of range"),
        ({"preset": "code"}, r"preset='code' is not known. Expected None or \"official\""),
    ],
)
def test_misuse_says_what_was_expected(cls: type[SASGD], settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cls([parameter(1.0)], **{"lr": 0.1, **settings})


def parameter(*values: float) -> nn.Parameter:
    return nn.Parameter(torch.tensor(values, dtype=torch.float64))


def step(optimizer: SASGD, loss: Callable[[], Tensor]) -> None:
    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    optimizer.step(closure)
