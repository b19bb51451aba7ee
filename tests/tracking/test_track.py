import threading
import time
import warnings
from pathlib import Path

import pandas as pd
import pytest
import torch

from landscape import analyze, load_checkpoint
from landscape.checkpoint import CheckpointError
from landscape.problem import Problem
from landscape.tracking import Settings, estimate_cost, read_track, track
from landscape.tracking.survey import Survey

from .runs import run, write

LOSS = Settings(metrics=("loss",), split="train")


def steps(tracked):
    return [point.checkpoint["step"] for point in tracked.analyses]


@pytest.fixture(autouse=True)
def undrawn(monkeypatch):
    """Figures are another test's business, and take their time."""
    monkeypatch.setattr("landscape.tracking.summary.save_figure", lambda *_: [])
    monkeypatch.setattr("landscape.tracking.summary.write_run_page", lambda *_: None)


def test_the_numbers_are_those_of_analyze_in_the_order_of_the_steps(tmp_path):
    folder = run(tmp_path, 3)
    for old, new in ((1, "c"), (2, "b"), (3, "a")):  # names that would be in another order
        (folder / f"epoch-000{old}.pt").rename(folder / f"{new}.pt")
    settings = Settings(metrics=("loss", "lambda_max"), rel_error=0.01, seed=5, num_samples=20)
    tracked = track(folder, settings)
    assert [point.checkpoint["path"] for point in tracked.analyses] == ["c.pt", "b.pt", "a.pt"]  # last.pt is a.pt
    assert tracked.ended
    for number, point in enumerate(tracked.analyses, start=1):
        checkpoint = load_checkpoint(folder / point.checkpoint["path"])
        facts = {"sha256": checkpoint.sha256, "epoch": number, "step": 5 * number, "lr": 0.1 / number}
        assert point.checkpoint.items() >= facts.items()
        problem = Problem.of(checkpoint)
        objectives = {split: problem.objective(split, num_samples=20, seed=5) for split in ("train", "test")}
        alone = analyze(objectives, ("loss", "lambda_max"), rel_error=0.01, seed=5)
        for split in alone.splits:
            assert point[split]["loss"].value == pytest.approx(alone[split]["loss"].value, rel=1e-6)
            for key in ("value", "std_error"):
                expected = getattr(alone[split]["lambda_max"], key)
                assert getattr(point[split]["lambda_max"], key) == pytest.approx(expected, rel=1e-4)
            assert point[split]["lambda_max"].num_matvecs == alone[split]["lambda_max"].num_matvecs
    table = pd.read_csv(folder / "track.csv")
    assert list(table.columns[:6]) == ["path", "step", "epoch", "lr", "split", "metric"]
    assert len(table) == 3 * 2 * 2
    row = table[(table["step"] == 10) & (table["split"] == "test") & (table["metric"] == "lambda_max")].iloc[0]
    assert row["value"] == tracked.analyses[1]["test"]["lambda_max"].value


def test_what_is_done_is_not_measured_again_whatever_its_name(tmp_path):
    folder = run(tmp_path / "run", 3)
    assert track(folder, LOSS, out=tmp_path).num_measured == 3
    before = (tmp_path / "track.jsonl").read_bytes()
    (folder / "epoch-0001.pt").rename(folder / "first.pt")
    again = track(folder, LOSS, out=tmp_path)
    assert (again.num_measured, steps(again)) == (0, [5, 10, 15])
    assert (tmp_path / "track.jsonl").read_bytes() == before
    write(folder / "epoch-0002.pt", 2, recipe={"other": "bytes"})  # of the same step: trained anew
    anew = track(folder, LOSS, out=tmp_path)
    assert (anew.num_measured, steps(anew)) == (1, [5, 10, 15])
    assert len(read_track(tmp_path / "track.jsonl")) == 4


@pytest.mark.parametrize("changed", [{"seed": 1}, {"num_samples": 20}, {"rel_error": 0.1}, {"metrics": ("accuracy",)}])
def test_other_settings_are_measured_anew(tmp_path, changed):
    folder = run(tmp_path, 2)
    track(folder, LOSS)
    assert track(folder, Settings(**{"metrics": ("loss",), "split": "train"} | changed)).num_measured == 2


