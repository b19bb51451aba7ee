"""``track``: measure every checkpoint of a run in order, going on where an earlier call was stopped.

    OUT/track.jsonl        a line a checkpoint, as soon as it is measured: see ``landscape.results.track``
    OUT/track.csv .png .pdf    the same as a table and a figure, at the end and now and then
    OUT/report.html            all of it on a page that opens offline

A checkpoint is known by its hash and the hash of the settings: what has a line is not measured again, whatever its file
is called. Where the line says that it was measured on other data, with another loss or another text of the problem's
file, that is refused. A kill loses the checkpoint that was being measured, and no other.

Every Krylov run begins at a random vector, as in ``analyze``: warm starts were tried on 20 checkpoints each of three
networks on digits, and save no products. Begun at a mix with the last eigenvector, they took 4 to 29 % more, since the
bound on what lies beyond rests on the random part; begun beside the last k Ritz vectors, more but where nothing moves.
"""

import os
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from landscape.checkpoint import CheckpointError, load_checkpoint
from landscape.edge import edge_of
from landscape.fingerprint import Fingerprint, differences, refuse_other
from landscape.measure.cost import estimate_cost as cost_of_metrics
from landscape.results import Analysis, TrackLog, read_track
from landscape.results.analysis import stale_words
from landscape.results.track import row_of
from landscape.tracking.places import SUFFIXES, runs_below
from landscape.tracking.settings import Objectives, Settings
from landscape.tracking.summary import latest, summarize
from landscape.tracking.survey import Found, Survey

Sources = str | Path | Iterable[str | Path]

_PAUSE = 1.0  # seconds, before the folder is searched again
_PATIENCE = 10  # epochs
_NAMED = 5  # folders
_DRAWING = 100  # between drawings at least so many times what the last one took, which is 1 %


@dataclass(frozen=True)
class Track:
    """What is known of a run; ``checkpoint`` of each of its points says path, step, epoch and lr."""

    out: Path  # the folder of the files
    analyses: list[Analysis]  # the points in order, those of earlier calls too
    num_measured: int  # by this call
    seconds: float  # what that took
    ended: bool  # whether the run said that it has ended


def track(
    sources: Sources,
    settings: Settings | None = None,
    *,
    out: str | Path | None = None,
    every: int = 1,
    follow: bool = False,
    overwrite: bool = False,
    patience: float = 600.0,
    device: str | torch.device = "cpu",
    progress: Callable[[float, str], None] | None = None,
    on_point: Callable[[Analysis], None] | None = None,
) -> Track:
    """Measure the checkpoints in order of their steps; those that are in OUT/track.jsonl already are not.

    Args:
        sources: a run folder, a glob, or several paths; of a run of ours, or of a Trainer, Lightning or anybody.
        settings: what is measured.
        out: where to write; by default the folder in which the checkpoints lie.
        every: measure every so manieth checkpoint: of 20, with 5, the 5th, 10th, 15th and 20th.
        follow: wait for new ones until the run has ended.
        overwrite: measure anew what was measured on other data, or with another loss or problem.
        patience: a run that was stopped cannot say so: following ends, with a warning, when ``last.pt`` and the
            checkpoints have not changed for so many seconds, and for ten times as long as the last epoch trained, or
            as lies between the last two checkpoints.
        device: where to measure.
        progress: called before each metric with the share that is done, and what is next.
        on_point: called with each point once it is on the disk.

    Raises:
        CheckpointError: there are no checkpoints, or one cannot be read or does not describe itself.
        ValueError: wrong settings, rows of something else, or another process is writing the same log.

    Example:
        >>> import tempfile
        >>> from landscape.training import Recipe, train
        >>> with tempfile.TemporaryDirectory() as run:
        ...     _ = train(Recipe(epochs=3, checkpoint_every=1), run)
        ...     tracked = track(run, Settings(metrics=("loss",), split="train"))
        ...     [analysis.checkpoint["step"] for analysis in tracked.analyses], tracked.num_measured
        ([23, 46, 69], 3)
    """
    tracking = _Tracking(sources, settings, out, every, follow, device, overwrite)
    start = time.perf_counter()
    found, ended = tracking.find()
    if not found and not follow:
        raise CheckpointError(_none_in(tracking.survey.sources))
    if todo := tracking.without_row(found):
        tracking.objectives.of(tracking.survey.load(todo[0].path))  # what is wrong is said before anything is written
    with TrackLog(tracking.log_path, tracking.settings.digest, earlier=tracking.settings.earlier_digest) as log:
        num_before = len(log.analyses)
        drawing = _Drawing(tracking.out, log)
        changed = time.monotonic()
        while True:
            for place, one in enumerate(found):
                if tracking.is_done(one, log.analyses):
                    continue
                point = tracking.measure(one, log, place / len(found), progress)
                if point is not None:
                    drawing.now_and_then()
                    if on_point:
                        on_point(point)
                    changed = time.monotonic()
            if ended or not follow:
                break
            drawing.if_new()
            before = tracking.seen
            time.sleep(_PAUSE)
            found, ended = tracking.find()
            if tracking.seen != before:
                changed = time.monotonic()
            elif time.monotonic() - changed > max(patience, _PATIENCE * tracking.survey.pace):
                warnings.warn(
                    "Nothing new has come for long, and the run has not ended: it is not followed further.",
                    stacklevel=2,
                )
                break
        drawing.if_new(at_the_end=True)
        return Track(
            tracking.out, latest(log.analyses), len(log.analyses) - num_before, time.perf_counter() - start, ended
        )


