"""Directions: Li et al.'s normalization filter by filter, and planes through what they are made of."""

import numpy as np
import pytest
import torch
from torch import nn

from landscape import Objective
from landscape.models import build_model
from landscape.surface import plane
from landscape.surface.directions import pca, project, random, towards
from landscape.surface.normalization import excluded, normalized
from tests.measure.quadratics import quadratic


@pytest.fixture(scope="module")
def objective():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_model("cnn", input_shape=(1, 8, 8), num_classes=10).double()
        inputs = torch.randn(6, 1, 8, 8, dtype=torch.float64)
    return Objective(model, nn.CrossEntropyLoss(), [(inputs, torch.arange(6))])


def parts(objective, vector):
    return dict(zip(objective.names, objective.layout.split(vector), strict=True))


def test_every_filter_has_the_norm_of_the_weights_filter(objective):
    weights = parts(objective, objective.vector())
    for vector in random(objective, seed=3).vectors:
        for name, part in parts(objective, vector).items():
            if part.ndim < 2:  # biases, and the scales and shifts of batch normalization
                assert not part.any()
                continue
            for filter_, weight in zip(part, weights[name], strict=True):
                assert filter_.norm().item() == pytest.approx(weight.norm().item(), rel=1e-12)


@pytest.mark.parametrize("biases", [False, True])
def test_layers_and_the_model(objective, biases):
    weights, draw = objective.vector(), torch.randn(objective.num_params, generator=torch.Generator().manual_seed(1))
    for name, part in parts(objective, normalized(objective, draw, "layer", biases=biases)).items():
        moves = biases or part.ndim > 1
        assert part.norm().item() == pytest.approx(parts(objective, weights)[name].norm().item() if moves else 0)
    whole = normalized(objective, draw, "model", biases=biases)
    moving = whole != 0
    assert whole.norm().item() == pytest.approx(weights[moving].norm().item(), rel=1e-12)
    torch.testing.assert_close(whole[moving] / whole[moving].norm(), (draw[moving] / draw[moving].norm()).double())
    torch.testing.assert_close(normalized(objective, draw, "none", biases=True), draw.double())


def test_with_biases_each_vector_of_parameters_is_one_filter(objective):
    weights, draw = objective.vector(), torch.randn(objective.num_params, generator=torch.Generator().manual_seed(1))
    draws, found = parts(objective, draw.double()), normalized(objective, draw, "filter", biases=True)
    vectors = {name: part for name, part in parts(objective, found).items() if part.ndim == 1}
    assert len(vectors) > 3
    for name, part in vectors.items():  # all entries by one factor, not each to the size of the weight in its place
        norm = parts(objective, weights)[name].norm()
        torch.testing.assert_close(part, draws[name] * (norm / draws[name].norm()), rtol=1e-12, atol=0)


def test_normalization_leaves_its_argument_alone(objective):
    draw = torch.ones(objective.num_params, dtype=torch.float64)
    normalized(objective, draw)
    assert (draw == 1).all()


def test_normalization_layers_of_any_shape_stay():
    model = nn.Sequential(nn.Linear(4, 4), nn.Unflatten(1, (2, 2)), nn.LayerNorm((2, 2)), nn.Flatten(), nn.Linear(4, 1))
    objective = Objective(model, nn.MSELoss(), [(torch.ones(1, 4), torch.ones(1, 1))])
    assert excluded(objective) == ["0.bias", "2.weight", "2.bias", "4.bias"]
    assert excluded(quadratic(torch.eye(3), torch.zeros(3))) == []  # nothing but a vector: it moves


def test_a_dead_filter_stays_dead():
    model = nn.Linear(3, 2, bias=False)
    nn.init.zeros_(model.weight[0].detach())
    objective = Objective(model, nn.MSELoss(), [(torch.ones(1, 3), torch.ones(1, 2))])
    (vector,) = random(objective, num=1).vectors
    assert not vector[:3].any()
    assert vector.isfinite().all()


