"""``landscape arena``: from a recipe of one's own to a report; what is refused."""

import json
from pathlib import Path

import pytest

from landscape.training import Recipe

from .command import here

pytestmark = pytest.mark.filterwarnings("ignore:training ended at chance")


@pytest.fixture
def run(monkeypatch, capsys):
    return lambda *arguments: here(monkeypatch, capsys, "arena", *arguments)


@pytest.fixture
def recipe(tmp_path) -> Path:
    made = Recipe(model="mlp", model_args={"hidden": (8,)}, data_args={"num_train": 60}, epochs=2, batch_size=30)
    (tmp_path / "mine.toml").write_text(made.to_toml())
    return tmp_path / "mine.toml"


def test_a_recipe_of_ones_own(run, recipe, tmp_path):
    out = tmp_path / "out"
    few = ("--optimizers", "sgd,sam", "--grid", "0.05,0.1,0.2", "--seeds", "2", "--tuning-seeds", "1", "--out", out)
    done = run(recipe, *few)
    assert done.returncode == 0, done.stderr
    assert done.stdout.index("About ") < done.stdout.index("Test accuracy as tuned against SAM")  # its cost first
    text = (out / "README.md").read_text()
    assert "landscape arena mine.toml --optimizers sgd,sam --reference sam --grid 0.05,0.1,0.2" in text
    assert "287 validation" in text  # which the recipe did not hold out
    again = run(recipe, *few, "--json")
    document = json.loads(again.stdout)
    assert document["num_trainings"] >= 3 * 5
    assert document["answer"] in text
    other = run(recipe, *few[:-2], "--metrics", "lambda_max", "--out", out)
    assert (other.returncode, "Choose another folder" in other.stderr) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--optimizers", "sgd,muon"), "--optimizers muon is unknown. Expected some of: sgd, sam,"),
        (("--reference", "adamw"), "--reference adamw is unknown"),
        (("--grid", "0,0.1"), "is no grid"),
        (("--metrics", "trace,accuracy"), "--metrics accuracy is compared as it is, on test"),
        (("--metrics", "lambda_min"), "--metrics lambda_min may be 0 or less"),
        (("--optimizers", "sam"), "has nothing to compare with sam"),
        (("--grid", "0.1"), "--grid 0.1 is no grid. Expected two radii or more"),
        (("--grid", "0.1,a"), "is no list of numbers"),
        (("--seeds", "1"), "one seed tells nothing apart"),
        (("--tuning-seeds", "0"), "--tuning-seeds 0 is out of range"),
        (("--metrics", "sharpness"), "unknown metric 'sharpness'"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_line(run, recipe, tmp_path, arguments, words):
    done = run(recipe, *arguments, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_the_list_says_what_is_swept(run):
    done = run("--list")
    assert done.returncode == 0
    rows = {line.split()[0]: line for line in done.stdout.splitlines() if line.strip()}
    assert "nothing" in rows["sgd"]
    assert "rho 10" in rows["asam"]
    assert "lr 0.1" in rows["sa-sam"]
