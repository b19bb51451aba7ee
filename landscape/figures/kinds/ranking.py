"""How well each of many measures orders trained networks: Kendall's tau with its interval, a row a measure.

Several questions are told apart by colour, side by side in every row. A filled mark is a claim that holds when all of
them are tested together, an open one is none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib import rcParams
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from landscape.figures.kinds.panels import ERROR_BAR, colours, legend_below
from landscape.figures.kinds.style import COLUMN, sized_figure
from landscape.statistics import Interval

_ROW = 0.2  # inches


@dataclass(frozen=True)
class RankedRow:
    """A measure: its name, tau by question, the questions at which it differs from 0, and whether it is a reference."""

    name: str
    taus: Mapping[str, Interval]
    holds: frozenset[str]
    is_reference: bool = False


def ranking(rows: Sequence[RankedRow], *, xlabel: str) -> Figure:
    """Rows from top to bottom, in the order given; references stand on grey.

    Args:
        rows: all with the same questions, in the order in which they are drawn.
        xlabel: what is correlated with what.

    Example:
        >>> row = RankedRow("trace", {"all pairs": Interval(0.3, 0.2, 0.4, 90)}, frozenset({"all pairs"}))
        >>> [label.get_text() for label in ranking([row], xlabel="tau").axes[0].get_yticklabels()]
        ['trace']
    """
    questions = list(rows[0].taus)
    colour, ink = colours(questions), rcParams["text.color"]
    figure = sized_figure(COLUMN, _ROW * len(rows) + 0.9)
    axes = figure.subplots()
    for place, row in enumerate(rows):
        if row.is_reference:
            axes.axhspan(place - 0.5, place + 0.5, color=ink, alpha=0.1, lw=0)
        for index, (question, found) in enumerate(row.taus.items()):
            y = place + 0.27 * (index - (len(questions) - 1) / 2)
            errors = [[found.value - found.low], [found.high - found.value]]
            face = colour[question] if question in row.holds else rcParams["axes.facecolor"]
            mark: dict[str, Any] = {
                "marker": "os^D"[index % 4],
                "markersize": 2.6,
                "markerfacecolor": face,
                "markeredgewidth": 0.7,
            }
            axes.errorbar(found.value, y, xerr=errors, color=colour[question], **mark, **ERROR_BAR | {"capsize": 0})
    axes.axvline(0, color=ink, lw=0.6)
    axes.set_yticks(range(len(rows)), [row.name for row in rows])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(axis="x", color=ink, alpha=0.15, lw=0.4)
    axes.set_axisbelow(True)
    axes.set_xlabel(xlabel)
    marks = [
        Line2D([], [], color=colour[question], marker="os^D"[index % 4], markersize=3.5, lw=0.8, label=question)
        for index, question in enumerate(questions)
    ]
    marks.append(Line2D([], [], ls="", label="filled: holds with all claims tested together"))
    legend_below(figure, marks, columns=(1, len(marks)))
    return figure