def _none_in(sources: Sequence[Path]) -> str:
    """What to say where no checkpoint is found."""
    folders = [source for source in sources if source.is_dir()]
    below = [str(run) for folder in folders for run in runs_below(folder)]
    hint = f" Expected files ({', '.join(SUFFIXES)}) or folders of weights in it." if folders else ""
    if below:
        more = f" and {len(below) - _NAMED} more" if len(below) > _NAMED else ""
        hint = f" They lie further down: give one of {', '.join(below[:_NAMED])}{more}."
    return f"{', '.join(map(str, sources))}: no checkpoints to measure.{hint}"


def estimate_cost(
    sources: Sources,
    settings: Settings | None = None,
    *,
    out: str | Path | None = None,
    every: int = 1,
    overwrite: bool = False,
    device: str | torch.device = "cpu",
) -> dict[str, Any]:
    """What ``track`` would cost, from one timed product on the first checkpoint that is not done; nothing is written.

    Arguments and errors are those of ``track``.

    Returns:
        "num_checkpoints", "num_done"; where there is one to do, its cost on each of the "splits", as of
        ``landscape.measure.cost``, and "seconds" {"least", "most"} for all of them.
    """
    tracking = _Tracking(sources, settings, out, every, False, device, overwrite)
    found, _ = tracking.find()
    todo = tracking.without_row(found)
    plan: dict[str, Any] = {"num_checkpoints": len(found), "num_done": len(found) - len(todo)}
    if todo:
        objectives = tracking.objectives.of(tracking.survey.load(todo[0].path))
        s = tracking.settings
        splits = {split: cost_of_metrics(one, s.metrics, arguments=s.arguments) for split, one in objectives.items()}
        totals = [cost["metrics"]["total"]["seconds"] for cost in splits.values()]
        plan |= {"splits": splits}
        plan["seconds"] = {end: len(todo) * sum(total[end] for total in totals) for end in ("least", "most")}
    return plan


def with_edge(sources: Sources, settings: Settings, *, follow: bool = False) -> Settings:
    """The settings, with the metric that the edge of stability of the run's optimizer is one of, as far as it is known.

    Arguments and errors are those of ``track``.
    """
    found, _ = _Tracking(sources, settings, None, 1, follow, "cpu", False).find()
    edge = edge_of(load_checkpoint(found[0].path, key=settings.key, trust=settings.trust).identity) if found else None
    if edge is None or edge.metric in settings.names:
        return settings
    return replace(settings, metrics=(*settings.metrics, edge.metric))


