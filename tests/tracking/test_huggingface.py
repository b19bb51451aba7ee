"""The Trainer of transformers, with and without being measured."""

import json
import warnings

import pytest
import torch
from torch import nn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    transformers = pytest.importorskip("transformers")

from landscape import Objective
from landscape.tracking import HuggingFaceCallback, read_track

pytestmark = pytest.mark.filterwarnings("ignore")  # of transformers' own

METRICS = ["loss", "lambda_max", "trace"]


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(0.3), nn.Linear(8, 3))

    def forward(self, x, labels=None):
        logits = self.net(x)
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


def examples():
    x = torch.randn(64, 4, generator=torch.Generator().manual_seed(1))
    return [{"x": row, "labels": int(row[:3].argmax())} for row in x]


def losses(model, batch):
    return nn.functional.cross_entropy(model(**batch)["logits"], batch["labels"], reduction="none")


def trained(out, *, callback=None, resume=None, steps=10, seen=None, **arguments):
    """A Trainer after its steps, with dropout and accumulated gradients; ``callback`` is made of model and data."""
    transformers.set_seed(0)
    model = Classifier()

    class Seeing(transformers.Trainer):
        def training_step(self, model, inputs, *args):
            if seen is not None:
                seen.append(inputs["labels"].tolist())
            return super().training_step(model, inputs, *args)

    usual = {
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 2,
        "max_steps": steps,
        "logging_steps": 2,
        "learning_rate": 0.05,
        "save_steps": 5,
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
    }
    args = transformers.TrainingArguments(str(out / "run"), **usual | arguments)
    trainer = Seeing(model, args, train_dataset=examples())
    batch = transformers.default_data_collator(examples())
    made = callback(Objective(model, losses, [batch]), trainer) if callback else None
    if made:
        trainer.add_callback(made)
    trainer.train(resume_from_checkpoint=resume)
    return trainer, made


def history(trainer):
    """The losses, norms and rates that were logged."""
    rows = [row for row in trainer.state.log_history if "loss" in row or "train_loss" in row]
    return [{key: row[key] for key in row if "runtime" not in key and "second" not in key} for row in rows]


@pytest.mark.parametrize("told", [False, True])
def test_training_is_the_same_bit_for_bit_and_values_are_in_its_log(tmp_path, told):
    seen, also_seen = [], []
    plain, _ = trained(tmp_path / "a", seen=seen)
    drawn = torch.rand(3)
    tracked, callback = trained(
        tmp_path / "b",
        seen=also_seen,
        callback=lambda objective, trainer: HuggingFaceCallback(
            objective, METRICS, every=2, out=tmp_path / "out", trainer=trainer if told else None
        ),
    )
    assert torch.equal(drawn, torch.rand(3))
    assert seen == also_seen
    assert history(plain) == history(tracked)
    for name, value in plain.model.state_dict().items():
        assert torch.equal(value, tracked.model.state_dict()[name]), name
    points = read_track(tmp_path / "out" / "track.jsonl")
    assert [p.checkpoint["step"] for p in points] == [0, 2, 4, 6, 8, 10]
    assert points[1].checkpoint["lr"] == pytest.approx(0.05 * 0.8)
    logged = [row for row in tracked.state.log_history if "landscape/train/lambda_max" in row]
    assert [row["step"] for row in logged] == [0, 2, 4, 6, 8, 10]
    assert [row["landscape/train/loss"] for row in logged] == [p["train"]["loss"].value for p in points]
    assert (tmp_path / "out" / "track.csv").exists()
    assert len(callback.tracking.tracker.analyses) == 6
    assert json.loads((tmp_path / "b" / "run" / "checkpoint-10" / "trainer_state.json").read_text())["log_history"]


def test_a_run_that_is_resumed_measures_nothing_twice(tmp_path):
    def callback(objective, trainer):
        return HuggingFaceCallback(objective, ["loss"], every=1, out=tmp_path / "out")

    straight, _ = trained(tmp_path, callback=callback)
    assert len(read_track(tmp_path / "out" / "track.jsonl")) == 11
    before = (tmp_path / "out" / "track.jsonl").read_bytes()
    resumed, _ = trained(tmp_path, callback=callback, resume=str(tmp_path / "run" / "checkpoint-5"))
    assert (tmp_path / "out" / "track.jsonl").read_bytes() == before
    for name, value in straight.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


def test_values_go_wherever_the_trainer_reports_to(tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "events"))
    trained(
        tmp_path,
        report_to="tensorboard",
        callback=lambda objective, trainer: HuggingFaceCallback(objective, ["loss"], every=5, trainer=trainer),
    )
    events = EventAccumulator(str(tmp_path / "events"))
    events.Reload()
    assert [one.step for one in events.Scalars("train/landscape/train/loss")] == [0, 5, 10]
    assert [one.step for one in events.Scalars("train/loss")] == [2, 4, 6, 8, 10]


def test_a_trainer_that_reports_and_is_not_told_is_told_of(tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "events"))
    with pytest.warns(UserWarning, match="reports to tensorboard, .* give it trainer=trainer"):
        trained(
            tmp_path,
            report_to="tensorboard",
            steps=1,
            callback=lambda objective, trainer: HuggingFaceCallback(objective, ["loss"]),
        )


def test_what_fails_at_first_is_told_and_later_costs_a_row(tmp_path, monkeypatch):
    from landscape.tracking.settings import Settings

    analyze, calls = Settings.analyze, []

    def failing(self, objectives, *args):
        calls.append(None)
        if len(calls) in fails:
            torch.rand(3)
            raise RuntimeError("out of luck")
        return analyze(self, objectives, *args)

    monkeypatch.setattr(Settings, "analyze", failing)

    def callback(objective, trainer):
        return HuggingFaceCallback(objective, ["loss"], every=2, out=tmp_path / "out")

    fails = {1}
    with pytest.raises(RuntimeError, match="out of luck"):
        trained(tmp_path / "a", callback=callback)
    calls.clear()
    fails = {3}
    with pytest.warns(UserWarning, match="Tracking failed at step 4, and training goes on: out of luck"):
        tracked, _ = trained(tmp_path / "a", callback=callback)  # whose folder the first one left in this process
    assert [p.checkpoint["step"] for p in read_track(tmp_path / "out" / "track.jsonl")] == [0, 2, 6, 8, 10]
    plain, _ = trained(tmp_path / "b")
    assert history(plain) == history(tracked)
