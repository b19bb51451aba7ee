"""Damaged and hostile files: one line that names the file; never a traceback, wrong weights, or code that ran."""

import os
import pickle
import zipfile
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from landscape.checkpoint import CheckpointError, load_checkpoint

WEIGHTS = {"w": torch.arange(40.0), "b": torch.tensor([1, 2, 3])}


class Hostile:
    """Makes a directory when it is unpickled without care."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def refusal(path):
    with pytest.raises(CheckpointError) as raised:
        load_checkpoint(path)
    message = str(raised.value)
    assert message.startswith(f"{path}: ")
    assert message.endswith(".")
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


def flips(raw, bits):
    for bit in bits:
        flipped = bytearray(raw)
        flipped[bit // 8] ^= 1 << bit % 8
        yield bytes(flipped)


def load_flipped(path, raw, bits):
    """What each of the files that differ from `raw` in one bit is read as: a checkpoint, or None if it is refused."""
    for bit in bits:
        flipped = bytearray(raw)
        flipped[bit // 8] ^= 1 << bit % 8
        path.unlink(missing_ok=True)  # never in place: an earlier one may still be mapped
        path.write_bytes(flipped)
        try:
            yield load_checkpoint(path)
        except CheckpointError:
            yield None


def test_flipped_bits_of_a_zip_are_seen_or_harmless(save, model, tmp_path):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    path = save(tmp_path / "last.pt", optimizer=optimizer)
    whole, raw = load_checkpoint(path), path.read_bytes()
    directory, end = 8 * raw.index(b"PK\x01\x02"), 8 * len(raw)
    # In turn: a local header, the end of the archive, its directory; pickle, numbers and all else.
    bits = [*range(0, 400, 3), *range(end - 350, end), *range(directory, end, 23), *range(0, directory, 97)]
    num_harmless = 0
    for checkpoint in load_flipped(tmp_path / "flipped.pt", raw, bits):
        if checkpoint is None:
            continue
        num_harmless += 1
        assert (checkpoint.format, checkpoint.model, checkpoint.recipe) == (whole.format, whole.model, whole.recipe)
        assert checkpoint.state["optimizer"] == whole.state["optimizer"]
        assert list(checkpoint.state["model"]) == list(whole.state["model"])
        for name, value in whole.state["model"].items():
            assert torch.equal(checkpoint.state["model"][name], value)
    assert 0 < num_harmless < len(bits) / 2  # padding, timestamps


def test_flipped_bits_where_there_are_no_checksums_never_crash(tmp_path):
    torch.save(WEIGHTS, tmp_path / "legacy.pt", _use_new_zipfile_serialization=False)
    safetensors.torch.save_file(WEIGHTS, tmp_path / "w.safetensors")
    for path in (tmp_path / "legacy.pt", tmp_path / "w.safetensors"):
        raw = path.read_bytes()
        assert None in load_flipped(path, raw, range(0, 8 * len(raw), 11))


@pytest.mark.parametrize("kind", ["zip.pt", "legacy.pt", "w.safetensors"])
def test_truncated_anywhere(tmp_path, kind):
    path = tmp_path / kind
    if kind == "w.safetensors":
        safetensors.torch.save_file(WEIGHTS, path)
    else:
        torch.save(WEIGHTS, path, _use_new_zipfile_serialization=kind == "zip.pt")
    raw = path.read_bytes()
    for size in [*range(1, len(raw) - 1, 37), len(raw) - 1]:
        path.write_bytes(raw[:size])
        assert refusal(path)
    path.write_bytes(b"")
    assert refusal(path) == "is empty. Copy it again, or use an earlier checkpoint."


def test_damage_is_named(tmp_path):
    path = tmp_path / "w.pt"
    torch.save(WEIGHTS, path)
    raw = path.read_bytes()
    path.write_bytes(raw[:-50])
    assert refusal(path) == "is truncated or damaged. Copy or download it again."
    path.write_bytes(raw[:-48] + bytes([raw[-48] ^ 1]) + raw[-47:])  # the directory lies before the file
    assert refusal(path) == "is truncated or damaged. Copy or download it again."
    path.write_bytes(raw.replace(torch.arange(40.0).numpy().tobytes(), torch.ones(40).numpy().tobytes()))
    assert refusal(path) == "is damaged: w/data/0 fails its checksum. Copy or download it again."


@pytest.mark.parametrize(
    "raw",
    [b"epoch,loss\n1,0.5\n", b"\x00" * 5000, b"\x80", b"\x80\x02}q\x00.", b"PK", bytes(range(256)), b"\x89HDF\r\n"],
)
def test_other_files(tmp_path, raw):
    expected = "is no checkpoint, or a damaged one. Expected a file of torch.save or a .safetensors file."
    (tmp_path / "w.pt").write_bytes(raw)
    assert refusal(tmp_path / "w.pt") == expected
    (tmp_path / "w.safetensors").write_bytes(raw)  # of which the name's ending says nothing
    assert refusal(tmp_path / "w.safetensors") == expected


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"a.txt": b"hello"}, "is a zip archive but no checkpoint. Expected a file of torch.save."),
        (
            {"m/data.pkl": b"", "m/constants.pkl": b""},
            "is a TorchScript program. Save its state_dict() with torch.save.",
        ),
        ({"m/data.pkl": b"junk", "m/version": b"3"}, "is no checkpoint, or a damaged one. Expected a file of "),
        (
            {"m/data.pkl": b"\x80\x02}.", "n/data.pkl": b"\x80\x02}."},
            "is no checkpoint, or a damaged one. Expected a file",
        ),
        ({"m/data.pkl": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)R.", "m/version": b"3"}, "is no checkpoint, or "),
    ],
)
def test_other_zips(tmp_path, entries, message):
    with zipfile.ZipFile(tmp_path / "w.pt", "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    assert refusal(tmp_path / "w.pt").startswith(message)


def write_zip(content, path):
    torch.save(content, path)


def write_zip_of_protocol_4(content, path):
    torch.save(content, path, pickle_protocol=4)


def write_legacy(content, path):
    torch.save(content, path, _use_new_zipfile_serialization=False)


def write_legacy_of_protocol_4(content, path):
    torch.save(content, path, pickle_protocol=4, _use_new_zipfile_serialization=False)


def write_pickle(content, path):
    path.write_bytes(pickle.dumps({"model": content}))


def write_pickle_of_protocol_0(content, path):
    path.write_bytes(pickle.dumps(content, protocol=0))


@pytest.mark.parametrize(
    "write",
    [
        write_zip,
        write_zip_of_protocol_4,
        write_legacy,
        write_legacy_of_protocol_4,
        write_pickle,
        write_pickle_of_protocol_0,
    ],
)
def test_code_is_refused_named_and_not_run(tmp_path, write):
    path, made = tmp_path / "w.pt", tmp_path / "made"
    write({"lr": 0.1, "again": [Hostile(made), Hostile(made)][:1], "fine": {"a": 1}}, path)
    assert refusal(path) == (
        f"is refused: reading it would run {os.mkdir.__module__}.mkdir. "
        "If you trust it, load it where it was made and save model.state_dict() alone, or read it with "
        "--trust-checkpoint."
    )
    assert not made.exists()
    if write is write_zip:  # the file is as hostile as it claims
        torch.load(path, weights_only=False)
        assert made.exists()


def test_several_offenders_are_all_named_and_the_weights_beside_them_read(tmp_path):
    torch.save({"model": nn.Sequential(nn.Linear(1, 1)), "out": Path("runs"), "state_dict": WEIGHTS}, tmp_path / "w.pt")
    checkpoint = load_checkpoint(tmp_path / "w.pt")
    assert set(checkpoint.left_out) == {
        "pathlib.PosixPath",
        "torch.nn.modules.container.Sequential",
        "torch.nn.modules.linear.Linear",
    }
    assert torch.equal(checkpoint.state["model"]["w"], WEIGHTS["w"])


def test_a_name_that_would_break_the_message_does_not(tmp_path):
    strings = b"".join(b"\x8c" + bytes([len(text)]) + text for text in (b"os\nevil\x1b[31m", b"run\x00 me"))
    (tmp_path / "w.pt").write_bytes(b"\x80\x04" + strings + b"\x93.")
    assert refusal(tmp_path / "w.pt").startswith(r"is refused: reading it would run os\nevil\x1b[31m.run\x00 me. ")
