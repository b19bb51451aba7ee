"""A tiny study from recipe to report: what is there is not done again, what was stopped goes on, failures are said."""

import json
import shutil
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
import torch

from landscape.data import corrupt, load_data
from landscape.problem import Problem
from landscape.studies import (
    Collected,
    Measure,
    MeasurePlane,
    Plan,
    Store,
    estimate_cost,
    find_study,
    named_studies,
    reproduce,
)
from landscape.studies.plan import identity
from landscape.studies.steps import corrupted_test
from landscape.training import train

from .tiny import STUDY, recipe

CPU = torch.device("cpu")
FACTS = {"study": "tiny", "scale": "laptop", "num_seeds": 2, "command": "landscape reproduce tiny.py"}


def run(out: Path, plan: Plan | None = None, **options) -> Store:
    store = Store.open(out, plan or STUDY.plan("laptop", ""), FACTS)
    reproduce(STUDY, store, device=CPU, **options)
    return store


def rows(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "results" / "track.jsonl").read_text().splitlines()]


def without_time(value):
    if isinstance(value, dict):
        return {k: without_time(v) for k, v in value.items() if k not in ("seconds", "started")}
    return [without_time(item) for item in value] if isinstance(value, list) else value


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("study")
    run(out)
    return out


@pytest.fixture
def copy(done, tmp_path) -> Path:
    return Path(shutil.copytree(done, tmp_path / "copy"))


def test_everything_planned_is_there(done):
    found = Collected(STUDY.plan("laptop", ""), done)
    measured = {(row["checkpoint"]["recipe"]["optimizer"], row["checkpoint"]["epoch"]) for row in rows(done)}
    assert measured == {("sgd", 1), ("sgd", 2), ("sam", 1), ("sam", 2)}
    assert len(rows(done)) == 2 * 2 * 3  # optimizers, seeds; two epochs of one step and one of the other
    surfaces = [(run.setting("seed"), len(run.surfaces)) for run in found.runs if run.epoch == 2]
    assert sorted(surfaces) == [(0, 1), (0, 1), (1, 0), (1, 0)]
    assert set(found.values("SAM", "trace", "test")) == {0, 1}
    assert found.values("SAM", "trace", "test", epoch=1) != found.values("SAM", "trace", "test")
    assert all(isinstance(m.details["floor"], float) for m in found.measurements("SAM", "few", "validation").values())
    assert not any("command" in row["provenance"] for row in rows(done))


def test_what_is_measured_is_what_analyze_measures(done):
    from landscape import load_checkpoint, measure

    (path,) = (done / "runs").glob("sam-*seed-1/last.pt")
    problem = Problem.of(load_checkpoint(path))
    found = Collected(STUDY.plan("laptop", ""), done)
    assert found.values("SAM", "trace", "test")[1] == measure.trace(problem.objective("test")).value
    data = load_data("digits", num_train=60, validation=0.1)
    noisy = corrupt(data.test.sample(20, seed=0), corruption="fog", severity=3)
    split = corrupted_test("digits", (("num_train", 60), ("validation", 0.1)), 3, 20)
    assert len(split) == 15 * 20
    assert any(torch.equal(part, noisy.inputs) for part in split.inputs.split(20))


def test_a_diverged_training_is_counted_and_said(done):
    found = Collected(STUDY.plan("laptop", ""), done)
    assert {(row["name"], row["seed"]) for row in found.diverged} == {("SGD, lr 1e+30", 0), ("SGD, lr 1e+30", 1)}
    readme = (done / "README.md").read_text()
    assert "2 of 6 trainings diverged:\n\n- SGD, lr 1e+30, seed 0: training diverged: the loss is" in readme
    assert "| SGD, lr 1e+30 | 0 of 2 | – |" in readme


def test_the_report_begins_with_the_answer(done):
    found = Collected(STUDY.plan("laptop", ""), done)
    lines = (done / "README.md").read_text().splitlines()
    assert lines[2] == f"**{STUDY.answer(found)}**"
    assert "landscape reproduce tiny.py" in lines
    assert not (done / "figures" / "spectrum.png").exists()  # of which nothing was measured
    assert {path.suffix for path in (done / "figures").iterdir()} == {".png", ".pdf"}


def test_what_is_done_is_not_done_again_even_without_weights(copy, monkeypatch):
    shutil.rmtree(copy / "runs")
    monkeypatch.setattr("landscape.studies.run.train", lambda *_, **__: pytest.fail("trained again"))
    before = rows(copy)
    store = run(copy)
    assert rows(copy) == before
    assert estimate_cost(store, CPU) == []


