"""Accuracy against the speed of training (GAM, Zhang et al. 2023, fig. 4): fewer steps with the penalty are faster."""

from collections.abc import Sequence

from matplotlib import rcParams
from matplotlib.figure import Figure

from landscape.figures.kind import kind
from landscape.figures.panels import colours, legend, panels, subject
from landscape.figures.pooled import MissingMeasurementError, Value, command, error_words, pooled, require
from landscape.figures.runs import Run, last_epochs, named
from landscape.results import Measurement

PERIODS = ("optimizer_args.period", "optimizer_args.update_every")  # in every how many steps the costly part is there


@kind("speed", needs="accuracy on test, and seconds of training, of SGD too")
def speed(runs: Sequence[Run]) -> Figure:
    """Test accuracy against training speed relative to SGD, by period of the costly step (GAM fig. 4)."""
    runs = with_seconds(last_epochs(require(runs, "accuracy", split="test")))
    base = [run for run in runs if run.optimizer in ("SGD", "AdamW", "Adam")]
    if not base:
        raise MissingMeasurementError(
            "No result is of plain SGD, which speeds are relative to. "
            "Train and measure it: landscape train --optimizer sgd --out runs/sgd && landscape analyze runs/sgd/last.pt"
        )
    seconds = seconds_of(base).value
    colour = colours(named(runs, apart_from=PERIODS))
    figure, (axes,) = panels(1, height=2.3)
    drawn = []
    for name, group in named(runs, apart_from=PERIODS).items():
        periods = sorted({period_of(run) for run in group}, reverse=True)
        points = []
        for period in periods:
            here = [run for run in group if period_of(run) == period]
            accuracy, took = pooled(run.get("accuracy", "test") for run in here), seconds_of(here)
            relative = seconds / took.value
            points.append((relative, accuracy.value))
            x_error = relative * took.error / took.value
            axes.errorbar(
                *points[-1], accuracy.error, x_error, color=colour[name], marker="o", elinewidth=0.6, capsize=1.5
            )
            if len(periods) > 1:
                axes.annotate(
                    f"1/{period}" if period > 1 else "1",
                    points[-1],
                    (4, 4),
                    textcoords="offset points",
                    fontsize="x-small",
                    color=colour[name],
                )
            drawn.append(accuracy)
        axes.plot(*zip(*points, strict=True), color=colour[name], linewidth=0.6)
    axes.axvline(1, color=rcParams["text.color"], linestyle=":", linewidth=0.6)
    axes.set_xlim(left=0)
    axes.set_xlabel(f"training speed relative to {base[0].optimizer}")
    axes.set_ylabel("accuracy (test)")
    figure.suptitle(subject(runs))
    legend(figure, colour, [], f"bars: {error_words(drawn)}\nfractions: how often the costly step is made")
    return figure


def with_seconds(runs: Sequence[Run]) -> list[Run]:
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


def seconds_of(runs: Sequence[Run]) -> Value:
    """Seconds of training of the runs, and the spread over seeds."""
    return pooled(Measurement("seconds", float(run.checkpoint["seconds"])) for run in runs)


def period_of(run: Run) -> int:
    """In every how many steps the costly part is there; 1 where the recipe has no such setting."""
    return next((int(run.setting(key)) for key in PERIODS if run.setting(key) is not None), 1)
