"""Every kind of figure and table by name: a function of the runs that says what it shows and what it needs.

@kind("curves", needs="sam_ratio, trace, ... of several epochs")
def curves(runs) -> Figure
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from matplotlib.figure import Figure

from landscape.figures.kinds.style import save_figure, styled
from landscape.figures.kinds.table import Table, save_table
from landscape.figures.runs.run import Run

Draw = Callable[[Sequence[Run]], Figure | Table]


@dataclass(frozen=True)
class Kind:
    """One kind: its name, its function, what results it needs, and what it shows in a line."""

    name: str
    draw: Draw
    needs: str
    about: str


KINDS: dict[str, Kind] = {}  # by name


def kind(name: str, *, needs: str) -> Callable[[Draw], Draw]:
    """Make a function the kind of this name; the first line of its docstring is what it shows."""

    def register(function: Draw) -> Draw:
        KINDS[name] = Kind(name, function, needs, (function.__doc__ or "").partition("\n")[0])
        return function

    return register


def draw(name: str, runs: Sequence[Run], *, style: str = "paper") -> Figure | Table:
    """Draw the kind from the runs, in the style "paper", "slides" or "dark".

    Raises:
        ValueError: for an unknown kind or style.
        MissingMeasurementError: where the runs lack what the kind needs; names the command that measures it.
    """
    if name not in KINDS:
        raise ValueError(f"kind {name!r} is unknown. Expected one of: {', '.join(sorted(KINDS))}.")
    with styled(style):
        return KINDS[name].draw(runs)


def thumbnail(name: str) -> Path:
    """The small picture of the kind, made from a digits run; of a table, as Markdown."""
    folder = Path(str(files("landscape.figures.kinds"))) / "thumbnails"
    return next(path for path in (folder / f"{name}.png", folder / f"{name}.md") if path.exists())


def save(drawn: Figure | Table, stem: str | Path, *, style: str = "paper") -> list[Path]:
    """Write a figure as PNG and PDF, a table as CSV, Markdown and LaTeX."""
    return save_table(drawn, stem) if isinstance(drawn, Table) else save_figure(drawn, stem, style=style)
