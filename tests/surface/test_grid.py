"""Grids over quadratics, whose every value is known: what lies where, what the axes mean, and what is checked."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from landscape import Objective
from landscape.surface import line, plane
from landscape.surface.directions import Directions
from tests.cases import make
from tests.measure.quadratics import Point, quadratic

D = 6
AXES = tuple(torch.eye(D, dtype=torch.float64))


def bowl(*curvatures, at=None):
    A = torch.diag(torch.tensor([*curvatures, *[1.0] * (D - len(curvatures))], dtype=torch.float64))
    return quadratic(A, torch.zeros(D), at=at)


@pytest.mark.parametrize("num_points", [5, 6, 7, 8])
def test_axes_are_symmetric_and_contain_the_weights_for_odd_and_even_sizes(num_points):
    found = plane(bowl(), directions=(3 * AXES[0], AXES[1]), num_points=num_points, span=2.0)
    n = num_points + 1 - num_points % 2
    assert found.loss.shape == (n, n)
    assert found.x[n // 2] == found.y[n // 2] == 0
    np.testing.assert_array_equal(found.x, -found.x[::-1])
    np.testing.assert_allclose(found.x, np.linspace(-6, 6, n), atol=1e-15)
    np.testing.assert_allclose(found.y, np.linspace(-2, 2, n), atol=1e-15)


@pytest.mark.parametrize("curvatures", [(1.0, 1.0), (1.0, 25.0)])
def test_quadratic_is_exact_at_every_axis_coordinate(curvatures):
    found = plane(bowl(*curvatures), directions=(2 * AXES[0], 0.5 * AXES[1]), num_points=9)
    a, b = curvatures
    np.testing.assert_allclose(found.loss, a / 2 * found.x[:, None] ** 2 + b / 2 * found.y**2, rtol=1e-13, atol=1e-15)


def test_first_index_is_along_the_first_direction():
    w = torch.zeros(D, dtype=torch.float64)
    w[0] = 1.0  # higher towards +x, level towards y
    found = plane(bowl(1.0, 0.0, at=w), directions=AXES[:2], num_points=3)
    np.testing.assert_allclose(found.loss, [[0, 0, 0], [0.5] * 3, [2] * 3], atol=1e-15)


def test_oblique_axes_are_displacements_and_the_cosine_is_told():
    oblique = (AXES[0] + AXES[1]) * 3
    found = plane(bowl(1.0, 1.0), directions=(AXES[0], oblique), num_points=5)
    assert found.details["cosine"] == pytest.approx(math.sqrt(0.5))
    x, y = found.x[:, None], found.y
    np.testing.assert_allclose(found.loss, (x**2 + y**2 + 2 * x * y * math.sqrt(0.5)) / 2, rtol=1e-12, atol=1e-14)
    straight = plane(bowl(1.0, 1.0), directions=(AXES[0], oblique), num_points=5, orthogonalize=True)
    assert abs(straight.details["cosine"]) < 1e-15
    np.testing.assert_allclose(straight.loss, (straight.x[:, None] ** 2 + straight.y**2) / 2, rtol=1e-12, atol=1e-14)
    assert straight.details["norms"] == pytest.approx([1, oblique.norm().item()])


def test_a_reach_is_a_displacement_whatever_the_length_of_the_directions():
    long, short = (
        plane(bowl(1.0, 4.0), directions=(k * AXES[0], AXES[1]), num_points=5, reach=(2, 3)) for k in (7, 0.5)
    )
    for found in (long, short):
        np.testing.assert_allclose(found.x, [-2, -1, 0, 1, 2])
        np.testing.assert_allclose(found.y, [-3, -1.5, 0, 1.5, 3])
        np.testing.assert_allclose(found.loss, found.x[:, None] ** 2 / 2 + 2 * found.y**2, atol=1e-14)
    assert long.details["span"] == pytest.approx([2 / 7, 3])
    assert line(bowl(), direction=7 * AXES[0], num_points=3, reach=2.0).x[-1] == 2


def test_line_along_a_direction():
    found = line(bowl(4.0), direction=3 * AXES[0], num_points=4)
    np.testing.assert_allclose(found.x, [-3, -1.5, 0, 1.5, 3])
    np.testing.assert_allclose(found.loss, 2 * found.x**2)
    assert found.details["checks"]["curvature"][0]["product"] == pytest.approx(4)


def test_eigenvectors_have_the_curvature_of_their_eigenvalues():
    found = plane(bowl(1.0, 7.0, 5.0), directions="eigen", num_points=5)
    assert found.details["eigenvalues"] == pytest.approx([7, 5])
    assert found.details["norms"] == pytest.approx([1, 1])
    np.testing.assert_allclose(found.loss, (7 * found.x[:, None] ** 2 + 5 * found.y**2) / 2, rtol=1e-6)


def test_gradient_is_the_steepest_direction():
    w = torch.linspace(1, 2, D, dtype=torch.float64)
    found = line(bowl(3.0, at=w), direction="gradient", num_points=201, span=1e-3)
    slope = (found.loss[101] - found.loss[99]) / (found.x[101] - found.x[99])
    assert slope == pytest.approx(found.details["gradient_norm"], rel=1e-9)


def test_two_splits_share_a_grid_and_have_their_own_losses():
    one, other = make("mlp_tanh"), make("mlp_tanh")
    objectives = {
        "train": Objective(one.model, one.criterion, one.batches()),
        "test": Objective(one.model, one.criterion, [(other.inputs[:5], other.targets[:5])]),
    }
    found = plane(objectives, num_points=5)
    np.testing.assert_array_equal(found["train"].x, found["test"].x)
    for split, objective in objectives.items():
        assert found[split].split == split
        assert found[split].centre == pytest.approx(objective.value(), rel=1e-14)
        assert found[split].details["num_examples"] == objective.num_examples


def test_nan_and_infinity_are_kept():
    def losses(model, batch):
        w = model()
        return torch.log(w.sum()) + torch.where(w.sum() > 1.4, torch.inf, 0.0) + 0 * batch[0]

    objective = Objective(Point(torch.tensor([1.0, 0.0])), losses, [(torch.ones(3),)])
    found = line(objective, direction=torch.tensor([1.5, 0.0]), num_points=7)
    assert np.isnan(found.loss[0])
    assert np.isneginf(found.loss[1])
    assert np.isposinf(found.loss[4:]).all()
    assert found.loss[2:4] == pytest.approx([math.log(0.5), 0], abs=1e-7)
    assert found.num_nonfinite == 5


@pytest.mark.parametrize("name", ["mlp_tanh", "mlp_relu", "conv_batchnorm", "attention", "tied"])
def test_checks_agree_on_networks(name):
    case = make(name)
    found = plane(Objective(case.model, case.criterion, case.batches()), num_points=3)
    assert found.details["checks"]["centre"]["agrees"] is True
    assert [check["agrees"] for check in found.details["checks"]["curvature"]] == [True, True]
    assert 0 <= found.details["noise_floor"] < 1e-12


def test_a_wrong_axis_fails_the_check(monkeypatch):
    from landscape.surface import checks

    class Longer(checks.Walk):
        def point(self, displacement):
            return super().point([1.1 * t for t in displacement])

    monkeypatch.setattr(checks, "Walk", Longer)
    case = make("mlp_tanh")
    found = plane(Objective(case.model, case.criterion, case.batches()), num_points=3)
    assert [check["agrees"] for check in found.details["checks"]["curvature"]] == [False, False]


def test_a_centre_that_is_not_the_measured_loss_fails_the_check(monkeypatch):
    objective = bowl(at=torch.ones(D))
    monkeypatch.setattr(objective, "value", lambda at=None: 3.1)
    assert line(objective, direction=AXES[0], num_points=3).details["checks"]["centre"]["agrees"] is False


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_points": 2}, "num_points=2"),
        ({"span": 0.0}, "span=0.0"),
        ({"span": math.nan}, "span=nan"),
        ({"reach": (1.0,)}, "Expected 2 positive"),
        ({"reach": (1.0, math.inf)}, "Expected 2 positive"),
        ({"mode": "train"}, "mode='train'"),
        ({"refine": True, "num_points": 3}, "at least 5 along an axis to refine"),
        ({"normalize": "kernel"}, "normalize='kernel'"),
        ({"directions": "up"}, "directions='up'"),
        ({"directions": AXES[:1]}, "Got 1 directions. Expected 2"),
        ({"directions": (AXES[0], torch.zeros(D))}, "norm 0.0"),
        ({"directions": (AXES[0], torch.zeros(2))}, "Expected a tensor of shape"),
        ({"directions": (AXES[0], -2 * AXES[0]), "orthogonalize": True}, "parallel"),
        ({"mode": "reestimate", "directions": AXES[:2]}, "needs batch normalization"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(ValueError, match=message):
        plane(bowl(), **options)


def test_objectives_of_different_weights_are_refused():
    with pytest.raises(ValueError, match="different weights"):
        plane({"train": bowl(), "test": bowl(at=torch.ones(D))})


def test_extrema_above_the_noise_floor_are_in_the_details():
    found = plane(bowl(), directions=AXES[:2], num_points=9)
    (low,) = found.details["minima"]
    assert (low["x"], low["y"], low["loss"], low["on_edge"]) == (0, 0, 0, False)
    assert found.details["prominence_threshold"] == found.details["noise_floor"]
    assert len(found.details["maxima"]) == 4
    assert all(top["on_edge"] for top in found.details["maxima"])


def test_nothing_is_left_behind():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2)).train()
    batch = (torch.randn(20, 3, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 2)
    objective = Objective(model, nn.CrossEntropyLoss(), [batch])
    before = {name: t.clone() for name, t in model.state_dict().items()}
    rng = torch.get_rng_state()

    def stop(done, total, left):
        raise KeyboardInterrupt

    for mode in ("eval", "reestimate"):
        plane(objective, num_points=3, mode=mode)
        with pytest.raises(KeyboardInterrupt):
            plane(objective, num_points=3, mode=mode, progress=stop)
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert model.training
    assert model[1].training
    assert model[1].momentum == 0.1
    assert torch.equal(torch.get_rng_state(), rng)


def test_directions_are_taken_as_they_are_and_normalized_when_asked():
    case = make("mlp_tanh")
    objective = Objective(case.model, case.criterion, case.batches())
    v = torch.ones(objective.num_params, dtype=torch.float64)
    kept = plane(objective, directions=Directions((v, v.flip(0) + v), "given"), num_points=3)
    assert kept.details["normalize"] == "none"
    assert kept.details["norms"][0] == pytest.approx(v.norm().item())
    asked = plane(objective, directions=(v, v.cumsum(0)), normalize="model", biases=True, num_points=3)
    assert asked.details["normalize"] == "model"
    assert asked.details["norms"] == pytest.approx([objective.vector().norm().item()] * 2)


def test_checks_take_as_many_examples_as_the_grid_can_pay():
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    inputs = torch.randn(300, 3, generator=torch.Generator().manual_seed(0))
    objective = Objective(model, nn.CrossEntropyLoss(), [(inputs, torch.arange(300) % 2)])
    for num_points, slices, precisions in ((3, 2, 64), (51, 52, 156)):
        details = plane(objective, num_points=num_points).details
        assert [check["num_examples"] for check in details["checks"]["curvature"]] == [slices] * 2
        assert f"on {precisions} examples" in details["noise_floor_reason"]
