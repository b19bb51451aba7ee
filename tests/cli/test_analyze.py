import hashlib
import json

import numpy as np
import pytest
import torch

from landscape import load_checkpoint
from landscape.problem import Problem
from landscape.results import Analysis
from landscape.training import Recipe, train

from .command import here, landscape

METRICS = ["loss", "accuracy", "gradient_norm", "trace", "lambda_max", "normalized_trace"]
THEIRS = """
import torch
from torch import nn

INPUTS = torch.arange(12.0).reshape(6, 2) / 10
BATCHES = [(INPUTS[:4], torch.zeros(4, 1)), (INPUTS[4:], torch.zeros(2, 1))]

def problem():
    return nn.Linear(2, 1, bias=False), nn.MSELoss(), {"validation": BATCHES}

def nothing():
    return None
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """relu.pt and tanh.pt, of small networks on digits: the trace of the first is exact, that of the second probed."""
    out = tmp_path_factory.mktemp("analyze")
    for activation in ("relu", "tanh"):
        recipe = Recipe(model_args={"hidden": (16,), "activation": activation}, epochs=2)
        train(recipe, out / activation).rename(out / f"{activation}.pt")
    return out


@pytest.fixture
def analyze(folder, monkeypatch, capsys):
    """``landscape analyze`` in this process and folder."""
    monkeypatch.chdir(folder)
    return lambda *arguments: here(monkeypatch, capsys, "analyze", *arguments)


def document(done, code=0):
    """The one JSON document on stdout."""
    assert (done.returncode, done.stderr) == (code, "")
    return json.loads(done.stdout, parse_constant=pytest.fail)


def values(measured):
    return {split: {name: m["value"] for name, m in found.items()} for split, found in measured["splits"].items()}


@pytest.fixture(scope="module")
def of_another_process(folder):
    return landscape("analyze", "tanh.pt", "--json", "--seed", "7", "--out", "results", cwd=folder)


def test_json_is_one_document_of_the_schema(of_another_process, folder):
    found = document(of_another_process)
    assert found.keys() == {"schema", "checkpoint", "objective", "provenance", "splits"}
    assert found["schema"] == "landscape.analysis/2"
    checkpoint = load_checkpoint(folder / "tanh.pt")
    identity = {"path": "tanh.pt", "sha256": checkpoint.sha256, "epoch": 2, "step": 46}
    assert found["checkpoint"].items() >= identity.items()
    assert found["objective"].pop("fingerprint") == Problem.of(checkpoint).fingerprint() | {
        "mode": "eval",
        "dtype": "float32",
    }
    assert found["objective"] == {
        "splits": ["train", "test"],
        "num_examples": {"train": 1437, "test": 360},
        "batch_size": {"train": 1437, "test": 360},
        "num_params": 64 * 16 + 16 + 16 * 10 + 10,
        "unused": [],
        "params": "*",
        "mode": "eval",
        "dtype": "float32",
    }
    provenance = {"landscape", "torch", "device", "seed", "command", "started", "seconds"}
    assert provenance <= found["provenance"].keys()
    assert found["provenance"]["seed"] == 7
    for split in ("train", "test"):
        assert list(found["splits"][split]) == METRICS
        for m in found["splits"][split].values():
            assert list(m)[:9] == [
                "value", "std_error", "error_kind", "num_samples", "converged", "reason", "num_matvecs",
                "num_gradients", "seconds",
            ]  # fmt: skip
            assert m["converged"]
        row = checkpoint.metrics[-1]
        for name in ("loss", "accuracy"):  # measured by the training loop, too
            assert found["splits"][split][name]["value"] == pytest.approx(row[f"{split}_{name}"], rel=1e-6)


def test_out_holds_the_same_document_the_arrays_and_the_report(of_another_process, folder):
    names = ["analysis.json", "arrays.npz", "report.html"]
    assert sorted(path.name for path in (folder / "results").iterdir()) == names
    report = (folder / "results" / "report.html").read_text(encoding="utf-8")
    assert "tanh.pt" in report
    assert "lr = 0.05, its optimizer is stable on a quadratic up to 3.8/lr = 76" in report  # of the checkpoint's state
    written = json.loads((folder / "results" / "analysis.json").read_text())
    sha256 = hashlib.sha256((folder / "results" / "arrays.npz").read_bytes()).hexdigest()
    assert written.pop("arrays") == {"file": "arrays.npz", "sha256": sha256}  # which only the file has
    assert written == document(of_another_process)
    with np.load(folder / "results" / "arrays.npz", allow_pickle=False) as arrays:
        assert arrays["test/trace/samples"].ndim == 1
    assert Analysis.load(folder / "results").to_dict() == document(of_another_process)


def test_the_same_seed_gives_the_same_values_here_and_in_another_process(of_another_process, analyze):
    expected = values(document(of_another_process))
    again, other = (values(document(analyze("tanh.pt", "--json", "--seed", seed))) for seed in ("7", "8"))
    for split in ("train", "test"):
        # Whether vectors are multiplied one by one or together is timed, and changes the rounding.
        assert again[split] == pytest.approx(expected[split], rel=1e-6)
        assert other[split]["loss"] == expected[split]["loss"]
        assert other[split]["trace"] != pytest.approx(expected[split]["trace"], rel=1e-5)


def test_the_table_is_all_there_is_on_stdout(analyze):
    done = analyze("relu.pt", "--split", "both")
    assert (done.returncode, done.stderr) == (0, "")
    first, header, _, *rows = done.stdout.splitlines()
    assert first == "relu.pt: 1,210 parameters, float32"
    assert header.split() == ["train", "(n", "=", "1,437)", "test", "(n", "=", "360)", "products", "gradients"]
    assert [row.split()[0] for row in rows[:6]] == METRICS
    assert rows[6].startswith("Of lambda_max ± is a bound on the error.")
    assert max(map(len, done.stdout.splitlines())) <= 80
    printed = float(rows[0].split()[1])
    assert printed == pytest.approx(load_checkpoint("relu.pt").metrics[-1]["train_loss"], abs=5e-5)


def test_two_checkpoints_are_two_tables_two_documents_and_two_folders(analyze, tmp_path):
    both = ("relu.pt", "tanh.pt", "--metrics", "loss", "--split", "test")
    done = analyze(*both, "--out", tmp_path)
    titles = [line for line in done.stdout.splitlines() if line.endswith("float32")]
    assert [title.split(":")[0] for title in titles] == ["relu.pt", "tanh.pt"]
    assert [found["checkpoint"]["path"] for found in document(analyze(*both, "--json"))] == ["relu.pt", "tanh.pt"]
    for name in ("relu", "tanh"):
        assert Analysis.load(tmp_path / name).checkpoint["path"] == f"{name}.pt"


def test_folders_follow_those_of_the_checkpoints(analyze, folder, tmp_path):
    for run in ("a/sgd", "b/sgd"):
        (tmp_path / run).mkdir(parents=True)
        (tmp_path / run / "last.pt").write_bytes((folder / "relu.pt").read_bytes())
    last = [tmp_path / run / "last.pt" for run in ("a/sgd", "b/sgd")]
    out = tmp_path / "out"
    assert analyze(*last, "--metrics", "loss", "--out", out).returncode == 0
    assert {path.parent for path in out.rglob("analysis.json")} == {out / "a/sgd/last", out / "b/sgd/last"}


def test_results_that_would_meet_are_refused(analyze, tmp_path):
    done = analyze("relu.pt", "tanh.pt", "relu.pt", "--out", tmp_path / "out")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"landscape: error: relu.pt and relu.pt would both be written to {tmp_path}/out/relu.\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("metrics", "names"),
    [("trace, loss", {"trace", "loss"}), ("default", set(METRICS)), ("loss,default", set(METRICS))],
)
@pytest.mark.parametrize("split", ["train", "test"])
def test_metrics_and_split(analyze, metrics, names, split):
    found = document(analyze("relu.pt", "--json", "--metrics", metrics, "--split", split))["splits"]
    assert found.keys() == {split}
    assert found[split].keys() == names


def test_samples_are_stratified(analyze):
    found = document(analyze("relu.pt", "--json", "--metrics", "loss", "--samples", "500"))
    assert found["objective"]["num_examples"] == {"train": 500, "test": 360}  # no more than there are
    whole = load_checkpoint("relu.pt").metrics[-1]
    assert found["splits"]["train"]["loss"]["value"] != pytest.approx(whole["train_loss"], rel=1e-6)
    assert found["splits"]["test"]["loss"]["value"] == pytest.approx(whole["test_loss"], rel=1e-6)


def test_float64_measures_the_same_weights_in_more_digits(analyze):
    short, long = (
        document(analyze("relu.pt", "--json", "--metrics", "loss", "--split", "test", *dtype))
        for dtype in ((), ("--dtype", "float64"))
    )
    assert (short["objective"]["dtype"], long["objective"]["dtype"]) == ("float32", "float64")
    loss, exact = (found["splits"]["test"]["loss"]["value"] for found in (short, long))
    assert 0 < abs(loss - exact) < 1e-6


def test_layers_share_the_trace_out_among_themselves(analyze):
    found = [
        document(analyze("relu.pt", "--json", "--metrics", "trace", "--split", "test", "--layers", glob))
        for glob in ("*", "linear1*", "linear2.weight,linear2.bias")
    ]
    assert [one["objective"]["num_params"] for one in found] == [1210, 1040, 170]
    whole, *parts = (one["splits"]["test"]["trace"]["value"] for one in found)
    assert sum(parts) == pytest.approx(whole, rel=1e-5)


def test_an_accuracy_that_was_not_reached_is_exit_code_4_and_said_with_its_reason(analyze):
    short = ("tanh.pt", "--metrics", "loss,trace", "--split", "test", "--num-probes", "4")
    done = analyze(*short)
    assert (done.returncode, done.stderr) == (4, "")
    (row,) = (line for line in done.stdout.splitlines() if line.startswith("trace "))
    assert " * " in row
    measured = document(analyze(*short, "--json"), code=4)["splits"]["test"]
    assert measured["loss"]["converged"]
    assert not measured["trace"]["converged"]
    assert f"* test trace: {measured['trace']['reason']}" in " ".join(done.stdout.split())
    assert document(analyze(*short, "--json", "--rel-error", "100"))["splits"]["test"]["trace"]["converged"]


def test_dry_run_says_what_it_would_cost_and_writes_nothing(analyze, tmp_path):
    done = analyze("relu.pt", "--dry-run", "--metrics", "loss,lambda_max", "--out", tmp_path / "out")
    assert (done.returncode, done.stderr) == (0, "")
    assert list(tmp_path.iterdir()) == []
    words = " ".join(done.stdout.split())
    for split, num_examples in (("train", "1,437"), ("test", "360")):
        assert f"relu.pt, {split}: 1,210 parameters, {num_examples} examples; one product " in words
    assert words.count("products gradients seconds MiB") == 2
    assert "lambda_max 4 to 1,000" in words
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_dry_run_of_two_is_one_json_document_too(analyze):
    found = document(analyze("relu.pt", "tanh.pt", "--dry-run", "--metrics", "trace", "--json", "--split", "test"))
    assert [one["checkpoint"]["path"] for one in found] == ["relu.pt", "tanh.pt"]
    for one in found:
        cost = one["dry_run"]["test"]
        assert (cost["num_params"], cost["num_examples"]) == (1210, 360)
        assert cost["seconds_per_product"] > 0
        assert cost["metrics"]["total"].keys() == {"products", "gradients", "seconds", "mib"}


def test_weights_alone_need_the_names_of_model_and_data(analyze, tmp_path):
    recipe = Recipe(model="cnn", epochs=6)  # after which its batch statistics are not stale
    ours = train(recipe, tmp_path / "ours")
    torch.save(load_checkpoint(ours).state["model"], tmp_path / "weights.pt")
    arguments = ("--metrics", "loss", "--json")
    found = document(analyze(tmp_path / "weights.pt", "--model", "cnn", "--data", "digits", *arguments))
    assert values(found) == values(document(analyze(ours, *arguments)))
    assert (found["checkpoint"]["epoch"], found["checkpoint"]["step"]) == (None, None)


def test_a_problem_of_somebody_else(analyze, tmp_path):
    (tmp_path / "theirs.py").write_text(THEIRS)
    torch.save({"state_dict": {"module.weight": torch.tensor([[2.0, -1.0]])}}, tmp_path / "theirs.pt")
    done = analyze(tmp_path / "theirs.pt", "--problem", f"{tmp_path / 'theirs.py'}:problem", "--json")
    found = document(done)["splits"]
    inputs = np.arange(12.0).reshape(6, 2) / 10
    hessian = 2 / 6 * inputs.T @ inputs
    assert list(found) == ["validation"]
    assert {name: m["value"] for name, m in found["validation"].items()} == pytest.approx(
        {
            "loss": ((inputs @ [2, -1]) ** 2).mean(),
            "gradient_norm": np.linalg.norm(hessian @ [2, -1]),
            "trace": np.trace(hessian),
            "lambda_max": np.linalg.eigvalsh(hessian)[-1],
            "normalized_trace": np.trace(hessian) / np.linalg.norm(hessian @ [2, -1]),
        },
        rel=1e-5,
    )


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (("--split", "validation"), 2, "There is no split 'validation'. Expected one of: train, test."),
        (("--metrics", "sharpness"), 2, "Unknown metric 'sharpness'. Expected default, all, or some of: "),
        (("--dtype", "float16"), 2, "--dtype float16 is not supported. Expected float32 or float64."),
        (("--device", "cuda:99"), 2, "--device cuda:99 is not to be found. Expected one of: cpu"),
        (("--layers", "conv*"), 2, "No parameter matches 'conv*'. The trainable ones are: linear1.weight, "),
        (("--samples", "0"), 2, "num_examples=0 is out of range. "),
        (("--rel-error", "0"), 2, "rel_error=0. Expected a positive number."),
        (("--model", "mpl"), 2, "model 'mpl' is unknown. Expected one of: mlp, cnn"),
        (("--data", "digit"), 2, "data 'digit' is unknown. Expected one of: digits"),
        (("--problem", "theirs.py"), 2, "--problem theirs.py is not of the form FILE.py:FUNCTION."),
        (("--problem", "theirs.py:nowhere"), 3, "theirs.py: defines no function nowhere()."),
        (("--problem", "theirs.py:nothing"), 3, "theirs.py:nothing() returned NoneType. Expected (model, loss, "),
        (
            ("--problem", "theirs.py:problem"),
            3,
            "relu.pt: does not fit Linear: weight is (16, 64), expected (1, 2); unexpected: ",
        ),
        (("--problem", "missing.py:problem"), 3, "missing.py: no such file."),
    ],
)
def test_wrong_flags_are_refused_in_one_line_and_nothing_is_written(analyze, folder, tmp_path, flags, code, message):
    (folder / "theirs.py").write_text(THEIRS)
    done = analyze("relu.pt", *flags, "--out", tmp_path / "out")
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith(f"landscape: error: {message}")
    assert done.stderr.count("\n") == 1
    assert not any((tmp_path / "out").rglob("*"))
