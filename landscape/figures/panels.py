"""What the kinds share: a row of panels with room for the legend, axes in decades where values span them, colours."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from landscape.figures.figure import COLUMN, TWO_COLUMNS, sized_figure

SPLIT_LINES = {"train": "-", "test": "--"}  # solid and dashed, as in CR-SAM's figure 2
_DECADES = 1.5  # beyond, an axis is logarithmic


def panels(num: int, *, columns: int = 2, height: float = 1.7, **shared: Any) -> tuple[Figure, list[Axes]]:
    """A figure of ``num`` panels, one column of a paper wide where it has one panel, and two otherwise."""
    columns = min(columns, num)
    rows = math.ceil(num / columns)
    figure = sized_figure(COLUMN if columns == 1 else TWO_COLUMNS, height * rows + 0.5)
    axes: list[Axes] = list(figure.subplots(rows, columns, squeeze=False, **shared).flat)
    for extra in axes[num:]:
        extra.remove()
    return figure, axes[:num]


def colours(names: Iterable[str]) -> dict[str, str]:
    """A colour of the cycle for each name, in order."""
    cycle = rcParams["axes.prop_cycle"].by_key()["color"]
    return {name: cycle[index % len(cycle)] for index, name in enumerate(names)}


def in_decades(values: Sequence[float]) -> bool:
    """Whether an axis with these values is better logarithmic."""
    finite = [value for value in values if math.isfinite(value)]
    return bool(finite) and min(finite) > 0 and math.log10(max(finite) / min(finite)) > _DECADES


def split_style(split: str) -> Any:
    """Solid for train, dashed for test, dotted for any other."""
    return SPLIT_LINES.get(split, ":")


def legend(figure: Figure, names: dict[str, str], splits: Sequence[str], bars: str) -> None:
    """Below the panels: the names by colour, the splits by line, and what the error bars are."""
    grey = rcParams["text.color"]
    handles = [Line2D([], [], color=colour, label=name) for name, colour in names.items()]
    if len(splits) > 1:
        handles += [Line2D([], [], color=grey, linestyle=split_style(split), label=split) for split in splits]
    columns = 3 if figure.get_size_inches()[0] < rcParams["figure.figsize"][0] * 1.5 else 6
    size = rcParams["legend.fontsize"]
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, title=bars or None, title_fontsize=size)


def subject(runs: Sequence[Any]) -> str:
    """The model and the data, where all the runs agree on them."""
    words = set()
    for run in runs:
        specs = [run.checkpoint.get(key) for key in ("model", "data")]
        words.add(" on ".join(spec["name"] for spec in specs if spec))
    return words.pop() if len(words) == 1 else ""
