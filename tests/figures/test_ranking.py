"""The figure of a ranking: a row a measure, filled where a claim holds, references on grey."""

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb

from landscape.figures.kinds.ranking import RankedRow, ranking
from landscape.figures.kinds.style import COLUMN, styled
from landscape.statistics import Interval

ROWS = [
    RankedRow("trace", {"all": Interval(0.3, 0.1, 0.6, 9), "given": Interval(0.1, -0.1, 0.2, 9)}, frozenset({"all"})),
    RankedRow("random", {"all": Interval(0.0, -0.1, 0.1, 9), "given": Interval(0.0, -0.2, 0.2, 9)}, frozenset(), True),
]


@pytest.fixture
def figure():
    with styled():
        figure = ranking(ROWS, xlabel="tau")
        FigureCanvasAgg(figure).draw()
        return figure


def test_every_row_stands_in_its_place_with_its_intervals(figure):
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["trace", "random"]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the first is on top
    bars = [bar.get_segments()[0] for container in axes.containers for bar in container.lines[2]]
    expected = [(tau.low, tau.high) for row in ROWS for tau in row.taus.values()]
    assert [tuple(x for x, _ in bar) for bar in bars] == [pytest.approx(ends) for ends in expected]
    assert [round(bar[0][1]) for bar in bars] == [0, 0, 1, 1]


def test_only_what_holds_is_filled(figure):
    marks = [container.lines[0] for container in figure.axes[0].containers]
    filled = [to_rgb(mark.get_markerfacecolor()) == to_rgb(mark.get_color()) for mark in marks]
    assert filled == [True, False, False, False]


def test_nothing_is_cut_off(figure):
    box, renderer = figure.bbox, figure.canvas.get_renderer()
    for text in (figure.axes[0].xaxis.label, *figure.axes[0].get_yticklabels(), *figure.legends[0].get_texts()):
        extent = text.get_window_extent(renderer)
        assert box.x0 <= extent.x0 <= extent.x1 <= box.x1, text.get_text()
    assert figure.get_size_inches()[0] == COLUMN
