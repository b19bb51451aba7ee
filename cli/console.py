"""What the subcommands print: results with their errors, tables, JSON, and progress.

Data goes to stdout; progress goes to stderr, and is shown in a terminal only.
"""

import json
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from landscape.text import printable

if TYPE_CHECKING:
    from landscape.results import Analysis, Line, Measurement, Plane

_NOTES = {  # by kind of error
    "standard error": "± is half of the 95 % interval.",
    "bound": "Of {} ± is a bound on the error.",
    "lower bound": "≥ is a lower bound: a higher maximum may have been missed.",
}
_LONG = 1000  # rows: folding takes a third of a millisecond each


def print_analysis(analysis: "Analysis") -> None:
    """Print one row a metric: the value on each split with its error, and what it cost; then what did not converge."""
    header = ["", *(f"{split} (n = {analysis.objective['num_examples'][split]:,})" for split in analysis.splits)]
    rows = []
    for metric in dict.fromkeys(name for found in analysis.splits.values() for name in found):
        row = {split: found[metric] for split, found in analysis.splits.items() if metric in found}
        costs = [" + ".join(str(getattr(m, cost)) for m in row.values()) for cost in ("num_matvecs", "num_gradients")]
        rows.append([metric, *(cell(row[split]) if split in row else "" for split in analysis.splits), *costs])
    print_table([*header, "products", "gradients"], rows)
    print_notes({"": analysis})


def cell(m: "Measurement") -> str:
    """The value with its error, starred where it did not converge."""
    return m.text + ("" if m.converged else " *")


def print_notes(analyses: Mapping[str, "Analysis"]) -> None:
    """Print what the errors are, and why starred values did not converge, for analyses by the name of their run."""
    every = [m for analysis in analyses.values() for found in analysis.splits.values() for m in found.values()]
    kinds = {kind: ", ".join(dict.fromkeys(m.name for m in every if m.error_kind == kind)) for kind in _NOTES}
    print_text(" ".join(_NOTES[kind].format(names) for kind, names in kinds.items() if names))
    for run, analysis in analyses.items():
        for split, measurements in analysis.splits.items():
            starred: dict[str, list[str]] = {}
            for m in measurements.values():
                if not m.converged:
                    starred.setdefault(m.reason, []).append(m.name)
            for reason, names in starred.items():
                print_text(f"* {f'{run} {split} '.lstrip()}{', '.join(names)}: {reason}", indent=2)


def print_surfaces(path: Path, surfaces: "Sequence[Line | Plane]") -> None:
    """Print the surfaces of one checkpoint, a row a split, and what has to be said of them."""
    details = surfaces[0].details
    axes = [getattr(surfaces[0], axis) for axis in surfaces[0].axes]
    num = f"{details['num_forwards']:,} of " if details.get("refine") else ""
    along = "a line along the first direction, " if len(axes) == 1 else ""
    points = f"{num}{' by '.join(str(len(axis)) for axis in axes)} points"
    cosine = details["cosine"]
    print_text(
        f"{path}: {details['num_params']:,} parameters, directions: {details['directions']}, {along}{points} to "
        + " and ".join(f"±{axis[-1]:.4g}" for axis in axes)
        + (f", cosine {cosine:.2g}" if cosine is not None and abs(cosine) >= 1e-6 else "")
    )
    header = ["", "loss here", "accuracy", "lowest", "highest", "noise floor", "not finite"]
    print_table(header, [_row(surface) for surface in surfaces])
    for surface in surfaces:
        checks = surface.details["checks"]
        named = {"centre": checks["centre"]} | dict(zip(("x", "y"), checks["curvature"], strict=False))
        for name, check in named.items():
            if check["agrees"] is not True:
                verdict = "FAILED" if check["agrees"] is False else "undecided"
                print_text(f"* {surface.split}, check of {name} {verdict}: {check['reason']}", indent=2)
    if counts := [f"{one.split} {_counts(one.details)}" for one in surfaces if "minima" in one.details]:
        print_text(f"Extrema above the noise floor: {'; '.join(counts)}", indent=2)
    for name, mark in details.get("marks", {}).items():
        at = ", ".join(f"{place:.4g}" for place in mark["at"])
        off = f"{mark['residual']:.3g} from the {'line' if len(axes) == 1 else 'plane'}"
        print_text(f"{name} lies at ({at}), {off}", indent=2)
    if "path" in details:
        print_text(
            f"The plane has {sum(details['explained']):.1%} of the trajectory; its points lie up to "
            f"{details['residuals'].max():.3g} from it",
            indent=2,
        )


