"""The page of a track: what it says, as text and in a browser."""

import hashlib
import math
from dataclasses import replace

import pytest

from landscape.figures.page import render_run_page, write_run_page
from landscape.results import Analysis, Measurement
from tests.report.analyses import HOSTILE, PLAIN, RECIPE
from tests.report.chromium import Page, find_or_install
from tests.report.test_browser import _PALE
from tests.report.test_report import Parsed

LAMBDA, TRACE = (18.0, 21.0, 12.0, 9.0), (60.0, math.nan, 50.0, 59.0)


def points(*, folder: str = ".", recipe: dict | None = None, **checkpoint) -> list[Analysis]:
    """Four checkpoints; lambda_max goes above 2/lr = 20 at the second, where the trace is not finite."""
    return [
        Analysis(
            {
                split: {
                    "lambda_max": Measurement("lambda_max", scale * value, 0.5, num_matvecs=7, error_kind="bound"),
                    "trace": Measurement(
                        "trace", trace, 1.0, num_matvecs=9, converged=number not in (2, 3), reason="budget"
                    ),
                }
                for split, scale in (("train", 1), ("test", 2))
            },
            {"num_examples": {"train": 1437, "test": 360}, "num_params": 6570, "mode": "eval", "dtype": "float32"},
            {"seed": 7, "rel_error": 0.05, "command": "landscape track run", "torch": "2.13.0", "seconds": 0.5},
            {
                "path": f"{folder}/epoch-{number}.pt",
                "sha256": f"{number}" * 64,
                "epoch": number,
                "step": 1000 * number,
                "lr": 0.1,
                "model": {"name": "mlp", "args": {}},
                "data": {"name": "digits", "args": {}},
                "recipe": PLAIN if recipe is None else recipe,
                **checkpoint,
            },
        )
        for number, (value, trace) in enumerate(zip(LAMBDA, TRACE, strict=True), start=1)
    ]


@pytest.fixture(scope="module")
def parsed():
    return Parsed(render_run_page(points()))


@pytest.mark.parametrize(
    "words",
    [
        "mlp on digits over training",
        "4 checkpoints, steps 1,000 to 4,000.",
        "lambda_max: 18 to 9 (train), 36 to 18 (test).",
        "train: from 18.00 ± 0.50 at step 1,000 to 9.00 ± 0.50 at step 4,000, 50 % lower (intervals apart). "
        "Highest: 21.00 ± 0.50 at step 2,000.",
        "not told apart: 1.7 % lower",
        "is above 2/lr, where its optimizer is unstable on a quadratic, at 1 of 4 checkpoints: step 2,000.",
        "4 of 16 numbers did not reach the accuracy asked for: trace.",
        "trace (train) could not be measured at 1 of 4 checkpoints; at step 2,000: budget.",
        "trace (test) did not reach its accuracy at 1 of 4 checkpoints; at step 3,000: budget.",
        "λmax is the largest algebraic eigenvalue of the Hessian",
        "sgd, lr 0.1",
        "train 1,437, test 360",
        "landscape track run",
        "Cost128 products, 0 gradients, 2 seconds",
        "Warm starts0 products saved",
        "torch 2.13.0",
    ],
)
def test_it_says(parsed, words):
    assert words in parsed.text


def test_first_middle_and_last_are_a_table():
    body = render_run_page(points()).partition('aria-label="First')[2].partition("</table>")[0]
    words = Parsed(body).text.replace(" ", "")
    assert "step1,000step2,000step4,000lastbesidefirst" in words
    assert "lambda_maxtrain18.00±0.50✓21.00±0.50✓9.00±0.50✓50%lower(intervalsapart)" in words
    assert "tracetest60.0±2.0✓notfinite✗59.0±2.0✓nottoldapart:1.7%lower" in words


def test_every_checkpoint_is_named_with_its_hash(parsed):
    for number in range(1, 5):
        assert f"epoch-{number}.pt{1000 * number:,}{number}0.13200.50{str(number) * 12}" in parsed.text


