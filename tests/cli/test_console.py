import json
import math

import pytest

from landscape.results import Analysis, Measurement
from landscape.results.measurement import quantity
from landscape_cli.console import measuring, print_analysis, print_json, print_notes, print_table, progress


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        (12.3456, 0.234, "12.35 ± 0.23"),
        (12.3456, 1.96, "12.3 ± 2.0"),
        (0.0523, 0.0051, "0.0523 ± 0.0051"),
        (-8.2, 11.0, "-8 ± 11"),
        (54321.0, 678.0, "54,320 ± 680"),
        (2.34567e8, 1.2e6, "(2.346 ± 0.012)e+08"),
        (0.0, 0.5, "0.00 ± 0.50"),
        (3.892168, 2e-9, "3.89217 ± 2e-09"),
        (0.975, 0.0, "0.9750"),
        (17690.3, 0.0, "17,690"),
        (0.0, 0.0, "0.000"),
        (-math.inf, 0.0, "not finite"),
        (2.5, math.nan, "2.500 ± ?"),
    ],
)
def test_quantity_has_two_digits_of_its_error(value, error, words):
    assert quantity(value, error) == words


def test_analysis_table_marks_what_did_not_converge_and_says_why(capsys):
    trace = Measurement("trace", 20.0, 1.0, num_matvecs=64, num_samples=1000)
    short = Measurement("trace", 30.0, 9.0, num_matvecs=16, converged=False, reason="interval too wide")
    gradient = Measurement("gradient_norm", 0.5, num_gradients=1)
    print_analysis(
        Analysis(
            {"train": {"trace": trace, "gradient_norm": gradient}, "test": {"trace": short}},
            objective={"num_examples": {"train": 1437, "test": 360}},
        )
    )
    header, _, *rows = capsys.readouterr().out.splitlines()
    assert header.split("  ")[-1].strip() == "gradients"
    assert "train (n = 1,437)" in header
    assert rows[0].split("  ")[0] == "trace"
    assert "20.0 ± 2.0 " in rows[0]
    assert "30 ± 18 *" in rows[0]
    assert "64 + 16" in rows[0]
    assert rows[1].split() == ["gradient_norm", "0.5000", "0", "1"]
    assert rows[-1] == "* test trace: interval too wide"


def test_the_widest_analysis_fits_a_terminal(capsys):
    long = Measurement("effective_dimension", 590.0, 400.0, num_matvecs=256, converged=False)
    wide = Measurement("top_eigenvalues", 10.7274, 5e-5, num_matvecs=230, num_gradients=10)
    both = {m.name: m for m in (long, wide)}
    print_analysis(
        Analysis({"train": both, "test": both}, objective={"num_examples": {"train": 50_000, "test": 10_000}})
    )
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def test_notes_say_what_the_errors_are_and_each_reason_once(capsys):
    short = [Measurement(name, 1.0, converged=False, reason="too few probes") for name in ("trace", "normalized_trace")]
    other = Measurement("lambda_max", 1.0, 0.1, converged=False, reason="too few products", error_kind="bound")
    print_notes({"SAM": Analysis({"test": {m.name: m for m in (*short, other)}})})
    assert capsys.readouterr().out.splitlines() == [
        "Of lambda_max ± is a bound on the error.",
        "* SAM test trace, normalized_trace: too few probes",
        "* SAM test lambda_max: too few products",
    ]


def test_a_table_in_a_pipe_keeps_its_lines_whole(capsys):
    print_table(["name", "value"], [["x" * 200, "[bold]1"]])
    assert capsys.readouterr().out.splitlines()[-1].split() == ["x" * 200, "[bold]1"]


def test_json_has_null_for_what_it_cannot_say(capsys):
    print_json({"a": [math.nan, math.inf, 1.5], "b": "ρ"})
    out = capsys.readouterr().out
    assert json.loads(out, parse_constant=pytest.fail) == {"a": [None, None, 1.5], "b": "ρ"}


def test_progress_is_silent_where_nobody_watches(capsys):
    with progress("Epochs", 2) as tell:
        tell(1, "loss 0.5")
    with measuring("file", 1) as before:
        before("train", "trace")
    assert capsys.readouterr() == ("", "")
