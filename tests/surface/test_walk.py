"""The inner loop against ``Objective.value`` at each point: however points and examples are put together."""

import numpy as np
import pytest
import torch
from torch import nn

from landscape import Objective
from landscape.surface.walk import Walk
from tests.cases import make

POINTS = np.array([[x, y] for x in (-1.0, 0.0, 0.7) for y in (-0.5, 0.0, 1.0)])


def directions(objective, num=2):
    generator = torch.Generator().manual_seed(5)
    return [torch.randn(objective.num_params, generator=generator, dtype=torch.float64) for _ in range(num)]


@pytest.mark.parametrize("points_at_once", [1, 4, 32])
@pytest.mark.parametrize("size", [None, 5])
@pytest.mark.parametrize("name", ["mlp_tanh", "conv_batchnorm", "attention", "tied"])
def test_any_batching_gives_the_losses_of_the_objective(name, size, points_at_once):
    case = make(name)
    objective = Objective(case.model, case.criterion, case.batches(size))
    walk = Walk(objective, directions(objective), points_at_once=points_at_once)
    losses, accuracies = walk(POINTS)
    at = [walk.point(point) for point in POINTS]
    np.testing.assert_allclose(losses, [objective.value(at=w) for w in at], rtol=1e-13)
    if objective.classifies:
        np.testing.assert_allclose(accuracies, [objective.accuracy(at=w) for w in at], rtol=1e-13)
    torch.testing.assert_close(walk.point([0, 0]), objective.vector(), rtol=0, atol=0)


def test_points_lie_at_their_displacements():
    case = make("mlp_tanh")
    objective = Objective(case.model, case.criterion, case.batches())
    walk = Walk(objective, directions(objective))
    for x, y in ((2.0, 0.0), (0.0, -3.0)):
        assert (walk.point([x, y]) - objective.vector()).norm().item() == pytest.approx(abs(x + y), rel=1e-12)


@pytest.mark.parametrize("points_at_once", [1, 4])
def test_half_precision_models_are_entered_in_their_own_dtype(points_at_once):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)).bfloat16()
    model[2].float()
    model = nn.Sequential(model[0], model[1], _Float(), model[2])
    batch = (torch.randn(9, 4, generator=torch.Generator().manual_seed(1)).bfloat16(), torch.arange(9) % 3)
    objective = Objective(model, nn.CrossEntropyLoss(), [batch])
    walk = Walk(objective, directions(objective), points_at_once=points_at_once)
    losses, _ = walk(POINTS)
    np.testing.assert_allclose(losses, [objective.value(at=walk.point(p)) for p in POINTS], rtol=1e-2)
    assert np.ptp(losses) > 0.1


class _Float(nn.Module):
    def forward(self, x):
        return x.float()


def test_many_points_together_where_that_is_not_possible():
    model = nn.Linear(2, 1, bias=False)

    def losses(model, batch):
        outputs = model(batch[0])[:, 0] ** 2
        return outputs if outputs.sum().item() > -1 else -outputs  # .item() has no batching rule

    objective = Objective(model, losses, [(torch.ones(3, 2),)])
    walk = Walk(objective, directions(objective))
    assert walk.points_at_once == 1
    assert len(walk(POINTS)[0]) == len(POINTS)


def batch_normalized(size):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 2)).double()
        inputs = 3 + torch.randn(24, 3, dtype=torch.float64)
    targets = torch.arange(24) % 2
    return model, list(zip(inputs.split(size), targets.split(size), strict=True))


@pytest.mark.parametrize("size", [24, 10])
def test_statistics_estimated_anew_are_those_of_update_bn(size):
    model, batches = batch_normalized(size)
    objective = Objective(model, nn.CrossEntropyLoss(), batches)
    walk = Walk(objective, directions(objective), statistics=objective)
    losses, _ = walk(POINTS)
    for point, found in zip(POINTS, losses, strict=True):
        other, _ = batch_normalized(size)
        nn.utils.vector_to_parameters(walk.point(point), other.parameters())
        with torch.no_grad():
            if size == 24:
                torch.optim.swa_utils.update_bn(batches, other)
            else:  # the average that update_bn takes, with the short batch counted as what it is
                moments = [_moments(other[0](inputs)) for inputs, _ in batches]
                shares = torch.tensor([len(inputs) for inputs, _ in batches], dtype=torch.float64) / 24
                other[1].running_mean = sum(s * mean for s, (mean, _) in zip(shares, moments, strict=True))
                other[1].running_var = sum(s * var for s, (_, var) in zip(shares, moments, strict=True))
        reference = Objective(other, nn.CrossEntropyLoss(), batches)
        assert found == pytest.approx(reference.value(), rel=1e-12)


def _moments(x):
    return x.mean(0), x.var(0)


def test_statistics_of_another_model_are_refused():
    (one, batches), (other, _) = batch_normalized(24), batch_normalized(24)
    objectives = [Objective(model, nn.CrossEntropyLoss(), batches) for model in (one, other)]
    with pytest.raises(ValueError, match="another model"):
        Walk(objectives[0], directions(objectives[0]), statistics=objectives[1])
