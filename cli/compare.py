"""``landscape compare``: results side by side, and what of their differences the error bars allow to say."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from .console import cell, print_json, print_line, print_notes, print_table, print_text

if TYPE_CHECKING:
    from landscape.results import Analysis


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
    for what in _measured_otherwise(analyses, {row.metric for row in rows}):
        warnings.warn(f"Measured otherwise, which a difference may be of: {what}.", stacklevel=2)
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


def _measured_otherwise(analyses: "Mapping[str, Analysis]", metrics: set[str]) -> list[str]:
    """The mode, and the arguments of a metric, where the analyses do not agree on them."""
    told = {"mode": {name: one.objective.get("mode", "eval") for name, one in analyses.items()}}
    for metric in sorted(metrics):
        told[metric] = {
            name: (one.provenance.get("arguments") or {}).get(metric) or "as by default"
            for name, one in analyses.items()
            if any(metric in found for found in one.splits.values())
        }
    return [
        f"{what} {', '.join(f'{_in_words(value)} ({name})' for name, value in values.items())}"
        for what, values in told.items()
        if any(value != next(iter(values.values())) for value in values.values())
    ]


def _in_words(value: object) -> str:
    return " ".join(f"{key}={one}" for key, one in value.items()) if isinstance(value, Mapping) else str(value)
