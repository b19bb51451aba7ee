"""What the costly step of an optimizer takes and gives, by how often it is made.

Accuracy against the speed of training (GAM, Zhang et al. 2023, fig. 4), where fewer steps with the penalty are faster;
and accuracy, time and sharpness by the period of the curvature's updates (CurvSAM, table 2).
"""

from collections.abc import Sequence
from typing import Any

from matplotlib import rcParams
from matplotlib.figure import Figure

from landscape.figures.kinds.kind import kind
from landscape.figures.kinds.panels import ERROR_BAR, colours, legend, panels
from landscape.figures.kinds.table import Table
from landscape.figures.runs.pooled import MissingMeasurementError, Value, command, error_words, pooled, require
from landscape.figures.runs.run import Run, last_epochs, named, subject
from landscape.results import Measurement

_PERIODS = ("optimizer_args.period", "optimizer_args.update_every")  # in every how many steps the costly part is there
_SHARPNESS = "zeroth_order_flatness"


@kind("speed", needs="accuracy on test, and seconds of training, of SGD too")
def speed(runs: Sequence[Run]) -> Figure:
    """Test accuracy against training speed relative to SGD, by period of the costly step (GAM fig. 4)."""
    runs = _with_seconds(last_epochs(require(runs, "accuracy", split="test")))
    base = [run for run in runs if run.optimizer in ("SGD", "AdamW", "Adam")]
    if not base:
        raise MissingMeasurementError(
            "No result is of plain SGD, which speeds are relative to. "
            "Train and measure it: landscape train --optimizer sgd --out runs/sgd && landscape analyze runs/sgd/last.pt"
        )
    seconds = _seconds_of(base).value
    colour = colours(named(runs, apart_from=_PERIODS))
    figure, (axes,) = panels(1, height=2.3)
    drawn = []
    for name, group in named(runs, apart_from=_PERIODS).items():
        periods = sorted({_period_of(run) for run in group}, reverse=True)
        points = []
        for period in periods:
            here = [run for run in group if _period_of(run) == period]
            accuracy, took = pooled(run.get("accuracy", "test") for run in here), _seconds_of(here)
            relative = seconds / took.value
            points.append((relative, accuracy.value))
            bars = accuracy.bar, took.times(relative / took.value).bar
            axes.errorbar(*points[-1], *bars, color=colour[name], marker="o", **ERROR_BAR)
            if len(periods) > 1:
                words = f"1/{period}" if period > 1 else "1"
                beside: dict[str, Any] = {"textcoords": "offset points", "fontsize": "x-small", "color": colour[name]}
                axes.annotate(words, points[-1], (4, 4), **beside)
            drawn.append(accuracy)
        axes.plot(*zip(*points, strict=True), color=colour[name], linewidth=0.6)
    axes.axvline(1, color=rcParams["text.color"], linestyle=":", linewidth=0.6)
    axes.set_xlim(left=0)
    axes.set_xlabel(f"training speed relative to {base[0].optimizer}")
    axes.set_ylabel("accuracy (test)")
    figure.suptitle(subject(runs))
    legend(figure, colour, [], f"bars: {error_words(drawn)}\nfractions: how often the costly step is made")
    return figure


@kind("update-frequency", needs="accuracy on test, zeroth_order_flatness on train, and seconds of training, of SAM too")
def update_frequency(runs: Sequence[Run]) -> Table:
    """Accuracy, time relative to SAM, and sharpness by update period (CurvSAM table 2)."""
    runs = _with_seconds(last_epochs(require(require(runs, "accuracy", split="test"), _SHARPNESS, split="train")))
    base = [run for run in runs if run.optimizer == "SAM"]
    if not base:
        raise MissingMeasurementError(
            "No result is of SAM, which times are relative to. Train and measure it: "
            "landscape train --optimizer sam --out runs/sam && "
            f"landscape analyze runs/sam/last.pt --metrics accuracy,{_SHARPNESS} --out results/sam"
        )
    sam = _seconds_of(base).value
    rows: list[list[str | Value]] = []
    for name, group in named(runs, apart_from=_PERIODS).items():
        for period in sorted({_period_of(run) for run in group}):
            here = [run for run in group if _period_of(run) == period]
            relative = _seconds_of(here).times(1 / sam)
            has_period = any(run.setting(key) is not None for key in _PERIODS for run in here)
            percent = pooled(run.get("accuracy", "test") for run in here).times(100)
            sharpness = pooled(run.get(_SHARPNESS, "train") for run in here)
            rows.append([name, str(period) if has_period else "", percent, relative, sharpness])
    header = ["optimizer", "period", "accuracy (%)", "time (× SAM)", "sharpness"]
    caption = f"Update period, {subject(runs)}: accuracy on test, sharpness ({_SHARPNESS}) on train."
    return Table(header, rows, caption, {"accuracy (%)": "max", "sharpness": "min"})


def _with_seconds(runs: Sequence[Run]) -> list[Run]:
    """The runs that know how long they were trained.

    Raises:
        MissingMeasurementError: where none does.
    """
    known = [run for run in runs if run.checkpoint.get("seconds") is not None]
    if not known:
        raise MissingMeasurementError(
            "No result says how long its training took. Measure checkpoints of landscape train: "
            f"{command(runs, ['accuracy'])}"
        )
    return known


def _seconds_of(runs: Sequence[Run]) -> Value:
    """Seconds of training of the runs, and the spread over seeds."""
    return pooled(Measurement("seconds", float(run.checkpoint["seconds"])) for run in runs)


def _period_of(run: Run) -> int:
    """In every how many steps the costly part is there; 1 where the recipe has no such setting."""
    return next((int(run.setting(key)) for key in _PERIODS if run.setting(key) is not None), 1)
