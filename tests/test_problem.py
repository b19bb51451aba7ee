"""How a problem cuts its data into batches: by sizes alone, the same on a busy machine as on an idle one."""

import pytest
import torch
from torch import nn

import landscape.memory
import landscape.problem
from landscape.data import Split
from landscape.models import build_model
from landscape.operators import graph
from landscape.problem import Problem


def problem(*, num_examples=100, width=4, poison=False):
    torch.manual_seed(0)
    model = build_model("cnn", input_shape=(1, 8, 8), num_classes=4, width=width)
    if poison:
        next(model.parameters()).data.fill_(torch.nan)
    data = Split(torch.rand(num_examples, 1, 8, 8), torch.arange(num_examples) % 4)
    return Problem(model, nn.CrossEntropyLoss(), {"train": data})


@pytest.mark.parametrize("free", [0, 1, 2**50])
def test_the_batch_size_does_not_depend_on_free_memory(free, monkeypatch):
    monkeypatch.setattr(landscape.problem, "_BATCH_BYTES", 2**18)
    expected = problem().objective("train").batch_size
    for module in (landscape.memory, graph):
        monkeypatch.setattr(module, "available_bytes", lambda device: free)
    assert problem().objective("train").batch_size == expected
    assert 1 < expected < 100


def test_a_batch_is_a_power_of_two_within_the_budget(monkeypatch):
    sizes = []
    for budget in (0, 2**14, 2**16, 2**18, 2**30):
        monkeypatch.setattr(landscape.problem, "_BATCH_BYTES", budget)
        sizes.append(problem(num_examples=2100).objective("train").batch_size)
    assert sizes[0] == 1
    assert sizes[-1] == 2048
    assert sizes == sorted(sizes)
    assert all(size & (size - 1) == 0 for size in sizes)
    assert 1 < sizes[2] < 2048
    assert sizes[3] == 4 * sizes[2] == 16 * sizes[1]


def test_weights_that_give_nan_change_no_batch(monkeypatch):
    monkeypatch.setattr(landscape.problem, "_BATCH_BYTES", 2**18)
    assert problem(poison=True).objective("train").batch_size == problem().objective("train").batch_size


@pytest.mark.parametrize("num_examples", [1, 2, 8, 9])
def test_few_examples(num_examples):
    objective = problem(num_examples=num_examples).objective("train")
    assert (objective.num_examples, objective.num_batches, objective.batch_size) == (num_examples, 1, num_examples)
