"""What measurements share is found again at the same weights, made anew at others, and let go of when told."""

import gc
import weakref

import pytest
import torch

from landscape import analyze
from landscape.measure import lambda_max, spectral_density, trace
from landscape.measure.metric import Work
from tests.cases import make
from tests.test_objective import objective_of


@pytest.fixture
def no_collector():
    """Memory must come back at once, not when cycles are looked for."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def graphs_of(work):
    """Weak references to the kept graphs, built now."""
    work.hessian @ torch.ones(work.hessian.shape[0], dtype=torch.float64)
    assert work.hessian._kept
    return [weakref.ref(graph) for graph in work.hessian._kept]


def test_it_is_one_at_the_same_weights_and_another_at_others():
    case = make("mlp_tanh")
    objective = objective_of(case, 16)
    work = Work.of(objective)
    before = lambda_max(objective)
    assert Work.of(objective) is work
    assert work.krylov(0) is work.krylov(0) is not work.krylov(1)
    assert lambda_max(objective) is before
    assert lambda_max(objective, seed=1) is not before
    case.model[0].weight.data.mul_(2)
    assert Work.of(objective) is not work
    assert not Work.of(objective).measured
    assert lambda_max(objective).value != before.value


def test_other_data_have_other_work():
    case = make("mlp_tanh")
    objective = objective_of(case, 16)
    work = Work.of(objective)
    part = objective.over(case.batches(16)[:2])
    assert Work.of(part) is not work
    assert Work.of(objective) is work


@pytest.mark.parametrize("how", ["changed weights", "forget", "release"])
def test_graphs_are_freed_with_it(how, no_collector):
    case = make("mlp_tanh")
    objective = objective_of(case, 16)
    graphs = graphs_of(Work.of(objective))
    lambda_max(objective)  # a Krylov run has the same Hessian
    if how == "changed weights":
        case.model[0].weight.data.mul_(2)
        objective.refresh()
    elif how == "forget":
        objective.forget()
    else:
        Work.of(objective).release()
    assert all(graph() is None for graph in graphs)


def test_analyze_releases_graphs_and_keeps_what_it_measured(no_collector):
    objective = objective_of(make("mlp_tanh"), 16)
    graphs = graphs_of(Work.of(objective))
    analysis = analyze(objective, ["lambda_max", "spectral_density", "trace"])
    assert all(graph() is None for graph in graphs)
    for metric in (lambda_max, spectral_density):
        assert metric(objective) is analysis["train"][metric.__name__]
    again = analyze(objective, ["trace"], seed=1)  # and it can go on
    assert again["train"]["trace"].value == trace(objective_of(make("mlp_tanh"), 16), seed=1).value
