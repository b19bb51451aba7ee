"""Files that are refused, and weights that are not finite: one line that names the file and the remedy, or marks."""

import io
import json
import os
import pickle
import zipfile

import pytest
import torch

from landscape import load_checkpoint
from landscape.training import Recipe, train

from .command import here, landscape

WEIGHTS = {"linear1.weight": torch.ones(16, 64), "linear1.bias": torch.ones(16)}


class RunsCode:
    """A pickle of it makes the file ``pwned`` where it is read."""

    def __reduce__(self):
        return os.mkdir, ("pwned",)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A checkpoint of ours, as bytes."""
    out = tmp_path_factory.mktemp("whole")
    return train(Recipe(model_args={"hidden": (16,)}, epochs=1), out).read_bytes()


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """``landscape ARGUMENTS`` in this process and an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: here(monkeypatch, capsys, *arguments)


def bit_flipped(whole):
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 16
    return bytes(damaged)


def zipped(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "no checkpoint")


MAKERS = {
    "missing": lambda path, whole: None,
    "directory": lambda path, whole: path.mkdir(),
    "empty": lambda path, whole: path.write_bytes(b""),
    "truncated": lambda path, whole: path.write_bytes(whole[: len(whole) // 2]),
    "bit-flipped": lambda path, whole: path.write_bytes(bit_flipped(whole)),
    "text": lambda path, whole: path.write_text("epoch,loss\n1,0.5\n"),
    "zip": lambda path, whole: zipped(path),
    "code": lambda path, whole: torch.save({"model": RunsCode(), "hook": [WEIGHTS]}, path),
    "pickled code": lambda path, whole: path.write_bytes(pickle.dumps(RunsCode())),
    "no weights": lambda path, whole: torch.save({"epoch": 3}, path),
    "only weights": lambda path, whole: torch.save(WEIGHTS, path),
}
REFUSALS = [
    ("missing", "cannot be read: No such file or directory. Check the path"),
    ("directory", "is a folder without weights. Expected model.safetensors, pytorch_model.bin, an index of shards"),
    ("empty", "is empty. Copy it again"),
    ("truncated", "is truncated or damaged. Copy or download it again."),
    ("bit-flipped", "fails its checksum. Copy or download it again."),
    ("text", "is no checkpoint, or a damaged one. Expected a file of torch.save or a .safetensors file."),
    ("zip", "is a zip archive but no checkpoint. Expected a file of torch.save."),
    ("code", "is refused: reading it would run posix.mkdir. If you trust it, load it where it was made"),
    ("pickled code", "is refused: reading it would run posix.mkdir. If you trust it, load it where it was made"),
    ("no weights", "holds no state dict; its top-level keys: epoch. Expected tensors by name"),
]


@pytest.mark.parametrize("command", ["analyze", "inspect"])
@pytest.mark.parametrize(("kind", "message"), REFUSALS, ids=[kind for kind, _ in REFUSALS])
def test_a_bad_file_is_one_line_and_exit_code_3(run, tmp_path, whole, command, kind, message):
    MAKERS[kind](tmp_path / "bad.pt", whole)
    done = run(command, "bad.pt", *(["--json", "--out", "results"] if command == "analyze" else []))
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("landscape: error: bad.pt: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} <= {"bad.pt"}  # nothing written, and nothing run


def test_code_in_a_pickle_runs_where_it_is_not_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(RunsCode()))
    assert (tmp_path / "pwned").exists()


def test_weights_alone_ask_for_their_model_and_data(run, tmp_path):
    torch.save(WEIGHTS, tmp_path / "bad.pt")
    done = run("analyze", "bad.pt")
    assert done.returncode == 3
    assert done.stderr.endswith("Give --model NAME --data NAME, or --problem FILE.py:FUNCTION.\n")


def test_another_architecture_is_told_by_its_first_names_and_shapes(run, tmp_path):
    torch.save(WEIGHTS, tmp_path / "bad.pt")
    done = run("analyze", "bad.pt", "--model", "mlp", "--data", "digits", "--out", "results")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == (
        "landscape: error: bad.pt: does not fit Sequential: linear1.weight is (16, 64), expected (64, 64), "
        "linear1.bias is (16,), expected (64,); missing: linear2.weight (32, 64), linear2.bias (32,), "
        "linear3.weight (10, 32) and 1 more. "
        "Pass the model it was trained with.\n"
    )
    assert {path.name for path in tmp_path.iterdir()} == {"bad.pt"}


def test_one_bad_file_among_good_ones_is_told_before_anything_is_measured(run, tmp_path, whole):
    (tmp_path / "good.pt").write_bytes(whole)
    (tmp_path / "bad.pt").write_bytes(whole[:1000])
    done = run("analyze", "good.pt", "bad.pt", "--out", "results")
    assert (done.returncode, done.stdout) == (3, "")
    assert {path.name for path in tmp_path.iterdir()} == {"good.pt", "bad.pt"}


def test_a_run_whose_checkpoint_is_damaged_is_not_resumed(run, tmp_path, whole):
    (tmp_path / "last.pt").write_bytes(whole[:1000])
    done = run("train", "--out", ".", "--resume")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == "landscape: error: last.pt: is truncated or damaged. Copy or download it again.\n"
    assert (tmp_path / "last.pt").read_bytes() == whole[:1000]


def test_in_a_process_of_its_own_and_with_the_traceback_where_it_is_asked_for(run, tmp_path):
    (tmp_path / "bad.pt").write_text("text")
    short, full = landscape("analyze", "bad.pt", cwd=tmp_path), run("analyze", "bad.pt", "--traceback")
    assert (short.returncode, full.returncode) == (3, 3)
    assert (short.stdout, full.stdout) == ("", "")
    assert short.stderr.count("\n") == 1
    assert full.stderr.startswith("Traceback (most recent call last):")
    assert full.stderr.endswith(short.stderr)


@pytest.fixture
def not_finite(tmp_path, whole):
    (tmp_path / "whole.pt").write_bytes(whole)
    content = torch.load(tmp_path / "whole.pt", weights_only=True)
    content["state"]["model"]["linear2.bias"][3] = torch.nan
    torch.save(content, tmp_path / "nan.pt")
    return tmp_path / "nan.pt"


def test_weights_that_are_not_finite_are_marked_and_do_not_crash(run, not_finite):
    done = run("analyze", "nan.pt")
    assert (done.returncode, done.stderr) == (4, "")
    rows = done.stdout.splitlines()[3:9]
    assert all("not finite *" in row for row in rows)
    assert "The loss is nan, first at batch 0" in " ".join(done.stdout.split())


def test_in_json_they_are_null_and_say_why(run, not_finite):
    done = run("analyze", "nan.pt", "--json", "--out", "results")
    assert done.returncode == 4
    found = json.loads(done.stdout, parse_constant=pytest.fail)
    for measured in found["splits"].values():
        assert len(measured) == 6
        for m in measured.values():
            assert (m["value"], m["converged"]) == (None, False)
            assert m["reason"].startswith("The loss is nan, first at batch 0")
    written = json.loads((not_finite.parent / "results" / "analysis.json").read_text())
    assert {key: value for key, value in written.items() if key != "arrays"} == found


def test_inspect_counts_them(run, not_finite):
    done = run("inspect", "nan.pt")
    (row,) = (line for line in done.stdout.splitlines() if line.startswith("linear2.bias "))
    assert row.split()[-2:] == ["1", "nan"]
    assert load_checkpoint(not_finite).epoch == 1


@pytest.mark.parametrize("kind", ["random", "eigen", "gradient"])
def test_a_surface_around_them_says_what_analyze_says(run, not_finite, tmp_path, kind):
    why = json.loads(run("analyze", "nan.pt", "--json", "--metrics", "loss").stdout)["splits"]["train"]["loss"][
        "reason"
    ]
    done = run("surface", "nan.pt", "--grid", "3", "--directions", kind, "--out", "surface")
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr == f"landscape: error: nan.pt: {why}\n"
    assert not (tmp_path / "surface").exists()


def test_a_surface_whose_loss_is_infinite_in_the_middle_is_marked(run, tmp_path, whole):
    content = torch.load(io.BytesIO(whole), weights_only=True)
    content["state"]["model"]["linear2.weight"][0] = 3e38
    torch.save(content, tmp_path / "huge.pt")
    assert run("analyze", "huge.pt", "--metrics", "loss").returncode == 4
    done = run("surface", "huge.pt", "--grid", "3", "--split", "train", "--json")
    assert done.returncode == 4
    (surface,) = json.loads(done.stdout, parse_constant=pytest.fail)["surfaces"]
    assert surface["details"]["checks"]["centre"]["reason"].startswith("The loss is ")
