import hashlib
import os
import pickle
import zipfile

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from landscape.checkpoint import CheckpointError, load_checkpoint
from landscape.checkpoint.folders import open_checkpoint

WEIGHTS = {"0.weight": torch.arange(6.0).reshape(2, 3), "0.bias": torch.tensor([0.5, -1.0])}


def prefixed(prefix):
    return {prefix + name: value for name, value in WEIGHTS.items()}


def assert_same(state, expected):
    assert list(state) == list(expected)
    for name, value in expected.items():
        assert type(state[name]) is torch.Tensor
        assert state[name].dtype == value.dtype
        assert torch.equal(state[name], value)


def test_ours(save, model, tmp_path):
    path = save(tmp_path / "last.pt")
    checkpoint = load_checkpoint(path)
    assert (checkpoint.path, checkpoint.format) == (path, "landscape.checkpoint/1")
    assert checkpoint.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert_same(checkpoint.state["model"], model.state_dict())
    assert checkpoint.model == {"name": "mlp", "args": {"input_shape": (1, 2, 2), "num_classes": 3, "hidden": (4,)}}
    assert checkpoint.data == {"name": "digits", "args": {}}
    assert checkpoint.loss == {"name": "cross_entropy", "args": {}}
    assert (checkpoint.recipe, checkpoint.epoch, checkpoint.step) == ({"lr": 0.1, "hidden": (4,)}, 2, 24)
    assert checkpoint.metrics == [{"epoch": 1, "loss": float("inf")}, {"epoch": 2, "loss": 0.5}]
    assert (checkpoint.state["optimizer"], checkpoint.state["rng"]) == (None, None)


def test_ours_keeps_the_names_as_they_were_saved(save, tmp_path):
    wrapped = nn.ModuleDict({"module": nn.Linear(2, 1)})
    path = save(tmp_path / "last.pt", model=wrapped)
    assert list(load_checkpoint(path).state["model"]) == ["module.weight", "module.bias"]
    load_checkpoint(path).load_into(wrapped)


