import hashlib
import json
import shlex
from pathlib import Path

import pytest
import torch

from landscape import load_checkpoint
from landscape.results import Analysis
from landscape_cli.demo import train_and_measure

from .command import landscape

FILES = {
    "NEXT.txt",
    "comparison.pdf",
    "comparison.png",
    *(f"{run}/{file}" for run in ("sgd", "sam") for file in ("last.pt", "metrics.csv", "analysis.json", "arrays.npz")),
}
METRICS = ["loss", "accuracy", "gradient_norm", "trace", "lambda_max", "normalized_trace"]


def files(out: Path) -> set[str]:
    return {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The folder in which ``landscape demo`` ran, and what it printed."""
    cwd = tmp_path_factory.mktemp("with a space")
    done = landscape("demo", "--out", "my demo", cwd=cwd)
    assert (done.returncode, done.stderr) == (0, "")
    return cwd, done.stdout


def test_it_writes_two_measured_runs_and_a_figure(demo):
    out = demo[0] / "my demo"
    assert files(out) == FILES
    for run in ("sgd", "sam"):
        document = json.loads((out / run / "analysis.json").read_text())
        checkpoint = load_checkpoint(out / run / "last.pt")
        assert document["checkpoint"]["path"] == f"my demo/{run}/last.pt"
        assert document["checkpoint"]["sha256"] == hashlib.sha256((out / run / "last.pt").read_bytes()).hexdigest()
        assert (document["checkpoint"]["epoch"], document["checkpoint"]["step"]) == (checkpoint.epoch, checkpoint.step)
        assert document["objective"]["num_examples"] == {"train": 1437, "test": 360}
        for split in ("train", "test"):
            assert list(document["splits"][split]) == METRICS
            measured = {name: document["splits"][split][name]["value"] for name in ("loss", "accuracy")}
            assert measured == pytest.approx({k: checkpoint.metrics[-1][f"{split}_{k}"] for k in measured}, rel=1e-5)


def test_the_runs_differ_in_the_optimizer_alone(demo):
    sgd, sam = (load_checkpoint(demo[0] / "my demo" / run / "last.pt") for run in ("sgd", "sam"))
    assert {key for key in sgd.recipe if sgd.recipe[key] != sam.recipe[key]} == {"optimizer"}
    assert not torch.equal(sgd.state["model"]["linear1.weight"], sam.state["model"]["linear1.weight"])


def test_the_table_holds_the_numbers_and_the_words_fit_them(demo):
    cwd, printed = demo
    sgd, sam = (Analysis.load(cwd / "my demo" / run) for run in ("sgd", "sam"))
    rows = [line.split() for line in printed.splitlines() if line.split()[:1] and line.split()[0] in METRICS]
    assert [row[:2] for row in rows] == [[metric, split] for metric in METRICS for split in ("train", "test")]
    assert max(map(len, printed.splitlines())) <= 80
    for metric, split, *rest in rows:
        first, second = sgd[split][metric].value, sam[split][metric].value
        assert float(rest[0].replace(",", "")) == pytest.approx(first, rel=0.05)
        assert (
            " ".join(rest).rstrip(")").endswith("lower" if second < first else "higher" if second > first else "equal")
        )
    assert "this is one seed" in " ".join(printed.split())


def test_the_next_commands_work_when_pasted(demo):
    cwd, printed = demo
    commands = [line.strip() for line in printed.splitlines()[-3:]]
    assert (cwd / "my demo" / "NEXT.txt").read_text().splitlines()[1:] == commands
    for command in commands:
        program, *arguments = shlex.split(command)
        assert program == "landscape"
        done = landscape(*arguments, cwd=cwd)
        assert (done.returncode, done.stderr) == (0, ""), command


def test_again_it_redoes_what_is_its_own_with_the_same_numbers(tmp_path):
    out = tmp_path / "demo"
    first = train_and_measure(out, seed=1, epochs=2)
    (out / "sgd" / "notes.txt").write_text("mine")
    second = train_and_measure(out, seed=1, epochs=2)
    assert files(out) == FILES | {"sgd/notes.txt"}
    for run in ("SGD", "SAM"):
        for split in ("train", "test"):
            values = {metric: m.value for metric, m in first[run][split].items()}
            assert {metric: m.value for metric, m in second[run][split].items()} == pytest.approx(values, rel=1e-6)


@pytest.mark.parametrize("theirs", ["sgd/last.pt", "NEXT.txt", "comparison.png"])
def test_it_writes_over_nothing_that_is_not_a_demos(tmp_path, theirs):
    (tmp_path / "sgd").mkdir()
    (tmp_path / theirs).write_text("precious")
    with pytest.raises(ValueError, match=f"{theirs} exists, and no demo wrote it"):
        train_and_measure(tmp_path, seed=0, epochs=1)
    assert files(tmp_path) == {theirs}
    assert (tmp_path / theirs).read_text() == "precious"


def test_a_bad_seed_costs_no_earlier_demo(tmp_path):
    train_and_measure(tmp_path, seed=0, epochs=1)
    with pytest.raises(ValueError, match="seed=-1"):
        train_and_measure(tmp_path, seed=-1)
    assert files(tmp_path) == FILES
