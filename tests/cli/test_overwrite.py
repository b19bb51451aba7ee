"""Results of another checkpoint or of other settings stay, unless --overwrite is given; the same again goes on."""

import json
import shutil
from pathlib import Path

import pytest

from landscape.training import Recipe, train

from .command import here

FEW = ("--samples", "20", "--split", "train")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("run")
    train(Recipe(epochs=2, checkpoint_every=1, model_args={"hidden": (4,)}, data_args={"num_train": 100}), out)
    return out


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    """A command that writes into one folder."""
    return lambda *arguments: here(monkeypatch, capsys, *arguments, "--out", tmp_path / "out")


ANALYZE = {"--metrics": "loss,trace", "--samples": "20", "--split": "train"}
SURFACE = {"--grid": "3", "--samples": "20", "--split": "train"}


def flags(options: dict[str, str]) -> list[str]:
    return [word for pair in options.items() for word in pair]


@pytest.mark.parametrize(
    ("command", "usual", "other", "words"),
    [
        ("analyze", ANALYZE, {"--metrics": "loss"}, "metrics on train loss (there loss, trace)"),
        ("analyze", ANALYZE, {"--seed": "1"}, "seed 1 (there 0)"),
        ("analyze", ANALYZE, {"--rel-error": "0.1"}, "rel_error 0.1 (there 0.05)"),
        ("analyze", ANALYZE, {"--num-probes": "9"}, "num_probes 9 (there None)"),
        ("analyze", ANALYZE, {"--dtype": "float64"}, "dtype float64 (there float32)"),
        ("analyze", ANALYZE, {"--samples": "30"}, "num_examples {'train': 30} (there {'train': 20})"),
        ("analyze", ANALYZE, {"--split": "test"}, "splits test (there train)"),
        ("analyze", ANALYZE, {"--layers": "linear1*"}, "params linear1* (there *)"),
        ("surface", SURFACE, {"--grid": "5"}, "num_points 5 (there 3)"),
        ("surface", SURFACE, {"--span": "0.5"}, "span 0.5 (there 1.0)"),
        ("surface", SURFACE, {"--seed": "1"}, "seed 1 (there 0)"),
        ("surface", SURFACE, {"--directions": "gradient"}, "directions gradient (there random)"),
        ("surface", SURFACE, {"--split": "test"}, "num_examples {'test': 20} (there {'train': 20})"),
        ("surface", SURFACE, {"--normalize": "layer"}, "normalize layer (there filter)"),
    ],
)
def test_other_settings_are_named_and_refused(run, call, tmp_path, command, usual, other, words):
    last, out = run / "last.pt", tmp_path / "out"
    assert call(command, last, *flags(usual)).returncode == 0
    before = {path: path.read_bytes() for path in out.iterdir()}
    refused = call(command, last, *flags(usual | other))
    assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (2, "", 1)
    assert f"{words}" in refused.stderr
    assert "is another result: " in refused.stderr
    assert refused.stderr.endswith("Give another folder, or --overwrite to lose what is there.\n")
    assert {path: path.read_bytes() for path in out.iterdir()} == before
    assert call(command, last, *flags(usual)).returncode == 0  # the same again
    assert call(command, last, *flags(usual | other), "--overwrite").returncode in (0, 4)
    assert call(command, last, *flags(usual | other)).returncode in (0, 4)


@pytest.mark.parametrize("command", ["analyze", "surface"])
def test_another_checkpoint_is_refused_and_a_copy_is_the_same(run, call, tmp_path, command):
    usual = flags({"analyze": ANALYZE, "surface": SURFACE}[command])
    assert call(command, run / "last.pt", *usual).returncode == 0
    copy = shutil.copy(run / "last.pt", tmp_path / "copy.pt")
    assert call(command, copy, *usual).returncode == 0
    refused = call(command, run / "epoch-0001.pt", *usual)
    assert (refused.returncode, "is another result: checkpoint " in refused.stderr) == (2, True)
    line = call(command, run / "epoch-0001.pt", *usual, *(["--line"] if command == "surface" else []))
    assert line.returncode == 2
    assert call(command, run / "epoch-0001.pt", *usual, "--overwrite").returncode == 0


def test_of_several_the_second_is_refused_before_the_first_is_measured(run, call, tmp_path):
    both = (run / "epoch-0001.pt", run / "last.pt")
    assert call("analyze", *both, *flags(ANALYZE)).returncode == 0
    shutil.rmtree(tmp_path / "out" / "epoch-0001")
    refused = call("analyze", *both, *flags(ANALYZE), "--seed", "1")
    assert refused.returncode == 2
    assert not (tmp_path / "out" / "epoch-0001").exists()


def test_what_an_earlier_version_wrote_is_the_same(run, call, tmp_path):
    """Schema 1 said less; surfaces did not say what was asked."""
    out = tmp_path / "out"
    assert call("analyze", run / "last.pt", *flags(ANALYZE)).returncode == 0
    assert call("surface", run / "last.pt", *flags(SURFACE)).returncode == 0
    document = json.loads((out / "analysis.json").read_text())
    document["schema"] = "landscape.analysis/1"
    document["objective"] = {"mode": "eval"}
    (out / "analysis.json").write_text(json.dumps(document))
    document = json.loads((out / "surface.json").read_text())
    for entry in document["surfaces"]:
        del entry["details"]["asked"]
    (out / "surface.json").write_text(json.dumps(document))
    assert call("analyze", run / "last.pt", *flags(ANALYZE)).returncode == 0
    assert call("surface", run / "last.pt", *flags(SURFACE)).returncode == 0


def test_where_no_result_can_be_read_it_is_measured_again(run, call, tmp_path):
    (tmp_path / "out").mkdir()
    for name, command, usual in (("analysis", "analyze", ANALYZE), ("surface", "surface", SURFACE)):
        (tmp_path / "out" / f"{name}.json").write_text("{")
        assert call(command, run / "last.pt", *flags(usual)).returncode == 0


def test_what_is_left_of_a_run_is_not_written_over(run, call, tmp_path):
    shutil.copytree(run, tmp_path / "out")
    (tmp_path / "out" / "last.pt").unlink()
    arguments = ("train", "--epochs", "2", "--checkpoint-every", "1", "--set", "model_args.hidden=[4]")
    same = (*arguments, "--set", "data_args.num_train=100")
    refused = call(*same)
    assert (refused.returncode, "epoch-0002.pt exists: the folder holds what is left of a run" in refused.stderr) == (
        2,
        True,
    )
    refused = call(*same, "--lr", "0.2", "--resume")
    assert (refused.returncode, "lr=0.2 (there 0.1)" in refused.stderr) == (2, True)
    assert call(*same, "--resume").returncode == 0
    for path in (tmp_path / "out").glob("*.pt"):
        path.unlink()
    assert call(*same).returncode == 2  # metrics.csv
    assert call(*same, "--resume").returncode == 0
