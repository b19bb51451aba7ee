"""On a full disk every command says in one line which file it could not write and what to free, and leaves no halves.

A disk is full where files may not grow (``ulimit -f``, which everybody may set), and in truth on a small tmpfs, where
this process may mount one.
"""

import os
import subprocess
from pathlib import Path

import pytest

from landscape.results import read_track
from tests.cli.command import here

from .killed import contents, run
from .runs import analyzed

pytestmark = pytest.mark.slow

STUDY = Path(__file__).parent / "tiny_study.py"
KIB = 1024


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    return analyzed(tmp_path_factory.mktemp("run"), epochs=2, checkpoint_every=1)


def commands(results: Path) -> dict[str, list[str]]:
    last, few = str(results / "last.pt"), ["--samples", "20", "--split", "train"]
    small = ["--set", "model_args.hidden=[4]", "--set", "data_args.num_train=100", "--resume"]
    return {
        "train": ["train", "--epochs", "2", *small],
        "train --track": ["train", "--epochs", "2", "--track", "loss", *small],
        "analyze": ["analyze", last, "--metrics", "loss,layer_table", *few],
        "surface": ["surface", last, "--grid", "5", "--export", "csv,vts,h5", *few],
        "track": ["track", str(results), "--metrics", "loss", *few],
        "figures": ["figures", str(results), "--kind", "layers"],
        "compare": ["compare", str(results), str(results / "twin")],
        "reproduce": ["reproduce", str(STUDY)],
        "demo": ["demo"],
    }


def check(code: int, said: str, out: Path) -> None:
    """One line, whose file is in the folder, with what to do; no half file."""
    assert code == 3
    (line,) = (line for line in said.splitlines() if not line.startswith("landscape: warning"))
    named = line.removeprefix("landscape: error: ").partition(": ")[0]
    assert named.startswith(str(out)) or named.endswith(
        "last.pt"
    )  # of the steps that are timed, in a folder of its own
    assert "Free space on its disk (" in line or "Raise the limit on the size of files" in line
    assert not [path for path in out.rglob(".*") if path.is_file()]
    for path in out.rglob("track.jsonl"):
        assert path.read_bytes()[-1:] in (b"", b"\n")
        read_track(path)


@pytest.mark.parametrize("name", [name for name in commands(Path()) if name != "demo"])
@pytest.mark.parametrize("limit", [0, 3])
def test_files_that_may_not_grow(results, tmp_path, processes, name, limit):
    out, said = tmp_path / "out", tmp_path / "said"
    arguments = ([*commands(results)[name], "--out", str(out)],)
    limited = processes.Process(target=run, args=arguments, kwargs={"say_in": said, "largest_file": limit * KIB})
    limited.start()
    limited.join()
    if limited.exitcode:  # else all of its files are smaller
        # what it says goes to a file, too
        check(
            limited.exitcode, said.read_text() or f"landscape: error: {out}: Raise the limit on the size of files", out
        )
    before = contents(out)
    again = processes.Process(target=run, args=arguments)
    again.start()
    again.join()
    assert again.exitcode == 0
    assert {path for path in before if not path.startswith(".rows")} <= set(contents(out))


@pytest.fixture
def disk(tmp_path_factory):
    """A disk of 1 MiB, and what fills it but for so many bytes."""
    at = tmp_path_factory.mktemp("disk")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", at], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")

    def fill(num_left: int) -> None:
        filler = at / "filler"
        filler.unlink(missing_ok=True)
        stat = os.statvfs(at)
        filler.write_bytes(bytes(max(stat.f_bavail * stat.f_frsize - num_left, 0)))

    try:
        yield at, fill
    finally:
        subprocess.run(["umount", at], check=True)


@pytest.mark.parametrize("name", commands(Path()))
@pytest.mark.parametrize("num_left", [0, 16])
def test_a_full_disk(results, disk, monkeypatch, capsys, name, num_left):
    at, fill = disk
    fill(num_left * KIB)
    done = here(monkeypatch, capsys, *commands(results)[name], "--out", at / "out")
    if done.returncode:
        check(done.returncode, done.stderr, at / "out")
    else:
        assert num_left
    fill(1024 * KIB)
    assert here(monkeypatch, capsys, *commands(results)[name], "--out", at / "out").returncode == 0


def test_earlier_results_stay_as_they_were(results, disk, monkeypatch, capsys):
    at, fill = disk
    for name in ("analyze", "surface", "track", "compare"):
        assert here(monkeypatch, capsys, *commands(results)[name], "--out", at / name).returncode == 0
        before = {path: path.read_bytes() for path in (at / name).rglob("*") if path.is_file()}
        fill(0)
        done = here(monkeypatch, capsys, *commands(results)[name], "--out", at / name)
        check(done.returncode, done.stderr, at / name)
        assert {path: path.read_bytes() for path in (at / name).rglob("*") if path.is_file()} == before
        fill(1024 * KIB)
