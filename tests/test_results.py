"""Results on disk: the schema of the architecture page, valid JSON, arrays without pickles, and back again."""

import json
import math

import numpy as np
import pytest

from landscape import Analysis, Measurement, analyze
from tests.cases import make
from tests.test_objective import objective_of

CHECKPOINT = {"path": "runs/a/last.pt", "sha256": "0" * 64, "epoch": 3, "step": 120}
FIELDS = {
    "value",
    "std_error",
    "error_kind",
    "num_samples",
    "converged",
    "reason",
    "num_matvecs",
    "num_gradients",
    "seconds",
}


@pytest.fixture(scope="module")
def measured():
    objective = objective_of(make("mlp_tanh"), 16)
    return analyze({"train": objective, "test": objective}, num_probes=5).with_checkpoint(CHECKPOINT)


def awkward():
    trace = Measurement(
        "trace",
        math.nan,
        math.inf,
        converged=False,
        reason="The loss is nan, first at batch 3.",
        details={
            "method": "hutchinson",
            "count": 3,
            "worst": -math.inf,
            "samples": np.array([1.0, math.nan, math.inf]),
        },
    )
    loss = Measurement(
        "loss", 0.1 + 0.2, details={"über": "größer ‖g‖", "ids": np.arange(6, dtype=np.int64).reshape(2, 3)}
    )
    return Analysis({"train": {"loss": loss, "trace": trace}, "test": {"loss": loss}})


def no_constants(name):
    raise AssertionError(f"{name} is no JSON")


def document_of(analysis, directory):
    analysis.save(directory)
    return json.loads((directory / "analysis.json").read_text(encoding="utf-8"), parse_constant=no_constants)


def test_schema(measured, tmp_path):
    document = document_of(measured, tmp_path)
    assert document["schema"] == "landscape.analysis/2"
    assert document["checkpoint"] == CHECKPOINT
    assert {"splits", "num_examples", "mode", "dtype"} <= set(document["objective"])
    assert {"landscape", "torch", "device", "seed", "command", "started", "seconds"} <= set(document["provenance"])
    assert list(document["splits"]) == ["train", "test"]
    for metrics in document["splits"].values():
        assert list(metrics) == ["loss", "accuracy", "gradient_norm", "trace", "lambda_max", "normalized_trace"]
        for entry in metrics.values():
            assert set(entry) >= FIELDS
            assert isinstance(entry["converged"], bool)
            assert isinstance(entry["reason"], str)
            assert isinstance(entry["num_matvecs"], int)


def test_only_two_files_are_left(measured, tmp_path):
    measured.save(tmp_path / "new" / "folder")
    assert sorted(p.name for p in (tmp_path / "new" / "folder").iterdir()) == ["analysis.json", "arrays.npz"]


def test_not_finite_is_null_with_a_reason(tmp_path):
    entry = document_of(awkward(), tmp_path)["splits"]["train"]["trace"]
    assert entry["value"] is None
    assert entry["std_error"] is None
    assert entry["worst"] is None
    assert entry["converged"] is False
    assert "batch 3" in entry["reason"]


def test_arrays_load_without_pickle(tmp_path):
    awkward().save(tmp_path)
    with np.load(tmp_path / "arrays.npz", allow_pickle=False) as arrays:
        assert {key: arrays[key].shape for key in arrays} == {
            "train/trace/samples": (3,),
            "train/loss/ids": (2, 3),
            "test/loss/ids": (2, 3),
        }


@pytest.mark.parametrize("which", ["measured", "awkward"])
def test_round_trip(which, measured, tmp_path):
    original = measured if which == "measured" else awkward()
    original.save(tmp_path)
    loaded = Analysis.load(tmp_path)
    assert loaded.checkpoint == original.checkpoint
    assert loaded.objective == original.objective
    assert loaded.provenance == original.provenance
    assert loaded.converged == original.converged
    assert [(s, list(m)) for s, m in loaded.splits.items()] == [(s, list(m)) for s, m in original.splits.items()]
    for split, metrics in original.splits.items():
        for name, before in metrics.items():
            after = loaded[split][name]
            assert after.name == name
            for field in FIELDS - {"value", "std_error"}:
                assert getattr(after, field) == getattr(before, field)
            for field in ("value", "std_error"):
                old, new = getattr(before, field), getattr(after, field)
                assert new == old if math.isfinite(old) else math.isnan(new)
            assert set(after.details) == set(before.details)
            for key, value in before.details.items():
                if isinstance(value, np.ndarray):
                    np.testing.assert_array_equal(after.details[key], value)
                    assert after.details[key].dtype == value.dtype
    loaded.save(tmp_path / "again")
    again = (tmp_path / "again" / "analysis.json").read_text(encoding="utf-8")
    assert again == (tmp_path / "analysis.json").read_text(encoding="utf-8")


def test_saving_again_replaces_all_of_it(measured, tmp_path):
    awkward().save(tmp_path)
    measured.save(tmp_path)
    assert "train/loss/ids" not in np.load(tmp_path / "arrays.npz").files
    assert Analysis.load(tmp_path)["train"]["loss"].value == measured["train"]["loss"].value


def test_frame(measured):
    frame = measured.to_frame()
    assert {"split", "metric", "value", "std_error", "converged", "reason", "num_matvecs", "seconds"} <= set(
        frame.columns
    )
    assert list(frame.columns[:2]) == ["split", "metric"]
    assert len(frame) == 12
    row = frame[(frame["split"] == "test") & (frame["metric"] == "trace")].iloc[0]
    assert row["value"] == measured["test"]["trace"].value
    assert row["num_matvecs"] == 5


def test_frame_of_nothing_has_its_columns():
    frame = Analysis({"train": {}}).to_frame()
    assert len(frame) == 0
    assert {"split", "metric", "value", "std_error", "converged"} <= set(frame.columns)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [(None, "No such file"), ("{", "JSON"), ("[]", "schema"), ('{"schema": "other/9"}', "other/9")],
)
def test_what_is_no_analysis_is_refused_by_path(text, complaint, tmp_path):
    if text is not None:
        (tmp_path / "analysis.json").write_text(text)
    with pytest.raises(ValueError, match=complaint) as error:
        Analysis.load(tmp_path)
    assert str(error.value).startswith(str(tmp_path))
    assert "\n" not in str(error.value)
