"""No files, files that unpack to far more than they are, and those that say what cannot be, are refused by name."""

import io
import json
import os
import socket
import struct
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from landscape.checkpoint import CheckpointError, load_checkpoint
from landscape.data import load_data
from landscape.forms import NUMBER, Maybe, misfit
from landscape.readers import parse_json, read_arrays, read_lines
from landscape.reading import FileError
from landscape.results import load_surfaces
from landscape.results.export import read_h5
from landscape.surface.points import FinishedRows
from tests.cli.command import here

from .readers import READERS, RECIPE, run

MIB = 2**20


@pytest.fixture(autouse=True)
def at_once():
    """Nothing here takes a second of the processor."""
    before = time.process_time()
    yield
    assert time.process_time() - before < 5


@pytest.mark.parametrize("kind", ["pipe", "device", "socket", "folder"])
@pytest.mark.parametrize("name", [name for name in READERS if ", " not in name])
def test_what_is_no_file_is_refused_at_once(name, kind, tmp_path, monkeypatch):
    path = READERS[name].write(tmp_path)
    path.unlink()
    monkeypatch.chdir(path.parent)  # names of sockets are short
    match kind:
        case "pipe":
            os.mkfifo(path.name)
        case "device":
            path.symlink_to("/dev/zero")
        case "socket":
            with socket.socket(socket.AF_UNIX) as listening:
                listening.bind(path.name)
        case "folder":
            path.mkdir()
    with pytest.raises(FileError) as refused:
        READERS[name].read(path)
    assert str(refused.value).isprintable()


