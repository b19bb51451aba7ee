import math

import pytest
from scipy import stats

from landscape.figures import compared, comparison_table, difference, run_names
from landscape.results import Analysis, Measurement


def probes(value, std_error, n):
    return Measurement("trace", value, std_error, num_matvecs=n)


@pytest.mark.parametrize(("n", "m"), [(3, 40), (10, 10), (200, 5)])
def test_it_is_welchs_test(n, m):
    found = difference(probes(10.0, 0.7, n), probes(12.0, 0.3, m))
    # scipy wants the deviations of the samples
    expected = stats.ttest_ind_from_stats(12.0, 0.3 * m**0.5, m, 10.0, 0.7 * n**0.5, n, equal_var=False)
    assert (found.t, found.p) == pytest.approx((expected.statistic, expected.pvalue))


def test_loss_and_accuracy_are_those_of_a_sample():
    a, b = (Measurement("accuracy", v, details={"data_std_error": 0.01}) for v in (0.9, 0.92))
    found = difference(a, b)
    assert found.p == pytest.approx(2 * stats.norm.sf(0.02 / math.hypot(0.01, 0.01)))
    assert found.words == "not told apart: 2 points higher (p = 0.16)"
    assert not found.significant


def test_the_bound_of_an_eigenvalue_holds_at_95_percent():
    a, b = (Measurement("lambda_max", v, 1.96, num_matvecs=9) for v in (10.0, 15.0))
    assert difference(a, b).t == pytest.approx(5 / math.sqrt(2))


def test_exact_numbers_differ_or_are_equal():
    assert difference(probes(4.0, 0, 0), probes(3.0, 0, 0)).words == "25 % lower (exact)"
    assert difference(probes(4.0, 0, 0), probes(4.0, 0, 0)).words == "equal (exact)"
    assert difference(probes(4.0, 0, 0), probes(8.0, 0, 0)).words == "100 % higher (exact)"
    assert difference(probes(0.0, 0, 0), probes(8.0, 0, 0)).words == "higher than 0 (exact)"


def test_what_was_not_measured_is_not_compared():
    assert difference(None, probes(1.0, 0, 0)).words == "not measured"
    assert difference(probes(math.nan, 0, 0), probes(1.0, 0, 0)).words == "not measured"
    unknown = difference(probes(2.0, math.nan, 9), probes(1.0, 0.1, 9))
    assert unknown.words == "50 % lower; the error is not known"
    assert not unknown.significant


def test_one_exact_side_leaves_the_freedom_of_the_other():
    assert difference(probes(2.0, 0.0, 0), probes(1.0, 0.1, 9)).freedom == pytest.approx(8)


def test_rows_are_the_metrics_that_two_hold():
    a, b, c = (
        Analysis({"train": {n: Measurement(n, v) for n, v in values.items()}})
        for values in ({"loss": 1.0, "trace": 2.0}, {"loss": 2.0, "own": 1.0}, {"loss": 3.0, "trace": 1.0})
    )
    rows = compared({"a": a, "b": b, "c": c})
    assert [(row.metric, row.differences["b"].words, row.differences["c"].words) for row in rows] == [
        ("loss", "100 % higher (exact)", "200 % higher (exact)"),
        ("trace", "not measured", "50 % lower (exact)"),
    ]
    table = comparison_table({"a": a, "b": b, "c": c})
    assert table.header == ["metric", "split", "a", "b", "c", "b against a", "c against a"]


def test_names_are_those_of_the_recipes_where_they_differ(tmp_path):
    for folder, optimizer in (("x", "sgd"), ("y", "sam")):
        Analysis({}, checkpoint={"recipe": {"optimizer": optimizer}}).save(tmp_path / folder)
        Analysis({}, checkpoint={"recipe": {"optimizer": "sgd"}}).save(tmp_path / "same" / folder)
    assert run_names([tmp_path / "y", tmp_path / "x"]) == ["SAM", "SGD"]
    assert run_names([tmp_path / "same" / "y", tmp_path / "same" / "x"]) == ["y", "x"]
