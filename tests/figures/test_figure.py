import matplotlib
import pytest
from matplotlib.figure import Figure
from PIL import Image

from landscape.figures import comparison, save_figure
from landscape.figures.kinds.style import styled
from landscape.results import Analysis, Measurement


def figure() -> Figure:
    return comparison({"SGD": Analysis({"train": {"trace": Measurement("trace", 5.0, 1.0, num_matvecs=20)}})})


def test_png_and_pdf_have_the_size_of_the_figure(tmp_path):
    png, pdf = save_figure(figure(), tmp_path / "a.b")
    assert sorted(tmp_path.iterdir()) == [pdf, png]
    assert (png.name, pdf.name) == ("a.b.png", "a.b.pdf")
    with Image.open(png) as image:
        assert image.size == tuple(round(300 * inches) for inches in figure().get_size_inches())
    assert b"/FontFile2" in pdf.read_bytes()  # TrueType outlines, which journals ask for, not Type 3
    assert b"/Type3" not in pdf.read_bytes()


def test_the_same_figure_gives_the_same_bytes(tmp_path):
    for once, again in zip(
        save_figure(figure(), tmp_path / "once"), save_figure(figure(), tmp_path / "again"), strict=True
    ):
        assert once.read_bytes() == again.read_bytes()
    assert b"Date" not in (tmp_path / "once.pdf").read_bytes()


def test_a_failure_leaves_the_old_file_whole_and_nothing_else(tmp_path, monkeypatch):
    save_figure(figure(), tmp_path / "it")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}

    def fail(self, path, **_):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        save_figure(figure(), tmp_path / "it")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_the_users_settings_neither_enter_nor_change():
    with matplotlib.rc_context({"font.size": 30, "axes.spines.top": True}):
        before = dict(matplotlib.rcParams)
        assert not figure().axes[0].spines["top"].get_visible()
        assert dict(matplotlib.rcParams) == before
        with styled():
            assert matplotlib.rcParams["font.size"] == 8
