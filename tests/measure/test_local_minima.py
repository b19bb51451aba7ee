"""Extrema of functions whose minima are known along every direction, of bowls, and of noise."""

import numpy as np
import pytest
import torch
from scipy.signal import peak_prominences
from torch import nn
from torch.nn.functional import cross_entropy

from landscape import Objective
from landscape.measure.local_minima import local_minima
from tests.cases import assert_unchanged, make, snapshot
from tests.matrices import seeded
from tests.measure.quadratics import Point, quadratic, random_quadratic
from tests.test_objective import objective_of


def radial(function, *, dtype=torch.float64, d=7):
    """function(||w - w0||) at w0: along every direction it is the function itself."""
    w0 = torch.linspace(-1, 1, d, dtype=dtype)
    return Objective(Point(w0), lambda m, batch: function((m() - w0.to(m())).norm()).expand(3), [(torch.ones(3, 1),)])


def bowl(dtype):
    """Least squares with large residuals, at its minimum: a quadratic of 1e7 that rises by 1e-2 along a line."""
    x = torch.randn(400, 6, generator=seeded(0), dtype=torch.float64)
    y = 3000 * torch.randn(400, 1, generator=seeded(1), dtype=torch.float64)
    model = nn.Linear(6, 1, bias=False)
    model.weight.data = torch.linalg.lstsq(x, y).solution.T
    return Objective(model.to(dtype), nn.MSELoss(), [(x.to(dtype), y.to(dtype))])


