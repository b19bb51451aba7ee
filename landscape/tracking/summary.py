"""``track.csv``, the figure and the report: what the log holds of one kind of settings, drawn up anew each time."""

import os
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from landscape.figures import save_figure, track_figure
from landscape.figures.page import write_run_page
from landscape.results import Analysis

_POINT = ("path", "step", "epoch", "lr")


def summarize(analyses: Iterable[Analysis], folder: str | Path) -> list[Path]:
    """Write FOLDER/track.csv (a row a checkpoint, split and metric), track.png, track.pdf and report.html, each whole.

    Nothing is written where nothing was measured.
    """
    folder, points = Path(folder), latest(analyses)
    if not points:
        return []
    csv, part = folder / "track.csv", folder / "track.csv.part"
    frame(points).to_csv(part, index=False, lineterminator="\n")
    os.replace(part, csv)
    return [csv, *save_figure(track_figure(points), folder / "track"), write_run_page(points, folder)]


def frame(analyses: Iterable[Analysis]) -> pd.DataFrame:
    """One row a measurement: path, step, epoch, lr, and the columns of ``Analysis.to_frame``."""
    points = list(analyses)
    frames = [analysis.to_frame() for analysis in points]
    lengths = [len(one) for one in frames]
    whole = pd.concat(frames, ignore_index=True)
    for place, key in enumerate(_POINT):
        of_each = pd.Series([(analysis.checkpoint or {}).get(key) for analysis in points])
        whole.insert(place, key, of_each.repeat(lengths).to_numpy())
    return whole.astype({"epoch": "Int64", "lr": "float64"})


def latest(analyses: Iterable[Analysis]) -> list[Analysis]:
    """The points of each run in order; of two of one run and step (a run trained anew) the one measured last."""
    points: dict[tuple[Path, int], Analysis] = {}
    for analysis in analyses:
        checkpoint = analysis.checkpoint or {}
        points[Path(checkpoint.get("path") or ".").parent, checkpoint["step"]] = analysis
    return [points[key] for key in sorted(points)]
