"""Tables over seeds: means with t-intervals, and differences paired by seed in words."""

from collections.abc import Mapping, Sequence

from landscape.figures import Table, Value
from landscape.studies.collected import Collected
from landscape.studies.intervals import Interval, change, percent, points, relative_change

ERRORS = "half the 95 % t-interval over seeds"


def means(
    found: Collected,
    columns: Mapping[str, tuple[str, str, int | None]],
    caption: str,
    *,
    names: Mapping[str, str] | None = None,
    best: Mapping[str, str] | None = None,
) -> Table:
    """A row a recipe, with how many of its seeds are in it; a column a metric.

    Args:
        found: the results.
        columns: by heading, (metric, split, epoch or None for the last).
        caption: what is in it.
        names: the recipes to show, by the word that their rows begin with; by default all of them.
        best: "min" or "max" by heading.
    """
    rows: list[Sequence[str | Value]] = []
    for label, name in (names or {name: name for name in found.plan.names}).items():
        values = [found.mean(name, metric, split, epoch=epoch) for metric, split, epoch in columns.values()]
        num_planned = found.plan.num_seeds
        rows.append([label, f"{max(v.num_seeds for v in values)} of {num_planned}", *map(_value, values)])
    return Table(["optimizer", "seeds", *columns], rows, caption, dict(best or {}), ERRORS)


def changes(
    found: Collected, columns: Mapping[str, tuple[str, str]], pairs: Sequence[tuple[str, str]], caption: str
) -> Table:
    """A row a pair of recipes (the second against the first), a column a metric, in words."""
    rows = [
        [f"{after} against {before}", *(compared(found, before, after, *where) for where in columns.values())]
        for before, after in pairs
    ]
    return Table(["", *columns], rows, f"{caption} In brackets: 95 % t-interval, paired by seed.", {})


def compare(found: Collected, before: str, after: str, metric: str, split: str) -> Interval:
    """How the metric of one recipe stands to that of another at the end: relative; of accuracy, in points."""
    sides = [found.values(name, metric, split) for name in (before, after)]
    return (change if metric == "accuracy" else relative_change)(*sides)


def compared(found: Collected, before: str, after: str, metric: str, split: str) -> str:
    """The same in words."""
    return (points if metric == "accuracy" else percent)(compare(found, before, after, metric, split))


def _value(found: Interval) -> Value:
    return Value(found.value, found.half, found.num_seeds)
