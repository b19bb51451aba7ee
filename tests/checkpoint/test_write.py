import io
import os
import re
import stat
import threading
from pathlib import Path

import pytest
import torch
from torch import nn

from landscape.checkpoint import CheckpointError, load_checkpoint

TENSOR_TYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.bool, torch.complex64]


def test_plain_torch_reads_what_the_format_promises(save, model, tmp_path):
    content = torch.load(save(tmp_path / "last.pt"), weights_only=True)
    assert content["format"] == "landscape.checkpoint/1"
    assert content["model"] == {"name": "mlp", "args": {"input_shape": (1, 2, 2), "num_classes": 3, "hidden": (4,)}}
    assert (content["data"]["name"], content["loss"]["name"]) == ("digits", "cross_entropy")
    assert (content["recipe"], content["epoch"], content["step"]) == ({"lr": 0.1, "hidden": (4,)}, 2, 24)
    assert content["metrics"][0]["loss"] == float("inf")
    assert content["versions"].keys() == {"landscape", "torch"}
    assert content["state"].keys() == {"model", "optimizer", "rng"}
    assert list(content["state"]["model"]) == list(model.state_dict())


def test_training_goes_on_as_if_never_saved(save, model, tmp_path):
    def optimizer_of(network):
        return torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)

    def step(network, optimizer, inputs):
        optimizer.zero_grad()
        network(inputs).logsumexp(dim=1).mean().backward()
        optimizer.step()

    inputs, generator = torch.ones(5, 4), torch.Generator().manual_seed(3)
    optimizer = optimizer_of(model)
    step(model, optimizer, inputs)
    rng = {"torch": generator.get_state(), "python": (3, (1, 2), None)}
    checkpoint = load_checkpoint(save(tmp_path / "last.pt", optimizer=optimizer, rng=rng))
    step(model, optimizer, inputs)

    resumed = checkpoint.build_model()
    optimizer = optimizer_of(resumed)
    optimizer.load_state_dict(checkpoint.state["optimizer"])
    step(resumed, optimizer, inputs)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), resumed.parameters(), strict=True))
    assert torch.equal(checkpoint.state["rng"]["torch"], generator.get_state())
    assert checkpoint.state["rng"]["python"] == (3, (1, 2), None)


@pytest.mark.parametrize("dtype", TENSOR_TYPES)
def test_keeps_the_type_and_drops_the_graph(save, tmp_path, dtype):
    module = nn.Module()
    module.register_buffer("values", torch.tensor([[0, 1], [1, 1]]).to(dtype).t())
    if dtype.is_floating_point:
        module.weight = nn.Parameter(torch.ones(2, dtype=dtype))
    state = load_checkpoint(save(tmp_path / "last.pt", model=module)).state["model"]
    assert all(torch.equal(state[name], value) for name, value in module.state_dict().items())
    assert all(value.dtype == dtype and not value.requires_grad for value in state.values())


def test_tied_weights_are_written_once_and_stay_tied(save, tmp_path):
    tied = nn.Sequential(nn.Linear(300, 300, bias=False), nn.Linear(300, 300, bias=False))
    tied[1].weight = tied[0].weight
    path = save(tmp_path / "last.pt", model=tied)
    assert path.stat().st_size < 1.1 * 4 * 300 * 300
    first, second = load_checkpoint(path).state["model"].values()
    assert first.untyped_storage().data_ptr() == second.untyped_storage().data_ptr()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_is_written_on_the_cpu_and_stays_tied(save, tmp_path):
    tied = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)).cuda()
    tied[1].weight = tied[0].weight
    state = torch.load(save(tmp_path / "last.pt", model=tied), weights_only=True)["state"]["model"]
    assert all(torch.equal(state[name], value.cpu()) for name, value in tied.state_dict().items())
    assert state["0.weight"].untyped_storage().data_ptr() == state["1.weight"].untyped_storage().data_ptr()


def test_makes_the_directory_and_takes_a_string(save, tmp_path):
    path = tmp_path / "run é 1" / "checkpoints" / "last.pt"
    save(str(path))
    assert load_checkpoint(str(path)).path == path
    assert os.listdir(path.parent) == ["last.pt"]