def test_every_counts_checkpoints(tmp_path):
    folder = run(tmp_path, 7)
    assert steps(track(folder, LOSS, every=3)) == [15, 30]
    assert steps(track(folder, LOSS)) == [5, 10, 15, 20, 25, 30, 35]
    with pytest.raises(ValueError, match="every=0 is out of range"):
        track(folder, LOSS, every=0)


def test_several_runs_by_a_pattern_lie_beside_each_other(tmp_path):
    for name in ("a", "b"):
        run(tmp_path / name, 2)
    tracked = track(tmp_path / "*" / "epoch-*.pt", LOSS)
    assert tracked.out == tmp_path
    names = [point.checkpoint["path"] for point in tracked.analyses]
    assert names == ["a/epoch-0001.pt", "a/epoch-0002.pt"]  # of equal bytes: b's are the same checkpoints
    write(tmp_path / "b" / "epoch-0003.pt", 3)
    assert steps(track(tmp_path / "*" / "epoch-*.pt", LOSS)) == [5, 10, 15]


def test_weights_of_somebody_else_go_by_the_numbers_in_their_names(tmp_path):
    state = load_checkpoint(run(tmp_path / "run", 1) / "last.pt").state["model"]
    file = tmp_path / "theirs.py"
    file.write_text(
        "from torch import nn\nfrom landscape.data import load_data\nfrom landscape.models import build_model\n"
        "def problem():\n    data = load_data('digits', num_train=40)\n"
        "    return build_model('mlp', input_shape=(1, 8, 8), num_classes=10, hidden=(4,)), nn.CrossEntropyLoss(), "
        "{'train': data.train}\n"
    )
    for number in (9, 10):
        torch.save({name: value * number for name, value in state.items()}, tmp_path / f"step-{number}.pth")
    settings = Settings(metrics=("loss",), problem=f"{file}:problem")
    tracked = track(tmp_path / "step-*.pth", settings)
    assert steps(tracked) == [9, 10]
    first, second = (point["train"]["loss"].value for point in tracked.analyses)
    assert second > first > 0
    file.write_text(file.read_text().replace("num_train=40", "num_train=41"))
    with pytest.raises(ValueError, match=r"step-9\.pth: is of something else: the data of split train; the text of th"):
        track(tmp_path / "step-*.pth", settings)
    assert track(tmp_path / "step-*.pth", settings, overwrite=True).num_measured == 2
    assert steps(track(tmp_path / "step-*.pth", settings)) == [9, 10]
    torch.save(state, tmp_path / "step-009.pth")
    with pytest.raises(ValueError, match="are both of step 9"):
        track(tmp_path / "step-*.pth", settings)
    torch.save(state, tmp_path / "best.pth")
    with pytest.raises(CheckpointError, match=r"best\.pth: neither the file nor its name says of which step it is"):
        track(tmp_path / "best.pth", settings)


def test_refusals_write_nothing(tmp_path):
    out = tmp_path / "out"
    for settings, message in [
        ({"metrics": ("sharpness",)}, "Unknown metric 'sharpness'"),
        ({"split": "validation"}, "There is no split 'validation'"),
        ({"rel_error": 0.0}, "rel_error=0. Expected a positive number"),
        ({"params": "conv*"}, "No parameter matches"),
    ]:
        with pytest.raises(ValueError, match=message):
            track(run(tmp_path / "run", 1), Settings(**settings), out=out)
    with pytest.raises(CheckpointError, match="no checkpoints to measure"):
        track(tmp_path / "nowhere", LOSS, out=out)
    (tmp_path / "run" / "epoch-0001.pt").write_bytes(b"half")
    with pytest.raises(CheckpointError, match=r"epoch-0001\.pt"):
        track(tmp_path / "run", LOSS, out=out)
    assert not out.exists()


