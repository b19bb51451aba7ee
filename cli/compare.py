"""``landscape compare``: results side by side, and what of their differences the error bars allow to say."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from .console import cell, print_json, print_line, print_notes, print_table, print_text


def compare(
    results: Annotated[list[Path], Argument(metavar="A B", help="Folders of analyses; the first is compared with.")],
    out: Annotated[
        Path | None, Option(metavar="DIR", help="Where to write comparison.png, .pdf, .csv, .md and .tex.")
    ] = None,
    style: Annotated[str, Option(metavar="NAME", help="paper, slides or dark.")] = "paper",
    json: Annotated[bool, Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Compare analyses number by number: one table, one figure, and which differences are real.

    [bold]landscape compare results/sgd results/sam[/]
    [bold]landscape compare results/sgd results/sam results/gam --out comparison[/]

    A difference of two estimates is put in words with the p value of Welch's t; of bounds, whether intervals meet.
    """
    from landscape.figures import compared, comparison, comparison_table, run_names, save_figure, save_table
    from landscape.locks import writing
    from landscape.results import Analysis

    if len(results) < 2:
        raise ValueError(f"{len(results)} result to compare. Expected two or more: landscape compare A B.")
    analyses = dict(zip(run_names(results), map(Analysis.load, results), strict=True))
    first, *others = analyses
    rows = compared(analyses)
    if not rows:
        raise ValueError("The results share no metric. Expected analyses of the same metrics.")
    if out is not None:
        with writing(out):
            written = save_figure(comparison(analyses, style=style), out / "comparison", style=style)
            written += save_table(comparison_table(analyses), out / "comparison")
    if json:
        print_json([row.to_dict() for row in rows])
        return
    table = []
    for row in rows:
        values = [cell(m) if m else "" for m in row.values.values()]
        table.append([row.metric, row.split, *values, *(row.differences[name].words for name in others)])
    against = [f"{name} against {first}" for name in others] if len(others) > 1 else [f"against {first}"]
    print_table(["", "", *analyses, *against], table, num_left=2)
    print_notes(analyses)
    print_text(
        "p: the chance of a difference as large were there none, by the error bars of measuring, and on loss and "
        "accuracy by those of having so few examples; of twenty equal numbers one has p < 0.05. It does not say how "
        "much one training differs from the next: that takes several seeds."
    )
    if out is not None:
        print_line(f"Written: {', '.join(str(path) for path in written)}")
