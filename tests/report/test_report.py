"""The page as text: what it says, what it does not let through, and what it needs."""

import hashlib
import math
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files

import numpy as np
import pytest

from landscape.figures.page import checkpoint, pictures, render_page, write_page
from landscape.figures.page.facts import warnings_of
from landscape.figures.page.readings import reading
from landscape.metrics import about_metrics
from landscape.results import Line, Measurement, save_surfaces
from tests.report.analyses import CONSTANT, HOSTILE, PLAIN, RECIPE, bowl, full_analysis, minima, with_measurement

_EMPTY = {"meta", "link", "img", "br", "wbr", "use", "path"}


class Parsed(HTMLParser):
    """The elements of a page and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.text = " ".join("".join(self.words).split())

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.words.append(data)

    def attributes(self, name: str) -> list[str]:
        return [found[name] for _, found in self.tags if name in found]


@pytest.fixture(scope="module")
def parsed():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "plotly_script", lambda: "window.Plotly = {react() {}}")
        return Parsed(render_page(full_analysis(), [bowl()]))


@pytest.fixture
def no_extra(monkeypatch):
    monkeypatch.setattr(checkpoint, "plotly_script", lambda: None)


@pytest.fixture
def small_extra(monkeypatch):
    """In the place of plotly.js, of 5 MB."""
    monkeypatch.setattr(checkpoint, "plotly_script", lambda: "window.Plotly = {react() {}}")


def said(analysis, metric):
    return reading(metric, analysis).here


def test_what_was_measured_on_what(parsed):
    for words in (
        "mlp on digits, epoch 5",
        "Checkpointrun/last.pt",
        "SHA-256" + "0123456789abcdef" * 4,
        "epoch 5, step 115",
        "mlp (num_classes 10)",
        "sgd, lr 0.1, momentum 0.9, schedule cosine, epochs 5",
        "train 1,437, test 360",
        "Parameters6,570",
        "eval mode, float32",
        "landscape analyze run/last.pt",
        "landscape 0.1.0, torch 2.13.0",
        "Seed7, of all random draws.",
    ):
        assert words in parsed.text


def test_every_number_has_its_error_and_its_mark(parsed):
    body = render_page(full_analysis()).partition('class="numbers"')[2].partition("</table>")[0]
    rows = [Parsed(row) for row in body.split("<tr>")[2:]]
    assert len(rows) == len(full_analysis()["train"])
    text = Parsed(body).text
    for words in (
        "30.00 ± 0.98✓",
        "45.00 ± 0.98✓",
        "360 ± 290✗",
        "(6.70 ± 0.31) × 10⁻⁶✓",
        "−0.0700 ± 0.0030✓",
        "0.1250✓",
        "≥ 0.01600✓",
    ):
        assert words in text
    marks = Counter(label for row in rows for label in row.attributes("aria-label"))
    assert marks == {"not converged": 2, "converged": 2 * len(rows) - 2}
    assert "effective_dimension (train) did not reach its accuracy: budget of 4 runs." in parsed.text
    assert "2 of 34 numbers did not reach the accuracy asked for: effective_dimension." in parsed.text


def test_every_metric_has_a_reading():
    from landscape.measure import METRICS

    assert about_metrics().keys() == METRICS.keys()
    for metric in METRICS:
        found = reading(metric, full_analysis())
        assert found.meaning
        assert found.limits
        assert all(len(text) < 700 for text in (found.meaning, found.here, found.limits))


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        (PLAIN, "At the checkpoint's lr = 0.1, its optimizer is stable on a quadratic up to 2/lr = 20. "),
        (PLAIN, "On train, 6 is 30 % of that: below it."),
        (
            CONSTANT,
            "up to 3.8/lr = 38. On train, 6 is 16 % of that: below it. That limit is with momentum 0.9; at small",
        ),
        (PLAIN | {"lr": 1.0}, "2/lr = 2. On train, 6 is 300 % of that: above it."),
        (PLAIN | {"lr": 1 / 3.02}, "at it."),
        (CONSTANT | {"optimizer": "sam"}, "an optimizer in several passes has an edge of its own"),
        (CONSTANT | {"optimizer": "adamw"}, "its limit, 38/lr = 380, is one of preconditioned_sharpness"),
        (RECIPE, "names no learning rate"),  # its schedule has changed it since
        ({}, "names no learning rate"),
    ],
)
def test_lambda_max_is_held_against_the_edge_of_its_optimizer(recipe, words):
    analysis = full_analysis(checkpoint={"path": "x.pt", "recipe": recipe})
    assert words in said(analysis, "lambda_max")
    assert ("/lr on train" in render_page(analysis)) == ("stable" in said(analysis, "lambda_max"))


def test_the_edge_is_at_the_rate_of_the_state_and_not_of_the_recipe():
    update = {"kind": "sgd", "lr": 0.01, "beta": 0.0, "weight_decay": 0.0}
    analysis = full_analysis(checkpoint={"path": "x.pt", "recipe": RECIPE, "update": update})
    assert "lr = 0.01, its optimizer is stable on a quadratic up to 2/lr = 200" in said(analysis, "lambda_max")


def test_readings_are_of_the_numbers():
    analysis = full_analysis()
    assert "at least 0.00333, 2.7 % of the train loss" in said(analysis, "gradient_norm")  # 0.2^2 / (2 * 6)
    assert "mean eigenvalue of 0.00457 (train) and 0.00685 (test)" in said(analysis, "trace")
    assert "The steepest direction alone has 20 % (train) and 20 % (test) of it." in said(analysis, "trace")
    assert "with 1.2 % (train) and 0.78 % (test) of lambda_max" in said(analysis, "lambda_min")
    assert "sigma² / 2 times the trace would be 5.4e-06 (train)" in said(analysis, "average_sharpness")
    assert "linear1 has 67 % of the trace and 91 % of the parameters" in said(analysis, "layer_table")
    assert "the slope at the weights alone would give 0.01" in said(analysis, "zeroth_order_flatness")
    assert "the 50 largest go from 6 down to 0.12 and add up to 90 % of the trace" in said(analysis, "top_eigenvalues")
    for lower_bound in ("zeroth_order_flatness", "first_order_flatness"):
        assert "It is a lower bound" in reading(lower_bound, analysis).limits


def test_a_value_that_is_not_finite_is_not_read():
    broken = Measurement("trace", math.nan, math.nan, converged=False, reason="loss is nan")
    analysis = with_measurement(broken)
    assert "(train)" not in said(analysis, "trace")
    assert "not finite" in render_page(analysis)
    assert "trace (train) could not be measured: loss is nan." in warnings_of(analysis)
    assert said(with_measurement(replace(broken, name="lambda_max")), "trace").count("train") == 1


def test_minima_near_the_noise_are_warned_of():
    assert not [w for w in warnings_of(full_analysis()) if "local_minima" in w]
    (low,) = (w for w in warnings_of(with_measurement(minima(raw=0.1, floor=5e-5))) if "local_minima" in w)
    assert "stands near its noise floor" in low
    (noisy,) = (w for w in warnings_of(with_measurement(minima(raw=2.9, floor=4e-8))) if "local_minima" in w)
    assert "what noise alone would give" in noisy


def test_partial_measurements_say_so():
    objective = full_analysis().objective | {"params": "conv*", "mode": "train", "unused": [f"p{i}" for i in range(7)]}
    said_so = " ".join(warnings_of(full_analysis(objective=objective)))
    for words in ("Only the parameters conv*", "in train mode", "does not depend on p0, p1, p2, p3, p4 and 2 more"):
        assert words in said_so


def test_values_from_outside_are_text(small_extra):
    hostile = Measurement(HOSTILE, 1.0, converged=False, reason=HOSTILE)
    table = full_analysis()["train"]["layer_table"]
    table = replace(table, details=table.details | {"layers": np.array([HOSTILE, "b"])})
    analysis = full_analysis(
        splits={HOSTILE: full_analysis()["train"] | {"layer_table": table, HOSTILE: hostile}},
        checkpoint={
            "path": HOSTILE,
            "sha256": HOSTILE,
            "epoch": 1,
            "model": {"name": HOSTILE, "args": {HOSTILE: HOSTILE}},
            "recipe": RECIPE | {"optimizer": HOSTILE, "schedule": HOSTILE},
        },
        provenance={"command": HOSTILE, "landscape": HOSTILE, "started": HOSTILE},
        objective={"mode": HOSTILE, "params": HOSTILE, "unused": [HOSTILE], "num_params": 3},
    )
    surfaces = [bowl(HOSTILE, normalize=HOSTILE), bowl(directions=[HOSTILE, HOSTILE])]
    found = Parsed(render_page(analysis, surfaces, hashes={HOSTILE: HOSTILE}, warnings=[HOSTILE]))
    tags = Counter(tag for tag, _ in found.tags)
    assert tags["script"] == 4  # the library, our own, and the data of two planes
    assert tags["img"] == 0
    assert not [name for _, attributes in found.tags for name in attributes if name.startswith("on")]
    assert found.text.count("<script>window.pwned = 1</script>") > 20


def test_nothing_is_asked_of_the_network(parsed):
    for name in ("src", "action", "data", "poster"):
        assert parsed.attributes(name) == []
    links = parsed.attributes("href") + parsed.attributes("xlink:href")
    assert [link for link in links if not link.startswith(("#", "data:"))] == []
    (policy,) = (a["content"] for tag, a in parsed.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe-inline" not in policy.partition("script-src")[2].partition(";")[0]
    css = (files("landscape.figures.page") / "page.css").read_text()
    assert "url(" not in css
    assert "@import" not in css


def test_pictures_have_alt_texts_and_ids_are_unique(parsed):
    pictures = [attributes for tag, attributes in parsed.tags if tag == "svg"]
    assert len(pictures) == 3
    for attributes in pictures:
        assert attributes["role"] == "img"
        assert len(attributes["aria-label"]) > 40
        assert not {"width", "height"} & attributes.keys()
    assert [name for name, count in Counter(parsed.attributes("id")).items() if count > 1] == []
    anchors = {link.removeprefix("#") for link in parsed.attributes("href") if link.startswith("#metric")}
    assert anchors <= set(parsed.attributes("id"))
    assert len(anchors) == len(full_analysis()["train"])


def test_pictures_are_in_the_colours_of_the_page():
    svg = pictures.density(full_analysis()).svg
    assert "var(--first)" in svg
    assert "var(--second)" in svg
    assert re.findall(r"(?:fill|stroke): #[0-9a-f]{6}", svg) == []
    assert "font:" not in svg


def test_layers_are_a_table(parsed):
    words = parsed.text.replace(" ", "")
    for row in ("linear16,00020.0067%0.10003.00±0.10", "linear257010.00±0.4933%0.20001.000±0.050"):
        assert row in words


@pytest.mark.parametrize("num_planes", [1, 2])
def test_the_library_is_in_the_page_once(small_extra, num_planes):
    text = render_page(full_analysis(), [bowl(), bowl("test")][:num_planes])
    assert text.count("window.Plotly = ") == 1
    assert text.count("data-surface=") == num_planes
    assert "pip install" not in text


def test_without_the_extra_there_is_a_picture_and_a_word(no_extra):
    found = Parsed(render_page(full_analysis(), [bowl()]))
    assert not [tag for tag, _ in found.tags if tag == "script"]
    assert 'pip install "landscape-geometry[html]"' in found.text
    assert "The train loss seen from above, from 0.1 to 5.1, at the weights 0.1." in found.text


def test_without_a_plane_the_library_stays_away():
    line = Line(np.array([-1.0, 0.0, 1.0]), np.array([2.0, 1.0, np.inf]), None, "train")
    text = render_page(full_analysis(), [line])
    assert "<script" not in text
    assert "1 points are not finite" in text


def test_a_landscape_with_holes_or_a_failed_check_or_of_another_checkpoint_says_so(no_extra):
    plane = bowl(checks={"centre": {"agrees": False}}, checkpoint={"sha256": "f" * 64})
    plane.loss[3, 4] = np.nan
    text = Parsed(render_page(full_analysis(), [plane])).text
    for words in ("CHECK FAILED: centre.", "1 points are not finite", "is of another checkpoint"):
        assert words in text
    plane.loss[:] = np.nan
    assert "441 points are not finite" in Parsed(render_page(full_analysis(), [plane])).text


def test_a_folder_becomes_a_page_with_the_hashes_of_its_files(tmp_path, no_extra):
    full_analysis().save(tmp_path)
    save_surfaces(tmp_path, [bowl()])
    path = write_page(tmp_path)
    assert path == tmp_path / "report.html"
    first = path.read_bytes()
    for name in ("analysis.json", "arrays.npz", "surface.json", "surface.npz"):
        assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest().encode() in first
    assert write_page(tmp_path).read_bytes() == first
    (tmp_path / "surface.json").write_text("{")
    assert "The landscape is left out." in write_page(tmp_path).read_text(encoding="utf-8")
    assert not list(tmp_path.glob("*.part"))


def test_a_folder_without_an_analysis_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"analysis\.json"):
        write_page(tmp_path)


def test_torch_is_not_imported():
    code = "import sys, landscape.figures.page; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("scheme", ["light", "dark", "print"])
def test_text_stands_out_from_its_ground(scheme):
    colours = _colours(scheme)
    for text in ("--ink", "--muted", "--link", "--good", "--bad"):
        for ground in ("--paper", "--panel"):
            assert _contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    assert _contrast(colours["--ink"], colours["--bad-panel"]) >= 4.5
    for line in ("--first", "--second"):
        assert _contrast(colours[line], colours["--paper"]) >= 3


def _colours(scheme: str) -> dict[str, str]:
    """The variables of the style sheet in a scheme; what it does not set is as in the light one."""
    css = (files("landscape.figures.page") / "page.css").read_text()
    blocks = re.findall(r"(@media [^{]*\{\s*)?:root \{([^}]*)\}", css)
    assert len(blocks) == 3
    colours = {}
    for condition, block in blocks:
        if not condition or scheme in condition:
            colours |= dict(re.findall(r"(--[\w-]+): (#[0-9a-f]+)", block))
    return colours


def _contrast(first: str, second: str) -> float:
    """(L1 + 0.05) / (L2 + 0.05) of relative luminances (WCAG 2.2)."""
    high, low = sorted((_luminance(first), _luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
