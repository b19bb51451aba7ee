"""``landscape reproduce``: from a file of one's own to a report; what is refused; what scale gpu would cost."""

import json
from pathlib import Path

import pytest

from tests.data.files import part, write_cifar10_pickles

from .command import here

TINY = Path(__file__).parents[1] / "studies" / "tiny.py"
ON_CIFAR = """
from dataclasses import replace
from landscape.studies import Plan, find_study

whole = find_study("{name}")

def plan(scale, data):
    found = whole.plan(scale, data)
    small = {{"model": "cnn", "model_args": {{"width": 2}}, "epochs": 2, "checkpoint_at": (1,), "batch_size": 16}}
    recipes = tuple(replace(one, **small) for one in found.recipes[:5])
    return replace(found, recipes=recipes, labels=found.labels[:5])

STUDY = replace(whole, plan=plan)
"""


@pytest.fixture
def run(monkeypatch, capsys):
    return lambda *arguments: here(monkeypatch, capsys, "reproduce", *arguments)


def test_a_study_of_ones_own(run, tmp_path):
    out = tmp_path / "out"
    done = run(TINY, "--seeds", "1", "--out", out)
    assert done.returncode == 0, done.stderr
    assert done.stdout.index("About ") < done.stdout.index("The trace is not told apart (one seed).")  # its cost first
    assert (out / "README.md").exists()
    assert f"landscape reproduce {TINY.name} --seeds 1" in (out / "README.md").read_text()
    again = run(TINY, "--seeds", "1", "--out", out, "--json")
    document = json.loads(again.stdout)
    assert (document["num_trainings"], document["num_diverged"]) == (3, 1)
    assert document["answer"] == "The trace is not told apart (one seed)."
    refused = run(TINY, "--seeds", "1", "--scale", "gpu", "--out", out)
    assert (refused.returncode, "holds tiny at scale laptop" in refused.stderr) == (2, True)


@pytest.mark.parametrize("name", ["cr-sam-geometry", "gam-geometry", "sa-sam-tuning"])
def test_what_the_scale_for_a_gpu_would_cost(run, tmp_path, name):
    write_cifar10_pickles(tmp_path / "cifar", part(60, seed=1), part(20, seed=2))
    (tmp_path / "mine.py").write_text(ON_CIFAR.format(name=name))
    arguments = ("--scale", "gpu", "--data", f"cifar10:{tmp_path / 'cifar'}", "--dry-run", "--json")
    done = run(tmp_path / "mine.py", *arguments, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    cost = json.loads(done.stdout)["dry_run"]
    assert cost["seconds"] > 0
    assert all(one["training"] > 0 and one["measuring"] > 0 for one in cost["optimizers"].values())
    assert not (tmp_path / "out").exists()


def test_the_list_asks_every_question(run):
    listed = run("--list").stdout
    for name in ("cr-sam-geometry", "gam-geometry", "sa-sam-tuning"):
        assert f"{name}: " in listed
    assert listed.count("?") >= 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nothing",), "study 'nothing' is unknown"),
        (("gam-geometry", "--scale", "cluster"), "--scale cluster is unknown. Expected one of: laptop, gpu."),
        (("gam-geometry", "--data", "cifar10"), "--data cifar10 is for --scale gpu"),
        (("gam-geometry", "--seeds", "0"), "--seeds 0 is out of range"),
    ],
)
def test_what_cannot_be_is_refused(run, tmp_path, arguments, message):
    done = run(*arguments, "--out", tmp_path / "out")
    assert (done.returncode, message in done.stderr) == (2, True)
    assert not (tmp_path / "out").exists()
