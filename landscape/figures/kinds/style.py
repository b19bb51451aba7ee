"""The styles of our figures, their sizes, and how they reach the disk.

Figures are plain ``matplotlib.figure.Figure`` objects: no pyplot, no window, and the user's backend and settings are
left as they are. Sizes are those of a paper, in inches; "slides" draws the same larger, with larger type. Text is as it
stands, without mathematics: the names of runs, layers and splits may hold a dollar sign.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path

import matplotlib
from matplotlib import rcParams
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatterSciNotation

from landscape.files import whole

COLUMN, TWO_COLUMNS = 3.25, 6.75  # inches wide
STYLES = ("paper", "slides", "dark")
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_METADATA = {"png": {"Software": None}, "pdf": {"CreationDate": None, "Creator": None, "Producer": None}}


@contextmanager
def styled(style: str = "paper") -> Iterator[None]:
    """Run the body with a style of ours on top of matplotlib's defaults, whatever the user's settings.

    Raises:
        ValueError: for a style that is not one of ``STYLES``.
    """
    if style not in STYLES:
        raise ValueError(f"style {style!r} is unknown. Expected one of: {', '.join(STYLES)}.")
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        for each in dict.fromkeys(("paper", style)):
            with as_file(files("landscape.figures.kinds") / f"{each}.mplstyle") as path:
                matplotlib.rc_file(path, use_default_template=False)
        yield


def sized_figure(width: float, height: float) -> Figure:
    """A figure of this size in a paper, and in proportion in the other styles."""
    scale = rcParams["figure.figsize"][0] / COLUMN
    return Figure(figsize=(scale * width, scale * height))


class PlainPowers(LogFormatterSciNotation):
    """Ticks of a logarithmic axis as text.

    Example:
        >>> format_tick = PlainPowers()
        >>> format_tick.create_dummy_axis()
        >>> format_tick(0.001), format_tick(0.0)
        ('10⁻³', '0')
    """

    def __call__(self, x: float, pos: int | None = None) -> str:
        """The tick at x."""
        text = super().__call__(x, pos).removeprefix(r"$\mathdefault{").removesuffix("}$").replace(r"\times", "×")
        return re.sub(r"\^\{(-?\d+)\}", lambda power: power[1].translate(SUPERSCRIPTS), text).replace("-", "−")


def in_powers(axis: Axis) -> None:
    """Powers of ten at the ticks of a logarithmic axis."""
    axis.set_major_formatter(PlainPowers())
    axis.set_minor_formatter(PlainPowers())


def save_figure(figure: Figure, stem: str | Path, *, style: str = "paper") -> list[Path]:
    """Write STEM.png (300 dpi) and STEM.pdf, each whole or not at all; the same figure gives the same bytes.

    Args:
        figure: what to write.
        stem: path without an ending.
        style: that in which it was drawn; ticks are made only now.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     [path.name for path in save_figure(Figure(), Path(directory) / "empty")]
        ['empty.png', 'empty.pdf']
    """
    paths = [Path(f"{stem}.{kind}") for kind in _METADATA]
    with styled(style):
        for path, (kind, metadata) in zip(paths, _METADATA.items(), strict=True):
            with whole(path) as part:
                figure.savefig(part, format=kind, metadata=metadata)
    return paths
