"""``track.jsonl``: one line a checkpoint, on the disk before the next one is begun, each once whatever is killed.

A line is the document of ``analysis.json`` (every number with its error, whether it converged, why, and what it cost;
no arrays) under the schema ``landscape.track/1``, with the hash of the settings, and in ``checkpoint`` the learning
rate where it is known. A line is there when its line break is: what a kill left after the last break is dropped. One
process writes; it holds the lock of the folder.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from landscape.disk import told_if_full
from landscape.files import append_line
from landscape.forms import misfit
from landscape.locks import lock, writing
from landscape.readers import read_lines
from landscape.reading import FileError, reading, require_file
from landscape.results.analysis import Analysis
from landscape.results.content import ROW, TRACKED_ROW

SCHEMA = "landscape.track/1"


def read_track(path: str | Path, *settings: str | None) -> list[Analysis]:
    """The rows of a log in the order in which they were measured, of all settings or of some; none without a file.

    A row that was measured anew, of the same settings, weights and step, stands where the first one was.

    Raises:
        FileError: a line is no row of ours.
    """
    path, chosen = Path(path), [one for one in settings if one is not None]
    rows: dict[Any, Any] = {}
    for row in read_lines(path, SCHEMA, ROW):
        if not chosen or row.get("settings") in chosen:
            if chosen and (wrong := misfit(row, TRACKED_ROW)):
                raise FileError(f"{path}: of a row, {wrong}. Move the file away.")
            of = row["checkpoint"] or {}
            told = row.get("settings"), of.get("sha256"), of.get("step")
            rows[len(rows) if None in told[:2] else told] = row
    with reading(path, "Move the file away."):
        return [Analysis.from_dict(row) for row in rows.values()]


def row_of(analyses: Sequence[Analysis], sha256: str, *, step: int | None = None) -> Analysis | None:
    """The last row of these weights, at that step if one is given."""
    for analysis in reversed(analyses):
        of = analysis.checkpoint or {}
        if of["sha256"] == sha256 and step in (None, of["step"]):
            return analysis
    return None


class TrackLog:
    """The log of one folder, open for appending.

    Args:
        path: the file, made if need be.
        settings: hash of the settings; rows of others are kept in the file and left out here.
        earlier: the hash that an earlier version gave them, whose rows count too.
        read: what is there; False where the caller knows it, and ``analyses`` begins empty.

    Raises:
        ValueError: another process writes in the folder.
        FileError: it is no file, or a line is not ours.

    Example:
        >>> import tempfile
        >>> from landscape.results import Measurement
        >>> point = Analysis({"train": {"loss": Measurement("loss", 0.5)}}, checkpoint={"sha256": "f", "step": 3})
        >>> with tempfile.TemporaryDirectory() as folder, TrackLog(Path(folder, "track.jsonl"), "a") as log:
        ...     log.append(point)
        ...     log.has("f"), log.has("f", step=4), read_track(Path(folder, "track.jsonl"))[0]["train"]["loss"].value
        (True, False, 0.5)
    """

    def __init__(self, path: str | Path, settings: str, *, earlier: str | None = None, read: bool = True) -> None:
        self.path, self.settings = Path(path), settings
        with ExitStack() as stack:
            stack.enter_context(writing(self.path.parent))
            if self.path.exists():
                require_file(self.path)
            with told_if_full(self.path):
                self._file = stack.enter_context(self.path.open("a+b"))
            if not lock(self._file, wait=False):  # by another log of this thread
                raise ValueError(f"{self.path} is being written by another process. Wait for it, or give --out.")
            self.analyses = read_track(self.path, settings, earlier) if read else []
            self._open = stack.pop_all()

    def has(self, sha256: str, *, step: int | None = None) -> bool:
        """Whether there is a row of these weights, at that step if one is given."""
        return row_of(self.analyses, sha256, step=step) is not None

    def append(self, analysis: Analysis) -> None:
        """Write the row; when this returns, it is on the disk."""
        append_line(self._file, analysis.to_dict() | {"schema": SCHEMA, "settings": self.settings})
        self.analyses.append(analysis)

    def close(self) -> None:
        """Let others write."""
        self._open.close()

    def __enter__(self) -> "TrackLog":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
