"""``analyze`` measures what it is asked on each split, and marks what could not be measured instead of failing."""

import json
import math

import pytest
import torch
from torch import nn

from landscape import Objective, analyze
from landscape.measure import METRICS, lambda_max, trace
from tests.cases import make
from tests.test_objective import objective_of

DEFAULT = ["loss", "accuracy", "gradient_norm", "trace", "lambda_max", "normalized_trace"]


def test_the_default_metrics_of_one_objective():
    objective = objective_of(make("mlp_tanh"), 16)
    analysis = analyze(objective, num_probes=8, rel_error=0.1, seed=4)
    assert list(analysis.splits) == ["train"]
    assert list(analysis["train"]) == DEFAULT
    fresh = objective_of(make("mlp_tanh"), 16)
    assert analysis["train"]["trace"].value == trace(fresh, num_probes=8, seed=4).value
    assert analysis["train"]["lambda_max"].value == lambda_max(fresh, rel_error=0.1, seed=4).value


def test_unused_parameters_are_named():
    analysis = analyze(objective_of(make("unused"), 16), ["gradient_norm"])
    assert analysis.objective["unused"] == ["spare.weight", "spare.bias"]


def test_train_and_test_side_by_side():
    case = make("mlp_tanh")
    whole = case.batches(35)
    objectives = {
        name: Objective(case.model, case.criterion, [batch])
        for name, batch in zip(("train", "test"), whole, strict=True)
    }
    analysis = analyze(objectives, ["loss", "trace"], num_probes=8)
    assert [(split, list(m)) for split, m in analysis.splits.items()] == [
        (s, ["loss", "trace"]) for s in ("train", "test")
    ]
    for split, objective in objectives.items():
        assert analysis[split]["loss"].value == objective.value()
    assert analysis["train"]["trace"].value != analysis["test"]["trace"].value


@pytest.mark.slow
def test_all_is_every_metric_and_names_are_measured_once():
    objective = objective_of(make("mlp_tanh"), 16)
    assert set(analyze(objective, ["all"], num_probes=2)["train"]) == set(METRICS) - {
        "preconditioned_sharpness"
    }  # which needs an optimizer
    assert list(analyze(objective, ["trace", "loss", "trace"], num_probes=2)["train"]) in (
        ["trace", "loss"],
        ["loss", "trace"],
    )


def test_accuracy_is_left_out_where_there_is_none():
    assert "accuracy" not in analyze(objective_of(make("mlp_relu"), 16), num_probes=2)["train"]


def test_an_unknown_metric_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"sharpnes.*lambda_max"):
        analyze(objective_of(make("mlp_tanh"), 16), ["loss", "sharpnes"])


def test_progress_is_told_before_each_measurement():
    told = []
    analyze(
        objective_of(make("mlp_tanh"), 16), ["loss", "trace"], num_probes=2, progress=lambda *what: told.append(what)
    )
    assert told == [("train", "loss"), ("train", "trace")]


def test_an_unreached_accuracy_is_not_converged():
    objective = objective_of(make("mlp_tanh"), 16)
    assert not analyze(objective, ["trace"], num_probes=4, rel_error=1e-4).converged
    assert analyze(objective, ["loss", "lambda_max"]).converged


@pytest.mark.parametrize(
    ("name", "bad"),
    [("mlp_tanh", math.nan), ("mlp_relu", math.inf), ("conv_batchnorm", math.nan), ("attention", -math.inf)],
)
def test_weights_that_are_not_finite_mark_the_measurements(name, bad, tmp_path):
    case = make(name)
    next(case.model.parameters()).data.view(-1)[0] = bad
    analysis = analyze(objective_of(case, 16), rel_error=0.1)
    assert not analysis.converged
    for measured in analysis["train"].values():
        assert not measured.converged
        assert math.isnan(measured.value)
        assert "batch 0" in measured.reason
    analysis.save(tmp_path)
    document = json.loads((tmp_path / "analysis.json").read_text(), parse_constant=pytest.fail)
    for entry in document["splits"]["train"].values():
        assert entry["value"] is None
        assert entry["converged"] is False
        assert entry["reason"]


def test_one_bad_batch_marks_the_measurements_and_is_named():
    case = make("mlp_relu")
    data = case.batches(16)
    data[3][0][2, 1] = float("nan")
    analysis = analyze(Objective(case.model, case.criterion, data))
    for measured in analysis["train"].values():
        assert not measured.converged
        assert "batch 3" in measured.reason


def test_provenance_says_where_the_numbers_come_from():
    analysis = analyze(objective_of(make("mlp_tanh"), 16), ["loss"], seed=9, rel_error=0.2)
    assert {"landscape", "torch", "device", "seed", "command", "started", "seconds"} <= set(analysis.provenance)
    assert analysis.provenance["seed"] == 9
    assert analysis.provenance["rel_error"] == 0.2
    assert analysis.provenance["torch"] == torch.__version__
    assert {"splits", "num_examples", "mode", "dtype"} <= set(analysis.objective)
    assert analysis.objective["dtype"] == "float64"


@pytest.mark.slow
def test_float32_accumulates_what_float32_would_lose():
    model = nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)
    batches = [(torch.full((7, 1), 0.1),)] * 2000
    objective = Objective(model, lambda model, batch: model(batch[0])[:, 0], batches)
    naive = torch.zeros(())
    for batch in batches:
        naive += batch[0].sum()
    truth = torch.tensor(0.1).item()
    assert abs(naive.item() / 14_000 / truth - 1) > 1e-6
    assert objective.value() == pytest.approx(truth, rel=2e-7)
    assert objective.gradient().item() == pytest.approx(truth, rel=2e-7)
