import pytest

from landscape_cli.demo import summary


def test_summary_says_all_of_it():
    lines = summary(
        {
            ("loss", "train"): "higher",
            ("loss", "test"): "not told apart",
            ("trace", "train"): "lower",
            ("trace", "test"): "lower",
            ("lambda_max", "train"): "not measured",
        },
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
    states = {(metric, "train"): state for metric in ("trace", "lambda_max")}
    assert summary(states, "SGD", "SAM")[-1].endswith(f"{winner} found the flatter place.")
