import hashlib
import json
import math
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from landscape import load_checkpoint, save_checkpoint
from landscape.checkpoint.describe import describe
from landscape.checkpoint.draft import draft
from landscape.models import build_model
from landscape.problem import Problem
from landscape.reading import FileError
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
        "container": "torch zip",
        "key": "",
        "others": [],
        "beside": [],
        "left_out": [],
        "dtypes": {"float32": 12, "int64": 2},
        "tied": [],
        "needs": "",
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
    assert (found["format"], found["model"], found["num_params"], found["num_entries"]) == ("state_dict", None, 3, 3)
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
    assert (found["model"]["name"], found["num_params"]) == ("of the future", 5178)


def test_a_text_file_is_exit_code_3(tmp_path):
    (tmp_path / "notes.pt").write_text("not a checkpoint")
    done = landscape("inspect", "notes.pt", "--json", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("landscape: error: notes.pt: is no checkpoint")
    assert done.stderr.count("\n") == 1


def test_numbers_are_torchs_own(tmp_path):
    dtypes = ("float32", "float16", "bfloat16", "float8_e4m3fn", "complex64", "int8", "bool")
    numbers = torch.randn(6, 5, generator=torch.Generator().manual_seed(1))
    tensors = {name: numbers.to(getattr(torch, name)) for name in dtypes}
    tensors |= {"view": tensors["float32"].T[1:3], "none": torch.zeros(0, 2), "conj": torch.tensor([1j]).conj()}
    tensors["sparse"] = torch.eye(3).to_sparse()
    for name, legacy in (("zip.pt", False), ("legacy.pt", True)):
        torch.save(tensors, tmp_path / name, _use_new_zipfile_serialization=not legacy)
        for row in describe(tmp_path / name)["tensors"]:
            tensor = tensors[row["name"]].to_dense()
            wide = tensor.to(torch.complex128 if tensor.is_complex() else torch.float64)
            assert row["norm"] == pytest.approx(wide.norm().item(), rel=1e-12)


def test_a_large_file_is_not_read_nor_torch_imported(tmp_path):
    torch.save({"a": torch.zeros(2**25), "b": torch.zeros(2)}, tmp_path / "large.pt")
    script = (
        "import sys; from landscape_cli.inspect import inspect; from pathlib import Path;"
        "inspect(Path('large.pt')); inspect(Path('small.pt')); assert 'torch' not in sys.modules"
    )
    torch.save({"epoch": 3, "net": {"tied": (w := torch.ones(3, 2)), "same": w}}, tmp_path / "small.pt")
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert not any(line.startswith("sha256") for line in lines[:8])
    assert {"key         net", "beside      epoch", "epoch       3", "tied        tied = same"} <= set(lines)
    assert {"num_params  6", "num_entries 12", "dtypes      float32=2"} <= set(lines)


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)),
        nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2), nn.ReLU(), nn.Conv2d(2, 1, 1, bias=False)),
        build_model("resnet18", input_shape=(3, 32, 32), num_classes=7),
        build_model("mlp", input_shape=(1, 8, 8), num_classes=10),
        build_model("cnn", input_shape=(3, 8, 8), num_classes=7, width=4),
        build_model("wrn-16-8", input_shape=(3, 32, 32), num_classes=7),
        nn.Linear(4, 3),
        nn.Sequential(nn.Conv2d(1, 2, 3, padding=1)),
        nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8, affine=False), nn.PReLU(), nn.LayerNorm(8, bias=False)),
        nn.Sequential(nn.Conv1d(1, 2, 3), nn.BatchNorm1d(2), nn.Flatten(), nn.Linear(2, 3), nn.BatchNorm1d(3)),
        nn.Sequential(nn.Conv3d(1, 2, 3), nn.BatchNorm3d(2), nn.LayerNorm((2, 3))),
    ],
)
def test_a_drafted_problem_has_the_model(tmp_path, model):
    torch.save(model.state_dict(), tmp_path / "w.pt")
    inspect(tmp_path / "w.pt", write_problem=tmp_path / "mine.py")
    source = (tmp_path / "mine.py").read_text()
    with pytest.raises(FileError, match=r"mine\.py: fails with NotImplementedError: say in problem\(\) what"):
        Problem.from_file(f"{tmp_path / 'mine.py'}:problem", load_checkpoint(tmp_path / "w.pt"))
    with pytest.raises(FileError, match="is there already"):
        inspect(tmp_path / "w.pt", write_problem=tmp_path / "mine.py")
    (tmp_path / "mine.py").write_text(source.replace("inputs, targets = None, None", "inputs, targets = 1, 2"))
    drafted = Problem.from_file(f"{tmp_path / 'mine.py'}:problem", load_checkpoint(tmp_path / "w.pt"))
    for name, value in model.state_dict().items():
        assert torch.equal(drafted.model.state_dict()[name], value)