def test_draws_are_gaussian_and_differ_by_seed(objective):
    first, second = random(objective, normalize="none", biases=True).vectors
    assert first.std().item() == pytest.approx(1, abs=0.05)
    assert abs(first.mean().item()) < 0.05
    assert abs(first @ second / (first.norm() * second.norm())) < 0.05
    again, other = (random(objective, normalize="none", biases=True, seed=seed).vectors[0] for seed in (0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def points(*rows):
    return [torch.tensor(row, dtype=torch.float64) for row in rows]


PLACES = [("w", 0, 0), ("a", 5, 0), ("c", 5, 2)]


def test_plane_goes_through_three_known_points():
    A, b = torch.diag(torch.tensor([1.0, 2.0, 3.0, 4.0])), torch.tensor([1.0, 0.0, -1.0, 0.5])
    w, a, c = points([1, 0, 0, 0], [4, 4, 0, 0], [1, 1, 2, 1])
    objective = quadratic(A, b, at=w)
    found = towards(objective, {"a": a, "c": c})
    assert abs(found.cosine) < 1e-15
    units = [v / v.norm() for v in found.vectors]
    for name, point in (("a", a), ("c", c)):
        mark = found.details["marks"][name]
        x, y = mark["at"]
        torch.testing.assert_close(w + x * units[0] + y * units[1], point)
        assert mark["residual"] < 1e-14
    # With steps of these lengths a lies on the grid: at its displacement along x, and 0 along y.
    span = 1 / 1.1
    measured = plane(objective, directions=found, num_points=11, span=span)
    np.testing.assert_allclose(measured.x[-1], (a - w).norm().item())
    assert measured.loss[-1, 5] == pytest.approx(objective.value(at=a), rel=1e-12)
    assert measured.loss[5, 5] == pytest.approx(objective.value(), rel=1e-12)


def test_a_plane_through_three_points_has_their_losses_where_they_lie():
    A, b = torch.diag(torch.tensor([1.0, 2.0, 3.0, 4.0])), torch.tensor([1.0, 0.0, -1.0, 0.5])
    w, a, c = points([1, 0, 0, 0], [4, 4, 0, 0], [4, 4, 2, 0])  # a is 5 along x; c the same, and 2 along y
    objective = quadratic(A, b, at=w)
    found = plane(objective, directions=towards(objective, {"a": a, "c": c}), num_points=11, reach=(5, 5))
    assert [found.details["marks"][name]["at"] for name in "ac"] == [
        pytest.approx([5, 0], abs=1e-12),
        pytest.approx([5, 2], abs=1e-12),
    ]
    places = {name: (np.abs(found.x - x).argmin(), np.abs(found.y - y).argmin()) for name, x, y in PLACES}
    for name, point in (("w", w), ("a", a), ("c", c)):
        assert found.loss[places[name]] == pytest.approx(objective.value(at=point), rel=1e-12)
    assert len({found.loss[place] for place in places.values()}) == 3


def test_line_ends_at_the_other_weights():
    w, a = points([1, 0, 0], [1, 3, 4])
    found = towards(quadratic(torch.eye(3), torch.zeros(3), at=w), {"a": a}, num=1)
    assert found.norms == pytest.approx([5])
    assert found.details["marks"]["a"]["at"] == pytest.approx([5])


def test_others_that_span_nothing_are_refused():
    (w, a) = points([1, 0, 0], [1, 3, 4])
    objective = quadratic(torch.eye(3), torch.zeros(3), at=w)
    with pytest.raises(ValueError, match="a has the same weights"):
        towards(objective, {"a": w})
    with pytest.raises(ValueError, match="parallel"):
        towards(objective, {"a": a, "b": w - 2 * (a - w)})
    with pytest.raises(ValueError, match=r"one or two others\. Got 3"):
        towards(objective, {"a": a, "b": a, "c": a})


def test_trajectory_plane_against_a_dense_svd():
    generator = torch.Generator().manual_seed(2)
    w = torch.randn(30, generator=generator, dtype=torch.float64)
    steps = torch.randn(7, 30, generator=generator, dtype=torch.float64) * torch.linspace(5, 1, 7)[:, None]
    objective = quadratic(torch.eye(30), torch.zeros(30), at=w)
    found = pca(objective, [*(w + steps), w])
    U, S, Vh = torch.linalg.svd(steps, full_matrices=False)
    for vector, row in zip(found.vectors, Vh, strict=False):
        assert abs(vector @ row) / vector.norm() == pytest.approx(1, rel=1e-10)
    assert abs(found.cosine) < 1e-12
    rest = (U[:, 2:] * S[2:]).norm(dim=1)
    np.testing.assert_allclose(found.details["residuals"], [*rest, 0], atol=1e-12)
    np.testing.assert_allclose(np.abs(found.details["path"][:7]), (U[:, :2] * S[:2]).abs().numpy(), atol=1e-10)
    assert found.details["explained"] == pytest.approx((S[:2] ** 2 / (S**2).sum()).tolist(), abs=5e-4)
    with pytest.raises(ValueError, match="spans no plane"):
        pca(objective, [w, w + steps[0], w + 2 * steps[0]])


def test_projection_into_an_oblique_plane():
    objective = quadratic(torch.eye(3), torch.zeros(3))
    found = towards(objective, {"a": points([1, 0, 0])[0]}, num=1)
    oblique = type(found)((*found.vectors, points([2, 2, 0])[0]), "given")
    places, residuals = project(oblique, points([3, 1, 5]))
    np.testing.assert_allclose(places, [[2, np.sqrt(2)]])
    np.testing.assert_allclose(residuals, [5])
