"""Which checkpoints there are, in the order of their steps, and whether their runs have ended.

A run of ours has ended when its ``last.pt`` is of its recipe's last epoch; that file is replaced last, so whoever reads
it first sees all the others. It is measured itself where no other file has its step, and not while its run is followed.
"""

import glob
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from landscape.checkpoint import Checkpoint, CheckpointError, load_checkpoint
from landscape.forms import NUMBER

_SUFFIXES = (".pt", ".pth", ".ckpt", ".safetensors")
_LAST = "last.pt"


@dataclass(frozen=True)
class Found:
    """What is known of a checkpoint without its weights."""

    path: Path
    sha256: str
    step: int  # optimizer steps done; where the file does not say, the last number in its name
    lr: float | None  # of its last epoch
    ended: bool  # whether it is the last of its run
    epoch_seconds: float  # how long its last epoch trained, 0 where that is not known
    describes: str = ""  # its model, data and loss

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> "Found":
        """Without the weights.

        Raises:
            CheckpointError: neither the file nor its name says of which step it is.
        """
        last_row = checkpoint.metrics[-1] if checkpoint.metrics else {}
        lr, seconds = last_row.get("lr", checkpoint.recipe.get("lr")), last_row.get("seconds", 0.0)
        numbers = re.findall(r"\d+", checkpoint.path.stem)
        if checkpoint.step is None and not numbers:
            raise CheckpointError(
                f"{checkpoint.path}: neither the file nor its name says of which step it is. Expected a name such as "
                "step-0100.pt; or give a glob without this file."
            )
        return cls(
            path=checkpoint.path,
            sha256=checkpoint.sha256,
            step=int(numbers[-1]) if checkpoint.step is None else checkpoint.step,
            lr=lr if NUMBER.holds(lr) else None,
            ended=checkpoint.epoch is not None and checkpoint.epoch == checkpoint.recipe.get("epochs"),
            epoch_seconds=seconds if NUMBER.holds(seconds) else 0.0,
            describes=repr((checkpoint.model, checkpoint.data, checkpoint.loss)),
        )


class Survey:
    """Looks at folders, files and globs again and again; a file that has not changed is not read again.

    Args:
        sources: run folders, files, or patterns.
        follow: leave ``last.pt`` out while its run goes on, and files that cannot be read yet.
    """

    def __init__(self, sources: Iterable[str | Path], *, follow: bool) -> None:
        self.sources, self.follow = list(map(Path, sources)), follow
        self._known: dict[Path, tuple[tuple[int, ...], Found]] = {}

    def folder(self) -> Path:
        """Where all of it lies: the part of the paths that holds no pattern, or a folder that is still to come."""
        fixed = [source if _is_folder(source) else _fixed_part(source) for source in self.sources]
        return Path(os.path.commonpath(map(os.path.abspath, fixed))) if len(fixed) > 1 else fixed[0]

    def checkpoints(self) -> tuple[list[Found], list[Found]]:
        """The checkpoints in order, those of each folder together; and the ``last.pt`` of the folders.

        Raises:
            CheckpointError: a file cannot be read or placed.
            ValueError: two files of one folder claim the same step by their names.
        """
        folders = dict.fromkeys(path.parent for path in self._paths())
        lasts = [last for folder in folders if (last := self._found(folder / _LAST, at_last=True))]
        running = {last.path for last in lasts if self.follow and not last.ended}
        there = (self._found(path) for path in self._paths() if path not in running)
        found = [one for one in there if one]
        found.sort(key=lambda one: (one.path.parent, one.step, one.path.name == _LAST, one.path.name))
        kept: list[Found] = []
        for one in found:
            if kept and (kept[-1].path.parent, kept[-1].step) == (one.path.parent, one.step):
                if one.path.name == _LAST:
                    continue
                raise ValueError(f"{kept[-1].path} and {one.path} are both of step {one.step}. Give a glob of one run.")
            kept.append(one)
        return kept, lasts

    def _paths(self) -> list[Path]:
        paths: dict[Path, None] = {}
        for source in self.sources:
            if source.is_dir():
                inside = [path for path in source.iterdir() if path.suffix in _SUFFIXES and path.name[0] != "."]
                paths.update(dict.fromkeys(sorted(inside)))
            elif source.is_file():
                paths[source] = None
            else:
                paths.update(dict.fromkeys(map(Path, sorted(glob.glob(str(source), recursive=True)))))
        return list(paths)

    def _found(self, path: Path, *, at_last: bool = False) -> Found | None:
        """What the file says; None for one that is not there, or where that may change."""
        try:
            stat = path.stat()
        except FileNotFoundError:
            return None
        identity = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
        if path not in self._known or self._known[path][0] != identity:
            try:
                self._known[path] = identity, Found.of(load_checkpoint(path))
            except CheckpointError:
                if self.follow or at_last:
                    return None
                raise
        return self._known[path][1]


def _is_folder(source: Path) -> bool:
    """Of one that is not there, by its name."""
    return source.is_dir() or not (source.exists() or glob.has_magic(str(source)) or source.suffix in _SUFFIXES)


def _fixed_part(pattern: Path) -> Path:
    return Path(*takewhile(lambda part: not glob.has_magic(part), pattern.parent.parts))