def _row(surface: "Line | Plane") -> list[str]:
    from landscape.results.measurement import quantity

    finite = surface.loss[abs(surface.loss) < float("inf")]
    ends = [quantity(float(end)) for end in (finite.min(), finite.max())] if len(finite) else ["", ""]
    middle = tuple(size // 2 for size in surface.loss.shape)
    accuracy = "" if surface.accuracy is None else quantity(float(surface.accuracy[middle]))
    floor = surface.details["noise_floor"]
    return [
        f"{surface.split} (n = {surface.details['num_examples']:,})",
        quantity(surface.centre),
        accuracy,
        *ends,
        f"{floor:.1e}" if isfinite(floor) else "?",
        str(surface.num_nonfinite or ""),
    ]


def _counts(details: dict[str, Any]) -> str:
    """How many minima and maxima there are, those on the edge apart."""
    words = []
    for kind, one in (("minima", "minimum"), ("maxima", "maximum")):
        inside = sum(not extremum["on_edge"] for extremum in details[kind])
        words.append(f"{inside} {one if inside == 1 else kind} (and {len(details[kind]) - inside} on the edge)")
    return ", ".join(words)


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]], *, num_left: int = 1) -> None:
    """Print a table whose first ``num_left`` columns are words, to the left, and the others numbers, to the right.

    In a terminal its columns fold to the width; not in a file or a pipe, nor where it is long.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    names, *cells = [list(map(printable, row)) for row in (header, *rows)]
    console = Console(markup=False, highlight=False, emoji=False)
    if not console.is_terminal or len(cells) > _LONG:
        print("\n".join(_in_columns([names, *cells], num_left)))
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, collapse_padding=True)
    for index, name in enumerate(names):
        table.add_column(name, justify="left" if index < num_left else "right", overflow="fold")
    for row in cells:
        table.add_row(*row)
    console.print(table)


def _in_columns(rows: Sequence[Sequence[str]], num_left: int) -> Iterator[str]:
    from rich.cells import cell_len

    sizes = [[cell_len(cell) for cell in row] for row in rows]
    widths = list(map(max, zip(*sizes, strict=True)))
    for number, (row, lengths) in enumerate(zip(rows, sizes, strict=True)):
        blanks = [" " * (width - length) for width, length in zip(widths, lengths, strict=True)]
        pairs = zip(row, blanks, strict=True)
        yield "  ".join(cell + blank if i < num_left else blank + cell for i, (cell, blank) in enumerate(pairs))
        if number == 0:
            yield "─" * (sum(widths) + 2 * (len(widths) - 1))


def print_text(text: str, *, indent: int = 0) -> None:
    """Print a paragraph in lines of at most 80 columns, those after the first indented."""
    print(
        textwrap.fill(
            printable(text), 80, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False
        )
    )


def print_line(text: str) -> None:
    """Print a line as it is: one that ends in a path or a command to paste."""
    print(printable(text))


def print_json(document: Any) -> None:
    """Print one JSON document in ASCII; NaN and infinity, which JSON does not have, become null."""
    from landscape.files import plain

    print(json.dumps(plain(document), indent=1))


def print_documents(documents: Sequence[Any]) -> None:
    """Print the document of each checkpoint as one: itself where there is one checkpoint, else a list."""
    print_json(documents[0] if len(documents) == 1 else documents)


def duration(seconds: float) -> str:
    """In the unit that one would say it in.

    Example:
        >>> duration(0.123), duration(750), duration(9000)
        ('0.12 s', '12 min', '2.5 h')
    """
    if seconds < 99:
        return f"{seconds:.2g} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def print_cost(name: str, cost: Mapping[str, Any], more: str) -> None:
    """Print what a split is made of, what one product takes, and more."""
    print_text(
        f"{name}: {cost['num_params']:,} parameters, {cost['num_examples']:,} examples; one product "
        f"{cost['seconds_per_product']:.3g} s{more}"
    )


@contextmanager
def progress(title: str, total: int) -> Iterator[Callable[[float, str], None]]:
    """Show a bar and the time that is left while the body runs; it calls ``tell(num_done, text)``."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True, markup=False, highlight=False)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TextColumn("{task.completed:g}/{task.total}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}"),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(printable(title), total=total, text="")

        def tell(num_done: float, text: str) -> None:
            bar.update(task, completed=num_done, text=printable(text))

        yield tell


@contextmanager
def measuring(title: str, total: int) -> Iterator[Callable[[str, str], None]]:
    """Show progress over ``total`` measurements; the body passes what this gives to ``analyze(progress=...)``."""
    done = count()
    with progress(title, total) as tell:
        yield lambda split, metric: tell(next(done), f"{split} {metric}")
