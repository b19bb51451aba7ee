"""``track.csv`` and the figure: what the log holds of one kind of settings, drawn up anew each time."""

import os
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from landscape.figures import save_figure
from landscape.figures.track import track as figure
from landscape.results import Analysis

_POINT = ("path", "step", "epoch", "lr")


def summarize(analyses: Iterable[Analysis], folder: str | Path) -> list[Path]:
    """Write FOLDER/track.csv (a row a checkpoint, split and metric) and FOLDER/track.png and .pdf, each whole or not.

    Nothing is written where nothing was measured.
    """
    folder, points = Path(folder), latest(analyses)
    if not points:
        return []
    csv, part = folder / "track.csv", folder / "track.csv.part"
    frame(points).to_csv(part, index=False, lineterminator="\n")
    os.replace(part, csv)
    return [csv, *save_figure(figure(points), folder / "track")]


def frame(analyses: Iterable[Analysis]) -> pd.DataFrame:
    """One row a measurement: path, step, epoch, lr, and the columns of ``Analysis.to_frame``."""
    frames = []
    for analysis in analyses:
        one = analysis.to_frame()
        for place, key in enumerate(_POINT):
            one.insert(place, key, (analysis.checkpoint or {}).get(key))
        frames.append(one.astype({"epoch": "Int64", "lr": "float64"}))
    return pd.concat(frames, ignore_index=True)


def latest(analyses: Iterable[Analysis]) -> list[Analysis]:
    """The points of each run in order; of two of one run and step (a run trained anew) the one measured last."""
    points: dict[tuple[Path, int], Analysis] = {}
    for analysis in analyses:
        checkpoint = analysis.checkpoint or {}
        points[Path(checkpoint.get("path") or ".").parent, checkpoint["step"]] = analysis
    return [points[key] for key in sorted(points)]
