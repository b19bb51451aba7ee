import json
import shutil
import warnings

import pandas as pd
import pytest

from landscape.tracking import read_track
from landscape.training import Recipe, train

from .command import here, landscape


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of three epochs, each kept."""
    out = tmp_path_factory.mktemp("runs") / "run"
    train(Recipe(model_args={"hidden": (8,)}, data_args={"num_train": 200}, epochs=3, checkpoint_every=1), out)
    return out


@pytest.fixture
def track(run, tmp_path, monkeypatch, capsys):
    """``landscape track`` in this process, in a folder with a copy of the run."""
    shutil.copytree(run, tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: here(monkeypatch, capsys, "track", *arguments)


@pytest.fixture
def undrawn(monkeypatch):
    monkeypatch.setattr("landscape.tracking.summary.save_figure", lambda *_: [])
    monkeypatch.setattr("landscape.tracking.summary.write_run_page", lambda *_: None)


LAMBDA = ("run", "--metrics", "lambda_max,loss", "--split", "train")


def test_the_table_and_the_files(track, tmp_path):
    done = track("run")
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split()[0] for line in done.stdout.splitlines() if line[:1] == " "] == ["4", "8", "12"] * 2
    assert max(map(len, done.stdout.splitlines())) <= 100
    *_, cost, products, files = done.stdout.splitlines()
    assert cost.startswith("Measured 3 checkpoints in ")
    num = sum(m.num_matvecs for row in read_track("run/track.jsonl") for ms in row.splits.values() for m in ms.values())
    assert products == f"All 3 took {num} products; warm starts saved 0: every Krylov run begins at random."
    assert files == "The page is run/report.html; track.png, track.csv and track.jsonl are beside it."
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"track.jsonl", "track.csv", "track.png", "track.pdf", "report.html"} <= names
    assert not any("part" in name for name in names)
    again = track("run")
    assert "Measured 0 checkpoints in " in again.stdout
    assert "(3 were done before)." in again.stdout


def test_json_is_one_document(track, undrawn):
    done = track(*LAMBDA, "--json", "--out", "out", "--every", "3")
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert found.keys() == {"schema", "out", "ended", "num_measured", "seconds", "above", "rows"}
    assert (found["schema"], found["out"], found["ended"]) == ("landscape.track/1", "out", True)
    (row,) = found["rows"]
    assert row["checkpoint"]["path"] == "../run/epoch-0003.pt"
    assert row["splits"].keys() == {"train"}
    assert row["splits"]["train"]["lambda_max"].keys() >= {"value", "std_error", "converged", "reason", "num_matvecs"}


def test_a_limit_that_is_passed_is_exit_code_4_told_at_once_and_at_the_end(track, undrawn):
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        done = track(*LAMBDA, "--fail-above", "lambda_max=0.001", "--json")
    assert done.returncode == 4
    assert done.stderr.count("landscape: warning: epoch-0001.pt: lambda_max on train is ") == 1
    assert [one["path"] for one in json.loads(done.stdout)["above"]] == [f"epoch-000{n}.pt" for n in (1, 2, 3)]
    again = track(*LAMBDA, "--fail-above", "lambda_max=0.001")  # also where nothing is left to measure
    assert (again.returncode, again.stderr) == (4, "")
    assert "epoch-0003.pt: lambda_max on train is " in again.stdout
    assert track(*LAMBDA, "--fail-above", "lambda_max=1e6", "--fail-above", "loss=1e6").returncode == 0
    edge = track(*LAMBDA, "--fail-above", "lambda_max=2/lr", "--json")
    assert (edge.returncode, json.loads(edge.stdout)["above"]) == (0, [])


def test_an_accuracy_that_was_not_reached_is_exit_code_4(track, undrawn):
    done = track("run", "--metrics", "lambda_max", "--rel-error", "1e-12", "--split", "test", "--samples", "20")
    assert done.returncode == 4
    assert "* epoch-0001.pt test lambda_max: " in " ".join(done.stdout.split())


def test_dry_run_says_what_it_would_cost_and_writes_nothing(track, tmp_path):
    done = track(*LAMBDA, "--dry-run", "--out", "out")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("3 checkpoints, 0 of them done.\ntrain: 610 parameters, 200 examples; one product ")
    plan = json.loads(track(*LAMBDA, "--dry-run", "--json").stdout)["dry_run"]
    assert (plan["num_checkpoints"], plan["num_done"]) == (3, 0)
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "run" / "track.jsonl").exists()


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (("--metrics", "sharpness"), 2, "Unknown metric 'sharpness'. Expected default, all, or some of: "),
        (("--metrics", "loss", "--fail-above", "lambda_max=1"), 2, "--fail-above lambda_max is not measured. "),
        (("--fail-above", "lambda_max=big"), 2, "--fail-above lambda_max=big is no limit. Expected METRIC=VALUE or "),
        (("--every", "0"), 2, "every=0 is out of range. Expected at least 1."),
        (("--split", "validation"), 2, "There is no split 'validation'. Expected one of: train, test."),
        (("--dtype", "float16"), 2, "--dtype float16 is not supported. Expected float32 or float64."),
        (("--problem", "missing.py:problem"), 3, "missing.py: no such file."),
    ],
)
def test_wrong_flags_are_refused_in_one_line_and_nothing_is_written(track, tmp_path, flags, code, message):
    done = track("run", *flags, "--out", tmp_path / "out")
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith(f"landscape: error: {message}")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_no_checkpoints_are_a_file_that_cannot_be_read(track):
    done = track("nowhere")
    assert (done.returncode, done.stderr) == (3, "landscape: error: nowhere: no checkpoints to measure.\n")


def test_help_opens_with_two_commands_and_does_not_wait_for_torch():
    report = "import atexit\natexit.register(lambda: print([m for m in ('torch', 'numpy') if m in sys.modules]))"
    done = landscape("track", "--help", code=report)
    assert done.stdout.splitlines()[-1] == "[]"
    before_options = done.stdout[: done.stdout.index("─ ")]
    assert len([line for line in before_options.splitlines() if line.strip().startswith("landscape track")]) == 2
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_figures_draws_curves_from_the_rows(track, undrawn, monkeypatch, capsys, tmp_path):
    assert track("run", "--metrics", "trace,lambda_max", "--out", "out").returncode == 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that sam_ratio and normalized_trace are not there
        done = here(monkeypatch, capsys, "figures", "out", "--kind", "curves", "--out", "figures")
    assert (done.returncode, done.stdout.strip()) == (0, "curves: figures/curves.png, figures/curves.pdf")
    assert (tmp_path / "figures" / "curves.png").stat().st_size > 10_000


def test_train_tracks_as_it_goes_and_says_what_that_cost(monkeypatch, capsys, tmp_path, undrawn):
    monkeypatch.chdir(tmp_path)
    recipe = ("--epochs", "4", "--set", "data_args.num_train=200")
    plain = here(monkeypatch, capsys, "train", *recipe, "--out", "plain", "--json")
    done = here(monkeypatch, capsys, "train", *recipe, "--out", "run", "--json", "--track", "loss,lambda_max")
    assert (done.returncode, done.stderr) == (0, "")
    found, without = json.loads(done.stdout), json.loads(plain.stdout)
    assert found["tracking"]["seconds"] > 0
    trained = found["tracking"]["training_seconds"]
    assert trained >= sum(row["seconds"] for row in found["metrics"])  # and what else a run takes: writing checkpoints
    assert found["tracking"]["percent"] == pytest.approx(100 * found["tracking"]["seconds"] / trained)
    for row in (*found["metrics"], *without["metrics"]):
        row.pop("seconds")
    assert found["metrics"] == without["metrics"]  # to the last bit
    points = read_track("run/track.jsonl")
    assert [point.checkpoint["epoch"] for point in points] == [0, 1, 2, 3, 4]
    live = [point.provenance["tracking"] for point in points]
    assert live[0]["training_seconds"] == 0
    assert live[-1]["training_seconds"] == trained
    assert live[-1]["seconds"] == pytest.approx(found["tracking"]["seconds"], abs=0.1)
    assert live[-1]["percent"] == pytest.approx(100 * live[-1]["seconds"] / live[-1]["training_seconds"])
    assert [point.checkpoint["lr"] for point in points[1:]] == [row["lr"] for row in found["metrics"]]
    assert list(pd.read_csv("run/track.csv")["split"].unique()) == ["train", "test"]
    again = here(monkeypatch, capsys, "train", "--out", "run", "--resume", "--track", "loss,lambda_max")
    assert again.returncode == 0
    assert len(read_track("run/track.jsonl")) == 5


def test_train_tracks_those_epochs_that_are_kept(monkeypatch, capsys, tmp_path, undrawn):
    monkeypatch.chdir(tmp_path)
    recipe = ("--epochs", "4", "--checkpoint-every", "2", "--set", "data_args.num_train=100")
    done = here(monkeypatch, capsys, "train", *recipe, "--out", "run", "--track", "loss")
    assert "\nTracking took " in done.stdout
    assert " % of the training time.\n" in done.stdout
    assert [point.checkpoint["epoch"] for point in read_track("run/track.jsonl")] == [0, 2, 4]
    refused = here(monkeypatch, capsys, "train", *recipe, "--out", "other", "--track", "sharpness")
    assert refused.returncode == 2
    assert not (tmp_path / "other").exists()
