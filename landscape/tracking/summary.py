"""What the points of a run come to: a table, a figure and a page, drawn up anew each time, and limits that were passed.

A limit is a value that a metric should not pass, such as the edge of stability of the checkpoint's optimizer, which is
asked for as 2/lr: ``landscape.edge``.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from landscape.edge import edge_of
from landscape.figures import save_figure, track_figure
from landscape.figures.page import write_run_page
from landscape.files import write_text
from landscape.results import Analysis

_EDGE = "2/lr"
_POINT = ("path", "step", "epoch", "lr")


def summarize(analyses: Iterable[Analysis], folder: str | Path) -> list[Path]:
    """Write FOLDER/track.csv (a row a checkpoint, split and metric), track.png, track.pdf and report.html, each whole.

    Nothing is written where nothing was measured.
    """
    folder, points = Path(folder), latest(analyses)
    if not points:
        return []
    table = write_text(folder / "track.csv", frame(points).to_csv(index=False, lineterminator="\n"))
    return [table, *save_figure(track_figure(points), folder / "track"), write_run_page(points, folder)]


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


@dataclass(frozen=True)
class Limit:
    """A metric and what it should not exceed; None for the edge of stability of the checkpoint's optimizer.

    Example:
        >>> from landscape.results import Measurement
        >>> checkpoint = {"lr": 0.1, "recipe": {"optimizer": "sgd", "momentum": 0.0}}
        >>> point = Analysis({"train": {"lambda_max": Measurement("lambda_max", 25.0)}}, checkpoint=checkpoint)
        >>> Limit.of("lambda_max=2/lr").passed_by(point)
        ['lambda_max on train is 25, above 2/lr = 20']
    """

    metric: str
    value: float | None

    @classmethod
    def of(cls, text: str) -> "Limit":
        """Read "METRIC=VALUE" or "METRIC=2/lr".

        Raises:
            ValueError: it is neither.
        """
        metric, _, value = (part.strip() for part in text.partition("="))
        try:
            return cls(metric, None if value == _EDGE else float(value))
        except ValueError as error:
            raise ValueError(f"--fail-above {text} is no limit. Expected METRIC=VALUE or METRIC=2/lr.") from error

    def passed_by(self, analysis: Analysis) -> list[str]:
        """The splits on which the value is above the limit, in words.

        Raises:
            ValueError: the limit is the edge, and the learning rate is not known, or Adam's metric was not measured.
        """
        if self.value is not None:
            metric, limit, words = self.metric, self.value, f"{self.value:.6g}"
        else:
            path, edge = (analysis.checkpoint or {}).get("path"), edge_of(analysis.checkpoint)
            if edge is None:
                raise ValueError(f"{path} does not say its learning rate. Give --fail-above a number.")
            metric = edge.metric if self.metric == "lambda_max" else self.metric
            if not any(metric in found for found in analysis.splits.values()):
                raise ValueError(
                    f"{path}: the edge of its optimizer is one of {metric}. Measure that: --metrics {metric}."
                )
            limit, words = edge.value, edge.words + "".join(f" ({note})" for note in edge.notes)
        return [
            f"{metric} on {split} is {found[metric].value:.6g}, above {words}"
            for split, found in analysis.splits.items()
            if metric in found and found[metric].value > limit
        ]
