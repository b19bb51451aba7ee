"""Every reader says of an error what the measurement says: the same numbers, whatever the metric is called."""

import csv
import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
from matplotlib.text import Annotation
from scipy import stats

from landscape.figures import (
    MissingMeasurementError,
    Run,
    Table,
    comparison,
    comparison_table,
    draw,
    load_runs,
    track_figure,
)
from landscape.figures.kinds.layers import layers_of
from landscape.figures.page import render_page
from landscape.figures.page.markup import cell as page_cell
from landscape.figures.runs.pooled import pooled
from landscape.results import Analysis, Measurement, TrackLog, difference
from landscape.results.measurement import quantity
from landscape_cli.console import cell
from tests.cli.command import here

STUDENT_3 = stats.t.ppf(0.975, 2)  # of three samples
CASES = {
    "exact": ({"error_kind": "none"}, 0.0, 0.0),
    "three samples": ({"error_kind": "standard error", "num_samples": 3}, 0.5, 0.5 * STUDENT_3),
    "many samples": ({"error_kind": "standard error", "num_samples": 0}, 0.5, 0.5 * stats.norm.ppf(0.975)),
    "bound": ({"error_kind": "bound", "num_samples": 3}, 0.5, 0.5),
    "lower bound": ({"error_kind": "lower bound"}, 0.5, math.inf),
    "unknown": ({"error_kind": "standard error"}, math.nan, math.inf),
    "one sample": ({"error_kind": "standard error", "num_samples": 1}, 0.5, math.inf),
}
NAMES = ("lambda_max", "first_order_flatness", "sam_ratio", "my_metric")


@pytest.fixture(params=CASES)
def case(request):
    return request.param


@pytest.fixture(params=NAMES)
def m(request, case) -> Measurement:
    """A value of 20 with that error: under any name, and with a cost that says nothing of its error."""
    settings, std_error, _ = CASES[case]
    return Measurement(request.param, 20.0, std_error, num_matvecs=9, **settings)


@pytest.fixture
def half(m, case) -> float:
    """Half the interval that the measurement itself tells."""
    low, high = m.interval()
    assert high - m.value == pytest.approx(CASES[case][2])
    assert low == (m.value if case == "lower bound" else pytest.approx(m.value - CASES[case][2]))
    return high - m.value


def analysis(*found: Measurement, **checkpoint) -> Analysis:
    return Analysis({"train": {m.name: m for m in found}}, checkpoint=checkpoint)


def expected_text(m: Measurement, half: float) -> str:
    return f"≥ {quantity(20.0)}" if m.error_kind == "lower bound" else quantity(20.0, half)


def arrows(axes) -> list[Annotation]:
    return [text for text in axes.texts if isinstance(text, Annotation) and text.arrow_patch]


