import hashlib
import json
import math

import pytest
import torch
from safetensors.torch import save_file

from landscape import save_checkpoint
from landscape.models import build_model
from landscape_cli.inspect import inspect

from .command import landscape

SPEC = {"name": "cnn", "args": {"input_shape": [1, 8, 8], "num_classes": 10}}


@pytest.fixture
def ours(tmp_path):
    model = build_model(SPEC["name"], **SPEC["args"])
    with torch.no_grad():
        model.linear.weight.fill_(0.5)
        model.linear.bias[:3] = torch.tensor([math.nan, math.nan, math.inf])
    path = tmp_path / "last.pt"
    save_checkpoint(
        path,
        model=model,
        model_spec=SPEC,
        data_spec={"name": "digits", "args": {}},
        loss_spec={"name": "cross_entropy", "args": {}},
        recipe={"lr": 0.1},
        epoch=2,
        step=24,
        metrics=[{"epoch": 1, "train_loss": 2.0}, {"epoch": 2, "train_loss": math.nan}],
    )
    return path


def document(path, capsys):
    inspect(path, json=True)
    return json.loads(capsys.readouterr().out, parse_constant=pytest.fail)


def test_our_checkpoint_says_all_of_itself(ours, capsys):
    found = document(ours, capsys)
    tensors = {tensor.pop("name"): tensor for tensor in found.pop("tensors")}
    assert found == {
        "path": str(ours),
        "sha256": hashlib.sha256(ours.read_bytes()).hexdigest(),
        "format": "landscape.checkpoint/1",
        "num_bytes": ours.stat().st_size,
        "model": SPEC,
        "data": {"name": "digits", "args": {}},
        "loss": {"name": "cross_entropy", "args": {}},
        "recipe": {"lr": 0.1},
        "epoch": 2,
        "step": 24,
        "metrics": {"epoch": 2, "train_loss": None},
        "num_params": 5178,
        "num_entries": 5178 + 2 * (16 + 32) + 2,  # two BatchNorms' running means, variances and batch counts
    }
    assert tensors["linear.weight"] == {
        "shape": [10, 32],
        "dtype": "float32",
        "norm": pytest.approx(math.sqrt(320) / 2),
        "num_nan": 0,
        "num_inf": 0,
    }
    assert (tensors["linear.bias"]["num_nan"], tensors["linear.bias"]["num_inf"]) == (2, 1)
    assert tensors["linear.bias"]["norm"] is None
    assert (tensors["norm1.num_batches_tracked"]["shape"], tensors["norm1.num_batches_tracked"]["dtype"]) == (
        [],
        "int64",
    )


def test_words_mark_what_is_not_finite(ours, capsys):
    inspect(ours)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"path        {ours}"
    assert "model       cnn(input_shape=[1, 8, 8], num_classes=10)" in lines
    (bias,) = (line for line in lines if line.startswith("linear.bias "))
    assert bias.split() == ["linear.bias", "10", "float32", "nan", "2", "nan,", "1", "inf"]


def test_weights_of_somebody_else(tmp_path, capsys):
    weights = {
        "w": torch.tensor([[3.0, 4.0]], dtype=torch.bfloat16),
        "z": torch.tensor([3 + 4j]),
        "empty": torch.ones(0),
    }
    torch.save({"state_dict": weights}, tmp_path / "theirs.pt")
    save_file({"w": weights["w"]}, tmp_path / "theirs.safetensors")
    found = document(tmp_path / "theirs.pt", capsys)
    assert (found["format"], found["model"], found["num_params"], found["num_entries"]) == ("state_dict", None, None, 3)
    assert [tensor["norm"] for tensor in found["tensors"]] == [5.0, 5.0, 0.0]
    assert document(tmp_path / "theirs.safetensors", capsys)["tensors"] == [
        {"name": "w", "shape": [1, 2], "dtype": "bfloat16", "norm": 5.0, "num_nan": 0, "num_inf": 0}
    ]


def test_a_name_cannot_talk_to_the_terminal(tmp_path, capsys):
    torch.save({"\x1b[2Jw[red]": torch.ones(1)}, tmp_path / "odd.pt")
    inspect(tmp_path / "odd.pt")
    assert capsys.readouterr().out.splitlines()[-1].startswith("\\x1b[2Jw[red] ")


def test_a_model_that_we_do_not_know_is_inspected_all_the_same(ours, capsys):
    content = torch.load(ours, weights_only=True)
    content["model"]["name"] = "of the future"
    torch.save(content, ours)
    found = document(ours, capsys)
    assert (found["model"]["name"], found["num_params"]) == ("of the future", None)


def test_a_text_file_is_exit_code_3(tmp_path):
    (tmp_path / "notes.pt").write_text("not a checkpoint")
    done = landscape("inspect", "notes.pt", "--json", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("landscape: error: notes.pt: is no checkpoint")
    assert done.stderr.count("\n") == 1
