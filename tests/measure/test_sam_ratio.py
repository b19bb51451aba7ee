"""The SAM ratio against a plain transcription of its definition, closed forms, and what must hold anywhere."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import stdtrit
from torch import nn
from torch.nn.functional import cross_entropy

from landscape import Objective
from landscape.measure.sam_ratio import ratio_of_sums, sam_ratio
from landscape.minibatches import minibatches
from tests.cases import assert_unchanged, flat_loss, make, snapshot
from tests.measure.quadratics import Point, quadratic, random_quadratic
from tests.test_objective import objective_of


def transcription(loss, w, rho, num_steps=20, step=None, scale=None):
    """delta and delta* as the architecture page has them, for one loss of a flat vector."""
    scale = torch.ones_like(w) if scale is None else scale
    step = 2.5 * rho / 20 if step is None else step

    def slope(u):
        at = (w + scale * u).requires_grad_()
        return scale * torch.autograd.grad(loss(at), at)[0]

    def rise(u):
        return (loss(w + scale * u) - loss(w)).item()

    delta = rho * slope(0 * w) / slope(0 * w).norm()
    candidates, u = [delta], torch.zeros_like(w)
    for _ in range(num_steps):
        u = u + step * slope(u) / slope(u).norm()
        u = u * min(1.0, rho / u.norm().item())
        candidates.append(u)
    return delta, max(candidates, key=rise), rise


def expected(case, batches, *, shared=False, adaptive=False, **arguments):
    """One-step rises, best rises and sizes of the batches."""
    everything = torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches])
    _, w = flat_loss(case.model, case.criterion, everything)
    scale = w.abs() if adaptive else None
    rows = []
    for batch in batches:
        delta, best, rise = transcription(flat_loss(case.model, case.criterion, batch)[0], w, scale=scale, **arguments)
        if shared:
            loss = flat_loss(case.model, case.criterion, everything)[0]
            delta, best, _ = transcription(loss, w, scale=scale, **arguments)
        rows.append((rise(delta), rise(best), len(batch[1])))
    return np.array(rows).T


def dealt(case, size, num_examples=None):
    """The random mini-batches of seed 0, as (inputs, targets)."""
    whole = [(case.inputs, case.targets)]
    parts = minibatches(lambda: whole, size, generator=torch.Generator().manual_seed(0), num_examples=num_examples)
    return [part for (part,) in parts]


def leave_one_out(one, best):
    ratios = [(one.sum() - a) / (best.sum() - b) for a, b in zip(one, best, strict=True)]
    return math.sqrt((len(one) - 1) / len(one) * sum((r - np.mean(ratios)) ** 2 for r in ratios))


@pytest.mark.parametrize("perturbation", ["batch", "dataset"])
@pytest.mark.parametrize("adaptive", [False, True])
def test_it_is_the_definition(perturbation, adaptive):
    case = make("mlp_tanh")
    one, best, sizes = expected(case, dealt(case, 16), shared=perturbation == "dataset", adaptive=adaptive, rho=0.5)
    measured = sam_ratio(objective_of(case), rho=0.5, batch_size=16, perturbation=perturbation, adaptive=adaptive)
    assert measured.value == pytest.approx((one * sizes).sum() / (best * sizes).sum(), rel=1e-9)
    assert 0.3 < measured.value < 0.999
    assert measured.std_error == pytest.approx(leave_one_out(one * sizes, best * sizes), rel=1e-6)
    assert measured.details["one_step_rises"] == pytest.approx(one, rel=1e-9)
    assert measured.details["best_rises"] == pytest.approx(best, rel=1e-9)
    assert measured.details["weights"].tolist() == [16, 16, 16, 16, 6]
    rising = best > 0  # all of them, but where one perturbation for all lowers the loss of some
    ratios = one[rising] / best[rising]
    assert rising.all() or perturbation == "dataset"
    assert measured.details["mean_of_ratios"] == pytest.approx(ratios.mean(), rel=1e-9)
    std_error = ratios.std(ddof=1) / len(ratios) ** 0.5
    assert measured.details["mean_of_ratios_std_error"] == pytest.approx(std_error, rel=1e-9)
    assert measured.details["num_flat_batches"] == (~rising).sum()
    assert measured.converged


@pytest.mark.parametrize("arguments", [{"step": 0.5 / 20}, {"num_steps": 3, "step": 0.3}])
def test_step_and_their_number(arguments):
    case = make("mlp_tanh")
    one, best, sizes = expected(case, dealt(case, 35), rho=0.5, **arguments)
    arguments["ascent_steps"] = arguments.pop("num_steps", 20)
    measured = sam_ratio(objective_of(case), rho=0.5, batch_size=35, **arguments)
    assert measured.value == pytest.approx((one * sizes).sum() / (best * sizes).sum(), rel=1e-9)


def test_a_random_subset_takes_part():
    case = make("mlp_tanh")
    one, best, sizes = expected(case, dealt(case, 10, num_examples=26), rho=0.5)
    measured = sam_ratio(objective_of(case, 7), rho=0.5, batch_size=10, num_examples=26)
    assert measured.details["weights"].tolist() == [10, 10, 6]
    assert measured.value == pytest.approx((one * sizes).sum() / (best * sizes).sum(), rel=1e-9)


@pytest.mark.parametrize(("size", "microbatch"), [(64, None), (7, None), (None, 5), (32, 100)])
def test_mini_batches_do_not_depend_on_how_the_data_come(size, microbatch):
    case = make("conv_batchnorm")
    reference = sam_ratio(objective_of(case), batch_size=10)
    measured = sam_ratio(objective_of(case, size, microbatch=microbatch), batch_size=10)
    assert measured.value == pytest.approx(reference.value, rel=1e-9)
    assert measured.std_error == pytest.approx(reference.std_error, rel=1e-6)


def test_class_weights_weigh_the_batches():
    case = make("mlp_tanh")
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0]).double()
    measured = sam_ratio(Objective(case.model, nn.CrossEntropyLoss(weight=weights), case.batches()), batch_size=16)
    assert measured.details["weights"] == pytest.approx([weights[y].sum().item() for _, y in dealt(case, 16)])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_along_the_top_eigenvector_one_step_is_all(dtype):
    A, _ = random_quadratic("tied", 2)
    top = torch.linalg.eigh(A).eigenvectors[:, -1]
    measured = sam_ratio(quadratic(A, top, num_examples=1, dtype=dtype), rho=1.0)
    assert measured.value == pytest.approx(1, abs=1e-12 if dtype == torch.float64 else 1e-6)
    assert measured.value <= 1


@settings(deadline=None, max_examples=25, derandomize=True)
@given(
    seed=st.integers(0, 10**6),
    kind=st.sampled_from(["convex", "tied", "saddle", "concave"]),
    rho=st.sampled_from([1e-4, 0.05, 1.0, 30.0]),
    perturbation=st.sampled_from(["batch", "dataset"]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_never_above_one(seed, kind, rho, perturbation, dtype):
    A, b = random_quadratic(kind, seed)
    objective = quadratic(A, b, num_examples=4, dtype=dtype)
    measured = sam_ratio(objective, rho=rho, batch_size=1, perturbation=perturbation, ascent_steps=5)
    assert not measured.value > 1
    if perturbation == "batch":
        assert (measured.details["best_rises"] >= np.maximum(measured.details["one_step_rises"], 0)).all()
        assert not measured.details["mean_of_ratios"] > 1


def test_where_one_step_overshoots():
    """u - u^2: the top is 1/4 at u = 1/2, and one step of 0.9 comes to 0.09. Steps of 0.1125 stop next to the top."""
    model = Point(torch.zeros(1).double())
    objective = Objective(model, lambda m, batch: (m() - m() ** 2).expand(len(batch[0])), [(torch.ones(4, 1),)])
    measured = sam_ratio(objective, rho=0.9, batch_size=2)
    top = max(0.1125 * k - (0.1125 * k) ** 2 for k in range(9))
    assert measured.value == pytest.approx(0.09 / top, rel=1e-9)
    beyond = sam_ratio(objective, rho=1.2, batch_size=2)
    assert beyond.value == pytest.approx((1.2 - 1.44) / max(0.15 * k - (0.15 * k) ** 2 for k in range(9)), rel=1e-9)


def test_batches_that_do_not_rise_are_counted():
    """Examples pull with different strengths; those of strength 0 do not pull at all, and at a maximum none does."""
    model = Point(torch.zeros(2).double())
    strengths = torch.tensor([0.0, 1.0, 2.0, 0.0, 3.0, 0.0]).double()

    def losses(m, batch):
        return batch[0] * m().sum() - m().square().sum() * (batch[0] == 0)

    measured = sam_ratio(Objective(model, losses, [(strengths,)]), batch_size=1)
    assert measured.details["num_flat_batches"] == 3
    assert sorted(measured.details["best_rises"] > 0) == [False] * 3 + [True] * 3
    assert measured.value == pytest.approx(1)
    assert measured.details["mean_of_ratios"] == pytest.approx(1)
    assert measured.converged

    nowhere = sam_ratio(Objective(model, losses, [(torch.zeros(3).double(),)]), batch_size=1)
    assert math.isnan(nowhere.value)
    assert not nowhere.converged
    assert "no perturbation raises" in nowhere.reason
    assert nowhere.details["num_flat_batches"] == 3


def test_one_batch_gives_no_error_bar():
    measured = sam_ratio(objective_of(make("mlp_tanh")))
    assert 0 < measured.value <= 1
    assert math.isnan(measured.std_error)
    assert not measured.converged
    assert "too few" in measured.reason


@pytest.mark.parametrize("num_batches", [12, 40])
def test_intervals_cover(num_batches):
    """Rises of batches as far apart as those of a trained network, the last batch a short one."""

    def draw(n, rng):
        best = rng.lognormal(0, 0.5, n)
        return best * (1 - rng.beta(1.5, 6, n)), best

    one, best = draw(10**6, np.random.default_rng(0))
    truth, covered = one.sum() / best.sum(), 0
    weights = np.array([128.0] * (num_batches - 1) + [29])
    for seed in range(200):
        one, best = draw(num_batches, np.random.default_rng(1 + seed))
        value, error = ratio_of_sums(weights * one, weights * best)
        covered += abs(value - truth) <= stdtrit(num_batches - 1, 0.975) * error
    assert 180 <= covered <= 198


@pytest.mark.parametrize("perturbation", ["batch", "dataset"])
def test_cost(monkeypatch, perturbation):
    examples = []
    case = make("mlp_tanh")

    def losses(model, batch):
        found = cross_entropy(model(batch[0]), batch[1], reduction="none")
        examples.extend([1] * (len(found) * found.requires_grad))
        return found

    objective = Objective(case.model, losses, case.batches(9))
    objective.verify()
    examples.clear()
    measured = sam_ratio(objective, batch_size=16, ascent_steps=5, perturbation=perturbation)
    assert len(examples) == 5 * 70
    assert measured.num_gradients == 5
    assert measured.num_matvecs == 0
    assert sam_ratio(objective, batch_size=16, ascent_steps=5, num_examples=35).num_gradients == round(5 / 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e-7, 1e7])
def test_the_scale_of_the_loss_cancels(scale, dtype):
    case = make("mlp_tanh")
    case.model.to(dtype)
    batches = [(x.to(dtype), y) for x, y in case.batches()]

    def scaled(model, batch):
        return scale * cross_entropy(model(batch[0]), batch[1], reduction="none")

    tolerance = 1e-9 if dtype == torch.float64 else 1e-3
    plain = sam_ratio(Objective(case.model, case.criterion, batches), batch_size=16)
    assert sam_ratio(Objective(case.model, scaled, batches), batch_size=16).value == pytest.approx(
        plain.value, rel=tolerance
    )


def test_it_is_the_same_every_time_and_leaves_no_trace():
    case = make("conv_batchnorm")
    case.model.train()
    before = snapshot(case.model)
    first = sam_ratio(objective_of(case, 16), batch_size=8)
    assert_unchanged(before, snapshot(case.model))
    assert sam_ratio(objective_of(case, 16), batch_size=8).value == first.value


@pytest.mark.parametrize(
    "argument",
    [{"rho": 0.0}, {"ascent_steps": 0}, {"step": -1.0}, {"batch_size": 0}, {"num_examples": 0}, {"perturbation": "x"}],
)
def test_what_makes_no_sense_is_refused(argument):
    with pytest.raises(ValueError, match=r"Expected"):
        sam_ratio(objective_of(make("mlp_tanh")), **argument)
