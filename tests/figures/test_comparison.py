import math
import subprocess
import sys

import pytest
from scipy import stats

from landscape.figures import comparison
from landscape.results import Analysis, Measurement


def analysis(train, test, model="mlp") -> Analysis:
    return Analysis(
        {
            split: {
                "loss": Measurement("loss", value),
                "trace": Measurement("trace", 10 * value, value, num_samples=20),
                "lambda_max": Measurement(
                    "lambda_max", 2 * value, value / 8, converged=split == "train", error_kind="bound"
                ),
            }
            for split, value in (("train", train), ("test", test))
        },
        objective={"num_params": 6570, "num_examples": {"train": 1437, "test": 360}},
        checkpoint={"model": {"name": model, "args": {}}, "data": {"name": "digits", "args": {}}},
    )


@pytest.fixture(scope="module")
def figure():
    return comparison({"SGD": analysis(0.25, 0.5), "SAM": analysis(1.0, 2.0)})


def drawn(axes) -> list[tuple[float, float, float, float]]:
    """x, value, and the two ends of its bar, of each error-bar artist."""
    return [
        (marker.get_xdata()[0], marker.get_ydata()[0], *bars[0].get_segments()[0][:, 1])
        for marker, _, bars in axes.containers
    ]


def test_a_panel_a_metric_holds_every_value_with_its_95_percent_interval(figure):
    assert [axes.get_ylabel() for axes in figure.axes] == ["loss", "trace", "lambda_max"]
    values = [0.25, 0.5, 1.0, 2.0]  # run by run, train before test
    loss, trace, eigenvalue = (drawn(axes) for axes in figure.axes)
    assert [value for _, value, *_ in loss] == values
    t = stats.t.ppf(0.975, 19)
    for found, factor, half_width in ((loss, 1, 0), (trace, 10, t), (eigenvalue, 2, 1 / 8)):
        for (_, value, low, high), expected in zip(found, values, strict=True):
            assert value == pytest.approx(factor * expected)
            assert (low, high) == pytest.approx((value - half_width * expected, value + half_width * expected))


def test_runs_are_on_x_and_splits_are_told_apart_by_their_markers(figure):
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["SGD", "SAM"]
    (x_train, *_), (x_test, *_) = drawn(axes)[:2]
    assert x_train < 0 < x_test
    markers = [container.lines[0] for container in axes.containers]
    assert [m.get_markerfacecolor() for m in markers] == ["C0", "white", "C1", "white"]
    assert markers[0].get_marker() != markers[1].get_marker()
    assert [text.get_text() for text in figure.legends[0].get_texts()][:2] == ["train", "test"]


def test_title_says_what_was_measured(figure):
    assert figure.get_suptitle() == "mlp on digits, 6,570 parameters, 1,437 train examples, 360 test examples"
    mixed = comparison({"mlp": analysis(1, 1), "cnn": analysis(1, 1, model="cnn")})
    assert [line.split()[0] for line in mixed.get_suptitle().splitlines()] == ["mlp", "cnn"]
    assert comparison({"": Analysis({"train": {"loss": Measurement("loss", 1.0)}})}).get_suptitle() == ""


def test_unconverged_values_are_starred(figure):
    assert [len(axes.texts) for axes in figure.axes] == [0, 0, 2]
    assert "accuracy asked for not reached" in [text.get_text() for text in figure.legends[0].get_texts()]


def test_what_could_not_be_measured_says_so_and_the_rest_is_drawn():
    broken = Analysis({"train": {"trace": Measurement("trace", math.nan, math.nan, converged=False, reason="nan")}})
    (axes,) = comparison({"whole": analysis(1.0, 2.0), "broken": broken}).axes[1:2]
    assert [text.get_text() for text in axes.texts] == ["not finite"]
    assert len(drawn(axes)) == 2


def test_tick_labels_have_no_offset_and_begin_at_zero():
    large = Analysis({"train": {"trace": Measurement("trace", 1e6)}, "test": {"trace": Measurement("trace", 1e6 + 1)}})
    figure = comparison({"run": large})
    figure.draw_without_rendering()
    (axes,) = figure.axes
    assert axes.yaxis.get_offset_text().get_text() == ""
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert "1e+06" in labels
    assert axes.get_ylim()[0] == 0


def test_seven_metrics_make_three_rows_without_empty_panels():
    metrics = {f"m{i}": Measurement(f"m{i}", float(i)) for i in range(7)}
    assert len(comparison({"run": Analysis({"train": metrics})}).axes) == 7


def test_nothing_to_draw_is_refused():
    with pytest.raises(ValueError, match="No measurement to draw"):
        comparison({"empty": Analysis({"train": {}})})


def test_error_bar_without_probes_is_that_of_a_normal():
    assert Measurement("anything", 1.0, 0.5).half_width() == pytest.approx(0.5 * stats.norm.ppf(0.975))
    assert Measurement("loss", 1.0).half_width() == 0


@pytest.mark.parametrize("name", ["lambda_max", "lambda_min", "top_eigenvalues"])
def test_error_bar_of_an_eigenvalue_is_its_bound(name):
    assert Measurement(name, 1.0, 0.5, error_kind="bound").half_width() == 0.5


def test_a_value_whose_error_is_unknown_is_drawn_without_a_bar():
    (axes,) = comparison({"run": Analysis({"train": {"sam_ratio": Measurement("sam_ratio", 0.5, math.nan)}})}).axes
    ((marker, _, bars),) = axes.containers
    assert marker.get_ydata() == [0.5]
    assert not any(len(segment) for segment in bars[0].get_segments())
    axes.figure.draw_without_rendering()


def test_figures_import_neither_torch_nor_pyplot():
    code = "import landscape.figures, sys; print([m for m in ('torch', 'matplotlib.pyplot') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
