import math

import pytest

from landscape.results import Measurement
from landscape_cli.verdict import Difference, difference, summary


def estimate(value: float) -> Measurement:
    return Measurement("trace", value, 1.0, num_matvecs=10_001)  # half-width 1.96


def eigenvalue(value: float) -> Measurement:
    return Measurement("lambda_max", value, 0.5, num_matvecs=9)  # a bound as it is


@pytest.mark.parametrize(
    ("first", "second", "state", "words"),
    [
        (estimate(20.0), estimate(16.0), "lower", "20 % lower"),  # 4 > 2 * 1.96
        (estimate(20.0), estimate(16.2), "not told apart", "(19 % lower)"),
        (estimate(-20.0), estimate(-10.0), "higher", "50 % higher"),
        (estimate(20.0), estimate(20.0), "not told apart", "equal"),
        (estimate(20.0), estimate(math.nan), "not measured", "not measured"),
        (Measurement("gradient_norm", 0.0), Measurement("gradient_norm", 1.0), "higher", "higher than 0"),
        (eigenvalue(5.0), eigenvalue(6.1), "higher", "22 % higher"),
        (eigenvalue(5.0), eigenvalue(5.9), "not told apart", "(18 % higher)"),
    ],
)
def test_difference(first, second, state, words):
    assert difference("train", first, second) == Difference(first.name, "train", state, words)


def test_accuracy_is_compared_in_points_with_the_error_of_a_sample():
    low, high = (Measurement("accuracy", value, details={"data_std_error": 0.01}) for value in (0.90, 0.93))
    assert difference("test", low, high) == Difference("accuracy", "test", "not told apart", "(3 points higher)")
    surely_high = Measurement("accuracy", 0.95, details={"data_std_error": 0.01})
    assert difference("test", low, surely_high).words == "5 points higher"


def test_summary_says_all_of_it():
    lines = summary(
        [
            Difference("loss", "train", "higher", ""),
            Difference("loss", "test", "not told apart", ""),
            Difference("trace", "train", "lower", ""),
            Difference("trace", "test", "lower", ""),
            Difference("lambda_max", "train", "not measured", ""),
        ],
        "SGD",
        "SAM",
    )
    assert lines == [
        "Lower with SAM, beyond the error bars: trace (train, test).",
        "Higher with SAM, beyond the error bars: loss (train).",
        "Not told apart: loss (test).",
        "Not measured: lambda_max (train).",
        "By trace and lambda_max on the training data, neither SGD nor SAM found the flatter place.",
    ]


@pytest.mark.parametrize(("state", "winner"), [("lower", "SAM"), ("higher", "SGD")])
def test_summary_names_the_flatter_place_whichever_it_is(state, winner):
    differences = [Difference(metric, "train", state, "") for metric in ("trace", "lambda_max")]
    assert summary(differences, "SGD", "SAM")[-1].endswith(f"{winner} found the flatter place.")
