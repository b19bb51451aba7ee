"""What is said of a metric is said in its own file: no other place has to change for a new one."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import landscape
from landscape.measure import METRICS
from landscape.measure.metric import ESTIMATES, Cost, metric
from landscape.metrics import DEFAULT, about_metrics, metrics_table
from landscape.results import Measurement
from tests.cases import make
from tests.test_objective import objective_of

FEWER = {
    "average_sharpness": {"num_probes": 4},
    "first_order_flatness": {"num_steps": 2},
    "local_minima": {"num_directions": 3},
    **{name: {"num_steps": 8} for name in ("spectral_density", "effective_dimension", "negative_share")},
    "top_eigenvalues": {"k": 3},
}
NEW = '''
"""The largest weight."""

from landscape.measure.metric import Cost, metric
from landscape.objective import Objective
from landscape.results import Measurement


@metric(
    symbol="W",
    definition="the largest of all |w|",
    meaning="How large weights are.",
    limits="It says nothing of the loss.",
    cost="none",
    error_kind="none",
    estimate_cost=lambda _: Cost(),
)
def largest_weight(objective: Objective) -> Measurement:
    """The largest |w|."""
    return Measurement("largest_weight", objective.vector().abs().max().item())
'''


def test_the_words_are_those_of_the_functions():
    assert about_metrics().keys() == METRICS.keys() == ESTIMATES.keys()
    assert list(about_metrics())[: len(DEFAULT)] == list(DEFAULT)


@pytest.mark.parametrize("name", METRICS)
def test_the_kind_of_error_and_every_detail_are_as_told(name):
    told = about_metrics()[name]
    found = METRICS[name](objective_of(make("mlp_tanh"), 16), **FEWER.get(name, {}))
    assert found.error_kind in (told.error_kind, "none")
    assert set(found.details) <= set(told.details)


def test_a_metric_without_a_cost_is_an_error():
    with pytest.raises(TypeError, match="estimate_cost"):
        metric(definition="d", meaning="m", limits="l", cost="c", error_kind="none")
    unfinished = metric(estimate_cost=lambda _: Cost(), definition="d")
    with pytest.raises(TypeError, match="cost"):
        unfinished(lambda objective: Measurement("x", 1.0))


def test_the_readme_has_the_table():
    assert metrics_table() in (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_one_file_is_a_metric_everywhere(tmp_path):
    package = tmp_path / "landscape"
    shutil.copytree(Path(landscape.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "measure" / "largest_weight.py").write_text(NEW, encoding="utf-8")

    def run(*words: str) -> str:
        code = "import sys; from landscape_cli.main import main; sys.argv[0] = 'landscape'; main()"
        environment = os.environ | {"PYTHONPATH": str(tmp_path), "COLUMNS": "200"}
        done = subprocess.run(
            [sys.executable, "-c", code, *words], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert not done.returncode, done.stderr
        return done.stdout

    run("train", "--epochs", "1", "--out", "run")
    analyze = ["analyze", "run/last.pt", "--split", "test", "--metrics", "largest_weight"]
    document = json.loads(run(*analyze, "--out", "results", "--json"))
    assert document["splits"]["test"]["largest_weight"]["value"] > 0
    page = (tmp_path / "results" / "report.html").read_text(encoding="utf-8")
    assert "W is the largest of all |w|. How large weights are." in page
    assert "largest_weight" in run(*analyze, "--dry-run")
    assert "the largest of all |w|" in run("analyze", "--help")
    shutil.copytree(tmp_path / "results", tmp_path / "again")
    assert "largest_weight" in run("compare", "results", "again", "--out", "both")
    assert (tmp_path / "both" / "comparison.png").stat().st_size > 10_000