@pytest.mark.parametrize("stop", ["epoch 1 of 2", "measuring epoch 2", "plane, row 2 of 3"])
def test_a_study_that_was_stopped_goes_on(done, tmp_path, stop):
    def interrupt(_, __, what):
        if stop in what and "SAM, seed 0" in what:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, progress=interrupt)
    run(tmp_path)
    ours, theirs = (sorted((without_time(row) for row in rows(out)), key=place) for out in (tmp_path, done))
    for row in (*ours, *theirs):
        row["checkpoint"].pop("sha256")  # holds how long it took
    assert ours == theirs


def place(row: dict) -> tuple:
    return json.dumps(row["checkpoint"]["recipe"], sort_keys=True), row["checkpoint"]["epoch"], row["settings"]


def test_more_seeds_add_to_those_there(copy):
    before = rows(copy)
    plan = replace(STUDY.plan("laptop", ""), num_seeds=3)
    run(copy, plan)
    assert rows(copy)[: len(before)] == before
    assert set(Collected(plan, copy).values("SAM", "trace", "test")) == {0, 1, 2}
    assert set(Collected(STUDY.plan("laptop", ""), copy).values("SAM", "trace", "test")) == {0, 1}


def test_other_settings_and_other_studies_are_refused(copy):
    plan = STUDY.plan("laptop", "")
    other = replace(plan, steps=(Measure({"train": ("loss",)}),))
    with pytest.raises(ValueError, match="measurements made with other settings"):
        Store.open(copy, other, FACTS)
    with pytest.raises(ValueError, match="holds tiny at scale laptop"):
        Store.open(copy, plan, FACTS | {"scale": "gpu"})
    (copy / "results" / "study.json").write_text("{}")
    with pytest.raises(ValueError, match=r"schema is None. Expected 'landscape.study/1'"):
        Store.open(copy, plan, FACTS)
    (copy / "results" / "study.json").write_text("{")
    with pytest.raises(ValueError, match="not valid JSON"):
        Store.open(copy, plan, FACTS)


def test_another_grid_measures_the_planes_alone_again(copy):
    plan = STUDY.plan("laptop", "")
    finer = replace(plan, steps=(*plan.steps[:2], MeasurePlane(num_points=5)))
    before = rows(copy)
    run(copy, finer)
    assert rows(copy) == before
    shapes = {surface.loss.shape for run in Collected(finer, copy).runs for surface in run.surfaces}
    assert shapes == {(5, 5)}


def test_the_cost_counts_what_is_left(tmp_path):
    recipes = (recipe("sgd"), recipe("sam", epochs=20))
    plan = Plan(recipes, 2, (Measure({"train": ("trace",)}, at="kept"),))
    store = Store.open(tmp_path, plan, FACTS)
    costs = {cost.optimizer: cost for cost in estimate_cost(store, CPU)}
    assert {name: cost.num_runs for name, cost in costs.items()} == {"sgd": 2, "sam": 2}
    assert costs["sam"].training > 5 * costs["sgd"].training  # twenty epochs against two
    assert all(cost.training > 0 and cost.measuring > 0 for cost in costs.values())
    assert not list(tmp_path.iterdir())  # nothing is written
    for seed in (0, 1):
        done = replace(recipes[0], seed=seed)
        train(done, store.weights(done))
        store.trained(done, status="finished", reason="", seconds=1.0)
    assert next(iter(estimate_cost(store, CPU))).training == 0


def test_names_are_those_of_figures_and_files_follow_them():
    plan = STUDY.plan("laptop", "")
    assert list(plan.names) == ["SGD, lr 0.1", "SAM", "SGD, lr 1e+30"]
    assert plan.folder(plan.runs[0]) == "sgd-lr-0.1-seed-0"
    assert identity(plan.runs[0]) != identity(plan.runs[3])
    assert identity(plan.runs[0], seed=1) == identity(plan.runs[3])


def test_a_study_is_a_name_or_a_file(tmp_path):
    paper = Path(__file__).parents[2] / "landscape/studies/papers/gam_geometry.py"
    assert find_study(str(shutil.copy(paper, tmp_path / "mine.py"))).name == "gam-geometry"
    with pytest.raises(ValueError, match=r"study 'tin' is unknown\. Expected one of: accuracy, cr-sam-geometry, "):
        find_study("tin")
    (tmp_path / "none.py").write_text("STUDY = 1")
    with pytest.raises(ValueError, match=r"none.py defines no STUDY = Study\(...\)"):
        find_study(str(tmp_path / "none.py"))


def test_a_papers_file_is_called_as_its_study():
    for name, study in named_studies().items():
        module = import_module(f"landscape.studies.papers.{name.replace('-', '_')}")
        assert module.STUDY is study