@pytest.mark.parametrize("num_writes", [0, 2, 8, 40])
@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_the_old_file(save, tmp_path, monkeypatch, num_writes, failure):
    class FailingFile(io.FileIO):
        left = num_writes

        def write(self, data):
            self.left -= 1
            if self.left < 0:
                raise failure
            return super().write(data)

    old = save(tmp_path / "last.pt").read_bytes()
    monkeypatch.setattr(Path, "open", lambda path, mode: FailingFile(path, mode))
    with pytest.raises((KeyboardInterrupt, OSError, CheckpointError)) as raised:
        save(tmp_path / "last.pt", epoch=3)
    if not isinstance(failure, KeyboardInterrupt):
        told = re.sub(r"[\d,.]+ MiB", "some MiB", str(raised.value))
        assert told == (
            f"{tmp_path / 'last.pt'}: No space left on device. Free space on its disk (some MiB are left), "
            "or give another folder; what was there before is as it was."
        )
    assert os.listdir(tmp_path) == ["last.pt"]
    assert (tmp_path / "last.pt").read_bytes() == old


@pytest.mark.parametrize("stage", ["os.fsync", "pathlib.Path.replace"])
@pytest.mark.parametrize("failure", [OSError(5, "Input/output error"), KeyboardInterrupt()])
def test_a_later_failure_leaves_the_old_file(save, tmp_path, monkeypatch, stage, failure):
    def fail(*_):
        raise failure

    old = save(tmp_path / "last.pt").read_bytes()
    monkeypatch.setattr(stage, fail)
    with pytest.raises((CheckpointError, KeyboardInterrupt)):
        save(tmp_path / "last.pt", epoch=3)
    assert os.listdir(tmp_path) == ["last.pt"]
    assert (tmp_path / "last.pt").read_bytes() == old


def test_the_file_is_on_disk_before_it_takes_the_name_and_the_name_after(save, tmp_path, monkeypatch):
    events, fsync, replace = [], os.fsync, Path.replace

    def recording_fsync(descriptor):
        events.append("directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def recording_replace(source, target):
        assert source.parent == target.parent
        events.append("replace")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", recording_fsync)
    monkeypatch.setattr(Path, "replace", recording_replace)
    save(tmp_path / "last.pt")
    assert events == ["file", "replace", "directory"]


def test_a_directory_that_cannot_be_made_is_told(save, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CheckpointError, match=r"file/last\.pt: cannot be written: .*File exists: '.*/file'\. Check"):
        save(tmp_path / "file" / "last.pt")


def test_what_could_not_be_read_back_is_not_written(save, tmp_path):
    old = save(tmp_path / "last.pt").read_bytes()
    with pytest.raises(CheckpointError, match=r"reading it back would run pathlib\.PosixPath\. Pass plain Python"):
        save(tmp_path / "last.pt", recipe={"out": Path("runs")})
    assert os.listdir(tmp_path) == ["last.pt"]
    assert (tmp_path / "last.pt").read_bytes() == old


def test_two_writers_and_a_reader_always_see_a_whole_file(save, tmp_path):
    path = save(tmp_path / "last.pt", epoch=0)
    failures = []

    def write(epoch):
        for _ in range(15):
            try:
                save(path, epoch=epoch, metrics=[{"epoch": epoch}] * 50 * epoch)
            except CheckpointError as error:
                failures.append(error)

    writers = [threading.Thread(target=write, args=(epoch,)) for epoch in (1, 2)]
    for writer in writers:
        writer.start()
    seen = []
    while any(writer.is_alive() for writer in writers):
        content = torch.load(path, weights_only=True)
        seen.append(content["epoch"])
        assert len(content["metrics"]) in (2, 50 * content["epoch"])
    for writer in writers:
        writer.join()
    assert not failures
    assert set(seen) <= {0, 1, 2}
    assert load_checkpoint(path).epoch in (1, 2)
    assert os.listdir(tmp_path) == ["last.pt"]
