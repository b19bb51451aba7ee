from pathlib import Path

import pytest

from landscape.data import DATA, DataError, load_data
from landscape.data.places import places, reading


def test_a_path_is_looked_at_as_it_is_and_then_under_the_root(monkeypatch):
    monkeypatch.delenv("LANDSCAPE_DATA", raising=False)
    assert places("set", "here") == [Path("here")]
    monkeypatch.setenv("LANDSCAPE_DATA", "/root")
    assert places("set", "here") == [Path("here"), Path("/root/here")]
    assert places("set", "/here") == [Path("/here")]
    assert places("set", "~/here") == [Path.home() / "here"]
    assert places("set", None, ["Set-1.0"]) == [Path("/root/set"), Path("/root/Set-1.0")]


@pytest.mark.parametrize("root", [None, ""])
def test_without_path_and_root_it_says_how_to_give_them(monkeypatch, root):
    monkeypatch.delenv("LANDSCAPE_DATA", raising=False)
    if root is not None:
        monkeypatch.setenv("LANDSCAPE_DATA", root)
    with pytest.raises(DataError, match=r"^cifar10: .* cifar10:PATH .* LANDSCAPE_DATA .* cifar-10-batches-py\.$"):
        load_data("cifar10")


@pytest.mark.parametrize("name", [name for name in DATA if name != "digits"])
def test_what_is_missing_is_named_in_one_line_and_nothing_is_fetched(monkeypatch, tmp_path, name):
    monkeypatch.setenv("LANDSCAPE_DATA", str(tmp_path / "root"))
    args = {"corruption": "fog", "severity": 1} if name.endswith("-c") else {}
    with pytest.raises(DataError) as caught:
        load_data(f"{name}:mine", **args)
    message = str(caught.value)
    assert message.startswith(f"{name}: not found in mine or {tmp_path / 'root' / 'mine'}. Expected ")
    assert "\n" not in message


def test_the_part_behind_the_colon_is_the_path(monkeypatch):
    monkeypatch.delenv("LANDSCAPE_DATA", raising=False)
    with pytest.raises(DataError, match=r"not found in a:b\."):
        load_data("npz:a:b")
    with pytest.raises(DataError, match=r"not found in b\."):
        load_data("npz:a", path="b")
    with pytest.raises(ValueError, match="data 'digits' does not take 'path'"):
        load_data("digits:a")
    with pytest.raises(ValueError, match="data 'nothing' is unknown"):
        load_data("nothing:a")


def test_arguments_that_are_needed_are_asked_for():
    with pytest.raises(
        ValueError, match=r"data 'cifar10-c' needs corruption, severity\. Expected arguments: corruption, "
    ):
        load_data("cifar10-c:a")


def test_errors_of_reading_name_the_file_in_one_line():
    def read(error):
        with reading(Path("file"), "Copy it."):
            raise error

    with pytest.raises(DataError, match=r"^file: is missing\. Copy it\.$"):
        read(FileNotFoundError(2, "no"))
    with pytest.raises(DataError, match=r"^file: is damaged, or is not what its name says \(a b\)\. Copy it\.$"):
        read(ValueError("a\n  b"))
    with pytest.raises(DataError, match=r"\(EOFError\)"):
        read(EOFError())
    with pytest.raises(DataError, match=r"^as it was$"):
        read(DataError("as it was"))
    with pytest.raises(DataError, match=r"is not what its name says \('data'\)"):  # whatever readers raise on damage
        read(KeyError("data"))