def test_a_plan_counts_what_is_to_do_and_writes_nothing(tmp_path):
    folder = run(tmp_path / "run", 4)
    settings = Settings(metrics=("lambda_max",))
    track(folder / "epoch-0002.pt", settings, out=tmp_path / "out")
    before = (tmp_path / "out" / "track.jsonl").read_bytes()
    plan = estimate_cost(folder, settings, out=tmp_path / "out")
    assert (plan["num_checkpoints"], plan["num_done"], list(plan["splits"])) == (4, 1, ["train", "test"])
    one = sum(cost["metrics"]["total"]["seconds"]["least"] for cost in plan["splits"].values())
    assert plan["seconds"]["least"] == pytest.approx(3 * one)
    assert estimate_cost(folder, settings, out=tmp_path / "new")["num_done"] == 0
    assert (tmp_path / "out" / "track.jsonl").read_bytes() == before
    assert not (tmp_path / "new").exists()


@pytest.fixture
def fast(monkeypatch):
    monkeypatch.setattr("landscape.tracking.run._PAUSE", 0.02)


def test_following_measures_what_comes_and_ends_with_the_run(tmp_path, fast):
    folder = tmp_path / "run"

    def train():
        for epoch in range(6):  # the folder is not there yet when following begins
            time.sleep(0.1)
            if epoch:
                write(folder / f"epoch-{epoch:04d}.pt", epoch, epochs=5)
            write(folder / "last.pt", epoch, epochs=5)
        (folder / "late.txt").touch()

    training = threading.Thread(target=train)
    training.start()
    seen = []
    tracked = track(
        folder,
        LOSS,
        out=tmp_path,
        follow=True,
        on_point=lambda p: seen.append((p.checkpoint["step"], training.is_alive())),
    )
    training.join()
    assert [step for step, _ in seen] == steps(tracked) == [5, 10, 15, 20, 25]
    assert seen[0][1]  # it did not wait for the end
    assert tracked.ended


@pytest.mark.parametrize(
    ("source", "folder"),
    [("runs/new", "runs/new"), ("runs/new/*.pt", "runs/new"), ("runs/*/last.pt", "runs"), ("runs/a.pt", "runs")],
)
def test_results_of_a_run_that_is_still_to_come_go_into_its_folder(source, folder):
    assert Survey([source], follow=True).folder() == Path(folder)


def test_an_interrupted_run_is_given_up_in_the_end_and_gone_on_with(tmp_path, fast):
    for epoch in (1, 2):
        write(tmp_path / f"epoch-{epoch:04d}.pt", epoch, epochs=3)
    write(tmp_path / "last.pt", 2, epochs=3, step=12)  # between two epochs
    start = time.monotonic()
    with pytest.warns(UserWarning, match="the run has not ended: it is not followed further"):
        tracked = track(tmp_path, LOSS, follow=True, patience=0.2)
    assert time.monotonic() - start >= 0.2
    assert (steps(tracked), tracked.ended) == ([5, 10], False)
    assert steps(track(tmp_path, LOSS)) == [5, 10, 12]  # not followed, it is measured as it lies there
    run(tmp_path, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert steps(track(tmp_path, LOSS, follow=True)) == [5, 10, 12, 15]


def test_following_waits_for_ten_epochs(tmp_path, fast):
    rows = [{"epoch": 1, "lr": 0.1, "seconds": 0.1}]
    write(tmp_path / "last.pt", 1, metrics=rows)
    start = time.monotonic()
    with pytest.warns(UserWarning, match="not followed further"):
        track(tmp_path, LOSS, follow=True, patience=0.0)
    assert time.monotonic() - start >= 1.0


def test_following_waits_for_a_file_that_is_half_there_and_bears_one_that_goes(tmp_path, fast, monkeypatch):
    run(tmp_path, 3)
    half = (tmp_path / "epoch-0002.pt").read_bytes()
    (tmp_path / "epoch-0002.pt").write_bytes(half[:1000])
    (tmp_path / "last.pt").unlink()

    def mend(point):
        (tmp_path / "epoch-0002.pt").write_bytes(half)
        (tmp_path / "epoch-0003.pt").unlink(missing_ok=True)
        write(tmp_path / "last.pt", 3, epochs=3)

    with pytest.warns(UserWarning, match="epoch-0003.pt went away before it was measured"):
        tracked = track(tmp_path, LOSS, follow=True, on_point=mend)
    assert steps(tracked) == [5, 10, 15]
