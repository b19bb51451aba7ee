import math

import pytest

from landscape.results import Analysis, Measurement
from landscape.tracking import Limit


def point(train, test, *, lr=0.1):
    splits = {split: {"lambda_max": Measurement("lambda_max", v)} for split, v in (("train", train), ("test", test))}
    return Analysis(splits, checkpoint={"path": "epoch-0001.pt", "lr": lr})


@pytest.mark.parametrize(
    ("limit", "train", "test", "splits"),
    [
        ("lambda_max=5", 5.0, 5.1, ["test"]),
        ("lambda_max=5", 6.0, math.inf, ["train", "test"]),
        ("lambda_max=5", math.nan, 1.0, []),
        ("lambda_max = 2/lr", 20.1, 19.9, ["train"]),
        ("trace=0", 1.0, 1.0, []),
    ],
)
def test_above_is_above(limit, train, test, splits):
    assert [words.split()[2] for words in Limit.of(limit).passed_by(point(train, test))] == splits


def test_two_over_lr_needs_the_learning_rate():
    with pytest.raises(ValueError, match=r"epoch-0001\.pt does not say its learning rate"):
        Limit.of("lambda_max=2/lr").passed_by(point(1.0, 1.0, lr=None))


@pytest.mark.parametrize("text", ["lambda_max", "lambda_max=", "lambda_max=high", "lambda_max=3/lr"])
def test_no_limit(text):
    with pytest.raises(ValueError, match=f"--fail-above {text} is no limit"):
        Limit.of(text)
