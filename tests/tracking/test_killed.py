"""Tracking that is killed at any moment loses at most the checkpoint it was at, and measures none twice.

More kills, in a minute: LANDSCAPE_KILLS=50 python -m pytest tests/tracking/test_killed.py
"""

import json
import os
import random
import signal
from pathlib import Path

from landscape.tracking import Settings, read_track, track

from .runs import run

NUM_KILLS = int(os.environ.get("LANDSCAPE_KILLS", "8"))
NUM_CHECKPOINTS = 30
SETTINGS = Settings(metrics=("loss", "gradient_norm"), split="train")


def measure(folder: Path, out: Path) -> None:
    """Track, and note each beginning in a file of its own."""
    begun = os.open(out.with_suffix(".begun"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(share: float, text: str) -> None:
        if "loss" in text:  # the first metric of a checkpoint
            os.write(begun, f"{text.partition(':')[0]}\n".encode())

    track(folder, SETTINGS, out=out, progress=note)


def test_sigkills_lose_one_measurement_each_and_double_none(tmp_path: Path, processes) -> None:
    folder = run(tmp_path / "run", NUM_CHECKPOINTS)
    delays = random.Random(0)
    kills, logs, in_the_middle = 0, 0, 0
    out = tmp_path / "out-0"
    rows, kills_here = 0, 0
    while kills < NUM_KILLS or in_the_middle < NUM_KILLS / 3:  # on a fast machine fewer kills fell into measuring
        process = processes.Process(target=measure, args=(folder, out))
        process.start()
        process.join(delays.uniform(0.05, 0.3))
        process.kill()
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL)
        killed = process.exitcode != 0
        kills, kills_here = kills + killed, kills_here + killed
        now = check(out, kills_here)
        assert now >= rows
        in_the_middle += killed and 0 < now < NUM_CHECKPOINTS
        rows = now
        if rows == NUM_CHECKPOINTS:
            logs, rows, kills_here = logs + 1, 0, 0
            out = tmp_path / f"out-{logs}"
    assert in_the_middle >= NUM_KILLS / 3  # the kills fell into measuring, not only before and after it
    tracked = track(folder, SETTINGS, out=out)
    assert tracked.num_measured == NUM_CHECKPOINTS - rows
    assert check(out, kills_here) == NUM_CHECKPOINTS
    assert [point.checkpoint["epoch"] for point in tracked.analyses] == list(range(1, NUM_CHECKPOINTS + 1))
    straight = track(folder, SETTINGS, out=tmp_path / "straight")
    assert [values(point) for point in tracked.analyses] == [values(point) for point in straight.analyses]


def check(out: Path, kills: int) -> int:
    """The number of rows: each is whole and of another checkpoint, in order, and no more are missing than kills."""
    path = out / "track.jsonl"
    rows = read_track(path)
    epochs = [row.checkpoint["epoch"] for row in rows]
    assert epochs == list(range(1, len(rows) + 1))
    if path.exists():
        for line in path.read_bytes().split(b"\n")[:-1]:
            assert json.loads(line)["splits"]["train"].keys() == {"loss", "gradient_norm"}
    begun = out.with_suffix(".begun")
    assert len(begun.read_text().splitlines() if begun.exists() else []) - len(rows) <= kills
    return len(rows)


def values(point) -> dict[str, float]:
    return {name: m.value for name, m in point["train"].items()}
