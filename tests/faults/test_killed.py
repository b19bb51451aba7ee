"""Commands that are killed at any moment leave whole files, and come to the same end when they are called again.

Every one at a few random moments and a few of its events (``tests.faults.killed.run``); at fifty moments and at every
event:

    python -m pytest tests/faults/test_killed.py -m long
"""

import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from landscape.results import Analysis, load_surfaces, read_track
from landscape.training import Recipe, train

from .killed import contents, run

pytestmark = pytest.mark.slow

STUDY = Path(__file__).parent / "tiny_study.py"
SMALL = {"model_args": {"hidden": (8,)}, "data_args": {"num_train": 300}, "batch_size": 50}
TRAIN = [
    "train",
    "--set",
    "model_args.hidden=[8]",
    "--set",
    "data_args.num_train=300",
    "--batch-size",
    "50",
    "--resume",
]


@dataclass(frozen=True)
class Command:
    """Arguments but for ``--out``; and what is right of the folder after a kill."""

    arguments: list[str]
    check: Callable[[Path], None] = lambda folder: None


def check_run(folder: Path) -> None:
    import torch

    for path in folder.glob("*.pt"):
        torch.load(path, weights_only=True)
    epochs = [row.checkpoint["epoch"] for row in read_track(folder / "track.jsonl")]
    assert epochs == list(range(len(epochs)))  # none is lost, none is there twice


def check_analysis(folder: Path) -> None:
    """Old or new, whole; or named as what it is."""
    try:
        found = Analysis.load(folder)
    except ValueError as error:
        require_named(error, folder)
        return
    assert found.splits["train"].keys() == {"loss", "layer_table"}


def check_surface(folder: Path) -> None:
    try:
        load_surfaces(folder)
    except ValueError as error:
        require_named(error, folder)


def require_named(error: ValueError, folder: Path) -> None:
    assert str(folder) in str(error)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained")
    train(Recipe(epochs=6, checkpoint_every=1, **SMALL), out)
    return out


NAMES = ("train", "train --track", "track", "analyze", "surface", "reproduce")


@pytest.fixture
def command(request: pytest.FixtureRequest, trained: Path) -> Command:
    measured = ["--samples", "40", "--split", "train"]
    return {
        "train": Command([*TRAIN, "--epochs", "8", "--checkpoint-every", "3", "--optimizer", "sam"], check_run),
        "train --track": Command([*TRAIN, "--epochs", "3", "--track", "loss,gradient_norm"], check_run),
        "track": Command(["track", str(trained), "--metrics", "loss,gradient_norm", *measured]),
        "analyze": Command(
            ["analyze", str(trained / "last.pt"), "--metrics", "loss,layer_table", "--overwrite", *measured],
            check_analysis,
        ),
        "surface": Command(
            ["surface", str(trained / "last.pt"), "--grid", "7", "--export", "csv", *measured], check_surface
        ),
        "reproduce": Command(["reproduce", str(STUDY)]),
    }[request.param]


@pytest.fixture
def straight(command: Command, tmp_path: Path, processes) -> tuple[dict, float, int]:
    """What an undisturbed run leaves, how long it takes, and how many events it has."""
    start = time.monotonic()
    assert call(processes, command, tmp_path / "straight", count_in=tmp_path / "count") == 0
    seconds = time.monotonic() - start
    return contents(tmp_path / "straight"), seconds, int((tmp_path / "count").read_text())


def call(processes, command: Command, out: Path, *, seconds: float | None = None, **options) -> int:
    """Its exit code; it is killed after so many seconds."""
    process = processes.Process(target=run, args=([*command.arguments, "--out", str(out)],), kwargs=options)
    process.start()
    process.join(seconds)
    process.kill()
    process.join()
    assert process.exitcode in (0, 4, -signal.SIGKILL)
    return process.exitcode


def prepared(out: Path, command: Command, trained: Path) -> Path:
    """A folder that holds an older result, where the command writes over one."""
    if command.arguments[0] == "analyze":
        from landscape import load_checkpoint
        from landscape.measure import analyze
        from landscape.problem import Problem

        older = load_checkpoint(trained / "epoch-0002.pt")
        found = analyze(Problem.of(older).objectives("train", num_samples=20), ("loss", "layer_table"))
        found.with_checkpoint(older.identity).save(out)
    return out


@pytest.mark.parametrize("command", NAMES, indirect=True)
@pytest.mark.parametrize("num_kills", [2, pytest.param(50, marks=pytest.mark.long)])
def test_kills_at_random_moments_change_nothing(
    command: Command, straight, num_kills: int, trained: Path, tmp_path: Path, processes
) -> None:
    expected, longest, _ = straight
    delays = random.Random(num_kills)
    killed, finished = 0, 0
    while killed < num_kills:
        out = prepared(tmp_path / f"out-{finished}", command, trained)
        start = time.monotonic()
        while call(processes, command, out, seconds=delays.uniform(0, longest)) == -signal.SIGKILL:
            killed += 1
            command.check(out)
            start = time.monotonic()
        longest = 0.5 * longest + 0.5 * (time.monotonic() - start)  # the first of all had to import
        assert contents(out) == expected
        finished += 1
        assert finished < 10 * num_kills


@pytest.mark.parametrize("command", NAMES, indirect=True)
@pytest.mark.parametrize("num_events", [4, pytest.param(10**6, marks=pytest.mark.long)])
def test_kills_at_its_events_change_nothing(
    command: Command, straight, num_events: int, trained: Path, tmp_path: Path, processes
) -> None:
    expected, _, total = straight
    for event in chosen(total, num_events):
        out = prepared(tmp_path / f"out-{event}", command, trained)
        call(processes, command, out, die_at=event)  # where the folder is there before, the last events do not come
        command.check(out)
        assert call(processes, command, out) in (0, 4)
        assert contents(out) == expected, event


def chosen(total: int, most: int) -> Iterator[int]:
    """All events, or a seeded sample of them in order."""
    events = range(total)
    return iter(events if total <= most else sorted(random.Random(0).sample(events, most)))
