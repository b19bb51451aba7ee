"""A ``Tracker`` for the length of a training that a framework drives: what the callbacks of all of them share."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from landscape.objective import Objective
from landscape.text import reason_of
from landscape.tracking.loggers import Log
from landscape.tracking.tracker import Tracker

_open: dict[Path, Tracker] = {}  # by folder: a training that was interrupted in this process leaves its own to the next


class Tracking:
    """What a callback measures, and with what; arguments and errors are those of ``Tracker``.

    Attributes:
        tracker: of the training that goes on, or of the last one.
    """

    def __init__(
        self,
        objectives: Objective | Mapping[str, Objective],
        metrics: Sequence[str] = ("default",),
        *,
        every: int = 1,
        out: str | Path | None = None,
        **options: Any,
    ) -> None:
        self.tracker = Tracker(objectives, metrics, every=every, **options)  # which finds what is wrong, at once
        self._arguments = {"objectives": objectives, "metrics": metrics, "every": every, **options}
        self._out = out

    def begin(self, log: Log) -> None:
        """Open the folder, when training begins. Raises ValueError where another process writes there."""
        folder = None if self._out is None else Path(self._out).resolve()
        if folder in _open:
            _open.pop(folder).release()
        self.tracker = Tracker(**self._arguments, out=self._out, log=log)
        if folder is not None:
            _open[folder] = self.tracker

    def end(self) -> None:
        """Draw up the table and the figure, and let others write; what fails is told by a warning."""
        for folder in [folder for folder, tracker in _open.items() if tracker is self.tracker]:
            del _open[folder]
        try:
            self.tracker.close()
        except Exception as error:  # the training is done, and is to be saved
            warnings.warn(f"No table and figure of the tracked values: {reason_of(error)}.", stacklevel=2)


def learning_rate(optimizer: Any) -> float | None:
    """Of the first parameter group at the step to come; None where it is not known, or 0 as before a warm-up."""
    groups = getattr(optimizer, "param_groups", None)
    return float(groups[0].get("lr") or 0) or None if groups else None