class _Tracking:
    """What to measure, where it lies, and where the results go."""

    def __init__(
        self,
        sources: Sources,
        settings: Settings | None,
        out: str | Path | None,
        every: int,
        follow: bool,
        device: str | torch.device,
        overwrite: bool,
    ) -> None:
        if every < 1:
            raise ValueError(f"every={every} is out of range. Expected at least 1.")
        self.settings, self.every = settings or Settings(), every
        some = [sources] if isinstance(sources, (str, Path)) else sources
        self.survey = Survey(some, follow=follow, key=self.settings.key, trust=self.settings.trust)
        self.out = Path(out) if out is not None else self.survey.folder()
        self.log_path = self.out / "track.jsonl"
        self.objectives = Objectives(self.settings, device)
        self.overwrite, self._has_warned, self._was_stale = overwrite, False, False
        self.seen: set[str] = set()
        self._compared: dict[str, Analysis] = {}  # rows that are of the same, by the checkpoint's hash
        self._fingerprints: dict[str, Fingerprint] = {}  # by what checkpoints describe; empty where it is not known

    def find(self) -> tuple[list[Found], bool]:
        """The checkpoints to measure, and whether all runs have ended."""
        found, lasts = self.survey.checkpoints()
        self.seen = {one.sha256 for one in (*found, *lasts)}
        return found[self.every - 1 :: self.every], bool(lasts) and all(last.ended for last in lasts)

    def without_row(self, found: list[Found]) -> list[Found]:
        rows = read_track(self.log_path, self.settings.digest, self.settings.earlier_digest)
        return [one for one in found if not self.is_done(one, rows)]

    def is_done(self, one: Found, rows: Sequence[Analysis]) -> bool:
        """Whether a checkpoint has its row. Raises ValueError for one of other data, another loss or problem."""
        row = row_of(rows, one.sha256)
        if row is None or self._compared.get(one.sha256) is row:
            return row is not None
        then = row.objective.get("fingerprint") or {}
        changed = differences(then, now) if (now := self._fingerprint_of(one)) else []
        if self.overwrite and (changed or not then):
            return False
        if changed:
            remedy = "Choose another --out, or measure it anew with --overwrite."
            refuse_other(f"{self.log_path}: the row of {one.path.name}", then, now, remedy)
        if not then:
            self._warn_once(
                f"{self.log_path} has rows that do not say on what they were measured: that is not compared."
            )
        self._compared[one.sha256] = row
        return True

    def _fingerprint_of(self, one: Found) -> Fingerprint:
        """What a measurement of this checkpoint is of; empty where its data or its problem have gone."""
        if one.describes not in self._fingerprints:
            try:
                self._fingerprints[one.describes] = self.objectives.fingerprint(self.survey.load(one.path))
            except (OSError, ValueError, ImportError) as error:
                self._fingerprints[one.describes] = {}
                self._warn_once(f"On what {self.log_path} was measured is not compared: {error}")
        return self._fingerprints[one.describes]

    def _warn_once(self, message: str) -> None:
        if not self._has_warned:
            warnings.warn(message, stacklevel=4)
        self._has_warned = True

    def measure(
        self, one: Found, log: TrackLog, share: float, progress: Callable[[float, str], None] | None
    ) -> Analysis | None:
        """Measure a checkpoint and write its row; None where it is gone or has been replaced by one that is done."""
        try:
            checkpoint = self.survey.load(one.path)
        except CheckpointError:
            if self.survey.follow:  # deleted since it was seen, as some do with all but the newest
                warnings.warn(f"{one.path} went away before it was measured.", stacklevel=3)
                return None
            raise
        facts = Found.of(checkpoint)
        if self.is_done(facts, log.analyses):
            return None
        objectives = self.objectives.of(checkpoint)

        def tell(split: str, metric: str) -> None:
            if progress:
                progress(share, f"{one.path.name}: {metric} on {split}")

        analysis = self.settings.analyze(objectives, tell)
        path = os.path.relpath(one.path, self.out)  # so that folders can be moved, and say nothing of this machine
        point = analysis.with_checkpoint(checkpoint.identity | {"path": path, "step": facts.step, "lr": facts.lr})
        log.append(point)
        if (words := stale_words(point.objective)) and not self._was_stale:
            warnings.warn(f"{one.path}: {words}. Other checkpoints' are told on the page only.", stacklevel=3)
            self._was_stale = True
        return point


class _Drawing:
    """The table and the figure, drawn up when there is something new, and not too often."""

    def __init__(self, out: Path, log: TrackLog) -> None:
        self.out, self.log = out, log
        self._num_drawn, self._seconds, self._last = 0, 1.0, time.perf_counter()

    def now_and_then(self) -> None:
        if time.perf_counter() - self._last > _DRAWING * self._seconds:
            self.if_new()

    def if_new(self, *, at_the_end: bool = False) -> None:
        if len(self.log.analyses) > self._num_drawn or at_the_end:
            start = time.perf_counter()
            summarize(self.log.analyses, self.out)
            self._last = time.perf_counter()
            self._seconds, self._num_drawn = self._last - start, len(self.log.analyses)
