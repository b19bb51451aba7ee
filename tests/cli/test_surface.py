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


def unbroken(text):
    """Without the line breaks, which depend on the length of a path."""
    return " ".join(text.split())


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
            recipe=file.recipe | {"epochs": 3},
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
    assert "5 by 5 points" in unbroken(done.stdout)
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


@pytest.mark.parametrize("kind", ["eigen", "gradient"])
def test_directions_that_are_computed(run, kind, monkeypatch, capsys):
    done = here(monkeypatch, capsys, "surface", run, *FAST, "--split", "train", "--directions", kind)
    assert done.returncode == 0
    assert f"directions: {kind}" in unbroken(done.stdout)


def test_dry_run_measures_no_plane(run, tmp_path, monkeypatch, capsys):
    done = here(monkeypatch, capsys, "surface", run, "--dry-run", "--grid", "1000", "--out", tmp_path / "none")
    assert done.returncode == 0
    assert "1,002,001" in done.stdout
    assert not (tmp_path / "none").exists()


def test_a_trajectory(trajectory, tmp_path, monkeypatch, capsys):
    done = here(monkeypatch, capsys, "surface", *trajectory, *FAST, "--directions", "pca", "--out", tmp_path)
    assert done.returncode == 0
    assert "% of the trajectory" in unbroken(done.stdout)
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
    from landscape.surface.points import FinishedRows
    from landscape.surface.walk import Walk

    whole = here(monkeypatch, capsys, "surface", run, *FAST, "--out", tmp_path / "whole")
    assert whole.returncode == 0
    add = FinishedRows.add

    def stop(self, split, row, loss, accuracy):
        add(self, split, row, loss, accuracy)
        if row == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as killed:
        killed.setattr(FinishedRows, "add", stop)
        assert here(killed, capsys, "surface", run, *FAST, "--out", tmp_path / "b").returncode == 130
    assert [p.name for p in (tmp_path / "b").iterdir()] == [".rows"]
    calls = []
    call = Walk.__call__
    monkeypatch.setattr(Walk, "__call__", lambda self, points: calls.append(1) or call(self, points))
    assert here(monkeypatch, capsys, "surface", run, *FAST, "--out", tmp_path / "b").returncode == 0
    assert len(calls) == 5
    assert sorted(p.name for p in (tmp_path / "b").iterdir()) == ["surface.json", "surface.npz"]
    for first, second in zip(load_surfaces(tmp_path / "whole"), load_surfaces(tmp_path / "b"), strict=True):
        np.testing.assert_array_equal(first.loss, second.loss)


def test_several_checkpoints_share_their_axes(trajectory, tmp_path, monkeypatch, capsys):
    done = here(monkeypatch, capsys, "surface", *trajectory[::3], *FAST, "--split", "train", "--out", tmp_path)
    assert done.returncode == 0
    first, second = (Plane.load(tmp_path / name) for name in ("epoch0", "epoch3"))
    np.testing.assert_array_equal(first.x, second.x)
    np.testing.assert_array_equal(first.y, second.y)
    norms = [plane.details["norms"] for plane in (first, second)]
    assert norms[0][0] > 1.1 * norms[1][0]  # filters that are further from zero
    assert first.x[-1] == pytest.approx(max(norms[0][0], norms[1][0]))
    assert first.details["span"][0] == pytest.approx(1)
    assert second.details["span"][0] == pytest.approx(norms[0][0] / norms[1][0])


def test_a_line_stands_beside_the_plane(run, tmp_path, monkeypatch, capsys):
    assert here(monkeypatch, capsys, "surface", run, *FAST, "--out", tmp_path).returncode == 0
    options = ("--line", "--directions", "gradient", "--export", "csv")
    done = here(monkeypatch, capsys, "surface", run, *FAST, *options, "--out", tmp_path)
    assert "a line along the first direction, 5 points" in unbroken(done.stdout)
    kinds = [(type(one).__name__, one.split) for one in load_surfaces(tmp_path)]
    assert kinds == [("Line", "train"), ("Line", "test"), ("Plane", "train"), ("Plane", "test")]
    assert (tmp_path / "surface.csv").read_text().startswith("x,train_loss,train_accuracy,test_loss")
    drawn = here(monkeypatch, capsys, "figures", tmp_path, "--kind", "lines", "--out", tmp_path / "figures")
    assert drawn.returncode == 0
    other = (*FAST, "--seed", "1", "--out", tmp_path)
    refused = here(monkeypatch, capsys, "surface", run, *other)
    assert (refused.returncode, "surface.json is another result: seed 1 (there 0)" in refused.stderr) == (2, True)
    again = here(monkeypatch, capsys, "surface", run, *other, "--overwrite")
    assert again.returncode == 0
    kinds = [(type(one).__name__, one.split) for one in load_surfaces(tmp_path)]
    assert kinds == [("Plane", "train"), ("Plane", "test"), ("Line", "train"), ("Line", "test")]


def test_points_are_spent_where_it_curves(run, tmp_path, monkeypatch, capsys):
    options = ("--refine", "--samples", "40", "--grid", "9", "--split", "train", "--out", tmp_path)
    done = here(monkeypatch, capsys, "surface", run, *options)
    assert done.returncode == 0
    plane = Plane.load(tmp_path)
    assert f"{plane.details['num_forwards']} of 33 by 33 points" in unbroken(done.stdout)
    assert plane.details["measured"].sum() == plane.details["num_forwards"] <= 81
    assert "Extrema above the noise floor: train" in unbroken(done.stdout)
    assert plane.details["minima"]
    drawn = here(monkeypatch, capsys, "figures", tmp_path, "--kind", "landscapes", "--out", tmp_path / "figures")
    assert drawn.returncode == 0


def test_a_report_gets_its_landscape(run, tmp_path, monkeypatch, capsys):
    assert here(monkeypatch, capsys, "analyze", run, "--metrics", "loss", "--out", tmp_path).returncode == 0
    assert "Landscape</h2>" not in (tmp_path / "report.html").read_text()
    done = here(monkeypatch, capsys, "surface", run, *FAST, "--out", tmp_path)
    assert f"Report: {tmp_path / 'report.html'}" in done.stdout
    assert "Landscape</h2>" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--directions", "up"], 2, "directions='up'"),
        (["--line", "--refine"], 2, "--refine spends the points of a plane"),
        (["--line", "--directions", "pca"], 2, "makes a plane"),
        (["--line", "--directions", "to:CKPT,CKPT"], 3, "CKPT"),
        (["--line", "--export", "vts", "--out", "none"], 2, "not supported of a line. Expected: csv, h5"),
        (["--export", "csv"], 2, "--out DIR"),
        (["--export", "png", "--out", "none"], 2, "--export png"),
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
