import hashlib
import json
import signal
import subprocess
import sys
import time
from inspect import signature

import numpy as np
import pytest

from landscape import load_checkpoint
from landscape.data import DATA, load_data
from landscape.models import MODELS
from landscape.results import read_track
from landscape.tracking import Tracker
from landscape.training import OPTIMIZERS, Recipe, recipe_names
from landscape_cli.train import train

from .command import here, landscape


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder with a space in its name, and what training two epochs into it printed."""
    out = tmp_path_factory.mktemp("with a space") / "run"
    flags = [
        "--optimizer",
        "sam",
        "--rho",
        "0.1",
        "--epochs",
        "2",
        "--lr",
        "0.05",
        "--seed",
        "3",
        "--batch-size",
        "100",
    ]
    return out, landscape("train", *flags, "--out", str(out), "--json")


def test_json_is_one_document_and_all_there_is(run):
    out, done = run
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    assert document["checkpoint"] == {
        "path": str(out / "last.pt"),
        "sha256": hashlib.sha256((out / "last.pt").read_bytes()).hexdigest(),
        "epoch": 2,
        "step": 30,  # 1437 examples in batches of 100
    }
    assert [row["epoch"] for row in document["metrics"]] == [1, 2]
    assert sorted(path.name for path in out.iterdir()) == ["last.pt", "metrics.csv"]


def test_flags_make_the_recipe_and_the_rest_are_its_defaults(run):
    expected = Recipe(optimizer="sam", optimizer_args={"rho": 0.1}, epochs=2, lr=0.05, seed=3, batch_size=100)
    assert load_checkpoint(run[0] / "last.pt").recipe == expected.to_dict()


@pytest.mark.parametrize("name", ["epochs", "lr", "momentum", "weight_decay", "batch_size", "seed"])
def test_help_tells_the_defaults(name):
    (option,) = signature(train).parameters[name].annotation.__metadata__
    assert option.help.endswith(f"; {getattr(Recipe(), name)} by default.")


def test_it_refuses_to_train_over_a_run(run):
    before = (run[0] / "last.pt").read_bytes()
    with pytest.raises(ValueError, match="the folder holds a run"):
        train(run[0], epochs=5)
    assert (run[0] / "last.pt").read_bytes() == before


def test_resume_takes_the_recipe_from_the_run(run, capsys):
    train(run[0], resume=True)
    printed, command = capsys.readouterr().out.splitlines()
    assert printed.startswith(f"{run[0]}/last.pt: epoch 2, train loss ")
    assert command == f"Next: landscape analyze '{run[0]}/last.pt'"
    with pytest.raises(ValueError, match=r"lr=0.2 \(there 0.05\)"):
        train(run[0], resume=True, lr=0.2)


def recipe_of(monkeypatch, capsys, tmp_path, *flags):
    """The recipe that a run with the flags began with."""
    done = here(monkeypatch, capsys, "train", "--out", tmp_path / "run", *flags, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    return Recipe.from_dict(load_checkpoint(tmp_path / "run" / "last.pt").recipe)


def test_flags_go_on_top_of_a_named_recipe(monkeypatch, capsys, tmp_path):
    flags = [
        "--recipe",
        "digits-sam",
        "--epochs",
        "1",
        "--set",
        "augment.crop=1",
        "--set",
        "optimizer_args.nesterov=true",
    ]
    assert recipe_of(monkeypatch, capsys, tmp_path, *flags) == Recipe(
        optimizer="sam", optimizer_args={"rho": 0.05, "nesterov": True}, epochs=1, augment={"crop": 1}
    )


def test_flags_go_on_top_of_a_file_and_other_names_drop_its_arguments(monkeypatch, capsys, tmp_path):
    mine = Recipe(
        model="cnn",
        model_args={"width": 4},
        data_args={"num_train": 100},
        optimizer="sam",
        optimizer_args={"rho": 0.3},
        schedule="step",
        schedule_args={"factor": 0.5},
        epochs=1,
    )
    (tmp_path / "mine.toml").write_text(mine.to_toml())
    flags = ["--recipe", tmp_path / "mine.toml", "--model", "mlp", "--data", "digits", "--optimizer", "sgd"]
    expected = Recipe(model="mlp", data_args={"num_train": 100}, epochs=1)
    assert recipe_of(monkeypatch, capsys, tmp_path, *flags, "--set", "schedule=cosine") == expected
    corrupted = ["--data", "digits-c", "--set", "data_args.corruption=fog", "--set", "data_args.severity=3"]
    made = recipe_of(monkeypatch, capsys, tmp_path / "b", *flags[:2], *corrupted, "--set", 'schedule="step"')
    assert made.data_args == {"corruption": "fog", "severity": 3}
    assert (made.model, made.optimizer_args, made.schedule_args) == ("cnn", {"rho": 0.3}, {"factor": 0.5})


def test_a_path_keeps_the_arguments_of_the_data(monkeypatch, capsys, tmp_path):
    digits = load_data("digits")
    arrays = {"x_train": digits.train.inputs[:, 0], "x_test": digits.test.inputs[:, 0]}
    arrays |= {"y_train": digits.train.targets, "y_test": digits.test.targets}
    np.savez(tmp_path / "digits.npz", **{name: array.numpy() for name, array in arrays.items()})
    (tmp_path / "mine.toml").write_text('data = "npz"\ndata_args = {num_train = 100}\nepochs = 1\n')
    made = recipe_of(
        monkeypatch, capsys, tmp_path, "--recipe", tmp_path / "mine.toml", "--data", f"npz:{tmp_path / 'digits.npz'}"
    )
    assert made.data_args == {"num_train": 100}
    assert load_checkpoint(tmp_path / "run" / "last.pt").data["args"] == {
        "path": str(tmp_path / "digits.npz"),
        "num_train": 100,
        "split_seed": 0,
    }


def test_the_last_epoch_is_told_beside_the_best_on_validation(tmp_path, capsys):
    train(tmp_path, epochs=4, lr=0.5, set_=["data_args.validation=0.05", "data_args.num_train=40"])
    last, best, _ = capsys.readouterr().out.splitlines()
    rows = load_checkpoint(tmp_path / "last.pt").metrics
    accuracies = [row["validation_accuracy"] for row in rows]
    epoch = 1 + accuracies.index(max(accuracies))
    assert f": epoch 4, train loss {rows[-1]['train_loss']:.4f}, " in last
    assert best.startswith(f"Best on validation: epoch {epoch}, train loss {rows[epoch - 1]['train_loss']:.4f}, ")
    assert f"; validation loss {rows[epoch - 1]['validation_loss']:.4f}, accuracy {max(accuracies):.4f}; test " in best


def test_list_shows_what_can_be_named_and_needs_no_folder(monkeypatch, capsys):
    done = here(monkeypatch, capsys, "train", "--list")
    assert (done.returncode, done.stderr) == (0, "")
    first_words = [line.split()[0] for line in done.stdout.splitlines() if line]
    for names in (MODELS, DATA, OPTIMIZERS, recipe_names()):
        assert set(names) <= set(first_words)
    for line in recipe_names().values():
        assert line in done.stdout


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--model", "mpl"), "model 'mpl' is unknown. Expected one of: mlp, cnn"),
        (("--data", "digit"), "data 'digit' is unknown. Expected one of: digits"),
        (("--optimizer", "smga"), "optimizer='smga' is out of range. Expected one of: sgd, adam, adamw, sam"),
        (("--rho", "0.1"), "optimizer 'sgd' does not take 'rho'."),
        (("--optimizer", "sam", "--rho", "big"), "rho='big' is out of range. Expected 0 <= rho < inf or 'sqrt-lr'"),
        (("--optimizer", "asam", "--rho", "sqrt-lr"), "optimizer 'asam': rho='sqrt-lr' is of type str. Expected"),
        (("--epochs", "0"), "epochs=0 is out of range. Expected at least 1."),
        (("--lr", "-1"), "lr=-1.0 is out of range. Expected 0 < lr < inf."),
        (("--checkpoint-every", "-1"), "checkpoint_every=-1 is out of range. Expected at least 0"),
        (("--recipe", "digits-sma"), "recipe 'digits-sma' is unknown. Expected a TOML file, or one of: "),
        (("--recipe", "none.toml"), "none.toml: No such file or directory."),
        (("--set", "lr"), "--set lr is no line of a recipe. Expected KEY=VALUE: lr=0.1."),
        (("--set", "lr=1x"), "--set lr=1x is no line of a recipe."),
        (("--set", "rate=1"), "a recipe has no field 'rate'."),
        (("--set", "augment=4"), "augment=4 is of type int. Expected dict."),
        (("--set", "augment.mirror=true"), "augment does not take 'mirror'. Expected arguments: flip, crop, "),
        (("--set", "data_args.num_train=5000"), "num_train=5000 is out of range. Expected 1 <= num_train <= 1437."),
    ],
)
def test_wrong_flags_are_refused_in_one_line_and_nothing_is_written(tmp_path, monkeypatch, capsys, flags, message):
    done = here(monkeypatch, capsys, "train", "--out", tmp_path / "run", *flags)
    assert (done.returncode, done.stdout) == (3 if "none.toml" in flags else 2, "")
    assert done.stderr.startswith(f"landscape: error: {message}")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_device_that_is_not_there_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match=r"--device cuda:99 is not to be found\. Expected one of: cpu"):
        train(tmp_path / "run", device="cuda:99")
    assert list(tmp_path.iterdir()) == []


def test_divergence_is_no_usage_error(tmp_path):
    with pytest.raises(ArithmeticError, match="training diverged"):  # exit code 1
        train(tmp_path, lr=1e30, epochs=1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_a_whole_checkpoint_and_goes_on_when_told(tmp_path, number, monkeypatch, capsys):
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # a shell's & has it ignored
    program = f"{code}; from landscape_cli.main import main; main()"
    arguments = ["train", "--epochs", "200", "--out", "run"]
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "run" / "metrics.csv").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130
    assert said == "run/last.pt is whole. To go on: landscape train --out run --resume\nlandscape: interrupted\n"
    checkpoint = load_checkpoint(tmp_path / "run" / "last.pt")
    assert checkpoint.epoch == len(checkpoint.metrics) < 200
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["last.pt", "metrics.csv"]
    monkeypatch.chdir(tmp_path)
    done = here(monkeypatch, capsys, "train", "--out", "run", "--resume")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("run/last.pt: epoch 200, ")


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_row_that_a_kill_took_is_made_when_the_run_goes_on(tmp_path, monkeypatch, capsys, at):
    """Killed between the checkpoint of an epoch and its row."""

    def measure(self, step, **facts):
        if facts["epoch"] == at:
            raise KeyboardInterrupt
        return before(self, step, **facts)

    before = Tracker.measure
    arguments = ("train", "--epochs", "2", "--track", "loss", "--out", tmp_path)
    with monkeypatch.context() as killed:
        killed.setattr(Tracker, "measure", measure)
        assert here(killed, capsys, *arguments).returncode == 130
    assert [row.checkpoint["epoch"] for row in read_track(tmp_path / "track.jsonl")] == list(range(at))
    for _ in range(2):  # once, and not again
        assert here(monkeypatch, capsys, *arguments, "--resume").returncode == 0
        rows = read_track(tmp_path / "track.jsonl")
        assert [(row.checkpoint["epoch"], row.checkpoint["step"]) for row in rows] == [(0, 0), (1, 23), (2, 46)]
        assert [row.checkpoint["lr"] for row in rows] == pytest.approx([0.1, 0.1, 0.05])
