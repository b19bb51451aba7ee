"""Nothing that is measured can be seen afterwards: not on the model, not on the process, however it ended."""

import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, TensorDataset

from landscape import Hessian, Objective, analyze
from tests.cases import assert_unchanged, relative_error, snapshot

MARK = 1234.0


class Trap:
    """Cross-entropy that raises, when armed, at the second of the batches; it draws numbers that it does not use."""

    def __init__(self, exception=None, *, armed=True):
        self.exception, self.armed, self.sprung = exception, armed, False

    def __call__(self, model, batch):
        outputs = model(batch[0])
        torch.rand(1), np.random.rand(), random.random()
        if self.exception and self.armed and (batch[0] == MARK).any():
            self.sprung = True
            raise self.exception("at the second batch")
        return cross_entropy(outputs, batch[1], reduction="none")


class Adapter(nn.Linear):
    """Adds to its weight when switched to eval, and takes that away again, as adapters do that merge."""

    merged = False

    def train(self, mode=True):
        if self.merged == mode:
            self.weight.data.add_(torch.eye(3, 5), alpha=-1 if mode else 1)
            self.merged = not mode
        return super().train(mode)

    def forward(self, x):
        return nn.functional.linear(x, self.weight if self.merged else self.weight + torch.eye(3, 5), self.bias)


class Drawing(TensorDataset):
    """Reads nothing from its draws, as a dataset does whose augmentation has probability zero."""

    def __getitem__(self, index):
        torch.rand(1), np.random.rand(), random.random()
        return super().__getitem__(index)


def network(mode):
    """Flags mixed, one parameter frozen, gradients on some: whatever a user's model may look like."""
    torch.manual_seed(0)
    noisy = [nn.BatchNorm1d(6), nn.Dropout(0.5)] if mode == "eval" else []
    model = nn.Sequential(nn.Sequential(nn.Linear(4, 6), *noisy, nn.Tanh()), nn.Linear(6, 5), Adapter(5, 3)).double()
    model.train(mode == "eval")
    model[1].train(mode != "eval")
    model[2].bias.requires_grad_(False)
    model[1].weight.grad = torch.ones_like(model[1].weight)
    return model


def loader():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(12, 4, generator=generator).double()
    x[5, 2] = MARK
    return DataLoader(Drawing(x, torch.arange(12) % 3), batch_size=4)


ACTIONS = {
    "value": lambda objective: (objective.forget(), objective.value()),
    "value at": lambda objective: objective.value(at=objective.vector() + 1),
    "gradient": lambda objective: objective.gradient(),
    "gradient at": lambda objective: objective.gradient(at=objective.vector() + 1),
    "losses": lambda objective: (objective.forget(), objective.losses()),
    "H @ v": lambda objective: Hessian(objective) @ objective.vector(),
    "H @ V": lambda objective: Hessian(objective, chunk=2) @ torch.stack([objective.vector()] * 3, 1),
    "analyze": lambda objective: analyze(objective, ["loss", "trace", "lambda_max", "normalized_trace"], num_probes=2),
}


@pytest.fixture(autouse=True)
def rng_states_of_their_own():
    torch.manual_seed(3)
    np.random.seed(3)
    random.seed(3)


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("action", ACTIONS)
def test_after_success(action, mode):
    model = network(mode)
    data = loader()
    before = snapshot(model)
    objective = Objective(model, Trap(), data, mode=mode)
    ACTIONS[action](objective)
    ACTIONS[action](objective)
    assert_unchanged(before, snapshot(model))


@pytest.mark.parametrize("exception", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("action", ACTIONS)
def test_after_an_exception_at_the_second_batch(action, mode, exception):
    model = network(mode)
    trap = Trap(exception, armed=False)
    data = loader()
    before = snapshot(model)
    objective = Objective(model, trap, data, mode=mode)
    assert_unchanged(before, snapshot(model))
    model[1].bias.data.add_(1)  # else the losses are known from construction
    before = snapshot(model)
    trap.armed = True
    with pytest.raises(exception, match="second batch"):
        ACTIONS[action](objective)
    assert_unchanged(before, snapshot(model))
    trap.armed = False
    ACTIONS[action](objective)  # and it can go on


@pytest.mark.parametrize("exception", [RuntimeError, KeyboardInterrupt])
def test_after_an_exception_in_the_very_first_pass(exception):
    model, data = network("eval"), loader()
    before = snapshot(model)
    with pytest.raises(exception, match="second batch"):
        Objective(model, Trap(exception), data).value()
    assert_unchanged(before, snapshot(model))


def test_the_generator_of_a_loader_is_left_as_it_was():
    """Recipes share one generator between loaders: measuring on one must not reshuffle the other."""
    generator = torch.Generator().manual_seed(4)
    data = DataLoader(loader().dataset, batch_size=4, generator=generator)
    before = generator.get_state()
    objective = Objective(network("eval"), Trap(), data)
    objective.value()
    Hessian(objective) @ objective.vector()
    assert torch.equal(generator.get_state(), before)


class Checkpointed(nn.Module):
    """Computes its block again during the backward pass, when the forward pass is long over."""

    def __init__(self, block):
        super().__init__()
        self.block = block

    def forward(self, x):
        return checkpoint(self.block, x, use_reentrant=False)


@pytest.mark.parametrize("training", [False, True])
def test_activation_checkpointing_is_right_and_leaves_no_trace(training):
    model, data = network("eval").eval(), list(loader())
    expected = Objective(model, Trap(), data)
    v, elsewhere = expected.vector(), 0.7 * expected.vector()
    model[0] = Checkpointed(model[0])
    for module in model.modules():
        module.training = training
    before = snapshot(model)
    objective = Objective(model, Trap(), data)
    gradients = objective.gradient(), objective.gradient(at=elsewhere)
    product = Hessian(objective) @ v
    assert_unchanged(before, snapshot(model))
    model[0] = model[0].block
    assert relative_error(gradients[0], expected.gradient()) < 1e-12
    assert relative_error(gradients[1], expected.gradient(at=elsewhere)) < 1e-12
    assert relative_error(product, Hessian(expected) @ v) < 1e-10


def test_after_a_refusal():
    model, data = nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5)).double(), loader()
    before = snapshot(model)
    with pytest.raises(ValueError, match="Dropout"):
        Objective(model, Trap(), data, mode="train").value()
    assert_unchanged(before, snapshot(model))


def test_a_measured_model_trains_on_as_if_nothing_had_happened():
    def three_steps(measured):
        torch.manual_seed(5)
        model, data = network("eval"), list(loader())
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        for _ in range(3):
            if measured:
                analyze(Objective(model, Trap(), data), ["loss", "trace", "lambda_max"], num_probes=2)
            for batch in data:
                optimizer.zero_grad()
                Trap()(model, batch).mean().backward()
                optimizer.step()
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    assert torch.equal(three_steps(measured=True), three_steps(measured=False))
