"""Row m: ``track`` over 20 checkpoints, against its measurements alone.

Alone is ``analyze`` of every checkpoint on objectives that are made once, with the weights in memory already: no file
is read, no row written, nothing drawn. What ``track`` adds is some 10 ms a checkpoint (reading it twice, a row that is
on the disk), and once, whatever the network, the table, the figure and the report.
"""

import statistics
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.race import Contender, Found, race
from benchmarks.report import US, Bar, Row
from landscape import analyze, load_checkpoint
from landscape.tracking import Settings, track
from landscape.tracking.settings import Objectives
from landscape.training import Recipe, train

NUM_CHECKPOINTS = 20
WANTED = 1.05
_NETWORKS: dict[str, dict[str, Any]] = {
    "digits MLP": {"model": "mlp"},
    "digits CNN, width 16": {"model": "cnn"},
    "digits CNN, width 32": {"model": "cnn", "model_args": {"width": 32}},
}


def tracking(quick: bool) -> Row:
    """Row m."""
    timings, bars, facts = [], [], {}
    for name in list(_NETWORKS)[: 1 if quick else None]:
        with tempfile.TemporaryDirectory() as folder:
            train(Recipe(epochs=NUM_CHECKPOINTS, checkpoint_every=1, **_NETWORKS[name]), folder)
            tracked, alone = race(_contenders(name, Path(folder)), repeats=3)
        timings += [tracked, alone]
        ratio = statistics.median(a / b for a, b in zip(tracked.cpu_seconds, alone.cpu_seconds, strict=True))
        bars.append(
            Bar(
                f"{name}: <= {WANTED}x its measurements alone, of the processor's time",
                f"{ratio:.3f}x",
                ratio <= WANTED,
            )
        )
        facts[f"{name}: its seconds on top"] = min(tracked.cpu_seconds) - min(alone.cpu_seconds)
    return Row("m", f"track of {NUM_CHECKPOINTS} checkpoints: default metrics, train and test", timings, bars, facts)


def _contenders(name: str, folder: Path) -> list[Contender]:
    settings, paths = Settings(), sorted(folder.glob("epoch-*.pt"))
    checkpoints = [load_checkpoint(path) for path in paths]
    objectives = Objectives(settings, "cpu")
    objectives.of(checkpoints[0])

    def tracked(_: int) -> Found:
        with tempfile.TemporaryDirectory() as out:
            return Found(None, _products(track(paths, settings, out=out).analyses))

    def alone(_: int) -> Found:
        return Found(
            None, _products([analyze(objectives.of(checkpoint), settings.metrics) for checkpoint in checkpoints])
        )

    return [Contender(US, f"{name}: track", tracked), Contender(US, f"{name}: measurements alone", alone)]


def _products(analyses: list[Any]) -> int:
    return sum(m.num_matvecs for one in analyses for found in one.splits.values() for m in found.values())


ROWS = {"m": tracking}
