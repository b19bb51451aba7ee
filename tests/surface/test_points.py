"""A run that is killed goes on from its finished rows, and takes no others for its own."""

import json

import numpy as np
import pytest
import torch

from landscape import Objective
from landscape.surface import line, plane
from landscape.surface.walk import Walk
from tests.cases import make


@pytest.fixture
def objective():
    case = make("mlp_tanh")
    return Objective(case.model, case.criterion, case.batches())


@pytest.fixture
def calls(monkeypatch):
    found = []
    call = Walk.__call__

    def counted(self, points):
        found.append(len(points))
        return call(self, points)

    monkeypatch.setattr(Walk, "__call__", counted)
    return found


def stop_after(num):
    def progress(done, total, left):
        if done == num:
            raise KeyboardInterrupt

    return progress


def test_a_killed_run_goes_on_and_ends_as_if_it_had_not_been(objective, calls, tmp_path):
    whole = plane({"train": objective, "test": objective}, num_points=5)
    calls.clear()
    with pytest.raises(KeyboardInterrupt):
        plane({"train": objective, "test": objective}, num_points=5, rows=tmp_path, progress=stop_after(3))
    assert calls == [5] * 3
    (file,) = tmp_path.iterdir()
    file.write_text(file.read_text() + '["train", 2, [0.1, 0.')  # killed while it wrote
    calls.clear()
    told = []
    again = plane(
        {"train": objective, "test": objective}, num_points=5, rows=tmp_path, progress=lambda *now: told.append(now)
    )
    assert calls == [5] * 7
    assert [done for done, _, _ in told] == list(range(4, 11))
    assert {total for _, total, _ in told} == {10}
    assert told[-1][2] == 0
    for split in whole:
        np.testing.assert_array_equal(again[split].loss, whole[split].loss)
        np.testing.assert_array_equal(again[split].accuracy, whole[split].accuracy)
    calls.clear()
    plane({"train": objective, "test": objective}, num_points=5, rows=tmp_path)
    assert calls == []
    assert len(file.read_text().splitlines()) == 10


@pytest.mark.parametrize("change", [{"seed": 1}, {"span": 0.5}, {"normalize": "layer"}, {"orthogonalize": True}])
def test_rows_of_another_run_are_not_taken(objective, calls, tmp_path, change):
    first = plane(objective, num_points=3, rows=tmp_path)
    calls.clear()
    plane(objective, num_points=3, rows=tmp_path, **change)
    assert calls == [3] * 3
    with torch.no_grad():
        next(objective.model.parameters()).mul_(1.5)
    moved = plane(objective, num_points=3, rows=tmp_path)
    assert calls == [3] * 6
    assert moved.centre != first.centre
    assert len(list(tmp_path.iterdir())) == 3


def test_a_line_goes_on_too(objective, calls, tmp_path):
    whole = line(objective, num_points=21)
    calls.clear()
    with pytest.raises(KeyboardInterrupt):
        line(objective, num_points=21, rows=tmp_path, progress=stop_after(2))
    assert calls == [8, 8]
    told = []
    again = line(objective, num_points=21, rows=tmp_path, progress=lambda *now: told.append(now))
    assert calls == [8, 8, 5]
    assert told == [(3, 3, 0)]
    np.testing.assert_array_equal(again.loss, whole.loss)
    np.testing.assert_array_equal(again.accuracy, whole.accuracy)


def test_nan_rows_are_kept(tmp_path):
    from landscape.surface.points import FinishedRows

    FinishedRows(tmp_path, "key").add("train", 1, np.array([np.nan, np.inf, 0.1 + 0.2]), np.array([1 / 3]))
    ((loss, accuracy),) = FinishedRows(tmp_path, "key").finished.values()
    np.testing.assert_array_equal(loss, [np.nan, np.inf, 0.1 + 0.2])
    np.testing.assert_array_equal(accuracy, [1 / 3])
    assert json.loads((tmp_path / "key.jsonl").read_text())[:2] == ["train", 1]
