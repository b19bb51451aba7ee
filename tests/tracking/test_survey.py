"""Which checkpoints of other people's runs are found, and in what order."""

import json
import shutil
import threading
import time
import warnings

import pytest
import torch
from safetensors.torch import save_file
from torch.distributed import checkpoint as distributed

from landscape.checkpoint import CheckpointError
from landscape.tracking import Settings, read_track, track
from landscape.tracking.places import step_in
from landscape.tracking.survey import Survey

from .runs import run

PROBLEM = """
import torch
from torch import nn

def problem():
    x = torch.randn(8, 2, generator=torch.Generator().manual_seed(0))
    return nn.Linear(2, 2), nn.CrossEntropyLoss(), {"train": [(x, torch.arange(8) % 2)]}
"""


@pytest.fixture(autouse=True)
def undrawn(monkeypatch):
    monkeypatch.setattr("landscape.tracking.summary.save_figure", lambda *_: [])
    monkeypatch.setattr("landscape.tracking.summary.write_run_page", lambda *_: None)


@pytest.fixture
def settings(tmp_path_factory):
    file = tmp_path_factory.mktemp("problem") / "theirs.py"
    file.write_text(PROBLEM)
    return Settings(metrics=("loss",), problem=f"{file}:problem")


def weights(step):
    return {"weight": torch.full((2, 2), float(step)), "bias": torch.tensor([0.0, step / 1000])}