def test_a_draft_does_without_the_names_of_wrappers(tmp_path):
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    torch.save(
        {"state_dict": {f"model.net.{name}": value for name, value in model.state_dict().items()}}, tmp_path / "w.pt"
    )
    source = draft(describe(tmp_path / "w.pt"))
    assert "torch.nn.BatchNorm1d(8)," in source
    made = eval(source.partition("model = ")[2].partition("    # TODO the data")[0], {"torch": torch})
    load_checkpoint(tmp_path / "w.pt").load_into(made)
    assert torch.equal(made[3].weight, model[3].weight)


def test_a_name_cannot_write_into_the_draft(tmp_path):
    torch.save({"w\n    raise SystemExit": torch.ones(1), "9999999999.weight": torch.ones(1, 1)}, tmp_path / "w.pt")
    names = [line.strip() for line in draft(describe(tmp_path / "w.pt")).splitlines()]
    assert "raise SystemExit" not in names
    assert "#   w\\n    raise SystemExit (1,)" in names


@pytest.mark.parametrize("name", ["9999999999.weight", "a." * 10**5 + "0.other"])
def test_a_layer_of_a_high_number_or_deep_down_is_no_chain(tmp_path, name):
    torch.save({name: torch.ones(1, 1)}, tmp_path / "w.pt")
    assert "which model it is" in draft(describe(tmp_path / "w.pt"))


def test_what_stands_among_the_weights_is_told(tmp_path, capsys):
    torch.save({"model": {"0.weight": torch.ones(1), "1.weight": torch.ones(1), "version": 3}}, tmp_path / "w.pt")
    assert document(tmp_path / "w.pt", capsys)["beside"] == ["model.version"]


@pytest.mark.slow
def test_a_draft_has_the_sizes_of_a_transformer(tmp_path):
    import transformers

    sizes = {
        "hidden_size": 8,
        "num_attention_heads": 2,
        "num_hidden_layers": 3,
        "intermediate_size": 16,
        "vocab_size": 50,
    }
    models = [
        transformers.GPT2ForSequenceClassification(
            transformers.GPT2Config(n_embd=8, n_layer=2, n_head=2, vocab_size=50, n_positions=16, num_labels=3)
        ),
        transformers.BertForMaskedLM(transformers.BertConfig(**sizes)),
        transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes)),
    ]
    for model in models:
        torch.save(model.state_dict(), tmp_path / "w.pt")
        lines = draft(describe(tmp_path / "w.pt")).splitlines()
        made = {}
        exec(
            "\n".join(line.strip() for line in lines if " = transformers." in line),
            {"transformers": transformers},
            made,
        )
        assert type(made["model"]) is type(model)
        load_checkpoint(tmp_path / "w.pt").load_into(made["model"])


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"architecture": "resnet18"}, 'timm.create_model("resnet18", num_classes=3)'),
        ({"_class_name": "UNet2DModel"}, "diffusers.UNet2DModel.from_config(config)"),
    ],
)
def test_a_folder_of_another_library_names_its_model(tmp_path, config, words):
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file({"fc.weight": torch.ones(3, 2)}, tmp_path / "model.safetensors")
    facts = describe(tmp_path)
    assert words in draft(facts)
    assert facts["needs"].startswith("--problem")
