"""The page in a browser: it is quiet, asks for nothing, can be read by phone and in the dark, and its surface turns."""

import pytest

from landscape.figures.page import checkpoint as page
from landscape.figures.page import write_page
from landscape.figures.page.rotatable import plotly_script
from landscape.results import save_surfaces
from tests.report.analyses import HOSTILE, bowl, full_analysis
from tests.report.chromium import Page, find_or_install

# Text whose contrast with what lies behind it is less than 4.5 (WCAG 2.2, AA), of all elements with text of their own.
_PALE = """(() => {
  const luminance = colour => {
    const parts = colour.match(/[\\d.]+/g).slice(0, 3).map(v => v / 255);
    const [r, g, b] = parts.map(v => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = element => {
    for (let e = element; e; e = e.parentElement) {
      const colour = getComputedStyle(e).backgroundColor;
      if (!colour.endsWith(", 0)") && colour !== "transparent") return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const own = element => [...element.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
  const ratio = element => {
    const style = getComputedStyle(element);
    const colour = element instanceof SVGElement ? style.fill : style.color;
    const [a, b] = [luminance(colour), luminance(ground(element))].sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05);
  };
  const all = [...document.body.querySelectorAll("*")].filter(e => own(e) && !e.closest("script, .rotatable, defs"));
  return [all.length, all.filter(e => ratio(e) < 4.5).map(e => e.outerHTML.slice(0, 80))];
})()"""


@pytest.fixture(scope="module")
def browser():
    executable, reason = find_or_install()
    if executable is None:
        pytest.skip(reason)
    with Page(executable) as opened:
        yield opened


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """With everything but plotly.js, of 5 MB."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "plotly_script", lambda: None)
        return written(tmp_path_factory.mktemp("report"))


def written(folder, analysis=None, plane=None):
    (analysis or full_analysis()).save(folder)
    save_surfaces(folder, [plane or bowl()])
    return write_page(folder)


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_is_quiet_and_readable(browser, report, width):
    browser.open(report, width=width)
    for dark, ground in ((False, "rgb(255, 255, 255)"), (True, "rgb(22, 24, 29)")):
        browser.look(dark=dark)
        assert browser.run("getComputedStyle(document.body).backgroundColor") == ground
        num_texts, pale = browser.run(_PALE)
        assert num_texts > 150
        assert pale == []
    assert browser.run("document.documentElement.scrollWidth") <= width
    heights = browser.run(
        "[...document.querySelectorAll('figure svg text')].map(t => t.getBoundingClientRect().height)"
    )
    assert min(heights) >= 9
    assert browser.complaints() == []
    assert browser.requests() == [report.as_uri()]


def test_on_paper_there_is_no_dark_and_nothing_is_cut_off(browser, report):
    browser.open(report, width=700, dark=True, media="print")
    assert browser.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert browser.run(_PALE)[1] == []
    cut = "[...document.querySelectorAll('.wide')].filter(e => e.scrollWidth > e.clientWidth + 1).length"
    assert browser.run(cut) == 0


def test_values_from_outside_run_no_script(browser, tmp_path, monkeypatch):
    monkeypatch.setattr(page, "plotly_script", lambda: "window.Plotly = {react() {}}")
    checkpoint = {"path": HOSTILE, "sha256": HOSTILE, "epoch": 5, "model": {"name": HOSTILE, "args": {}}}
    split = HOSTILE.replace("/", "")  # which parts the names in arrays.npz
    analysis = full_analysis(checkpoint=checkpoint, splits={split: full_analysis()["train"]})
    path = written(tmp_path, analysis, bowl(HOSTILE, directions=[HOSTILE, HOSTILE]))
    browser.open(path)
    assert browser.run("typeof window.pwned") == "undefined"
    assert browser.complaints() == []
    assert browser.requests() == [path.as_uri()]
    assert browser.run("document.querySelector('dd code').textContent") == HOSTILE


def test_an_intruder_s_script_would_not_run(browser, report, tmp_path):
    path = tmp_path / "report.html"
    path.write_text(report.read_text(encoding="utf-8").replace("<main>", "<main><script>window.pwned = 1</script>"))
    browser.open(path)
    assert browser.run("typeof window.pwned") == "undefined"
    assert any("Content Security Policy" in complaint for complaint in browser.complaints())


@pytest.fixture(scope="module")
def surface(browser, tmp_path_factory):
    """The browser with a page that has plotly.js."""
    path = written(tmp_path_factory.mktemp("surface"))
    browser.open(path, width=500)
    yield browser
    assert browser.complaints() == []
    assert browser.requests() == [path.as_uri()]


@pytest.mark.skipif(plotly_script() is None, reason="plotly is not there: pip install 'landscape-geometry[html]'")
class TestSurface:
    def test_it_turns(self, surface):
        eye = "JSON.stringify(document.querySelector('.surface')._fullLayout.scene._scene.getCamera().eye)"
        surface.run("document.querySelector('.surface').scrollIntoView({block: 'center'})")
        box = "(({x, y, width, height}) => [x + width / 2, y + height / 2])"
        x, y = surface.run(f"{box}(document.querySelector('.surface').getBoundingClientRect())")
        before = surface.run(eye)
        surface.drag((x, y), (x + 90, y + 30))
        assert surface.run(eye) != before

    def test_heights_are_where_they_were_measured(self, surface):
        drawn = surface.run("(({x, y, z}) => ({x, y, z}))(document.querySelector('.surface').data[0])")
        plane = bowl()
        for i, j in ((0, 0), (20, 3), (3, 20), (10, 10)):
            assert drawn["z"][j][i] == pytest.approx(plane.loss[i, j], rel=1e-4)
            assert (drawn["x"][i], drawn["y"][j]) == pytest.approx((plane.x[i], plane.y[j]))

    def test_its_colours_follow_the_theme(self, surface):
        colour = "document.querySelector('.surface')._fullLayout.scene.xaxis.color"
        assert surface.run(colour) == "#1b1f24"
        surface.look(dark=True)
        surface.run("new Promise(done => setTimeout(done, 300))")
        assert surface.run(colour) == "#e6e6e6"

    def test_it_has_words_and_a_picture_in_its_place_on_paper(self, surface):
        assert len(surface.run("document.querySelector('.surface').getAttribute('aria-label')")) > 40
        surface.look(media="print")
        assert surface.run("[...document.querySelectorAll('.rotatable')].every(e => !e.offsetParent)")
        assert surface.run("[...document.querySelectorAll('figure > svg')].every(e => e.getAttribute('aria-label'))")