def of_trainer(folder, step, *, max_steps=2000, said=True, sharded=False):
    """As a Trainer writes it: the weights first, and what it says of itself last."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "theirs"}))
    if sharded:
        for number, name in enumerate(weights(step), start=1):
            save_file({name: weights(step)[name]}, folder / f"model-0000{number}-of-00002.safetensors")
        names = {name: f"model-0000{n}-of-00002.safetensors" for n, name in enumerate(weights(step), start=1)}
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))
    else:
        save_file(weights(step), folder / "model.safetensors")
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin"):
        torch.save({"beside": torch.zeros(1)}, folder / name)
    if said:
        state = {"global_step": step, "epoch": step / 500, "max_steps": max_steps}
        (folder / "trainer_state.json").write_text(json.dumps(state))
    return folder


def of_lightning(path, step, **beside):
    path.parent.mkdir(parents=True, exist_ok=True)
    said = {"global_step": step, "epoch": step // 5, "pytorch-lightning_version": "2.6.6", **beside}
    torch.save(said | {"state_dict": {f"net.{name}": value for name, value in weights(step).items()}}, path)
    return path


def of_processes(folder, step):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        distributed.save({"model": weights(step)}, checkpoint_id=folder, no_dist=True)
    return folder


def tracked(source, settings, **how):
    found = track(source, settings, **how)
    for point in found.analyses:  # it is of those weights
        assert point["train"]["loss"].value > 0
    return [(point.checkpoint["path"], point.checkpoint["step"]) for point in found.analyses]


def test_folders_of_a_trainer_in_the_order_of_their_steps_and_what_it_leaves_at_the_end(tmp_path, settings):
    for step in (200, 1000, 400):
        of_trainer(tmp_path / "run" / f"checkpoint-{step}", step, sharded=step == 400)
    expected = [("checkpoint-200", 200), ("checkpoint-400", 400), ("checkpoint-1000", 1000)]
    out = {"out": tmp_path / "run"}
    assert tracked(tmp_path / "run", settings) == expected
    assert tracked(tmp_path / "run" / "checkpoint-*", settings, out=tmp_path / "a") == [
        (f"../run/{name}", step) for name, step in expected
    ]
    some = [tmp_path / "run" / "checkpoint-1000", tmp_path / "run" / "checkpoint-200"]  # as a shell expands a pattern
    assert tracked(some, settings) == expected  # in the folder that both lie in, which is done

    def leave_at_the_end(step):
        for path in of_trainer(tmp_path / "end" / str(step), step).iterdir():
            shutil.copy(path, tmp_path / "run")

    leave_at_the_end(1000)
    assert tracked(tmp_path / "run", settings, **out) == expected  # the same as the last one
    leave_at_the_end(1200)
    said = (tmp_path / "run" / "trainer_state.json").rename(tmp_path / "said.json")
    with pytest.warns(UserWarning, match=r"run: neither the file nor its name .* It is left out"):
        assert tracked(tmp_path / "run", settings, **out) == expected
    said.rename(tmp_path / "run" / "trainer_state.json")
    assert tracked(tmp_path / "run", settings, **out) == [*expected, (".", 1200)]
    assert len(read_track(tmp_path / "run" / "track.jsonl")) == 4
    assert tracked(tmp_path / "run" / "checkpoint-200", settings, out=tmp_path / "b")[0][1] == 200
    assert Survey([tmp_path / "run" / "checkpoint-200"], follow=False).folder() == tmp_path / "run"


def test_files_of_lightning_by_what_they_say_and_not_by_their_names(tmp_path, settings):
    folder = tmp_path / "version_0" / "checkpoints"
    of_lightning(folder / "epoch=3-step=400.ckpt", 400)
    of_lightning(folder / "step=50-epoch=0.ckpt", 50)
    of_lightning(folder / "epoch=0-val_loss=0.99.ckpt", 100)
    of_lightning(folder / "epoch=3-step=400-v1.ckpt", 400, callbacks={"of another": 1})  # by two rules for saving
    of_lightning(folder / "last.ckpt", 400)
    (folder / "best.ckpt").symlink_to(folder / "step=50-epoch=0.ckpt")
    names = [("step=50-epoch=0.ckpt", 50), ("epoch=0-val_loss=0.99.ckpt", 100), ("epoch=3-step=400.ckpt", 400)]
    assert tracked(folder, settings, out=folder) == names
    assert tracked(tmp_path / "version_0", settings)[0] == ("checkpoints/step=50-epoch=0.ckpt", 50)
    of_lightning(folder / "last.ckpt", 430)
    assert tracked(folder, settings)[-1] == ("last.ckpt", 430)
    torch.save({name: value + 1 for name, value in weights(400).items()}, folder / "step=400.ckpt")
    with pytest.raises(ValueError, match="are both of step 400"):
        track(folder, settings)


@pytest.mark.parametrize("name", ["step-{}", "iter_{:07d}", "global_step{}", "step={}.ckpt"])
def test_distributed_checkpoints(tmp_path, settings, name):
    for step in (100, 20, 3):
        of_processes(tmp_path / name.format(step), step)
    assert [step for _, step in tracked(tmp_path, settings)] == [3, 20, 100]


def test_files_alone_in_folders_and_beside_ours(tmp_path, settings):
    for step in (10, 9):
        (tmp_path / f"epoch_{step}").mkdir()
        torch.save(weights(step), tmp_path / f"epoch_{step}" / "model.pt")
    torch.save(weights(11), tmp_path / "step-11.pt")
    (tmp_path / "logs").mkdir()
    (tmp_path / "tmp-checkpoint-12").mkdir()
    assert tracked(tmp_path, settings) == [("epoch_9", 9), ("epoch_10", 10), ("step-11.pt", 11)]


def test_what_has_no_step_is_left_out_of_a_folder_and_refused_by_name(tmp_path, settings):
    torch.save(weights(1), tmp_path / "step-1.pt")
    torch.save(weights(1), tmp_path / "best.pt")
    with pytest.warns(UserWarning, match=r"best\.pt: neither .* It is left out") as told:
        assert tracked(tmp_path, settings) == [("step-1.pt", 1)]
    assert len(told) == 1
    with pytest.raises(CheckpointError, match=r"best\.pt: neither"):
        track(tmp_path / "best.pt", settings)


@pytest.mark.parametrize("legacy", [False, True])
def test_files_of_torch_are_found_under_any_usual_ending(tmp_path, settings, legacy):
    for step, name in enumerate(("checkpoint_0.pth.tar", "model_1.bin", "snapshot-2.pkl")):
        torch.save({"state_dict": weights(step)}, tmp_path / name, _use_new_zipfile_serialization=not legacy)
    for name in ("data_3.tar", "replay_4.pkl", "model_5.bin"):
        (tmp_path / name).write_bytes(b"\x80\x04 of anybody")
    for name in ("training_args.bin", "optimizer.bin", "random_states_0.pkl"):
        torch.save({"beside": torch.zeros(1)}, tmp_path / name)
    names = [("checkpoint_0.pth.tar", 0), ("model_1.bin", 1), ("snapshot-2.pkl", 2)]
    assert tracked(tmp_path, settings) == names


def test_files_that_hold_no_weights_are_left_out_of_a_folder_and_refused_by_name(tmp_path, settings):
    torch.save(weights(1), tmp_path / "step-1.pt")
    torch.save({"lr": 0.1, "epochs": 3}, tmp_path / "args.pt")
    torch.save(torch.optim.Adam([torch.ones(1)]).state_dict(), tmp_path / "optim-1.pt")
    with pytest.warns(UserWarning, match=r"holds no state dict.* It is left out") as told:
        assert tracked(tmp_path, settings) == [("step-1.pt", 1)]
    assert len(told) == 2
    with pytest.raises(CheckpointError, match=r"args\.pt: holds no state dict"):
        track(tmp_path / "args.pt", settings)
    (tmp_path / "step-2.pt").write_bytes((tmp_path / "step-1.pt").read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"step-2\.pt"):
        track(tmp_path, settings)  # what is broken may have been a checkpoint


def test_runs_that_lie_further_down_are_named(tmp_path, settings):
    for number in range(7):
        of_lightning(tmp_path / "lightning_logs" / f"version_{number}" / "checkpoints" / "epoch=0-step=5.ckpt", 5)
    with pytest.raises(CheckpointError, match=r"further down: give one of \S+version_0, .*version_4 and 2 more\.$"):
        track(tmp_path, settings)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"no checkpoints to measure\. Expected files \(\.pt, "):
        track(tmp_path / "empty", settings)


def test_one_of_several_state_dicts_is_taken_by_its_key_and_that_is_told(tmp_path, settings):
    torch.save({"model": weights(1), "ema": weights(2)}, tmp_path / "step-1.pt")
    torch.save({"model": weights(2), "ema": weights(3)}, tmp_path / "step-2.pt")
    with pytest.warns(UserWarning, match="the weights are those of model; --key takes ema") as told:
        plain = track(tmp_path, settings).analyses
    assert len(told) == 1
    with pytest.warns(UserWarning, match="the weights are those of ema; --key takes model"):
        averaged = track(tmp_path, Settings(**vars(settings) | {"key": "ema"})).analyses
    assert averaged[0]["train"]["loss"].value == plain[1]["train"]["loss"].value
    assert len(read_track(tmp_path / "track.jsonl")) == 4


def test_following_waits_for_whole_folders_and_ends_with_the_trainer(tmp_path, settings, monkeypatch):
    monkeypatch.setattr("landscape.tracking.run._PAUSE", 0.05)

    def train():
        for step in (5, 10, 15):
            made = of_trainer(tmp_path / "made" / str(step), step, max_steps=15, sharded=step == 10)
            folder = tmp_path / "run" / f"checkpoint-{step}"
            folder.mkdir(parents=True)
            for path in sorted(made.iterdir(), key=lambda path: path.stat().st_mtime_ns):
                content = path.read_bytes()
                for part in (content[: len(content) // 2], content):
                    (folder / path.name).write_bytes(part)
                    time.sleep(0.02)

    thread = threading.Thread(target=train)
    thread.start()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert tracked(tmp_path / "run", settings, follow=True) == [(f"checkpoint-{n}", n) for n in (5, 10, 15)]
    thread.join()
    assert len(read_track(tmp_path / "run" / "track.jsonl")) == 3


def test_a_run_of_ours_is_as_it_was(tmp_path):
    run(tmp_path, 3)
    found, lasts = Survey([tmp_path], follow=False).checkpoints()
    assert [one.path.name for one in found] == ["epoch-0001.pt", "epoch-0002.pt", "epoch-0003.pt"]
    assert [last.path.name for last in lasts] == ["last.pt"]


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("epoch=3-step=400.ckpt", 400),
        ("step=400-epoch=3.ckpt", 400),
        ("epoch=3-step=400-v1.ckpt", 400),
        ("checkpoint-1000", 1000),
        ("iter_0000100", 100),
        ("global_step500", 500),
        ("ep3-ba100-rank0.pt", 100),
        ("epoch=2-val_loss=0.31.ckpt", 2),
        ("model-v2.pt", 2),
        ("last-v1.ckpt", None),
        ("10k_steps.pt", 10_000),
        ("step_10k.pth", 10_000),
        ("checkpoint_3_1000.pt", 1000),
        ("resnet18-400.pt", 400),
        ("step1000-tokens4B", 1000),
        ("model.step100.loss0.3.pt", 100),
        ("acc0.85.pt", None),
        ("deep4-100.pt", 100),
        ("experiment-7", None),
        ("7", 7),
    ],
)
def test_the_step_that_a_name_says(tmp_path, name, step):
    assert step_in(tmp_path / name) == step
