"""Sinks, where their packages are installed, and beside stand-ins; and what is said where they are not."""

import importlib.util
import sys
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from landscape.training import Recipe, sinks, train

TINY = Recipe(model_args={"hidden": [16]}, epochs=2, batch_size=512)


@pytest.mark.parametrize(
    ("module", "extra", "make"),
    [
        ("torch.utils.tensorboard", "tensorboard", sinks.tensorboard),
        ("wandb", "wandb", lambda out: sinks.wandb(out, project="p", recipe=TINY)),
    ],
)
def test_a_package_that_is_missing_is_named_with_its_extra(tmp_path, monkeypatch, module, extra, make):
    monkeypatch.setitem(sys.modules, module, None)
    with (
        pytest.raises(ValueError, match=rf'{extra} is needed \(.*\): pip install "landscape-geometry\[{extra}\]"'),
        make(tmp_path),
    ):
        pass


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="tensorboard is not installed")
@pytest.mark.filterwarnings("ignore")
def test_tensorboard_reads_what_was_written(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    rows = []
    with sinks.tensorboard(tmp_path) as write:
        train(TINY, tmp_path, on_epoch=lambda row: (rows.append(row), write(row)))
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert set(events.Tags()["scalars"]) == set(rows[0])
    for name in rows[0]:
        found = [(event.step, event.value) for event in events.Scalars(name)]
        assert found == [(row["step"], pytest.approx(row[name], rel=1e-6)) for row in rows]


def test_wandb_logs_rows_and_a_resumed_run_is_the_same_run(tmp_path, monkeypatch):
    inits, logged = [], []

    def init(**kwargs):
        inits.append(kwargs)
        return nullcontext(SimpleNamespace(id="abc", log=lambda row, step: logged.append((step, row))))

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    for _ in range(2):
        with sinks.wandb(tmp_path / "run", project="p", recipe=TINY) as write:
            write({"epoch": 1, "step": 3})
    assert [one["id"] for one in inits] == [None, "abc"]
    assert inits[0] == {
        "project": "p", "config": TINY.to_dict(), "dir": str(tmp_path / "run"), "id": None, "resume": "allow",
    }  # fmt: skip
    assert logged == [(3, {"epoch": 1, "step": 3})] * 2
