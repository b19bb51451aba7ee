"""Accuracy is the fraction of examples, or of tokens that count, whose largest output is their target."""

import pytest
import torch
from torch import nn

from landscape import Objective
from landscape.measure import accuracy
from tests.cases import make
from tests.test_objective import BATCHINGS, WEIGHTS, objective_of


@pytest.mark.parametrize(("size", "microbatch"), BATCHINGS)
def test_it_is_the_fraction_of_hits_however_batched(size, microbatch):
    case = make("mlp_tanh")
    expected = (case.model(case.inputs).argmax(1) == case.targets).double().mean().item()
    measured = accuracy(objective_of(case, size, microbatch=microbatch))
    assert 0 < expected < 1
    assert measured.value == pytest.approx(expected, rel=1e-12)
    assert measured.details["data_std_error"] == pytest.approx((expected * (1 - expected) / 70) ** 0.5, rel=1e-9)


def test_class_weights_and_smoothing_do_not_weigh_the_hits():
    case = make("mlp_tanh")
    criterion = nn.CrossEntropyLoss(weight=WEIGHTS, label_smoothing=0.2)
    weighted = accuracy(Objective(case.model, criterion, case.batches(16)))
    assert weighted.value == accuracy(objective_of(case, 16)).value


def test_ignored_examples_are_not_counted():
    case = make("mlp_tanh")
    counted = case.targets != 2
    expected = (case.model(case.inputs).argmax(1) == case.targets)[counted].double().mean().item()
    criterion = nn.CrossEntropyLoss(ignore_index=2)
    measured = accuracy(Objective(case.model, criterion, case.batches(7)))
    assert measured.value == pytest.approx(expected, rel=1e-12)


def test_tokens_count_one_by_one():
    torch.manual_seed(0)
    model, inputs, targets = nn.Conv1d(2, 3, 1).double(), torch.randn(8, 2, 5).double(), torch.randint(3, (8, 5))
    targets[3:, 2:] = -100
    hits = (model(inputs).argmax(1) == targets)[targets != -100]
    batches = list(zip(inputs.split(3), targets.split(3), strict=True))
    measured = accuracy(Objective(model, nn.CrossEntropyLoss(), batches))
    assert measured.value == pytest.approx(hits.double().mean().item(), rel=1e-12)


def test_it_follows_the_weights():
    case = make("mlp_tanh")
    objective = objective_of(case, 16)
    before = accuracy(objective).value
    case.model[4].bias.data[1] += 50  # everything is class 1 now
    expected = (case.targets == 1).double().mean().item()
    assert before != expected
    assert accuracy(objective).value == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("loss", [nn.MSELoss(), lambda model, batch: (model(batch[0]) - batch[1]).square().mean(1)])
def test_a_loss_that_classifies_nothing_is_refused(loss):
    case = make("mlp_relu")
    with pytest.raises(ValueError, match="CrossEntropyLoss"):
        accuracy(Objective(case.model, loss, case.batches(16)))