@pytest.mark.parametrize("as_zip", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize(
    "content",
    [
        WEIGHTS,
        {"state_dict": WEIGHTS, "epoch": 3},
        {"model": WEIGHTS, "optimizer": {"state": {}}},
        {"model_state_dict": WEIGHTS},
        {"net": WEIGHTS, "acc": 93.0},
        {"model": "resnet18", "state_dict": WEIGHTS},
        prefixed("module."),
        prefixed("_orig_mod."),
        {"model": prefixed("_orig_mod.module.")},
        {"state_dict": prefixed("model."), "pytorch-lightning_version": "2.5"},
        {"state_dict": prefixed("model._orig_mod.")},
        {name: nn.Parameter(value) for name, value in WEIGHTS.items()},
    ],
)
def test_anybodys(tmp_path, content, as_zip):
    path = tmp_path / "w.pt"
    torch.save(content, path, _use_new_zipfile_serialization=as_zip)
    checkpoint = load_checkpoint(path)
    assert_same(checkpoint.state["model"], WEIGHTS)
    assert (checkpoint.format, checkpoint.model, checkpoint.recipe) == ("state_dict", None, {})
    assert checkpoint.epoch == content.get("epoch")


@pytest.mark.parametrize(
    "content",
    [
        prefixed("model."),  # a network that calls its body `model`, not Lightning's
        {"module.weight": torch.ones(1), "scale": torch.ones(1)},
        {"w": torch.ones(2), "_extra_state": {"any": "thing"}},
        {"w": torch.tensor([torch.nan, torch.inf]), "empty": torch.zeros(0, 3), "none": torch.zeros(())},
    ],
)
def test_names_and_values_stay_as_they_are(tmp_path, content):
    torch.save(content, tmp_path / "w.pt")
    state = load_checkpoint(tmp_path / "w.pt").state["model"]
    assert list(state) == list(content)
    for name, value in content.items():
        assert (
            state[name] == value
            if name == "_extra_state"
            else torch.equal(state[name].nan_to_num(), value.nan_to_num())
        )


def test_a_body_called_model_is_stripped_from_lightning_only(tmp_path):
    torch.save({"net": prefixed("model.")}, tmp_path / "w.pt")
    assert_same(load_checkpoint(tmp_path / "w.pt").state["model"], prefixed("model."))


def test_safetensors(tmp_path):
    safetensors.torch.save_file(prefixed("module."), tmp_path / "w.safetensors")
    checkpoint = load_checkpoint(tmp_path / "w.safetensors")
    assert_same(dict(sorted(checkpoint.state["model"].items(), reverse=True)), WEIGHTS)
    assert checkpoint.format == "state_dict"


def test_a_repacked_and_compressed_zip(tmp_path):
    torch.save({"w": torch.zeros(1000), "v": torch.arange(50.0)}, tmp_path / "w.pt")
    with zipfile.ZipFile(tmp_path / "w.pt") as source, zipfile.ZipFile(tmp_path / "small.pt", "w") as target:
        for name in source.namelist():
            target.writestr(name, source.read(name), zipfile.ZIP_DEFLATED)
    state = load_checkpoint(tmp_path / "small.pt").state["model"]
    assert_same(state, {"w": torch.zeros(1000), "v": torch.arange(50.0)})


def test_a_zip_written_without_checksums(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(WEIGHTS, tmp_path / "w.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    with zipfile.ZipFile(tmp_path / "w.pt") as archive:
        assert archive.testzip() is not None
    assert_same(load_checkpoint(tmp_path / "w.pt").state["model"], WEIGHTS)


def test_map_location_moves_all_but_the_generator_states_and_keeps_ties(save, tmp_path):
    tied = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    tied[1].weight = tied[0].weight
    optimizer = torch.optim.Adam(tied.parameters())
    tied(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    path = save(tmp_path / "last.pt", model=tied, optimizer=optimizer, rng={"torch": torch.zeros(4, dtype=torch.uint8)})
    state = load_checkpoint(path, map_location="meta").state
    assert {value.device.type for value in state["model"].values()} == {"meta"}
    assert {name: value.shape for name, value in state["model"].items()} == {
        name: value.shape for name, value in tied.state_dict().items()
    }
    storages = [state["model"][f"{index}.weight"].untyped_storage() for index in (0, 1)]
    assert storages[0]._cdata == storages[1]._cdata
    assert state["optimizer"]["state"][0]["exp_avg"].device.type == "meta"
    assert state["optimizer"]["param_groups"][0]["betas"] == (0.9, 0.999)
    assert state["rng"]["torch"].device.type == "cpu"


def test_writing_to_the_weights_does_not_change_the_file(tmp_path):
    torch.save(WEIGHTS, tmp_path / "w.pt")
    before = (tmp_path / "w.pt").read_bytes()
    load_checkpoint(tmp_path / "w.pt").state["model"]["0.bias"].zero_()
    assert (tmp_path / "w.pt").read_bytes() == before


def test_a_file_that_is_replaced_meanwhile_is_refused(tmp_path, monkeypatch):
    def read_and_replace(path):
        opened = open_checkpoint(path)
        torch.save({"w": torch.ones(3)}, path)
        return opened

    torch.save({"w": torch.ones(2)}, tmp_path / "w.pt")
    monkeypatch.setattr("landscape.checkpoint.read.open_checkpoint", read_and_replace)
    with pytest.raises(CheckpointError, match=r"w\.pt: changed while it was being read\. Run again\."):
        load_checkpoint(tmp_path / "w.pt")


def test_not_a_file(tmp_path):
    with pytest.raises(CheckpointError, match=r"no\.pt: cannot be read: No such file or directory\. Check the path"):
        load_checkpoint(tmp_path / "no.pt")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match=r"pipe: is a pipe\. Expected a file\."):
        load_checkpoint(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match=rf"{tmp_path.name}: is a folder without weights\. Expected "):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"epoch": 3, "lr": 0.1},
            "holds no state dict; its top-level keys: epoch, lr. Expected tensors by name, alone or ",
        ),
        ({}, "holds no state dict; its top-level keys: none. "),
        ({"state_dict": {}}, "holds no state dict; its top-level keys: state_dict. "),
        ({"w": torch.ones(1), "epoch": 3}, "holds no state dict; its top-level keys: w, epoch. "),
        ({1: torch.ones(1)}, "holds no state dict; its top-level keys: 1. "),
        ({str(i): i for i in range(11)}, "its top-level keys: 0, 1, 2, 3, 4, 5, 6, 7 and 3 more. "),
        ({"net": WEIGHTS, "model": WEIGHTS}, "holds more than one state dict: net, model. Choose one with --key"),
        ([torch.ones(2)], "holds a list, not a state dict. Expected "),
        (torch.ones(2), "holds a Tensor, not a state dict. Expected "),
        ("weights", "holds a str, not a state dict. Expected "),
    ],
)
def test_no_weights_where_they_are_expected(tmp_path, content, message):
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(CheckpointError) as raised:
        load_checkpoint(tmp_path / "w.pt")
    assert str(raised.value).startswith(f"{tmp_path / 'w.pt'}: ")
    assert message in str(raised.value)
    assert str(raised.value).endswith(("as torch.save(model.state_dict(), PATH) writes them.", "with --key."))