def labels(figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_an_interval_on_three_samples_is_students_with_two_degrees_of_freedom():
    low, high = Measurement("sam_ratio", 1.0, 0.1, num_samples=3).interval()
    assert (high - low) / 2 == pytest.approx(0.1 * 4.302653)


def test_the_terminal_and_the_page_write_the_interval(m, half):
    text = expected_text(m, half)
    assert cell(m) == text
    written = page_cell(m)
    assert f"{written['value']} {written['rest']}".strip() == text
    assert text in " ".join(
        render_page(analysis(m)).replace("</span>", "").replace('<span class="unbroken">', "").split()
    )


def test_a_pooled_value_and_its_tables_have_the_interval(m, half, case):
    value, text = pooled([m]), expected_text(m, half)
    assert (value.value, value.error) == (20.0, pytest.approx(half))
    table = Table(["run", m.name], [["one", value]], "", {})
    assert table.markdown().splitlines()[2] == f"| one | {text} |"
    (row,) = csv.DictReader(io.StringIO(table.csv()))
    error = float(row[f"{m.name}_error"])
    assert math.isnan(error) if case in ("unknown", "one sample") else error == pytest.approx(half)
    assert f"one & {text} ".replace("±", r"$\pm$").replace("≥", r"$\geq$") in table.latex()
    assert ("≥: lower bound." in table.markdown()) == (case == "lower bound")


def test_the_comparison_draws_the_interval_or_an_arrow_or_nothing_and_says_so(m, half, case):
    figure = comparison({"run": analysis(m)})
    (axes,) = figure.axes
    ((_, _, (bars,)),) = axes.containers
    ends = [end for segment in bars.get_segments() if len(segment) for end in segment[:, 1]]
    if math.isfinite(half):
        assert ends == pytest.approx([20 - half, 20 + half])
    else:
        assert not ends
    assert len(arrows(axes)) == (case == "lower bound")
    assert ("95 % interval" in labels(figure)) == (0 < half < math.inf)
    assert ("lower bound" in labels(figure)) == (case == "lower bound")
    assert ("no interval: error not known" in labels(figure)) == (case in ("unknown", "one sample"))
    assert [text.get_text() for text in axes.texts if text not in arrows(axes)] == (
        ["?"] if case in ("unknown", "one sample") else []
    )


def test_the_table_of_a_comparison_has_the_interval(m, half):
    (row,) = comparison_table({"a": analysis(m), "b": analysis(m)}).rows
    assert [value.error for value in row[2:4]] == [pytest.approx(half)] * 2


def test_the_band_of_a_track_is_the_interval_or_there_is_none(m, half, case):
    figure = track_figure([analysis(m, step=step) for step in (1, 2)])
    (axes,) = figure.axes
    if 0 < half < math.inf:
        band = axes.collections[0].get_paths()[0].vertices[:, 1]
        assert (band.min(), band.max()) == pytest.approx((20 - half, 20 + half))
    else:
        assert not axes.collections
    assert len(arrows(axes)) == (case == "lower bound")
    assert ("lower bound" in labels(figure)) == (case == "lower bound")
    assert ("no interval: error not known" in labels(figure)) == (case in ("unknown", "one sample"))
    figure.draw_without_rendering()


def test_compare_prints_the_interval_as_json(m, half, monkeypatch, capsys, tmp_path):
    for name in ("a", "b"):
        analysis(m).save(tmp_path / name)
    (row,) = json.loads(here(monkeypatch, capsys, "compare", tmp_path / "a", tmp_path / "b", "--json").stdout)
    for value in row["values"].values():
        ends = [end if end is not None else math.copysign(math.inf, i - 0.5) for i, end in enumerate(value["interval"])]
        assert ends == [pytest.approx(end) for end in m.interval()]
        assert value["error_kind"] == m.error_kind


@pytest.mark.parametrize("apart", [0.98, 1.02])
def test_a_difference_is_told_where_the_intervals_allow_it(m, half, apart):
    """From an exact number, at just more and just less than the interval."""
    if not 0 < half < math.inf:
        return
    exact = Measurement(m.name, 20.0 + apart * half)
    assert difference(m, exact).state == ("higher" if apart > 1 else "not told apart")


def test_nothing_is_above_a_lower_bound():
    bound = Measurement("my_metric", 20.0, 0.5, error_kind="lower bound")
    assert difference(bound, Measurement("my_metric", 30.0)).state == "not told apart"
    assert difference(bound, Measurement("my_metric", 10.0)).state == "lower"


@pytest.mark.parametrize("num_probes", [0, 3])
def test_layers_have_the_interval_of_their_probes_and_the_bound_of_their_eigenvalue(num_probes):
    one = {key: np.array([4.0]) for key in ("trace", "lambda_max", "share", "gradient_norm", "num_params")}
    errors = {"trace_std_error": np.array([0.5]), "lambda_max_error": np.array([0.5])}
    details = {"layers": np.array(["conv"]), **one, **errors}
    table = Measurement("layer_table", 4.0, 0.5, num_samples=num_probes, details=details)
    (layer,) = layers_of(table)
    half = 0.5 * (STUDENT_3 if num_probes else stats.norm.ppf(0.975))
    assert (layer.trace.error, layer.lambda_max.error) == pytest.approx((half, 0.5))
    runs = [Run(Path("results"), {}, {"train": {"layer_table": table}})]
    trace, largest = draw("layers", runs).axes
    for axes, expected in ((trace, half), (largest, 0.5)):
        assert max(line.get_xdata()[0] for line in axes.lines) == pytest.approx(4 + expected)
    (row,) = draw("layer-table", runs).rows
    assert (row[4].error, row[6].error) == pytest.approx((half, 0.5))
    assert layer.trace.text in render_page(Analysis({"train": {"layer_table": table}}))


@pytest.mark.parametrize(("num_runs", "quantile"), [(3, STUDENT_3), (0, stats.norm.ppf(0.975)), (1, None)])
def test_the_band_of_a_density_is_that_of_its_runs(num_runs, quantile):
    x = np.linspace(-1, 1, 5)
    log = {"log_eigenvalues": x, "log_density": np.full(5, 2.0), "log_std_error": np.full(5, 0.1)}
    found = Measurement("spectral_density", 0.1, 0.1, num_samples=num_runs, details=log | {"log_threshold": 0.1})
    (axes,) = draw("spectrum", [Run(Path("results"), {}, {"train": {"spectral_density": found}})]).axes
    if quantile is None:
        assert not axes.collections
    else:
        band = axes.collections[0].get_paths()[0].vertices[:, 1]
        assert (band.min(), band.max()) == pytest.approx((2 - 0.1 * quantile, 2 + 0.1 * quantile))


def test_the_share_of_directions_has_the_exact_interval_of_a_count():
    keys = [f"{raw}{what}_histogram" for raw in ("raw_", "") for what in ("minima", "maxima")]
    found = Measurement("local_minima", 0.0, details={key: [0, 20, 80] for key in keys} | {"noise_expectation": 1.0})
    axes = draw("extrema", [Run(Path("results"), {}, {"train": {"local_minima": found}})]).axes[0]
    ((bars,),) = [c.lines[2] for c in axes.containers if hasattr(c, "lines")]
    ends = [segment[:, 1].tolist() for segment in bars.get_segments()]
    assert ends == [
        pytest.approx(list(stats.binomtest(count, 100).proportion_ci(method="exact"))) for count in (0, 20, 80)
    ]


def test_a_track_without_files_is_drawn_by_its_folder(tmp_path):
    """Rows of a ``Tracker``, which measures while the network trains."""
    for name in ("a", "b"):
        with TrackLog(tmp_path / name / "track.jsonl", "settings") as log:
            for step in (1, 2):
                log.append(analysis(Measurement("trace", float(step)), path=None, sha256=f"{name}{step}", step=step))
    figure = draw("track", load_runs([tmp_path]))
    assert labels(figure)[:2] == ["a", "b"]
    with pytest.raises(MissingMeasurementError, match="at two steps or more"):
        draw("track", load_runs([tmp_path])[:1])
