import json
import math

import pytest

from landscape.results import Analysis, Measurement
from landscape.tracking import TrackLog, read_track


def point(step: int, value: float = 0.5) -> Analysis:
    m = Measurement("trace", value, 0.1, num_matvecs=7, num_gradients=2, seconds=0.5, reason="enough — 5 %")
    return Analysis({"train": {"trace": m}}, {"num_params": 3}, {"seed": 0}, {"sha256": f"hash {step}", "step": step})


def steps(rows: list[Analysis]) -> list[int]:
    return [row.checkpoint["step"] for row in rows]


def test_rows_come_back_as_they_went(tmp_path):
    path = tmp_path / "new" / "track.jsonl"
    with TrackLog(path, "a") as log:
        for row in (point(1), point(2, math.nan)):
            log.append(row)
            assert read_track(path)[-1].to_dict() == row.to_dict()  # on the disk, before the log is closed
    assert read_track(path)[0] == point(1)
    assert math.isnan(read_track(path)[1]["train"]["trace"].value)
    assert "NaN" not in path.read_text()


def test_a_torn_line_is_dropped_wherever_it_was_torn(tmp_path):
    path = tmp_path / "track.jsonl"
    with TrackLog(path, "a") as log:
        log.append(point(1))
        whole = path.stat().st_size
        log.append(point(2))
    content = path.read_bytes()
    for size in {whole, *range(whole + 1, len(content) - 1, 37), len(content) - 1}:
        path.write_bytes(content[:size])
        assert steps(read_track(path)) == [1]
        with TrackLog(path, "a") as log:
            assert (steps(log.analyses), log.has("hash 1"), log.has("hash 2")) == ([1], True, False)
            log.append(point(2))
        assert path.read_bytes() == content


def test_rows_of_other_settings_stay_and_are_not_looked_at(tmp_path):
    path = tmp_path / "track.jsonl"
    for settings in "aba":
        with TrackLog(path, settings) as log:
            if not log.has("hash 1"):
                log.append(point(1))
    assert [json.loads(line)["settings"] for line in path.read_text().splitlines()] == ["a", "b"]
    assert steps(read_track(path, "b")) == [1]
    assert steps(read_track(path)) == [1, 1]


def test_one_process_writes(tmp_path):
    path = tmp_path / "track.jsonl"
    with TrackLog(path, "a"), pytest.raises(ValueError, match="is being written by another process"):
        TrackLog(path, "a")
    TrackLog(path, "a").close()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2 is not valid JSON"),
        ("[]", "the schema of line 2 is 'list'"),
        (
            '{"schema": "landscape.track/9"}',
            "the schema of line 2 is 'landscape.track/9'. Expected 'landscape.track/1'",
        ),
    ],
)
def test_a_whole_line_that_is_not_ours_is_refused_and_left(tmp_path, line, message):
    path = tmp_path / "track.jsonl"
    with TrackLog(path, "a") as log:
        log.append(point(1))
    path.write_text(before := path.read_text() + line + "\n")
    with pytest.raises(ValueError, match=message.replace(".", r"\.")):
        TrackLog(path, "a")
    assert path.read_text() == before
