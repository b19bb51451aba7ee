"""Whatever is measured by mini-batches does not depend on the order of the rows: sorted by class is as good as any."""

import inspect
from typing import Literal, get_args, get_origin, get_type_hints

import numpy as np
import pytest
import torch
from torch import nn

from landscape.measure import METRICS
from landscape.objective import Objective


def protocols():
    """Every metric that cuts mini-batches, found by its signature, with each choice of words that it has."""
    for name, metric in METRICS.items():
        parameters = inspect.signature(metric).parameters
        if "batch_size" not in parameters:
            continue
        hints = get_type_hints(metric)
        words = {key: get_args(hints[key]) for key in parameters if get_origin(hints[key]) is Literal}
        choices = [{key: word} for key, some in words.items() for word in some] or [{}]
        yield from ((name, choice) for choice in choices if choice != {"evaluation": "dataset"})


def problem(order):
    """A network that is good at three classes of four, on 600 examples."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.arange(600) % 4
    inputs = torch.randn(600, 6, generator=generator) + 1.5 * nn.functional.one_hot(targets, 6)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(150):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), targets).backward()
        optimizer.step()
    with torch.no_grad():
        model[2].bias[3] -= 3
    shuffled = torch.randperm(600, generator=generator)
    rows = {"shuffled": shuffled, "sorted": targets.argsort(stable=True)}[order]
    return Objective(
        model, nn.CrossEntropyLoss(), list(zip(inputs[rows].split(100), targets[rows].split(100), strict=True))
    )


OPTIONS = {"rho": 4.0, "batch_size": 50, "num_examples": 300, "num_directions": 20}


def measured(name, order, **options):
    metric = METRICS[name]
    accepted = inspect.signature(metric).parameters
    return metric(problem(order), **{key: value for key, value in (OPTIONS | options).items() if key in accepted})


def test_there_are_some():
    assert {("sam_ratio", "batch"), ("sam_ratio", "dataset"), ("local_minima", "minibatch")} <= {
        (name, word) for name, choice in protocols() for word in choice.values()
    }


@pytest.mark.parametrize(("name", "choice"), list(protocols()))
def test_it_is_the_same_on_rows_sorted_by_class(name, choice):
    one, other = (measured(name, order, **choice) for order in ("shuffled", "sorted"))
    assert abs(one.value - other.value) <= 3 * np.hypot(one.std_error, other.std_error)
    for key in ("floor", "raw_minima", "one_step_rises", "best_rises"):  # what batches of single classes have otherwise
        if key in one.details:
            means = [np.mean(m.details[key]) for m in (one, other)]
            assert means[0] == pytest.approx(means[1], rel=0.5), key
            spreads = [np.std(m.details[key]) for m in (one, other)]
            assert spreads[0] == pytest.approx(spreads[1], rel=1, abs=1e-12), key


@pytest.mark.parametrize(("name", "choice"), list(protocols()))
def test_the_seed_decides_to_the_bit(name, choice):
    first, again, other = (measured(name, "sorted", seed=seed, **choice) for seed in (0, 0, 1))
    arrays = [
        np.concatenate([np.ravel(v) for v in m.details.values() if isinstance(v, np.ndarray) and v.dtype == float])
        for m in (first, again, other)
    ]
    assert np.array_equal(arrays[0], arrays[1])
    assert not np.array_equal(arrays[0], arrays[2])


def test_the_interval_of_the_sam_ratio_covers_that_of_all_batches():
    objective = problem("sorted")
    options = {"rho": 0.5, "ascent_steps": 2, "batch_size": 20}
    several = [METRICS["sam_ratio"](objective, **options, num_examples=600, seed=1000 + seed) for seed in range(10)]
    truth = np.mean([m.value for m in several])
    covered = 0
    for seed in range(200):
        found = METRICS["sam_ratio"](objective, **options, num_examples=160, seed=seed)
        low, high = found.interval()
        covered += low <= truth <= high
    assert 180 <= covered <= 200
