"""Perceptrons by batched products against the model itself, and which models are none."""

import numpy as np
import pytest
import torch
from torch import nn

from landscape import Objective
from landscape.surface import walk as walks
from landscape.surface.walk import Walk

POINTS = np.array([[x, y] for x in (-1.0, 0.0, 0.7) for y in (-0.5, 0.0, 1.0)])


def objective(model, criterion=None, dtype=torch.float64, num_batches=2):
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(22, 1, 2, 3, generator=generator, dtype=dtype)
    targets = torch.arange(22) % 3
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    size = -(-22 // num_batches)
    return Objective(
        model.to(dtype),
        criterion or nn.CrossEntropyLoss(),
        list(zip(inputs.split(size), targets.split(size), strict=True)),
    )


def found(one, **options):
    generator = torch.Generator().manual_seed(5)
    vectors = [torch.randn(one.num_params, generator=generator, dtype=torch.float64) for _ in range(2)]
    return Walk(one, vectors, **options)


def assert_right(walk, rtol=1e-12):
    losses, accuracies = walk(POINTS)
    at = [walk.point(point) for point in POINTS]
    np.testing.assert_allclose(losses, [walk.objective.value(at=w) for w in at], rtol=rtol)
    np.testing.assert_allclose(accuracies, [walk.objective.accuracy(at=w) for w in at], rtol=1e-12)
    assert np.ptp(losses) > 0.01


def mlp(activation=nn.Tanh, bias=True):
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(6, 5, bias=bias),
        activation(),
        nn.Linear(5, 4),
        activation(),
        nn.Linear(4, 3, bias=bias),
    )


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU, nn.GELU])
def test_losses_are_those_of_the_model(activation, bias):
    walk = found(objective(mlp(activation, bias)))
    assert walk._network is not None
    assert_right(walk)


def test_single_precision_is_right_to_its_rounding():
    walk = found(objective(mlp(nn.ReLU), dtype=torch.float32))
    assert walk._network is not None
    assert_right(walk, rtol=1e-5)


@pytest.mark.parametrize("points_at_once", [2, 4, 100])
def test_examples_and_points_in_parts(points_at_once, monkeypatch):
    monkeypatch.setattr(walks, "_EXAMPLES", 4)
    walk = found(objective(mlp()), points_at_once=points_at_once)
    assert walk._network is not None
    assert_right(walk)


@pytest.mark.parametrize("model", [mlp(), nn.Sequential(nn.Flatten(), nn.Linear(6, 3), nn.Softplus())])
@pytest.mark.parametrize(
    "criterion",
    [nn.CrossEntropyLoss(ignore_index=2), nn.CrossEntropyLoss(weight=torch.tensor([1.0, 5.0, 0.5]).double())],
)
def test_class_weights_and_targets_that_do_not_count(model, criterion):
    assert_right(found(objective(model, criterion), points_at_once=4))


def test_an_activation_may_come_twice():
    activation = nn.Tanh()
    walk = found(objective(nn.Sequential(nn.Flatten(), nn.Linear(6, 6), activation, nn.Linear(6, 3), activation)))
    assert walk._network is not None
    assert_right(walk)


class Doubled(nn.Sequential):
    def forward(self, x):
        return 2 * super().forward(x)


def frozen():
    model = mlp()
    model[1].weight.requires_grad_(False)
    return model


def hooked():
    model = mlp()
    model[3].register_forward_hook(lambda module, inputs, output: output + 1)
    return model


@pytest.mark.parametrize(
    "model",
    [
        Doubled(*mlp()),
        frozen(),
        hooked(),
        nn.Sequential(nn.Flatten(), nn.LayerNorm(6), nn.Linear(6, 3)),
        nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.Softmax(dim=1), nn.Linear(5, 3)),
    ],
)
def test_other_models_go_as_they_are(model):
    walk = found(objective(model))
    assert walk._network is None
    assert_right(walk)
