"""``landscape surface`` as a user runs it: files, exit codes, JSON, several checkpoints, and going on after a stop."""

import json

import numpy as np
import pytest
import torch

from landscape import load_checkpoint, save_checkpoint
from landscape.problem import Problem
from landscape.results import Plane, load_surfaces
from landscape.training import Recipe, train
from tests.cli.command import here, landscape

FAST = ("--samples", "40", "--grid", "5")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    train(Recipe(epochs=1, model_args={"hidden": (8,)}), out)
    return out / "last.pt"


@pytest.fixture(scope="module")
def trajectory(run):
    """Four checkpoints, three steps of a fixed walk away from the last one."""
    file = load_checkpoint(run)
    model = file.build_model()
    generator = torch.Generator().manual_seed(0)
    paths = []
    for k in (3, 2, 1, 0):
        path = run.parent / f"epoch{3 - k}.pt"
        moved = file.build_model()
        with torch.no_grad():
            for p, origin in zip(moved.parameters(), model.parameters(), strict=True):
                p.copy_(origin + 0.1 * k * torch.randn(p.shape, generator=generator))
        save_checkpoint(
            path,
            model=moved,
            model_spec=file.model,
            data_spec=file.data,
            loss_spec=file.loss,
            recipe=file.recipe,
            epoch=3 - k,
            step=0,
            metrics=[],
        )
        paths.append(path)
    return paths


def test_files_and_words(run, tmp_path, monkeypatch, capsys):
    done = here(monkeypatch, capsys, "surface", run, *FAST, "--out", tmp_path)
    assert done.returncode == 0
    assert done.stderr == ""
    assert "5 by 5 points" in done.stdout
    assert "train (n = 40)" in done.stdout
    assert "check" not in done.stdout  # they all passed
    assert sorted(p.name for p in tmp_path.iterdir()) == ["surface.json", "surface.npz"]
    planes = {plane.split: plane for plane in load_surfaces(tmp_path)}
    problem = Problem.of(load_checkpoint(run))
    for split, plane in planes.items():
        objective = problem.objective(split, num_samples=40)
        assert plane.centre == pytest.approx(objective.value(), rel=1e-6)
        assert plane.details["checkpoint"]["sha256"] == load_checkpoint(run).sha256
        assert plane.details["normalize"] == "filter"
    np.testing.assert_array_equal(planes["train"].x, planes["test"].x)


def test_json_is_one_document(run, monkeypatch, capsys):
    done = here(monkeypatch, capsys, "surface", run, *FAST, "--split", "test", "--json", "--directions", "gradient")
    document = json.loads(done.stdout)
    assert document["schema"] == "landscape.surface/1"
    assert [entry["split"] for entry in document["surfaces"]] == ["test"]
    assert document["surfaces"][0]["details"]["directions"] == "gradient"


def test_dry_run_measures_no_plane(run, tmp_path, monkeypatch, capsys):
    done = here(monkeypatch, capsys, "surface", run, "--dry-run", "--grid", "1000", "--out", tmp_path / "none")
    assert done.returncode == 0
    assert "1,002,001" in done.stdout
    assert not (tmp_path / "none").exists()


def test_a_trajectory(trajectory, tmp_path, monkeypatch, capsys):
    done = here(monkeypatch, capsys, "surface", *trajectory, *FAST, "--directions", "pca", "--out", tmp_path)
    assert done.returncode == 0
    assert "% of the trajectory" in done.stdout
    plane, _ = load_surfaces(tmp_path)
    assert plane.details["path"].shape == (4, 2)
    np.testing.assert_allclose(plane.details["path"][-1], 0, atol=1e-12)
    assert [one["epoch"] for one in plane.details["trajectory"]] == [0, 1, 2, 3]
    assert plane.details["checkpoint"]["epoch"] == 3


def test_towards_other_checkpoints(trajectory, tmp_path, monkeypatch, capsys):
    a, b, _, centre = trajectory
    kind = f"to:{a},{b}"
    done = here(
        monkeypatch, capsys, "surface", centre, *FAST, "--directions", kind, "--split", "train", "--out", tmp_path
    )
    assert done.returncode == 0
    plane = Plane.load(tmp_path)
    marks = plane.details["marks"]
    assert set(marks) == {str(a), str(b)}
    assert all(mark["residual"] < 1e-5 for mark in marks.values())
    one = here(monkeypatch, capsys, "surface", centre, *FAST, "--directions", f"to:{a}", "--json")
    assert json.loads(one.stdout)["surfaces"][0]["x"][1] == pytest.approx(marks[str(a)]["at"][0], rel=1e-6)


def test_several_checkpoints_have_a_folder_each(trajectory, tmp_path, monkeypatch, capsys):
    done = here(monkeypatch, capsys, "surface", *trajectory[2:], *FAST, "--split", "train", "--out", tmp_path)
    assert done.returncode == 0
    assert {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("surface.json")} == {
        "epoch2/surface.json",
        "epoch3/surface.json",
    }


def test_a_stopped_run_goes_on(run, tmp_path, monkeypatch, capsys):
    from landscape.surface.rows import Rows
    from landscape.surface.walk import Walk

    whole = here(monkeypatch, capsys, "surface", run, *FAST, "--out", tmp_path / "whole")
    assert whole.returncode == 0
    add = Rows.add

    def stop(self, split, row, loss, accuracy):
        add(self, split, row, loss, accuracy)
        if row == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as killed:
        killed.setattr(Rows, "add", stop)
        assert here(killed, capsys, "surface", run, *FAST, "--out", tmp_path / "b").returncode == 130
    assert [p.name for p in (tmp_path / "b").iterdir()] == [".rows"]
    calls = []
    call = Walk.__call__
    monkeypatch.setattr(Walk, "__call__", lambda self, points: calls.append(1) or call(self, points))
    assert here(monkeypatch, capsys, "surface", run, *FAST, "--out", tmp_path / "b").returncode == 0
    assert len(calls) == 5
    assert sorted(p.name for p in (tmp_path / "b").iterdir()) == ["surface.json", "surface.npz"]
    for first, second in zip(load_surfaces(tmp_path / "whole"), load_surfaces(tmp_path / "b"), strict=True):
        np.testing.assert_allclose(first.loss, second.loss, rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--directions", "up"], 2, "directions='up'"),
        (["--directions", "to:"], 2, "names no checkpoint"),
        (["--directions", "to:missing.pt"], 3, "missing.pt"),
        (["--directions", "pca"], 2, "spans no plane"),
        (["--normalize", "kernel"], 2, "normalize='kernel'"),
        (["--grid", "2"], 2, "num_points=2"),
        (["--mode", "reestimate"], 2, "needs batch normalization"),
        (["--split", "dev"], 2, "no split 'dev'"),
        (["--device", "tpu"], 2, "--device tpu"),
    ],
)
def test_mistakes_are_one_line(run, monkeypatch, capsys, arguments, code, message):
    done = here(monkeypatch, capsys, "surface", run, "--samples", "20", *arguments)
    assert done.returncode == code
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_help_does_not_import_torch():
    code = "import sys; sys.modules['torch'] = None"
    done = landscape("surface", "--help", code=code)
    assert done.returncode == 0
    assert "to:CKPT" in done.stdout
