"""Finished rows of a plane on disk, so that a killed run goes on where it was.

One file a run, ``DIR/KEY.jsonl``, a line a row; KEY is a hash of the weights and of everything that was asked, so that
rows of another run are never taken for one's own. A line that was cut off by the kill is left out.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from landscape.files import append_line, read_lines


class Rows:
    """The rows of one run.

    Args:
        directory: where to keep the file; made where it is missing.
        key: of the run, from ``run_key``.

    Example:
        >>> import tempfile
        >>> directory = tempfile.mkdtemp()
        >>> Rows(directory, "a").add("train", 0, np.array([1.5, np.nan]), None)
        >>> Rows(directory, "a").finished
        {('train', 0): (array([1.5, nan]), None)}
        >>> Rows(directory, "b").finished
        {}
    """

    def __init__(self, directory: str | Path, key: str) -> None:
        self.path = Path(directory) / f"{key}.jsonl"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.finished: dict[tuple[str, int], tuple[np.ndarray, np.ndarray | None]] = {}
        for split, row, loss, accuracy in read_lines(self.path):
            self.finished[split, row] = np.array(loss), None if accuracy is None else np.array(accuracy)

    def add(self, split: str, row: int, loss: np.ndarray, accuracy: np.ndarray | None) -> None:
        """Keep a finished row: it is on the disk when this returns."""
        with self.path.open("a+b") as file:
            append_line(file, [split, row, loss.tolist(), None if accuracy is None else accuracy.tolist()])
        self.finished[split, row] = loss, accuracy


def run_key(tensors: Sequence[Tensor], settings: Any) -> str:
    """A hash of the weights and directions given, and of everything else that was asked."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for tensor in tensors:
        digest.update(tensor.detach().cpu().double().numpy().tobytes())
    return digest.hexdigest()[:24]