def test_pictures_have_the_line_of_2_over_lr_and_words(parsed):
    pictures = [attributes for tag, attributes in parsed.tags if tag == "svg"]
    assert [one["aria-label"] for one in pictures] == [
        "lambda_max over the steps of training, on train and test: values from 9 to 42.",
        "trace over the steps of training, on train and test: values from 50 to 60.",
    ]
    assert "2/lr" in parsed.text.partition("The sum of the Hessian")[0]
    assert len(parsed.attributes("id")) == len(set(parsed.attributes("id")))


@pytest.mark.parametrize("changes", [{"lr": None, "recipe": RECIPE}, {"recipe": RECIPE | {"optimizer": "adam"}}])
def test_no_edge_where_none_is_known(changes):
    text = Parsed(render_run_page(points(**changes))).text
    assert "2/lr" not in text


def test_the_edge_with_momentum_is_further_up():
    text = Parsed(render_run_page(points(recipe=RECIPE))).text
    assert "stays below 3.8/lr, up to which its optimizer is stable on a quadratic" in text
    assert "with momentum 0.9; at small batches it is nearer 2 (1 - 0.9)/lr = 2" in text


def test_below_the_edge_it_says_how_near():
    text = Parsed(render_run_page(points(lr=0.05))).text
    assert "comes nearest at step 2,000, with 52" in text


def test_several_runs_have_a_table_each():
    both = [*points(folder="runs/a"), *points(folder="runs/b", model={"name": "cnn", "args": {}})]
    text = Parsed(render_run_page(both)).text
    assert "mlp and cnn on digits over training" in text
    assert "Modelmlp; cnn Datadigits Trained" in text
    assert "a, lambda_max on train is above 2/lr" in text
    assert "8 checkpoints of 2 runs, steps 1,000 to 4,000." in text
    assert "a, train: from 18.00 ± 0.50" in text
    assert "b, train: from 18.00 ± 0.50" in text
    assert text.count("last beside first") == 2


def test_what_was_measured_by_other_versions_is_warned_of():
    first, *rest = points()
    mixed = [replace(first, provenance=first.provenance | {"torch": "2.6.0"}), *rest]
    assert "Not all was measured with the same torch: 2.6.0, 2.13.0." in Parsed(render_run_page(mixed)).text


def test_one_point_is_enough_and_none_is_refused():
    assert "at step 1,000." in Parsed(render_run_page(points()[:1])).text
    with pytest.raises(ValueError, match="No point to write of"):
        render_run_page([])


def test_the_overhead_of_live_tracking_is_told():
    *rest, last = points()
    live = {"seconds": 1.5, "training_seconds": 30.0, "percent": 5.0}
    text = Parsed(render_run_page([*rest, replace(last, provenance=last.provenance | {"tracking": live})])).text
    assert "Overhead1.5 seconds, 5" in text
    assert "of the training time (30 seconds)" in text


def test_it_is_written_whole_with_the_hash_of_the_rows(tmp_path):
    (tmp_path / "track.jsonl").write_text("rows\n")
    path = write_run_page(points(), tmp_path)
    assert hashlib.sha256(b"rows\n").hexdigest() in path.read_text(encoding="utf-8")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["report.html", "track.jsonl"]


def test_values_from_outside_are_text():
    hostile = points(folder=HOSTILE, model={"name": HOSTILE, "args": {}}, recipe={"optimizer": HOSTILE})
    found = Parsed(render_run_page([replace(p, provenance={"command": HOSTILE}) for p in hostile]))
    assert not [tag for tag, _ in found.tags if tag in ("script", "img")]
    assert "<script>window.pwned = 1</script>" in found.text


@pytest.mark.parametrize("width", [390, 1280])
def test_in_a_browser_it_is_quiet_and_readable(tmp_path, width):
    executable, reason = find_or_install()
    if executable is None:
        pytest.skip(reason)
    path = write_run_page([*points(folder="a"), *points(folder="b")], tmp_path)
    with Page(executable) as browser:
        browser.open(path, width=width)
        for dark in (False, True):
            browser.look(dark=dark)
            num_texts, pale = browser.run(_PALE)
            assert num_texts > 100
            assert pale == []
        assert browser.run("document.documentElement.scrollWidth") <= width
        sizes = "[...document.querySelectorAll('figure svg text')].map(t => t.getBoundingClientRect().height)"
        assert min(browser.run(sizes)) >= 9
        assert browser.complaints() == []
        assert browser.requests() == [path.as_uri()]
