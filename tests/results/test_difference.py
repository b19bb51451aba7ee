import math

import pytest
from scipy import stats

from landscape.figures import compared, comparison_table, run_names
from landscape.results import Analysis, Measurement, difference


def probes(value, std_error, n):
    return Measurement("trace", value, std_error, num_matvecs=n, num_samples=n)


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
    assert found.state == "not told apart"


@pytest.mark.parametrize("name", ["lambda_max", "anything"])
def test_bounds_are_told_apart_where_they_do_not_meet_whatever_the_name(name):
    a, b, c = (Measurement(name, v, 1.96, num_matvecs=9, error_kind="bound") for v in (10.0, 15.0, 13.9))
    assert (difference(a, b).state, difference(a, b).words) == ("higher", "50 % higher (intervals apart)")
    assert difference(a, c).words == "not told apart: 39 % higher (intervals meet)"
    assert math.isnan(difference(a, b).p)


def test_a_lower_bound_has_no_p_value_and_is_told_apart_from_below_only():
    low, high = (Measurement("first_order_flatness", v, 0.1, error_kind="lower bound") for v in (1.0, 5.0))
    exact = Measurement("first_order_flatness", 3.0)
    assert difference(low, high).words == "not told apart: 400 % higher (intervals meet)"
    assert difference(exact, high).state == "higher"
    assert difference(exact, low).state == "not told apart"
    assert math.isnan(difference(exact, high).p)


def test_all_commands_say_the_same_of_two_estimates():
    found = difference(probes(20.0, 1.0, 40), probes(16.7, 1.0, 40))
    assert found.state == "lower"
    assert found.words == "17 % lower (p = 0.022)"


def test_exact_numbers_differ_or_are_equal():
    assert difference(probes(4.0, 0, 0), probes(3.0, 0, 0)).words == "25 % lower (exact)"
    assert difference(probes(4.0, 0, 0), probes(4.0, 0, 0)).words == "equal (exact)"
    assert difference(probes(4.0, 0, 0), probes(8.0, 0, 0)).words == "100 % higher (exact)"
    assert difference(probes(0.0, 0, 0), probes(8.0, 0, 0)).words == "higher than 0 (exact)"


def test_what_was_not_measured_is_not_compared():
    assert difference(None, probes(1.0, 0, 0)).words == "not measured"
    assert difference(probes(math.nan, 0, 0), probes(1.0, 0, 0)).words == "not measured"
    unknown = difference(probes(2.0, math.nan, 9), probes(1.0, 0.1, 9))
    assert unknown.words == "not told apart: 50 % lower (the error is not known)"
    assert unknown.state == "not told apart"


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


def estimate(value: float) -> Measurement:
    return Measurement("trace", value, 1.0, num_samples=10_001)


def eigenvalue(value: float) -> Measurement:
    return Measurement("lambda_max", value, 0.5, error_kind="bound")


@pytest.mark.parametrize(
    ("first", "second", "state", "words"),
    [
        (estimate(20.0), estimate(16.0), "lower", "20 % lower (p = 0.0047)"),
        (estimate(20.0), estimate(17.3), "not told apart", "not told apart: 13 % lower (p = 0.056)"),
        (estimate(-20.0), estimate(-10.0), "higher", "50 % higher (p < 0.001)"),
        (estimate(20.0), estimate(20.0), "not told apart", "equal (p = 1)"),
        (estimate(20.0), estimate(math.nan), "not measured", "not measured"),
        (Measurement("gradient_norm", 0.0), Measurement("gradient_norm", 1.0), "higher", "higher than 0 (exact)"),
        (eigenvalue(5.0), eigenvalue(6.1), "higher", "22 % higher (intervals apart)"),
        (eigenvalue(5.0), eigenvalue(5.9), "not told apart", "not told apart: 18 % higher (intervals meet)"),
    ],
)
def test_states_and_words(first, second, state, words):
    found = difference(first, second)
    assert (found.state, found.words) == (state, words)


def test_accuracy_is_compared_in_points_with_the_error_of_a_sample():
    low, high = (Measurement("accuracy", value, details={"data_std_error": 0.01}) for value in (0.90, 0.92))
    assert difference(low, high).words.startswith("not told apart: 2 points higher")
    surely_high = Measurement("accuracy", 0.95, details={"data_std_error": 0.01})
    assert difference(low, surely_high).words.startswith("5 points higher")
