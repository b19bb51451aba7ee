import math

import numpy as np
import pytest

from landscape.figures import track_figure as track
from landscape.results import Analysis, Measurement


def points(values, *, name="lambda_max", lr=0.1, error=0.5, path="epoch.pt", converged=True):
    return [
        Analysis(
            {
                split: {name: Measurement(name, value * scale, error, converged=converged, error_kind="bound")}
                for split, scale in (("train", 1), ("test", 2))
            },
            checkpoint={"step": 10 * number, "lr": lr, "path": path},
        )
        for number, value in enumerate(values, start=1)
    ]


def labels(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_train_is_solid_test_dashed_and_the_band_is_the_bound():
    (axes,) = track(points([18.0, 20.0, math.nan, 19.0])).axes
    train, test, edge = axes.lines
    assert (train.get_linestyle(), test.get_linestyle(), edge.get_linestyle()) == ("-", "--", ":")
    np.testing.assert_array_equal(train.get_xydata(), [[10, 18], [20, 20], [30, math.nan], [40, 19]])
    np.testing.assert_array_equal(test.get_ydata(), [36, 40, math.nan, 38])
    np.testing.assert_array_equal(edge.get_ydata(), [20.0] * 4)
    band = axes.collections[0].get_paths()[0].vertices
    assert (band[:, 1].min(), band[:, 1].max()) == (17.5, 20.5)
    assert axes.get_xlabel() == "step"


def test_an_edge_far_above_is_said_and_does_not_squeeze_the_values():
    figure = track(points([1.0, 2.0], lr=0.001))
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.texts] == ["2/lr ≥ 2e+03"]
    assert axes.get_ylim()[1] < 6
    assert labels(figure) == ["train", "test", "95 % interval"]


@pytest.mark.parametrize(("name", "lr"), [("trace", 0.1), ("lambda_max", None)])
def test_no_edge_where_it_means_nothing_or_is_not_known(name, lr):
    figure = track(points([18.0, 20.0], name=name, lr=lr))
    assert len(figure.axes[0].lines) == 2
    assert figure.axes[0].texts[:] == []
    assert "2/lr" not in labels(figure)


def test_what_did_not_converge_is_crossed():
    figure = track(points([1.0, 2.0], converged=False, lr=None))
    assert [line.get_marker() for line in figure.axes[0].lines] == [".", "x", ".", "x"]
    assert labels(figure)[-1] == "accuracy asked for not reached"


def test_runs_have_colours_of_their_own():
    figure = track(points([1.0], path="a/last.pt", lr=None) + points([2.0], path="b/last.pt", lr=None))
    assert labels(figure) == ["a", "b", "train", "test", "95 % interval"]
    assert [line.get_color() for line in figure.axes[0].lines] == ["C0", "C0", "C1", "C1"]


def test_nothing_to_draw_is_refused():
    with pytest.raises(ValueError, match="No measurement to draw"):
        track([])