def hashed(seed, size=1.0, d=7):
    """A deterministic function that no one can tell from noise, independent from point to point."""
    k = 1e3 * torch.randn(d, generator=seeded(seed), dtype=torch.float64)
    return Objective(
        Point(torch.ones(d, dtype=torch.float64)),
        lambda m, batch: size * torch.sin(1e5 * torch.sin((m() * k.to(m())).sum())).expand(1),
        [(torch.ones(1, 1),)],
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_known_minima_along_every_direction(dtype):
    """cos at 1, 0, -1, 0, 1, 0, -1, 0, 1, 0, -1: minima at the 2nd and 6th steps, the 10th is the end of the line."""
    measured = local_minima(radial(lambda r: torch.cos(50 * np.pi * r), dtype=dtype), num_directions=20)
    assert measured.value == 2
    assert measured.std_error == 0
    for name in ("minima", "maxima", "raw_minima", "raw_maxima"):
        assert measured.details[name].tolist() == [2] * 20
        assert measured.details[f"{name}_histogram"].tolist() == [0, 0, 20, 0, 0, 0]
    assert measured.details["noise_expectation"] == 3
    assert measured.details["losses"] == pytest.approx(np.tile([1, 0, -1, 0, 1, 0, -1, 0, 1, 0, -1], (20, 1)), abs=1e-3)
    assert 0 < measured.details["floor"] < (1e-3 if dtype == torch.float32 else 1e-11)


def test_minima_and_maxima_are_told_apart():
    measured = local_minima(radial(lambda r: (r - 0.05) ** 2), num_directions=3)
    assert (measured.value, measured.details["raw_maxima"].sum()) == (1, 0)
    measured = local_minima(radial(lambda r: -((r - 0.05) ** 2)), num_directions=3)
    assert (measured.value, measured.details["maxima"].tolist()) == (0, [1, 1, 1])


def test_flat_ground_and_the_ends_have_no_minima():
    def plateau(r):
        return -((r - 0.05).abs() - 0.02).clamp(min=0)

    for function in (lambda r: 0 * r, lambda r: r, lambda r: -r, plateau, lambda r: -plateau(r)):
        measured = local_minima(radial(function), num_directions=3)
        assert measured.details["minima"].sum() == measured.details["maxima"].sum() == 0


def test_radius_and_steps():
    measured = local_minima(radial(lambda r: torch.cos(np.pi * r)), num_directions=4, radius=8.0, num_steps=16)
    assert measured.value == 4  # at 1, 3, 5, 7
    assert measured.details["losses"].shape == (4, 17)
    assert measured.details["minima_histogram"].tolist() == [0, 0, 0, 0, 4, 0, 0, 0, 0]
    assert measured.details["noise_expectation"] == 5


def test_directions_are_uniform_on_the_sphere():
    points = []
    model = Point(torch.zeros(5).double())
    objective = Objective(model, lambda m, b: (points.append(m().detach().clone()), b[0])[1], [(torch.ones(1),)])
    points.clear()
    local_minima(objective, num_directions=400, num_steps=2, radius=2.0)
    ends = torch.stack([p for p in points if p.dtype == torch.float64 and p.norm() > 1.5]).unique(dim=0)
    assert ends.norm(dim=1) == pytest.approx(2 * torch.ones(400))
    unit = ends / 2
    assert unit.mean(0).norm() < 0.1
    assert unit.T @ unit / 400 == pytest.approx(torch.eye(5) / 5, abs=0.04)
    cosines = (unit @ unit.T).triu(1)
    assert cosines.abs().max() < 0.9999


def test_a_bowl_in_float32_has_none_above_the_floor():
    narrow, wide = local_minima(bowl(torch.float32)), local_minima(bowl(torch.float64))
    assert narrow.details["raw_minima"].sum() > 20  # rounding
    assert narrow.details["raw_maxima"].sum() > 20
    assert narrow.details["minima"].sum() == narrow.details["maxima"].sum() == 0
    assert wide.details["raw_minima"].sum() == 0
    assert narrow.details["floor"] > 1e3 * wide.details["floor"]
    A, b = random_quadratic("convex", 0)
    assert local_minima(quadratic(A, 0 * b, dtype=torch.float32)).details["minima"].sum() == 0


def test_the_floor_in_float32_is_that_of_the_difference_to_float64():
    narrow = local_minima(bowl(torch.float32), num_directions=4)
    wide = local_minima(bowl(torch.float64), num_directions=4)
    spread = np.ptp(narrow.details["losses"] - wide.details["losses"], axis=1)
    assert spread.max() / 3 < narrow.details["floor"] < 6 * spread.max()


def test_minima_as_deep_as_the_noise_are_lost_and_deeper_ones_are_not():
    def wavy(amplitude):
        return local_minima(
            radial(lambda r: 1000 + amplitude * torch.cos(50 * np.pi * r), dtype=torch.float32), num_directions=10
        )

    shallow, deep = wavy(1e-5), wavy(1.0)
    assert shallow.value == 0
    assert deep.value == 2
    assert shallow.details["floor"] > 1e-5


def test_prominences_are_scipy_s():
    """Random heights, the same along every direction, between once and many times the rounding of a plateau of 1000."""
    totals = {"raw_minima": 0, "minima": 0, "raw_maxima": 0, "maxima": 0}
    for seed in range(25):
        heights = 3e-4 * torch.rand(11, generator=seeded(seed), dtype=torch.float64)

        def ground(r, heights=heights):
            return 1000 + heights.to(r)[(100 * r).round().long()]

        d = local_minima(radial(ground, dtype=torch.float32), num_directions=2).details
        for name, sign in (("minima", -1), ("maxima", 1)):
            row = sign * d["losses"][0]
            peaks = [i for i in range(1, 10) if row[i - 1] < row[i] > row[i + 1]]
            kept = int((peak_prominences(row, peaks)[0] > d["floor"]).sum())
            assert (d[f"raw_{name}"][0], d[name][0]) == (len(peaks), kept)
            assert d[f"{name}_histogram"].tolist() == (2 * np.eye(6, dtype=int))[kept].tolist()
            totals[f"raw_{name}"] += len(peaks)
            totals[name] += kept
    assert 0.3 < totals["minima"] / totals["raw_minima"] < 0.9
    assert 0.3 < totals["maxima"] / totals["raw_maxima"] < 0.9


def test_noise_alone_has_a_third_of_the_interior_points():
    measured = local_minima(hashed(0), num_directions=400)
    assert measured.details["noise_expectation"] == 3
    for name in ("minima", "maxima", "raw_minima", "raw_maxima"):  # all of it above the floor, which is of rounding
        counts = measured.details[name]
        assert abs(counts.mean() - 3) < 4 * measured.std_error
        assert np.var(counts) == pytest.approx(2 * (11 + 1) / 45, rel=0.3)  # of peaks in a random order of 11


def test_the_standard_error_is_that_of_the_mean_over_directions():
    measured = local_minima(objective_of(make("mlp_relu")), num_directions=30, radius=3.0)
    counts = measured.details["minima"]
    assert counts.std() > 0
    assert measured.value == counts.mean()
    assert measured.std_error == pytest.approx(counts.std(ddof=1) / 30**0.5)


# --- a fresh mini-batch at every point -----------------------------------------------------------------------------


def levels(num_batches):
    """Every mini-batch of two rows has a level of its own, wherever the weights are."""
    rows = torch.rand(2 * num_batches, generator=seeded(0), dtype=torch.float64)
    objective = Objective(Point(torch.zeros(3).double()), lambda m, b: b[0] + 0 * m().sum(), [(rows,)])
    dealt = objective.minibatches(2, generator=seeded(2))
    return torch.stack([part[0].mean() for (part,) in dealt]), objective


def test_mini_batches_see_noise_and_nothing_above_the_floor():
    heights, objective = levels(15)
    measured = local_minima(objective, evaluation="minibatch", batch_size=2, num_directions=200)
    for row in measured.details["losses"]:
        assert len(set(row)) == 11  # another one at every point
        assert set(np.round(row, 12)) <= set(np.round(heights.numpy(), 12))
    raw = measured.details["raw_minima"]
    assert abs(raw.mean() - 3) < 4 * raw.std(ddof=1) / 200**0.5
    assert measured.value == 0
    assert measured.details["maxima"].sum() == 0
    assert measured.details["floor"] == pytest.approx(2 * float(heights.max() - heights.min()))


def test_every_mini_batch_is_drawn():
    _, objective = levels(15)
    measured = local_minima(objective, evaluation="minibatch", batch_size=2, num_directions=20)
    assert len(set(np.round(measured.details["losses"], 12).ravel())) == 15


def test_both_protocols_walk_the_same_lines():
    torch.manual_seed(0)
    rows = torch.randn(40, 3).double()
    rows[:] = rows[0]  # all mini-batches alike
    objective = Objective(nn.Linear(3, 1).double(), lambda m, b: m(b[0])[:, 0] ** 2, [(rows,)])
    one = local_minima(objective, num_directions=5)
    other = local_minima(objective, num_directions=5, evaluation="minibatch", batch_size=3)
    assert other.details["losses"] == pytest.approx(one.details["losses"], rel=1e-12)


@pytest.mark.parametrize("size", [64, 7, 1])
def test_mini_batches_do_not_depend_on_how_the_data_come(size):
    case = make("mlp_tanh")
    arguments = {"evaluation": "minibatch", "batch_size": 5, "num_directions": 3}
    reference = local_minima(objective_of(case), **arguments).details["losses"]
    assert local_minima(objective_of(case, size), **arguments).details["losses"] == pytest.approx(reference, rel=1e-9)


def test_too_few_mini_batches_are_refused():
    with pytest.raises(ValueError, match=r"5 mini-batches of 16 rows.*11.*batch_size"):
        local_minima(objective_of(make("mlp_tanh")), evaluation="minibatch", batch_size=16)


# --- what must hold for any ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e-7, 1e7])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_scaled_loss_has_the_same_minima(scale, dtype):
    case = make("mlp_relu")
    case.model.to(dtype)
    batches = [(case.inputs.to(dtype), case.targets.to(dtype))]

    def losses(model, batch):
        return scale * (model(batch[0]) - batch[1]).square().mean(1)

    plain = local_minima(Objective(case.model, case.criterion, batches), num_directions=20, radius=3.0)
    scaled = local_minima(Objective(case.model, losses, batches), num_directions=20, radius=3.0)
    assert plain.details["minima"].sum() > 0
    assert scaled.details["minima"].tolist() == plain.details["minima"].tolist()
    assert scaled.details["floor"] / scale == pytest.approx(plain.details["floor"], rel=3)


@pytest.mark.parametrize("evaluation", ["dataset", "minibatch"])
def test_the_seed_decides_and_nothing_is_left_behind(evaluation):
    case = make("conv_batchnorm")
    case.model.train()
    before = snapshot(case.model)

    def losses(seed):
        measured = local_minima(
            objective_of(case, 16), num_directions=3, evaluation=evaluation, batch_size=3, seed=seed
        )
        assert (measured.num_gradients, measured.num_matvecs) == (0, 0)
        return measured.details["losses"]

    first = losses(0)
    assert_unchanged(before, snapshot(case.model))
    assert (losses(0) == first).all()
    assert (losses(1) != first).any()


def test_passes_are_those_promised():
    passes = []
    case = make("mlp_tanh")

    def losses(model, batch):
        passes.append(torch.is_grad_enabled())
        return cross_entropy(model(batch[0]), batch[1], reduction="none")

    objective = Objective(case.model, losses, case.batches())
    passes.clear()
    local_minima(objective, num_directions=10, num_steps=4)
    assert not any(passes)
    assert len(passes) <= 10 * 5 + 2 * 5 * 2 + 4 + 4  # the last ones of a batch, for whether all is in float64


@pytest.mark.parametrize(
    "argument",
    [{"evaluation": "epoch"}, {"num_directions": 1}, {"num_steps": 1}, {"radius": 0.0}, {"batch_size": 0}],
)
def test_what_makes_no_sense_is_refused(argument):
    with pytest.raises(ValueError, match=r"Expected"):
        local_minima(objective_of(make("mlp_tanh")), **argument)
