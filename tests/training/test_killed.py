"""A run that is killed at any moment leaves whole files, and goes on to the very weights it would have had."""

import csv
import random
import signal
from pathlib import Path

import torch

from landscape.checkpoint import load_checkpoint
from landscape.training import Recipe, train

NUM_KILLS = 20
RECIPE = Recipe(model_args={"hidden": [16]}, optimizer="sam", epochs=100, batch_size=256, checkpoint_every=10)


def test_twenty_sigkills_change_nothing(tmp_path: Path, processes) -> None:
    straight = load_checkpoint(train(RECIPE, tmp_path / "straight"))
    delays, longest = random.Random(0), 0.4
    finished = 0
    epochs_at_kills: list[int] = []
    while len(epochs_at_kills) < NUM_KILLS or len(set(epochs_at_kills)) < 4:  # in training, not only before it
        out = tmp_path / f"killed-{finished}"
        process = processes.Process(target=train, args=(RECIPE, out), kwargs={"resume": True})
        process.start()
        process.join(delays.uniform(0.0, longest))
        process.kill()
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL)
        if process.exitcode == 0:
            finished += 1  # too fast for the delay: begin another run
        else:
            epochs_at_kills.append(check_files(out))
            if epochs_at_kills[-1] in epochs_at_kills[:-1]:
                longest *= 1.1  # a slow machine
        assert len(epochs_at_kills) < 10 * NUM_KILLS

    for number in range(finished + 1):
        out = tmp_path / f"killed-{number}"
        done = load_checkpoint(train(RECIPE, out, resume=True))
        assert [row["epoch"] for row in done.metrics] == list(range(1, 101))
        assert check_files(out) == 100
        assert len(list(out.glob("epoch-*.pt"))) == 10
        assert not list(out.glob(".*.pt.*"))
        for name, weight in straight.state["model"].items():
            assert torch.equal(done.state["model"][name], weight), name


def check_files(out: Path) -> int:
    """Every checkpoint loads, and the table has no doubled row; the epoch of last.pt, -1 where there is none yet."""
    for path in out.glob("*.pt"):
        assert torch.load(path, weights_only=True)["format"] == "landscape.checkpoint/1"
    if (out / "metrics.csv").exists():
        with (out / "metrics.csv").open(newline="") as file:
            epochs = [int(row["epoch"]) for row in csv.DictReader(file)]
        assert epochs == list(range(1, len(epochs) + 1))
    return load_checkpoint(out / "last.pt").epoch if (out / "last.pt").exists() else -1
