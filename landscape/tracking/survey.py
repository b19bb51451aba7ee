"""Which checkpoints there are, in the order of their steps, and whether their runs have ended.

A run of ours has ended when its ``last.pt`` is of its recipe's last epoch; that file is replaced last, so whoever reads
it first sees all the others. It is measured itself where no other file has its step, and not while its run is followed.
A Trainer's has ended when its newest checkpoint is of the last step that it says it makes. What lies where in a folder
is told in ``landscape.tracking.places``.
"""

import glob
import os
import re
import warnings
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from landscape.checkpoint import Checkpoint, CheckpointError, NoCheckpointError, load_checkpoint
from landscape.content import digest
from landscape.forms import COUNT, NUMBER
from landscape.readers import parse_json
from landscape.reading import read_text
from landscape.tracking.places import SUFFIXES, all_in, is_of_a_step, step_in
from landscape.tracking.settings import described_by

_LAST = "last.pt"  # of ours
_LASTS = re.compile(r"last(-v\d+)?\.(pt|pth|ckpt)")  # and of others', who write it beside the one of its step


@dataclass(frozen=True)
class Found:
    """What is known of a checkpoint without its weights."""

    path: Path
    sha256: str
    step: int  # optimizer steps done; where the file does not say, what its name says
    lr: float | None  # of its last epoch
    ended: bool  # whether it is the last of its run
    epoch_seconds: float  # how long its last epoch trained, 0 where that is not known
    describes: str = ""  # its model, data and loss

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> "Found":
        """Without the weights.

        Raises:
            UnplacedError: neither the file nor its name says of which step it is.
        """
        last_row = checkpoint.metrics[-1] if checkpoint.metrics else {}
        lr, seconds = last_row.get("lr", checkpoint.recipe.get("lr")), last_row.get("seconds", 0.0)
        step = step_in(checkpoint.path) if checkpoint.step is None else checkpoint.step
        if step is None:
            raise UnplacedError(
                f"{checkpoint.path}: neither the file nor its name says of which step it is. Expected a name such as "
                "step-0100.pt; or give a glob without this file."
            )
        of_epochs = checkpoint.epoch is not None and checkpoint.epoch == checkpoint.recipe.get("epochs")
        return cls(
            path=checkpoint.path,
            sha256=checkpoint.sha256,
            step=step,
            lr=lr if NUMBER.holds(lr) else None,
            ended=of_epochs or step == _last_step(checkpoint.path),
            epoch_seconds=seconds if NUMBER.holds(seconds) else 0.0,
            describes=repr(described_by(checkpoint)),
        )


class UnplacedError(CheckpointError):
    """Neither the file nor its name says of which step it is."""


