"""What the period of the curvature's updates costs and gives (CurvSAM, table 2): accuracy, time, sharpness."""

from collections.abc import Sequence

from landscape.figures.kind import kind
from landscape.figures.kinds.speed import PERIODS, period_of, seconds_of, with_seconds
from landscape.figures.panels import subject
from landscape.figures.pooled import MissingMeasurementError, Value, pooled, require
from landscape.figures.runs import Run, last_epochs, named
from landscape.figures.table import Table

_SHARPNESS = "zeroth_order_flatness"


@kind("update-frequency", needs="accuracy on test, zeroth_order_flatness on train, and seconds of training, of SAM too")
def update_frequency(runs: Sequence[Run]) -> Table:
    """Accuracy, time relative to SAM, and sharpness by update period (CurvSAM table 2)."""
    runs = with_seconds(last_epochs(require(require(runs, "accuracy", split="test"), _SHARPNESS, split="train")))
    base = [run for run in runs if run.optimizer == "SAM"]
    if not base:
        raise MissingMeasurementError(
            "No result is of SAM, which times are relative to. Train and measure it: "
            "landscape train --optimizer sam --out runs/sam && "
            f"landscape analyze runs/sam/last.pt --metrics accuracy,{_SHARPNESS} --out results/sam"
        )
    sam = seconds_of(base).value
    rows: list[list[str | Value]] = []
    for name, group in named(runs, apart_from=PERIODS).items():
        for period in sorted({period_of(run) for run in group}):
            here = [run for run in group if period_of(run) == period]
            took = seconds_of(here)
            relative = Value(took.value / sam, took.error / sam, took.num_seeds)
            has_period = any(run.setting(key) is not None for key in PERIODS for run in here)
            cells = [
                pooled(run.get(metric, split) for run in here)
                for metric, split in (("accuracy", "test"), (_SHARPNESS, "train"))
            ]
            percent = Value(100 * cells[0].value, 100 * cells[0].error, cells[0].num_seeds)
            rows.append([name, str(period) if has_period else "", percent, relative, cells[1]])
    header = ["optimizer", "period", "accuracy (%)", "time (× SAM)", "sharpness"]
    caption = f"Update period, {subject(runs)}: accuracy on test, sharpness ({_SHARPNESS}) on train."
    return Table(header, rows, caption, {"accuracy (%)": "max", "sharpness": "min"})
