"""What would fail after the last hour of training is refused before the first; what can do without, does."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from landscape.studies import Measure, MeasurePlane, Plan, Store, Study, drawn, estimate_cost, reproduce
from landscape.training import TrainingError

from .tiny import STUDY, recipe

CPU = torch.device("cpu")
FACTS = {"study": "tiny", "scale": "laptop", "num_seeds": 1, "command": "landscape reproduce tiny.py"}
LOSS = Measure({"train": ("loss",)})


def run(out: Path, plan: Plan, study: Study = STUDY) -> str:
    """The report."""
    reproduce(study, Store.open(out, plan, FACTS), device=CPU)
    return (out / "README.md").read_text()


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (Plan((recipe("sgd"),), 1, ()), "The study measures no metric"),
        (Plan((recipe("sgd"),), 1, (MeasurePlane(num_points=3),)), "The study measures no metric"),
        (Plan((recipe("sgd"),), 1, (Measure({"train": ("los",)}),)), "Measure of train: unknown metric 'los'"),
        (Plan((recipe("sgd"),), 1, (Measure({"tset": ("loss",)}),)), "no split 'tset' to measure. Expected one of: tr"),
        (
            Plan((replace(recipe("sgd"), data_args={"num_train": 60}),), 1, (Measure({"validation": ("loss",)}),)),
            "no split 'validation' to measure. Expected one of: train, test, corrupted; data_args validation=0.1 makes",
        ),
        (
            Plan((recipe("sgd"),), 1, (Measure({"train": ("x",)}, variants={"x": ("trce", {})}),)),
            "Variant 'x' of unknown metric 'trce'",
        ),
        (
            Plan((recipe("sgd"),), 1, (Measure({"train": ("x",)}, variants={"x": ("trace", {"probes": 3})}),)),
            "Variant 'x': trace takes no 'probes'. Expected: ",
        ),
        (Plan((recipe("sgd"),), 1, (Measure({"corrupted": ("loss",)}, severity=6),)), "severity=6 of 15 corruptions"),
        (Plan((recipe("sgd", checkpoint_at=(3,)),), 1, (replace(LOSS, at="kept"),)), "epoch 3 of 2 is to be measured"),
        (Plan((recipe("sgd"), replace(recipe("sam"), model="mpl")), 1, (LOSS,)), "model 'mpl' is unknown"),
        (Plan((recipe("sgd"), recipe("sam", optimizer_args={"rh": 1})), 1, (LOSS,)), "does not take 'rh'"),
    ],
)
def test_what_cannot_end_is_not_begun(tmp_path, monkeypatch, plan, words):
    monkeypatch.setattr("landscape.studies.run.train", lambda *_, **__: pytest.fail("trained"))
    for work in (lambda store: reproduce(STUDY, store, device=CPU), lambda store: estimate_cost(store, CPU)):
        with pytest.raises(ValueError, match=words.replace("(", r"\(")):
            work(Store.open(tmp_path / "out", plan, FACTS))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("metrics", "again"),
    [
        ({"train": ("loss", "gradient_norm")}, "--metrics loss --split train"),
        ({"train": ("gradient_norm",), "test": ("accuracy",)}, "--metrics gradient_norm --split train"),
        ({"test": ("loss", "trace")}, "--metrics trace --split test"),
        ({"validation": ("loss",)}, "gives loss"),
        ({"validation": ("trace",)}, None),
        ({"corrupted": ("loss",)}, None),
    ],
)
def test_a_study_may_measure_whatever_it_likes(tmp_path, metrics, again):
    plain = replace(STUDY, figures={}, tables={}, findings=lambda found: [], answer=lambda found: "It is.")
    report = run(tmp_path, Plan((recipe("sgd"),), 1, (Measure(metrics, num_samples=20),)), plain)
    assert ("## One number again" in report) == (again is not None)
    assert again is None or again in report


def test_a_study_all_of_whose_trainings_fail_says_so(tmp_path):
    with pytest.raises(TrainingError, match=r"every training of the study failed.*: training diverged: the loss is"):
        run(tmp_path, Plan((recipe("sgd", lr=1e30),), 2, (LOSS,)))


def test_a_figure_that_there_is_not_is_refused_where_the_study_is_written():
    with pytest.raises(ValueError, match=r"figure 'landscape' is unknown\. Expected one of: "):
        drawn("landscape")
