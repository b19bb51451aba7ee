"""The Trainer of Lightning, with and without being measured."""

import subprocess
import sys
import warnings

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    lightning = pytest.importorskip("lightning.pytorch")

import landscape.tracking
from landscape import Objective
from landscape.tracking import LightningCallback, read_track

pytestmark = pytest.mark.filterwarnings("ignore")  # of lightning's own
CE = nn.CrossEntropyLoss()


class Classifier(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.3), nn.Linear(8, 3))
        self.seen = []

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, _):
        x, y = batch
        loss = CE(self(x), y)
        self.seen.append((loss.item(), y.tolist()))
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, _):
        self.log("val_loss", CE(self(batch[0]), batch[1]))

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)]


def data():
    x = torch.randn(40, 4, generator=torch.Generator().manual_seed(1))
    return TensorDataset(x, x[:, :3].argmax(dim=1))


def fitted(out, *, callback=None, logger=False, resume=None, epochs=2, whole=False):
    """A module after its epochs, with dropout, BatchNorm and accumulated gradients, and the callback."""
    lightning.seed_everything(0, verbose=False)
    module = Classifier()
    measured = module if whole else module.net
    made = callback(Objective(measured, CE, [data().tensors])) if callback else None
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accumulate_grad_batches=2,
        logger=logger,
        callbacks=[lightning.callbacks.ModelCheckpoint(out, save_top_k=-1), *([made] if made else [])],
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
        accelerator="cpu",
        default_root_dir=out,
    )
    trainer.fit(module, DataLoader(data(), 4, shuffle=True), DataLoader(data(), 20), ckpt_path=resume)
    return module, made


@pytest.mark.parametrize("whole", [False, True])
def test_training_is_the_same_bit_for_bit_at_global_steps(tmp_path, whole):
    plain, _ = fitted(tmp_path / "a")
    drawn = torch.rand(3)
    tracked, callback = fitted(
        tmp_path / "b",
        whole=whole,
        callback=lambda objective: LightningCallback(
            {"train": objective}, ["loss", "lambda_max"], every=2, out=tmp_path / "out"
        ),
    )
    assert torch.equal(drawn, torch.rand(3))
    assert plain.seen == tracked.seen
    for name, value in plain.state_dict().items():
        assert torch.equal(value, tracked.state_dict()[name]), name
    points = read_track(tmp_path / "out" / "track.jsonl")
    assert [p.checkpoint["step"] for p in points] == [0, 2, 4, 6, 8, 10]  # five a epoch, of two batches each
    assert [p.checkpoint["epoch"] for p in points] == [0, 0, 0, 1, 1, 1]
    assert [p.checkpoint["lr"] for p in points] == [0.1] * 3 + [0.05] * 2 + [0.025]  # of the step to come
    assert len(callback.tracking.tracker.analyses) == 6
    assert (tmp_path / "out" / "report.html").exists()


def test_values_go_to_all_loggers(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    loggers = [
        lightning.loggers.CSVLogger(tmp_path, name="csv"),
        lightning.loggers.TensorBoardLogger(tmp_path, name="events"),
    ]
    fitted(tmp_path, logger=loggers, callback=lambda objective: LightningCallback(objective, ["loss"], every=5))
    events = EventAccumulator(loggers[1].log_dir)
    events.Reload()
    assert [one.step for one in events.Scalars("landscape/train/loss")] == [0, 5, 10]
    assert len(events.Scalars("train_loss")) == 10
    table = (tmp_path / "csv" / "version_0" / "metrics.csv").read_text().splitlines()
    assert "landscape/train/loss" in table[0]
    assert "train_loss" in table[0]


def test_a_run_that_is_resumed_measures_nothing_twice(tmp_path):
    def callback(objective):
        return LightningCallback(objective, ["loss"], out=tmp_path / "out")

    fitted(tmp_path, callback=callback)
    before = (tmp_path / "out" / "track.jsonl").read_bytes()
    assert before.count(b"\n") == 11
    (first,) = tmp_path.glob("epoch=0-*.ckpt")
    fitted(tmp_path / "again", callback=callback, resume=first, epochs=1)
    assert (tmp_path / "out" / "track.jsonl").read_bytes() == before


def test_an_interrupted_training_leaves_the_folder_to_the_next(tmp_path):
    class Stopping(LightningCallback):
        def on_train_batch_end(self, trainer, *more):
            super().on_train_batch_end(trainer, *more)
            if trainer.global_step == 3:
                raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        fitted(tmp_path / "a", callback=lambda objective: Stopping(objective, ["loss"], out=tmp_path / "out"))
    fitted(tmp_path / "b", callback=lambda objective: LightningCallback(objective, ["loss"], out=tmp_path / "out"))
    assert [p.checkpoint["step"] for p in read_track(tmp_path / "out" / "track.jsonl")] == list(range(11))


SCRIPT = """
import warnings; warnings.simplefilter("ignore")
import sys, landscape.tracking
assert not {name.partition(".")[0] for name in sys.modules} & {"lightning", "pytorch_lightning", "transformers"}
sys.modules["lightning"] = sys.modules["lightning.pytorch"] = None  # as where it is not installed
import pytorch_lightning, torch
from landscape import Objective
from landscape.tracking import LightningCallback
assert issubclass(LightningCallback, pytorch_lightning.Callback)
class Module(pytorch_lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Linear(2, 1)
    def training_step(self, batch, _):
        return self.net(batch).square().mean()
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)
module, x = Module(), torch.eye(2)
callback = LightningCallback(Objective(module.net, torch.nn.MSELoss(), [(x, torch.zeros(2, 1))]), ["lambda_max"])
how = dict(logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)
trainer = pytorch_lightning.Trainer(max_steps=3, accelerator="cpu", callbacks=[callback], **how)
trainer.fit(module, torch.utils.data.DataLoader([x[0], x[1]] * 4, 2))
print([a.checkpoint["step"] for a in callback.tracking.tracker.analyses])
"""


@pytest.mark.slow
def test_it_works_under_the_other_name_of_the_package_and_imports_none_before():
    pytest.importorskip("pytorch_lightning")
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert done.stdout == "[0, 1, 2, 3]\n", done.stderr


@pytest.mark.parametrize(("name", "package"), [("HuggingFaceCallback", "transformers"), ("LightningCallback", "")])
def test_without_the_framework_one_line_says_what_to_install(name, package, monkeypatch):
    for module in [package] if package else ["lightning", "lightning.pytorch", "pytorch_lightning"]:
        monkeypatch.setitem(sys.modules, module, None)
    for module in ("huggingface", "lightning"):
        monkeypatch.delitem(sys.modules, f"landscape.tracking.{module}", raising=False)
    extra = "hf" if package else "lightning"
    with pytest.raises(ImportError, match=rf'Install it: pip install "landscape-geometry\[{extra}\]"\.$') as error:
        getattr(landscape.tracking, name)
    assert "\n" not in str(error.value)
