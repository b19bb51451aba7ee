"""Tables of results as CSV, Markdown and LaTeX (booktabs), with the best value of a column in bold."""

import csv
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from landscape.figures.runs.pooled import Value, error_words
from landscape.files import write_text
from landscape.metrics import about_metrics
from landscape.text import printable

_LATEX = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "±": "$\\pm$",
    "×": "$\\times$",
    "–": "--",
    "~": "\\textasciitilde{}",
    "≥": "$\\geq$",
}


@dataclass(frozen=True)
class Table:
    """Rows of words and values.

    Attributes:
        header: the names of the columns; those of metrics are printed as their symbols.
        rows: a row each; a cell is a word or a ``Value``.
        caption: what is in it, in a sentence.
        best: "min" or "max" by column, whose best value is bold.
        errors: what the error bars are; by default what those of ``pooled`` are.

    Example:
        >>> rows = [["SGD", Value(12.0, 1.0)], ["SAM", Value(8.0, 1.0)]]
        >>> print(Table(["", "trace"], rows, "Two runs.", {"trace": "min"}).markdown())
        |  | Tr(∇²L(w)) |
        |---|---:|
        | SGD | 12.0 ± 1.0 |
        | SAM | **8.0 ± 1.0** |
        <BLANKLINE>
        Two runs. ±: 95 % interval.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str | Value]]
    caption: str
    best: dict[str, str]
    errors: str = ""

    def csv(self) -> str:
        """Every number to ten digits, its error in a column of its own: nan if not known, inf of a lower bound."""
        numeric = self._numeric()
        columns = zip(self.header, numeric, strict=True)
        names = [name for column, number in columns for name in ([column, f"{column}_error"] if number else [column])]
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(names)
        for row in self.rows:
            cells: list[str] = []
            for cell, number in zip(row, numeric, strict=True):
                if isinstance(cell, Value):
                    error = cell.error if cell.lower_bound else cell.bar
                    cells += [f"{cell.value:.10g}", f"{error:.10g}"] if cell.num_seeds else ["", ""]
                else:
                    cells += [printable(cell), ""] if number else [printable(cell)]
            writer.writerow(cells)
        return out.getvalue()

    def markdown(self) -> str:
        """As a pipe table, with the caption below."""
        numeric = self._numeric()
        header = [_symbol(name, "symbol") or name for name in self.header]
        lines = [f"| {' | '.join(header)} |", "|" + "|".join("---:" if n else "---" for n in numeric) + "|"]
        lines += [f"| {' | '.join(row)} |" for row in self._printed(lambda text: text.replace("|", "\\|"), "**{}**")]
        return "\n".join([*lines, "", self._caption()])

    def latex(self) -> str:
        r"""As a ``table`` with the rules of booktabs: ``\usepackage{booktabs}``."""
        numeric = self._numeric()
        header = [_symbol(name, "latex") or _latex(name) for name in self.header]
        lines = [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_latex(self._caption())}}}",
            rf"\begin{{tabular}}{{@{{}}{''.join('r' if n else 'l' for n in numeric)}@{{}}}}",
            r"\toprule",
            " & ".join(header) + r" \\",
            r"\midrule",
        ]
        lines += [" & ".join(row) + r" \\" for row in self._printed(_latex, r"\textbf{{{}}}")]
        return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"])

    def _numeric(self) -> list[bool]:
        return [any(isinstance(row[i], Value) for row in self.rows) for i in range(len(self.header))]

    def _printed(self, escape: Callable[[str], str], bold: str) -> list[list[str]]:
        """The cells as words, the best of each column in bold."""
        rows = [[escape(_words(cell)) for cell in row] for row in self.rows]
        for index, name in enumerate(self.header):
            cells = [row[index] for row in self.rows]
            values = [cell.value if isinstance(cell, Value) else math.nan for cell in cells]
            finite = [value for value in values if math.isfinite(value)]
            if name in self.best and len(finite) > 1:
                best = min(finite) if self.best[name] == "min" else max(finite)
                for row, value in zip(rows, values, strict=True):
                    row[index] = bold.format(row[index]) if value == best else row[index]
        return rows

    def _caption(self) -> str:
        values = [cell for row in self.rows for cell in row if isinstance(cell, Value)]
        stars = " *: did not reach its accuracy." if any(not v.converged for v in values) else ""
        bars = f" ±: {self.errors or error_words(values)}." if values else ""
        bounds = " ≥: lower bound." if any(v.lower_bound for v in values) else ""
        return f"{self.caption}{bars}{bounds}{stars}"


def save_table(table: Table, stem: str | Path) -> list[Path]:
    """Write STEM.csv, STEM.md and STEM.tex, each whole or not at all."""
    texts = {"csv": table.csv(), "md": table.markdown() + "\n", "tex": table.latex() + "\n"}
    return [write_text(Path(f"{stem}.{ending}"), text) for ending, text in texts.items()]


def _symbol(name: str, how: str) -> str:
    """Of a metric that has one."""
    return getattr(about_metrics().get(name), how, "")


def _words(cell: str | Value) -> str:
    return printable(cell) if isinstance(cell, str) else cell.text + ("" if cell.converged else " *")


def _latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)
