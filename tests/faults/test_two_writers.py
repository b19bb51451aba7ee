"""Two commands that write into one folder: one does all of it, the other is refused in one line; then neither is."""

import time
from pathlib import Path

import pytest

from landscape.locks import writing
from tests.cli.command import here

from .killed import contents, run
from .runs import analyzed

STUDY = Path(__file__).parent / "tiny_study.py"
REFUSED = "is being written by another process"


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    return analyzed(tmp_path_factory.mktemp("run"), epochs=1)


def commands(results: Path) -> dict[str, list[str]]:
    last, few = str(results / "last.pt"), ["--samples", "20", "--split", "train"]
    small = ["--set", "model_args.hidden=[4]", "--set", "data_args.num_train=100"]
    return {
        "train": ["train", "--epochs", "1", *small],
        "analyze": ["analyze", last, "--metrics", "loss", *few],
        "surface": ["surface", last, "--grid", "3", *few],
        "track": ["track", str(results), "--metrics", "loss", *few],
        "figures": ["figures", str(results), "--kind", "layers"],
        "compare": ["compare", str(results), str(results / "twin")],
        "reproduce": ["reproduce", str(STUDY)],
        "demo": ["demo"],
        "train --track": ["train", "--epochs", "1", "--track", "loss", *small],
    }


@pytest.mark.parametrize("name", commands(Path()))
def test_a_command_holds_the_lock_of_its_folder(results, tmp_path, monkeypatch, capsys, processes, name):
    arguments = commands(results)[name]
    out = tmp_path / "out"
    holder = processes.Process(target=hold, args=(out, "training" if name == "train" else "results"))
    holder.start()
    while not list(out.glob(".*")):
        time.sleep(0.005)
    before = sorted(path.name for path in out.iterdir())
    try:
        done = here(monkeypatch, capsys, *arguments, "--out", out)
    finally:
        holder.kill()
        holder.join()
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert f"{out} {REFUSED}" in done.stderr
    assert sorted(path.name for path in out.iterdir()) == before


def hold(folder: Path, what: str) -> None:
    with writing(folder, what):
        time.sleep(60)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["train", "analyze", "surface", "track", "reproduce"])
def test_of_two_at_once_one_does_all_and_one_is_refused_or_comes_after(results, tmp_path, processes, name):
    out = tmp_path / "out"
    both = [processes.Process(target=run, args=([*commands(results)[name], "--out", str(out)],)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    first, second = sorted(process.exitcode for process in both)
    assert (first, second in (0, 2)) == (0, True)
    assert not [path for path in out.rglob(".*") if path.is_file()]
    here_alone = tmp_path / "alone"
    alone = processes.Process(target=run, args=([*commands(results)[name], "--out", str(here_alone)],))
    alone.start()
    alone.join()
    assert contents(out) == contents(here_alone)


def test_a_run_is_tracked_while_it_trains(results, tmp_path, monkeypatch, capsys, processes):
    holder = processes.Process(target=hold, args=(results, "training"))
    holder.start()
    try:
        while not list(results.glob(".landscape-training.lock")):
            time.sleep(0.005)
        done = here(monkeypatch, capsys, "track", results, "--metrics", "loss", "--out", results)
    finally:
        holder.kill()
        holder.join()
    assert done.returncode == 0, done.stderr
