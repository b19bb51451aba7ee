"""``landscape figures``: the papers' figures and tables, and a few more, from result folders alone."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from .console import print_line, print_text
from .options import listing


def _print_kinds() -> None:
    """Print every kind, what it shows, what it needs and where its thumbnail lies."""
    from landscape.figures import KINDS, thumbnail

    for name, kind in KINDS.items():
        print_text(f"{name}: {kind.about}", indent=2)
        print_text(f"  needs {kind.needs}", indent=4)
        print(f"  {thumbnail(name)}")


def figures(
    results: Annotated[list[Path], Argument(metavar="RESULTS", help="Folders of results, or folders of those.")],
    out: Annotated[Path, Option(metavar="DIR", help="Where to write NAME.png and .pdf, or .csv, .md and .tex.")],
    kind: Annotated[
        str | None, Option(metavar="NAME", help="What to draw; by default every kind whose input is there.")
    ] = None,
    style: Annotated[str, Option(metavar="NAME", help="paper, slides or dark.")] = "paper",
    _list: Annotated[bool, listing("the kinds, with thumbnails", _print_kinds)] = False,
) -> None:
    """Draw figures and tables, the papers' among them, from results.

    [bold]landscape figures results --kind curves --out figures[/]
    [bold]landscape figures results/sgd results/sam --style slides --out figures[/]

    Runs that differ only in their seed are drawn as one, with the spread. What is missing is named, with the command
    that measures it.
    """
    from landscape.figures import KINDS, MissingMeasurementError, draw, load_runs, save
    from landscape.locks import writing

    runs = load_runs(results)
    missing: dict[str, str] = {}
    with writing(out):
        for name in [kind] if kind else KINDS:
            try:
                drawn = draw(name, runs, style=style)
            except MissingMeasurementError as error:
                if kind:
                    raise
                missing[name] = str(error)
                continue
            paths = save(drawn, out / name, style=style)
            print_line(f"{name}: {', '.join(str(path) for path in paths)}")
    if missing:
        print("\nNot drawn:")
        for name, why in missing.items():
            print_line(f"  {name}: {why}")  # in one line: it ends in a command to paste