class Survey:
    """Looks at folders, files and globs again and again; what has not changed is not read again.

    Args:
        sources: run folders, checkpoints, or patterns.
        follow: leave out what a run writes last while it goes on, and what cannot be read yet: a folder is left alone
            until it has been the same for two looks.
        key: where in the files the weights are.
        trust: run what the files say.

    Attributes:
        pace: seconds between the newest checkpoints, or that the last epoch trained; 0 where that is not known.
    """

    def __init__(
        self, sources: Iterable[str | Path], *, follow: bool, key: str | None = None, trust: bool = False
    ) -> None:
        self.sources, self.follow, self.pace = list(map(Path, sources)), follow, 0.0
        self._key, self._trust = key, trust
        self._known: dict[Path, tuple[Any, Found]] = {}
        self._last_look: dict[Path, Any] = {}
        self._told: set[str] = set()

    def folder(self) -> Path:
        """Where all of it lies: the part of the paths that holds no pattern, or a folder that is still to come."""
        fixed = [source if _is_run(source) else _fixed_part(source) for source in self.sources]
        return Path(os.path.commonpath(map(os.path.abspath, fixed))) if len(fixed) > 1 else fixed[0]

    def load(self, path: Path) -> Checkpoint:
        """Read a checkpoint; what was taken of it, and left out, is told once. Raises CheckpointError."""
        checkpoint = load_checkpoint(path, key=self._key, trust=self._trust)
        taken, others = checkpoint.key or "the file itself", ", ".join(checkpoint.others)
        self._tell(path, f"the weights are those of {taken}; --key takes {others}" if others else "")
        left_out = ", ".join(checkpoint.left_out)
        self._tell(path, f"left out, as it is not run: {left_out}" if left_out else "")
        return checkpoint

    def checkpoints(self) -> tuple[list[Found], list[Found]]:
        """The checkpoints in order, those of each run together; and the ones that say whether their runs have ended.

        Raises:
            CheckpointError: a file cannot be read or placed.
            ValueError: two of one run claim the same step, and are of other weights.
        """
        run_of = self._paths()
        lasts = [last for run in dict.fromkeys(run_of.values()) if (last := self._found(run / _LAST, at_last=True))]
        running = {last.path for last in lasts if not last.ended}
        running |= {path for path, run in run_of.items() if path.name != _LAST and _is_last(path, run)}
        kept: list[Found] = []
        for one in self._in_order(run_of, leave_out=running if self.follow else set()):
            run = run_of[one.path]
            if kept and (run_of[kept[-1].path], kept[-1].step) == (run, one.step):
                if _is_last(one.path, run) or self._same_weights(kept[-1], one):
                    continue
                raise ValueError(f"{kept[-1].path} and {one.path} are both of step {one.step}. Give a glob of one run.")
            kept.append(one)
        others: dict[Path, list[Found]] = {}  # than those that have a last.pt, by run
        for one in kept:
            if (run := run_of[one.path]) not in {last.path.parent for last in lasts}:
                others.setdefault(run, []).append(one)
        lasts += [some[-1] for some in others.values() if some[-1].path.is_dir()]  # of a Trainer, which may say it
        self.pace = max([*(last.epoch_seconds for last in lasts), *map(_gap, others.values())], default=0.0)
        return kept, lasts

    def _paths(self) -> dict[Path, Path]:
        """Where checkpoints may be, each with the folder of its run."""
        paths: dict[Path, Path] = {}
        for source in self.sources:
            there = [source] if source.exists() else map(Path, sorted(glob.glob(str(source), recursive=True)))
            for one in there:
                if not _is_run(one):
                    paths[one] = one.parent
                else:
                    paths |= {path: path.parent if path != one else one for path in all_in(one)}
        real = {path.resolve() for path in paths if not path.is_symlink()}
        return {path: run for path, run in paths.items() if not (path.is_symlink() and path.resolve() in real)}

    def _in_order(self, run_of: dict[Path, Path], *, leave_out: set[Path]) -> list[Found]:
        """What is known of them, by run and step; what of a folder has no weights or step is told."""
        placed: list[Found] = []
        unplaced: dict[Path, CheckpointError] = {}
        for path in run_of:
            try:
                one = None if path in leave_out else self._found(path)
                placed += [one] if one else []
            except (UnplacedError, NoCheckpointError) as error:
                if self._key is not None and not isinstance(error, UnplacedError):
                    raise
                unplaced[path] = error
        for path, reason in unplaced.items():
            if not placed or (path in self.sources and path != run_of[path]):
                raise reason
            self._tell(None, f"{reason} It is left out.")

        def place(one: Found) -> Any:
            run = run_of[one.path]
            return run, one.step, _is_last(one.path, run), len(one.path.name), one.path.name

        return sorted(placed, key=place)

    def _found(self, path: Path, *, at_last: bool = False) -> Found | None:
        """What the checkpoint says; None for one that is not there, or where that may change."""
        try:
            identity = _identity(path)
        except FileNotFoundError:
            return None
        if path.is_dir() and self.follow and self._last_look.get(path) != identity:
            self._last_look[path] = identity  # others may be writing there
            return None
        if path not in self._known or self._known[path][0] != identity:
            try:
                self._known[path] = identity, Found.of(self.load(path))
            except CheckpointError:
                if self.follow or at_last:
                    return None
                raise
        return self._known[path][1]

    def _same_weights(self, *both: Found) -> bool:
        """Whether two of one step differ in what lies beside the weights alone, as those of two rules for saving do."""
        return len({digest(self.load(one.path).state["model"]) for one in both}) == 1

    def _tell(self, path: Path | None, message: str) -> None:
        """Warn of something once, at the first checkpoint of which it is true."""
        if message and message not in self._told:
            warnings.warn(f"{path}: {message}." if path else message, stacklevel=2)
            self._told.add(message)


def _is_run(source: Path) -> bool:
    """Whether it is the folder of a run; of one that is not there, by its name."""
    if source.is_dir():
        return not is_of_a_step(source)
    return not (source.exists() or glob.has_magic(str(source)) or source.suffix in SUFFIXES)


def _is_last(path: Path, run: Path) -> bool:
    """Whether it is what a run wrote last, which may be of the same step as another."""
    return path == run or bool(_LASTS.fullmatch(path.name))


def _fixed_part(pattern: Path) -> Path:
    return Path(*takewhile(lambda part: not glob.has_magic(part), pattern.parent.parts))


def _identity(path: Path) -> Any:
    """What changes when anybody writes there."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    stats = [(file.name, file.stat()) for file in files]
    return [(name, stat.st_ino, stat.st_size, stat.st_mtime_ns) for name, stat in stats]


def _last_step(path: Path) -> int | None:
    """The last step that a Trainer makes, by what lies beside the weights."""
    file = path / "trainer_state.json"
    if not path.is_dir() or not file.is_file():
        return None
    try:
        said = parse_json(read_text(file))
    except ValueError:  # half there
        return None
    most = said.get("max_steps") if isinstance(said, dict) else None
    return most if COUNT.holds(most) else None


def _gap(found: list[Found]) -> float:
    """Seconds between the last two, as they were written; 0 of one alone."""
    times = []
    for one in found[-2:]:
        with suppress(OSError):
            times.append(one.path.stat().st_mtime)
    return abs(times[1] - times[0]) if len(times) == 2 else 0.0
