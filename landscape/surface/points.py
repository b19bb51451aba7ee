"""Losses at the points of a line or plane, on every split, in parts that are kept on the disk as they are finished."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

import numpy as np
from torch import Tensor

from landscape.objective import Objective
from landscape.surface.rows import Rows
from landscape.surface.walk import Walk

Progress = Callable[[int, int, float], None]
Found = tuple[np.ndarray, np.ndarray | None]  # losses (k,), and accuracies or None


class Points:
    """What was measured so far, and where to go on.

    Args:
        objectives: by split, around the same weights.
        vectors: the directions, (d,) each.
        statistics: on whose data batch-normalization statistics are estimated anew; by default they stay.
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
        kept: Rows | None,
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
