"""A plane that is killed at any moment goes on from its finished rows to the same losses, and measures none twice."""

import json
import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from landscape import Objective
from landscape.surface import plane
from tests.cases import make

NUM_KILLS = 3
NUM_POINTS = 41


def measure(rows: Path | None, refine: bool, pause: float = 0.0):
    """The plane, with a pause after each row."""
    case = make("mlp_tanh")
    objective = Objective(case.model, case.criterion, case.batches())
    options = {"num_points": NUM_POINTS, "refine": refine, "progress": lambda *_: time.sleep(pause)}
    return plane(objective, rows=rows, **options)


@pytest.mark.parametrize("refine", [False, True])
def test_sigkills_change_nothing(tmp_path: Path, refine: bool, processes) -> None:
    delays, rows = random.Random(refine), tmp_path / "rows"
    for _ in range(NUM_KILLS):
        before = len(finished(rows))
        process = processes.Process(target=measure, args=(rows, refine, 0.02))
        process.start()
        while process.is_alive() and len(finished(rows)) == before:
            time.sleep(0.005)
        time.sleep(delays.uniform(0, 0.1))  # the kill falls into a row, a write or a pause
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert before < len(finished(rows)) < NUM_POINTS
    before = len(finished(rows))
    found, straight = measure(rows, refine), measure(None, refine)
    assert found.details["resumed_rows"] == before
    np.testing.assert_array_equal(found.loss, straight.loss)
    np.testing.assert_array_equal(found.accuracy, straight.accuracy)


def finished(rows: Path) -> list[tuple[str, int]]:
    """The rows that are kept, of the one run there; none is there twice."""
    kept = []
    for file in rows.glob("*.jsonl"):
        for line in filter(None, file.read_text().splitlines()):
            try:
                kept.append(tuple(json.loads(line)[:2]))
            except ValueError:  # cut off by a kill
                continue
    assert len(set(kept)) == len(kept)
    return kept
