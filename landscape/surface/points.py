"""Losses at the points of a line or plane on every split: what they will cost, and those that are kept on the disk."""

import hashlib
import json
import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from landscape.disk import told_if_full
from landscape.files import append_line, plain, write_text
from landscape.fingerprint import differences, refuse_other
from landscape.forms import COUNT, TEXT, Kind, Maybe, misfit
from landscape.objective import Objective
from landscape.readers import read_lines
from landscape.reading import require_file
from landscape.surface.directions import random
from landscape.surface.walk import Walk

Progress = Callable[[int, int, float], None]
Found = tuple[np.ndarray, np.ndarray | None]  # losses (k,), and accuracies or None
_VALUE = Kind("a number", lambda value: isinstance(value, (int, float)) and not isinstance(value, bool))
_TIMED = 5  # points, enough to share what a call costs by itself


class Points:
    """What was measured so far, and where to go on.

    Args:
        objectives: by split, around the same weights.
        vectors: the directions, (d,) each.
        statistics: on whose data batch-normalization statistics are estimated anew; None: they stay.
        kept: finished parts of this run, or None.
        part: the points of a part: what a kill loses at most.
        num_points: how many will be asked for, at most.
        progress: called with (parts done, parts in all, seconds left) after each new part.
    """

    def __init__(
        self,
        objectives: Mapping[str, Objective],
        vectors: Sequence[Tensor],
        *,
        statistics: Objective | None,
        kept: "FinishedRows | None",
        part: int,
        num_points: int,
        progress: Progress | None,
    ) -> None:
        self.started = datetime.now(UTC)
        self.walks = {split: Walk(one, vectors, statistics=statistics) for split, one in objectives.items()}
        self.num_points = 0
        self.num_resumed = 0  # parts that all splits had
        self.seconds = 0.0
        self._kept, self._part, self._progress = kept, part, progress
        self._total, self._done, self._new = num_points * len(objectives), 0, 0
        self._parts: dict[str, list[Found]] = {split: [] for split in objectives}

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Measure points (k, m) on every split, and give the losses (k,) on the first."""
        before = len(next(iter(self._parts.values())))
        for start in range(0, len(points), self._part):
            self._measure(points[start : start + self._part])
        return np.concatenate([loss for loss, _ in next(iter(self._parts.values()))[before:]])

    def found(self, split: str) -> Found:
        """Losses and accuracies at all points so far, in the order in which they were asked for."""
        losses, accuracies = zip(*self._parts[split], strict=True)
        known = [part for part in accuracies if part is not None]
        return np.concatenate(losses), np.concatenate(known) if known else None

    def _measure(self, points: np.ndarray) -> None:
        begun, missing = time.perf_counter(), 0
        self.num_points += len(points)
        for split, walk in self.walks.items():
            index = len(self._parts[split])
            finished = self._kept.finished.get((split, index)) if self._kept else None
            if finished and any(one is not None and len(one) != len(points) for one in finished):
                finished = None  # damaged
            self._parts[split].append(walk(points) if finished is None else finished)
            self._done += len(points)
            if finished is not None:
                continue
            missing += 1
            self._new += len(points)
            if self._kept:
                self._kept.add(split, index, *self._parts[split][-1])
            if self._progress:
                seconds = self.seconds + time.perf_counter() - begun
                left = seconds / self._new * (self._total - self._done)
                self._progress(math.ceil(self._done / self._part), math.ceil(self._total / self._part), left)
        self.num_resumed += not missing
        self.seconds += time.perf_counter() - begun


def estimate_cost(
    objectives: Mapping[str, Objective], *, num_points: int = 51, mode: str = "eval", num_axes: int = 2
) -> dict[str, Any]:
    """Points and seconds of a plane, or a line, by split, and together. Directions and checks are not in it.

    Example:
        >>> import torch
        >>> objective = Objective(torch.nn.Linear(2, 1), torch.nn.MSELoss(), [(torch.eye(2), torch.zeros(2, 1))])
        >>> cost = estimate_cost({"train": objective}, num_points=50)
        >>> cost["num_points"], cost["splits"]["train"]["num_forwards"]  # with the middle
        (51, 2601)
    """
    num_points += 1 - num_points % 2
    first = next(iter(objectives.values()))
    vectors = random(first, num=num_axes).vectors
    splits = {}
    for split, one in objectives.items():
        walk = Walk(one, vectors, statistics=first if mode == "reestimate" else None)
        points = np.zeros((_TIMED if walk.points_at_once == 1 else num_points, num_axes))
        walk(points)
        start = time.perf_counter()
        walk(points)
        seconds = (time.perf_counter() - start) / len(points)
        splits[split] = {
            "num_examples": one.num_examples,
            "num_forwards": num_points**num_axes,
            "points_at_once": walk.points_at_once,
            "seconds_per_point": seconds,
            "seconds": seconds * num_points**num_axes,
        }
    return {
        "num_points": num_points,
        "num_axes": num_axes,
        "num_params": first.num_params,
        "splits": splits,
        "seconds": sum(cost["seconds"] for cost in splits.values()),
    }


class FinishedRows:
    """The finished rows of one run on disk, so that a killed one goes on where it was.

    One file a run, ``DIR/KEY.jsonl``, a line a row with its hash, KEY from ``run_key``. A line that the kill cut off is
    left out, and so is one that is damaged. Every row has the fingerprint of what it was measured on
    (``landscape.fingerprint``).

    Args:
        directory: where to keep the file; made with the first row.
        key: of the run.
        fingerprint: of what is measured now.
        overwrite: measure rows of something else anew.

    Raises:
        ValueError: there are rows of other data, another loss or another model, and they are not to be overwritten.

    Example:
        >>> import tempfile
        >>> directory = tempfile.mkdtemp()
        >>> FinishedRows(directory, "a").add("train", 0, np.array([1.5, np.nan]), None)
        >>> FinishedRows(directory, "a").finished
        {('train', 0): (array([1.5, nan]), None)}
        >>> FinishedRows(directory, "b").finished
        {}
    """

    def __init__(
        self, directory: str | Path, key: str, fingerprint: Mapping[str, Any] | None = None, *, overwrite: bool = False
    ) -> None:
        self.path, self._fingerprint = Path(directory) / f"{key}.jsonl", plain(fingerprint or {})
        if self.path.exists():
            require_file(self.path)
        self.finished: dict[tuple[str, int], Found] = {}
        rows = list(filter(_is_whole, read_lines(self.path, skip_damaged=True)))
        if overwrite:
            kept = [row for row in rows if row[4:] and not differences(row[4], self._fingerprint)]
            if len(kept) < len(rows):
                write_text(self.path, "".join(f"{json.dumps(row)}\n" for row in kept))
            rows = kept
        for split, row, loss, accuracy, *then in rows:
            remedy = "Measure it where its rows are not, or anew with overwrite=True (--overwrite)."
            refuse_other(self.path, then[0] if then else {}, self._fingerprint, remedy)
            known = None if accuracy is None else np.array(accuracy, dtype=float)
            self.finished[split, row] = np.array(loss, dtype=float), known
        if fingerprint and not all(row[4:] for row in rows):
            warnings.warn(
                f"{self.path} does not say on what its rows were measured: that is not compared.", stacklevel=2
            )

    def add(self, split: str, row: int, loss: np.ndarray, accuracy: np.ndarray | None) -> None:
        """Keep a finished row: it is on the disk when this returns."""
        kept = [split, row, loss.tolist(), None if accuracy is None else accuracy.tolist(), self._fingerprint]
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with told_if_full(self.path), self.path.open("a+b") as file:
                append_line(file, [*kept, _check(kept)])
        except OSError:
            with suppress(OSError):
                if not self.path.stat().st_size:
                    self.path.unlink()
                    self.path.parent.rmdir()
            raise
        self.finished[split, row] = loss, accuracy


def _is_whole(row: Any) -> bool:
    """Whether it is a row as ``add`` writes it; rows of earlier versions have neither fingerprint nor hash."""
    if not isinstance(row, list) or len(row) not in (4, 6):
        return False
    if row[4:] and not (isinstance(row[4], dict) and row[5] == _check(row[:5])):
        return False
    forms = {"split": TEXT, "row": COUNT, "loss": [_VALUE], "accuracy": Maybe([_VALUE])}
    return not misfit(dict(zip(forms, row, strict=False)), forms)


def _check(row: list[Any]) -> str:
    return hashlib.sha256(json.dumps(row).encode()).hexdigest()[:16]


def run_key(tensors: Sequence[Tensor], settings: Any) -> str:
    """A hash of the weights and directions given, and of all that was asked: rows of another run are never taken."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for tensor in tensors:
        digest.update(tensor.detach().cpu().double().numpy().tobytes())
    return digest.hexdigest()[:24]
