"""A JSON file and its arrays are of one writing, or are refused: wherever a writer was stopped between its renames."""

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from landscape.figures import load_runs
from landscape.figures.page import write_page
from landscape.files import write_document
from landscape.readers import read_arrays, read_document
from landscape.results import Analysis, Measurement, Plane, load_surfaces, save_surfaces
from landscape.results.export import export

X = np.array([-1.0, 0.0, 1.0])


class Stopped(BaseException):
    """As a kill, between two steps of a writer."""


def analysis(which: int) -> Analysis:
    m = Measurement("trace", float(which), details={"samples": np.full(3, float(which))})
    return Analysis({"train": {"trace": m}}, checkpoint={"path": f"{which}.pt", "sha256": f"{which}" * 64})


def plane(which: int) -> Plane:
    details = {"checkpoint": {"sha256": f"{which}" * 64}}
    return Plane(X, X, which + (X[:, None] ** 2 + X**2) / 4, None, "train", details)


def write_both(folder: Path, which: int) -> None:
    """What ``analyze`` and ``surface`` write, one after the other."""
    analysis(which).save(folder)
    write_page(folder)
    save_surfaces(folder, [plane(which)])
    for name in ("csv", "vts"):
        export(plane(which), folder / f"surface.{name}")
    write_page(folder)


def told(folder: Path) -> dict[str, object]:
    """Of which writing each file is; None where it is refused or not there."""
    found: dict[str, object] = {}
    for name, command, read in (("analysis", "analyze", Analysis.load), ("surface", "surface", load_surfaces)):
        refused = refusal(read, folder)
        found[name] = None if refused else sha256_in(folder / f"{name}.json")
        if refused:
            again = rf"Measure again: landscape {command} CKPT --out .*{folder.name}\."
            assert re.fullmatch(rf".*\.npz: does not belong to the document beside it: .* {again}", refused)
            assert refusal(lambda folder: load_runs([folder]), folder)
    found["report"] = which(folder / "report.html", r"<code[^>]*>(\d)\1{63}</code>")
    found["csv"] = which(folder / "surface.csv", r"-1.0,-1.0,(\d)\.5")
    found["vts"] = which(folder / "surface.vts", r">\n(\d)\.5\n")
    return found


def refusal(read: Callable[[Path], object], folder: Path) -> str:
    try:
        read(folder)
    except ValueError as error:
        return str(error)
    return ""


def sha256_in(path: Path) -> int | None:
    """The digit that the checkpoint's hash is made of."""
    return which(path, r'"sha256": "(\d)\1{63}"')


def which(path: Path, pattern: str) -> int | None:
    match = re.search(pattern, path.read_text(encoding="utf-8")) if path.exists() else None
    return int(match[1]) if match else None


def stop_at(monkeypatch: pytest.MonkeyPatch, rename: int, *, done: bool) -> None:
    """Stop before a rename, by its number, or once it is done."""
    replace, seen = Path.replace, []

    def stopping(self: Path, target: Path) -> Path:
        seen.append(target)
        if len(seen) == rename and not done:
            raise Stopped
        replace(self, target)
        if len(seen) == rename:
            raise Stopped
        return target

    monkeypatch.setattr(Path, "replace", stopping)


RENAMES = 8  # arrays.npz, analysis.json, report.html, surface.npz, .json, .csv, .vts, report.html


@pytest.fixture(scope="module")
def first(tmp_path_factory) -> Path:
    write_both(folder := tmp_path_factory.mktemp("first"), 1)
    return folder


@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize("rename", range(1, RENAMES + 1))
def test_stopped_at_any_rename_nothing_is_mixed(tmp_path, monkeypatch, first, rename, done):
    shutil.copytree(first, tmp_path, dirs_exist_ok=True)
    assert set(told(tmp_path).values()) == {1}
    with monkeypatch.context() as patch:
        stop_at(patch, rename, done=done)
        with pytest.raises(Stopped):
            write_both(tmp_path, 2)
    found, there = told(tmp_path), {name: sha256_in(tmp_path / f"{name}.json") for name in ("analysis", "surface")}
    assert all(found[name] in (None, there[name]) for name in there)
    assert found["report"] in (None, there["analysis"])
    assert found["csv"] in (None, there["surface"])
    assert found["vts"] in (None, there["surface"])
    page = (tmp_path / "report.html").read_text(encoding="utf-8") if found["report"] else ""
    for name, sha256 in re.findall(r"SHA-256 of (\w+\.json)</dt>\s*<dd><code[^>]*>([0-9a-f]{64})", page):
        assert sha256 == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
    analysis(2).save(tmp_path)  # which is what the refusal says to do
    save_surfaces(tmp_path, [plane(2)])
    assert set(told(tmp_path).values()) <= {2, None}


def test_there_are_no_more_renames(tmp_path, monkeypatch):
    stop_at(monkeypatch, RENAMES + 1, done=False)
    write_both(tmp_path, 1)
    with pytest.raises(Stopped):
        analysis(2).save(tmp_path)


def test_documents_that_name_no_hash_are_read_with_the_arrays_of_their_time(tmp_path):
    analysis(1).save(tmp_path)
    document = json.loads((tmp_path / "analysis.json").read_text())
    del document["arrays"]
    (tmp_path / "analysis.json").write_text(json.dumps(document))
    with pytest.raises(ValueError, match="does not belong"):  # the arrays of a writer that was killed before its JSON
        Analysis.load(tmp_path)
    arrays = read_arrays(tmp_path / "arrays.npz")
    np.savez_compressed(tmp_path / "arrays.npz", **arrays)
    assert Analysis.load(tmp_path)["train"]["trace"].details["samples"].tolist() == [1.0] * 3


@pytest.mark.parametrize("named", [None, "text", {}, {"sha256": 3}, {"sha256": "0" * 64}])
def test_what_the_document_names_is_what_counts(tmp_path, named):
    path, arrays = tmp_path / "a.json", tmp_path / "a.npz"
    write_document(path, {"schema": "s/1"}, (arrays, {"x": X}))
    document = read_document(path, "s/1", "a test")
    with pytest.raises(ValueError, match=r"a\.npz: does not belong .* replaced\. Try again\."):
        read_arrays(arrays, remedy="Try again.", document=document | {"arrays": named})


def test_arrays_that_are_not_there_are_not_missed_by_an_analysis(tmp_path):
    analysis(1).save(tmp_path)
    (tmp_path / "arrays.npz").unlink()
    assert Analysis.load(tmp_path)["train"]["trace"].value == 1.0


def test_reports_and_exports_of_something_else_stay(tmp_path):
    (tmp_path / "report.html").write_text("<p>SHA-256 of track.jsonl</p>")
    analysis(1).save(tmp_path)
    save_surfaces(tmp_path, [plane(1)])
    export(plane(1), tmp_path / "surface.csv")
    save_surfaces(tmp_path, [plane(1)])  # the same again
    assert {"report.html", "surface.csv"} <= {path.name for path in tmp_path.iterdir()}
