"""Landscapes on disk: arrays to the bit, valid JSON without NaN, several splits in one file, and refusals."""

import json
import subprocess
import sys

import numpy as np
import pytest

from landscape.results import Line, Plane, load_surfaces, save_surfaces

X = np.array([-1.0, 0.0, 1.0])


def a_plane(split="train", **details):
    loss = np.array([[1.0, 2.0, np.nan], [np.inf, 0.1 + 0.2, 3.0], [4.0, 5.0, -np.inf]])
    return Plane(X, 2 * X, loss, loss / 7, split, details)


def a_line():
    return Line(X, np.array([1.0, np.nan, 2.0]), None, "test", {"seed": 3})


def test_round_trip(tmp_path):
    saved = a_plane(norms=[1.0, 2.0], path=np.arange(6.0).reshape(3, 2), noise_floor=float("nan"), cosine=0.1)
    path = saved.save(tmp_path / "deep" / "down")
    assert path.name == "surface.json"
    found = Plane.load(path.parent)
    for name in ("x", "y", "loss", "accuracy"):
        np.testing.assert_array_equal(getattr(found, name), getattr(saved, name))
    np.testing.assert_array_equal(found.details["path"], saved.details["path"])
    assert found.split == "train"
    assert found.details["norms"] == [1.0, 2.0]
    assert found.details["noise_floor"] is None
    assert sorted(p.name for p in path.parent.iterdir()) == ["surface.json", "surface.npz"]


def test_document_is_json_and_says_what_is_not_finite(tmp_path):
    path = a_plane().save(tmp_path)
    document = json.loads(path.read_text(), parse_constant=lambda text: pytest.fail(text))
    assert document["schema"] == "landscape.surface/1"
    (entry,) = document["surfaces"]
    assert entry["kind"] == "plane"
    assert entry["shape"] == [3, 3]
    assert entry["x"] == [-1, 1]
    assert entry["y"] == [-2, 2]
    assert entry["loss"] == {
        "centre": 0.1 + 0.2,
        "min": 0.1 + 0.2,
        "max": 5.0,
        "reason": "NaN at 1 points, infinite at 2",
    }


def test_several_surfaces_keep_their_order_and_arrays(tmp_path):
    save_surfaces(tmp_path, [a_plane("train"), a_line(), a_plane("test", minima=[])])
    train, line, test = load_surfaces(tmp_path)
    assert [s.split for s in (train, line, test)] == ["train", "test", "test"]
    assert isinstance(line, Line)
    assert line.accuracy is None
    assert line.details == {"seed": 3}
    np.testing.assert_array_equal(line.loss, a_line().loss)
    np.testing.assert_array_equal(test.loss, train.loss)
    with pytest.raises(ValueError, match=r"holds 3 surfaces \(train, test, test\). Read it with load_surfaces"):
        Plane.load(tmp_path)


def test_more_than_ten_surfaces(tmp_path):
    save_surfaces(tmp_path, [Line(X, X + k, None, "train") for k in range(12)])
    assert [line.loss[0] for line in load_surfaces(tmp_path)] == [k - 1 for k in range(12)]


def test_wrong_kind_schema_and_files_are_refused(tmp_path):
    a_line().save(tmp_path)
    with pytest.raises(ValueError, match=r"holds a line\. Expected a plane"):
        Plane.load(tmp_path)
    assert Line.load(tmp_path).num_nonfinite == 1
    (tmp_path / "surface.npz").unlink()
    with pytest.raises(ValueError, match=r"surface\.npz: No such file"):
        load_surfaces(tmp_path)
    (tmp_path / "surface.npz").write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"surface\.npz: .*Measure again"):
        load_surfaces(tmp_path)
    (tmp_path / "surface.json").write_text('{"schema": "landscape.surface/9"}')
    with pytest.raises(ValueError, match=r"schema is .landscape\.surface/9"):
        load_surfaces(tmp_path)
    with pytest.raises(ValueError, match="Expected a directory written by landscape surface"):
        load_surfaces(tmp_path / "nowhere")


def test_the_middle_of_an_all_nan_surface():
    line = Line(X, np.full(3, np.nan), None, "train")
    assert np.isnan(line.centre)
    assert line.num_nonfinite == 3


def test_reading_results_does_not_import_torch():
    code = "import landscape.results, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