def packed(folder: Path, num_bytes: int, **entries: bytes) -> Path:
    """An archive with an array of so many zeros, of a thousandth of the bytes."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (num_bytes,)})
    with zipfile.ZipFile(folder / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("x.npy", "w") as member:
            member.write(file.getvalue())
            for _ in range(num_bytes // MIB):
                member.write(bytes(MIB))
        for name, content in entries.items():
            archive.writestr(f"{name}.npy", content)
    return folder / "bomb.npz"


def test_an_archive_is_unpacked_as_far_as_is_asked_for_and_in_proportion(tmp_path):
    np.save(small := io.BytesIO(), np.arange(3))
    path = packed(tmp_path, 160 * MIB, y=small.getvalue())
    with pytest.raises(
        FileError, match=r"bomb\.npz: .* would be unpacked to 167,772,\d\d\d bytes, of 16\d,\d\d\d: expected"
    ):
        read_arrays(path)
    assert read_arrays(path, ["y"])["y"].tolist() == [0, 1, 2]  # what is not asked for is not unpacked
    path = packed(tmp_path, 100 * MIB)  # zeros are no fault
    assert read_arrays(path)["x"].shape == (100 * MIB,)


def test_a_packed_checkpoint_is_unpacked_in_proportion(tmp_path):
    path = packed(tmp_path, 160 * MIB, data=b"")
    with pytest.raises(CheckpointError, match=r"would be unpacked to"):
        load_checkpoint(path.rename(tmp_path / "w.pt"))


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 100_000, "[" * 200 + "]" * 200, '{"a": 1, "a": 2}', "9" * 5000]
)
def test_json_beyond_its_limits_is_refused(text):
    with pytest.raises(ValueError, match=r"deep|twice|digits"):
        parse_json(text)


def test_json_of_more_bytes_than_any_of_ours_is_not_read(tmp_path):
    for name in ("surface.json", "rows.jsonl"):
        with (tmp_path / name).open("wb") as file:
            file.truncate(10 * 2**30)  # of no blocks
    with pytest.raises(FileError, match=r"surface\.json: has more than 64 MiB"):
        load_surfaces(tmp_path)
    with pytest.raises(FileError, match=r"rows\.jsonl: line 1 is not valid JSON"):
        read_lines(tmp_path / "rows.jsonl")


def test_an_h5_file_is_read_as_far_as_it_is_there(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "far.h5", "w") as file:
        file["xcoordinates"] = np.arange(3.0)
        file["train_loss"] = h5py.ExternalLink("other.h5", "loss")
    with pytest.raises(FileError, match=r"far\.h5: holds train_loss, xcoordinates"):
        read_h5(tmp_path / "far.h5")
    with h5py.File(tmp_path / "huge.h5", "w") as file:
        file["xcoordinates"] = np.arange(3.0)
        file.create_dataset("train_loss", (10**6, 10**6), "f4", chunks=(10, 10))  # none of which is written
    with pytest.raises(FileError, match=r"huge\.h5: .* would be unpacked to 4,000,000,000,000 bytes"):
        read_h5(tmp_path / "huge.h5")


def test_words_of_a_misfit_say_where():
    assert (
        misfit({"a": {"b": [1, None, "x"]}}, {"a": {"b": [Maybe(NUMBER)]}}) == "a.b.2 is 'x', expected a finite number"
    )
    assert misfit({"a": True}, {"a": NUMBER}) == "a is True, expected a finite number"


def edited(folder: Path, **changes: object) -> Path:
    """The checkpoint of a run of ours, with some of what it says changed, by dotted names with two underscores."""
    content = torch.load(run() / "last.pt", weights_only=True)
    for name, value in changes.items():
        *path, last = name.split("__")
        node = content
        for key in path:
            node = node[int(key)] if isinstance(node, list) else node[key]
        key = int(last) if isinstance(node, list) else last
        if value is None:
            del node[key]
        else:
            node[key] = value
    torch.save(content, folder / "last.pt")
    return folder / "last.pt"


HUGE = torch.zeros(1).expand(10**6, 10**6)
HALF = {"epoch": 1, "step": 2, "metrics__1": None}  # of two epochs
WRONG = [
    ({"epoch": 7}, "epoch is 7, of 2 in its recipe"),
    ({"epoch": -1}, "epoch is -1, expected a whole number"),
    ({"step": 99_999}, "is of step 99999, and its recipe makes 4 on 40 examples"),
    ({"recipe__lr": "fast"}, "recipe.lr is 'fast', expected a number above 0"),
    ({"recipe__epochs": "2"}, "recipe.epochs is '2', expected a whole number"),
    ({"state__rng__torch": None}, "state.rng.torch is missing"),
    ({**HALF, "state__optimizer__base__param_groups__0__lr": "x"}, "the optimizer's lr is 'x'"),
    ({**HALF, "state__rng__numpy__state__pos": 10**6}, "state.rng.numpy.state.pos is 1000000"),
    ({**HALF, "step": 1}, "is of epoch 1 and step 1, at 2 steps an epoch"),
    ({"metrics": [1, 2]}, "metrics.0 is 1, expected an object"),
    ({"metrics__0__seconds": "x"}, "metrics.0.seconds is 'x'"),
    ({"model__name": "mlq"}, "model 'mlq' is unknown"),
    ({"model__args__hidden": (5000, 5000)}, "it has many more parameters than the file"),
    ({"data__name": "digitz"}, "describes data that cannot be loaded: data 'digitz' is unknown"),
    ({"data__args__num_train": "x"}, "describes data that cannot be loaded: "),
    ({"loss__name": "mse3"}, "describes a loss that there is not: loss 'mse3' is unknown"),
    ({"state__model__linear1.bias": HUGE}, "would be unpacked to 4,000,000,000,000 bytes"),
    ({"state__model__linear1.bias": torch.empty(3, device="meta")}, "a tensor on meta, without its numbers"),
]


@pytest.mark.parametrize(("changes", "words"), WRONG, ids=[list(changes)[-1] for changes, _ in WRONG])
def test_a_checkpoint_of_ours_that_is_wrong_inside_is_refused_before_anything_is_measured(
    monkeypatch, capsys, tmp_path, changes, words
):
    path = edited(tmp_path, **changes)
    assert path.stat().st_size < 30_000
    command = (
        ["train", "--out", tmp_path, "--resume"]
        if "metrics__1" in changes
        else ["analyze", path, "--out", tmp_path / "new"]
    )
    done = here(monkeypatch, capsys, *command)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith(f"landscape: error: {path}: ")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert os.listdir(tmp_path) == ["last.pt"]


def test_what_is_right_goes_on_as_before(tmp_path):
    whole = load_checkpoint(edited(tmp_path))
    assert (whole.epoch, whole.step) == (2, 4)
    own = {"recipe": {"lr": [0.1, 0.2], "epochs": "many"}, "state__rng": {"loader": torch.zeros(2)}, "step": 10**6}
    assert load_checkpoint(edited(tmp_path, **own)).recipe["lr"] == [0.1, 0.2]  # a loop of one's own means what it says


def test_a_damaged_row_is_left_out_and_others_are_kept(tmp_path):
    rows = FinishedRows(tmp_path, "key")
    for row in range(3):
        rows.add("train", row, np.array([1.25, row]), None)
    lines = rows.path.read_bytes().splitlines(keepends=True)
    old = json.dumps(json.loads(lines[0])[:4]).encode() + b"\n"  # of a version without hashes
    for damaged in (lines[1].replace(b"1.25", b"1.35"), b'["train", 1, "x", null]\n', b"[1]\n", b"{\n", b"\xff\n"):
        rows.path.write_bytes(old + damaged + lines[2])
        assert [row for _, row in FinishedRows(tmp_path, "key").finished] == [0, 2]


def test_a_memo_that_nothing_fills_is_not_made(tmp_path):
    path = READERS["cifar pickle"].write(tmp_path)
    path.write_bytes(b"\x80\x02}r" + struct.pack("<I", 2**31 - 2) + b"." + b" " * 100)
    with pytest.raises(FileError, match="its memo has places that nothing fills"):
        load_data("cifar10", path=tmp_path)


COMMANDS = {
    "analysis.json": ["compare", ".", "."],
    "track.jsonl": ["figures", "track.jsonl", "--out", "figures"],
    "surface.npz": ["figures", ".", "--out", "figures"],
    "r.toml": ["train", "--recipe", "r.toml", "--out", "new"],
    "p.py": ["analyze", "last.pt", "--problem", "p.py:load"],
    "s.py": ["reproduce", "s.py"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_exits_with_3_and_one_line(monkeypatch, capsys, tmp_path, name):
    monkeypatch.chdir(tmp_path)
    for one in ("analysis.json", "arrays.npz", "surface.json", "surface.npz", "track.jsonl", "last.pt"):
        Path(one).write_bytes((run() / one).read_bytes())
    Path(name).write_bytes(b'{"schema": [[1}\n')
    done = here(monkeypatch, capsys, *COMMANDS[name])
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith(f"landscape: error: {name}: ")
    assert done.stderr.count("\n") == 1
    assert RECIPE.epochs == 2
    assert not {"new", "figures", "reproduced"} & set(os.listdir())
