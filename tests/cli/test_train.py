import hashlib
import json
import signal
import subprocess
import sys
import time
from inspect import signature

import pytest

from landscape import load_checkpoint
from landscape.training import Recipe
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


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--model", "mpl"), "model 'mpl' is unknown. Expected one of: mlp, cnn"),
        (("--data", "digit"), "data 'digit' is unknown. Expected one of: digits"),
        (("--optimizer", "smga"), "optimizer='smga' is out of range. Expected one of: sgd, sam"),
        (("--rho", "0.1"), "optimizer 'sgd' does not take 'rho'."),
        (("--epochs", "0"), "epochs=0 is out of range. Expected at least 1."),
        (("--lr", "-1"), "lr=-1.0 is out of range. Expected 0 < lr < inf."),
        (("--checkpoint-every", "0"), "checkpoint_every=0 is out of range. Expected at least 1"),
    ],
)
def test_wrong_flags_are_refused_in_one_line_and_nothing_is_written(tmp_path, monkeypatch, capsys, flags, message):
    done = here(monkeypatch, capsys, "train", "--out", tmp_path / "run", *flags)
    assert (done.returncode, done.stdout) == (2, "")
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