@pytest.mark.parametrize(
    ("field", "value"),
    [(name, None) for name in ("model", "data", "loss", "recipe", "epoch", "step", "metrics", "state")]
    + [("epoch", "three"), ("model", {"name": "mlp"}), ("data", {"args": {}}), ("state", {}), ("state", {"model": {}})],
)
def test_ours_with_a_field_missing_or_malformed(save, tmp_path, field, value):
    content = torch.load(save(tmp_path / "last.pt"), weights_only=True)
    content.pop(field)
    torch.save(content | ({} if value is None else {field: value}), tmp_path / "last.pt")
    with pytest.raises(CheckpointError) as raised:
        load_checkpoint(tmp_path / "last.pt")
    assert str(raised.value) == (
        f"{tmp_path / 'last.pt'}: is of format landscape.checkpoint/1 but has missing or malformed fields: {field}. "
        "Write it with landscape.save_checkpoint."
    )


def test_ours_of_a_newer_format(tmp_path):
    torch.save({"format": "landscape.checkpoint/2", "state": {"model": WEIGHTS}}, tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match=r"format landscape\.checkpoint/2, and landscape .* Upgrade with pip"):
        load_checkpoint(tmp_path / "w.pt")


@pytest.mark.parametrize(
    ("mark", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4\n", "git lfs pull"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"w.pt".ljust(257, b"\0") + b"ustar\x0000", "tar archive"),
        (b"\x1f\x8b\x08\0", "gzip"),
        (b"\x28\xb5\x2f\xfd" + bytes(9), "zstd"),
        (b"GGUF\x03\0\0\0", "llama.cpp"),
    ],
)
def test_what_a_file_is_instead_is_said(tmp_path, mark, words):
    path = tmp_path / "w.pt"
    path.write_bytes(mark + bytes(300))
    with pytest.raises(CheckpointError, match=words):
        load_checkpoint(path)


@pytest.mark.parametrize("write", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))])
def test_arrays_are_weights_where_the_file_is_trusted(tmp_path, write):
    write({"model": {"weight": np.ones((1, 2), "f4"), "bias": np.zeros(1, "f4")}, "author": "x"}, tmp_path / "w.pkl")
    with pytest.raises(CheckpointError, match=r"would run numpy.*--trust-checkpoint"):
        load_checkpoint(tmp_path / "w.pkl")
    checkpoint = load_checkpoint(tmp_path / "w.pkl", trust=True)
    checkpoint.load_into(linear := nn.Linear(2, 1))
    assert checkpoint.trusted
    assert linear.weight.tolist() == [[1, 1]]
