"""``Objective.over``: other batches or another precision; ``recut``: mini-batches from batches."""

from collections import namedtuple

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from landscape import Hessian, Objective
from landscape.batches import recut
from tests.cases import CASES, assert_unchanged, make, relative_error, snapshot
from tests.test_objective import objective_of


@pytest.mark.parametrize("name", CASES)
def test_over_some_of_the_batches(name):
    case = make(name)
    objective, some = objective_of(case, 7), case.batches(7)[1:4]
    before = snapshot(case.model)
    part, expected = objective.over(some), Objective(case.model, case.criterion, some)
    assert (part.num_examples, part.num_batches, part.num_params) == (21, 3, objective.num_params)
    assert part.value() == expected.value() != objective.value()
    assert torch.equal(part.gradient(), expected.gradient())
    v = torch.ones(part.num_params, dtype=torch.float64)
    assert relative_error(Hessian(part) @ v, Hessian(expected) @ v) < 1e-12
    assert_unchanged(before, snapshot(case.model))


def test_the_two_do_not_share_what_they_measured():
    case = make("mlp_tanh")
    objective = objective_of(case, 7)
    value, gradient = objective.value(), objective.gradient()
    part = objective.over(case.batches(7)[:2])
    part.gradient(), part.gradient(at=part.vector())
    assert part.num_gradients == 2
    assert objective.num_gradients == 1
    assert objective.value() == value
    assert torch.equal(objective.gradient(), gradient)


def test_both_follow_the_weights():
    case = make("mlp_tanh")
    objective = objective_of(case, 7)
    part = objective.over(case.batches(7)[:2])
    case.model[0].weight.data.mul_(2)
    assert part.value() == Objective(case.model, case.criterion, case.batches(7)[:2]).value()
    assert objective.value() == objective_of(case, 7).value()


@pytest.mark.parametrize("microbatch", [None, 5])
def test_in_another_precision(microbatch):
    case = make("mlp_tanh")
    objective = objective_of(case, 16, microbatch=microbatch)
    narrow = objective.over(objective.data, dtype=torch.float32)
    expected = objective_of(case, 16, microbatch=microbatch, dtype=torch.float32)
    assert narrow.vector().dtype == torch.float32
    assert narrow.value() == expected.value()
    assert torch.equal(narrow.gradient(), expected.gradient())
    assert objective.vector().dtype == torch.float64


def test_class_weights_and_counted_means():
    case = make("mlp_tanh")
    weighted = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0, 4.0]).double())
    part = Objective(case.model, weighted, case.batches(16)).over(case.batches(16)[2:4])
    assert part.value() == Objective(case.model, weighted, case.batches(16)[2:4]).value()

    def mean(model, batch):
        return nn.functional.cross_entropy(model(batch[0]), batch[1])

    counted = Objective(case.model, mean, case.batches(16), weight=lambda batch: len(batch[1]))
    part = counted.over(case.batches(16)[3:])
    assert part.num_examples == 22
    assert part.value() == pytest.approx(Objective(case.model, case.criterion, case.batches(16)[3:]).value(), rel=1e-12)


@pytest.mark.parametrize("size", [1, 3, 4, 7, 10, 100])
@pytest.mark.parametrize("given", [1, 3, 4, 20])
def test_recut_keeps_every_row_in_order(given, size):
    x, y = torch.arange(60).reshape(20, 3), torch.arange(20)
    cut = list(recut(DataLoader(TensorDataset(x, y), batch_size=given), size))
    lengths = [sum(len(part[1]) for part in parts) for parts in cut]
    assert lengths == [size] * (20 // size) + ([20 % size] if 20 % size else [])
    assert torch.equal(torch.cat([part[0] for parts in cut for part in parts]), x)
    assert torch.equal(torch.cat([part[1] for parts in cut for part in parts]), y)


def test_recut_cuts_whatever_a_batch_is():
    pair = namedtuple("pair", "x kept")
    batch = {"a": torch.arange(5), "b": [pair(torch.arange(10).reshape(5, 2), torch.ones(3))]}
    first, second = recut([batch], 3)
    assert torch.equal(second[0]["a"], torch.tensor([3, 4]))
    assert torch.equal(first[0]["b"][0].x, torch.arange(6).reshape(3, 2))
    assert torch.equal(second[0]["b"][0].kept, torch.ones(3))


@pytest.mark.parametrize("batch", [torch.tensor(1.0), "text", {}])
def test_recut_refuses_what_has_no_rows(batch):
    with pytest.raises(ValueError, match="first tensor"):
        list(recut([batch], 3))
