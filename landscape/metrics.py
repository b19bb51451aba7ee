"""What each metric is, as plain data: for tables, figures, the report and ``--help``, which need no torch for it.

A metric says it once, in the ``@metric(...)`` of its own file in ``landscape/measure``. Here those words are read from
the files, which are not imported.
"""

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from landscape.results.measurement import ErrorKind

DEFAULT = ("loss", "accuracy", "gradient_norm", "trace", "lambda_max", "normalized_trace")  # what is measured unasked


@dataclass(frozen=True)
class About:
    """What is to be known of a metric before, and beside, its value.

    Attributes:
        name: of the function in ``landscape.measure``, and of the number everywhere.
        symbol: how it is written, or "" where it has no symbol.
        latex: the same in LaTeX.
        definition: what is computed, with its source.
        meaning: what it says, in a sentence.
        limits: what it does not say.
        cost: in gradients, products or forward passes.
        error_kind: of the error where it is not exact, as in ``Measurement``.
        details: what the entries of ``Measurement.details`` are.
    """

    name: str
    definition: str
    meaning: str
    limits: str
    cost: str
    error_kind: "ErrorKind"
    symbol: str = ""
    latex: str = ""
    details: Mapping[str, str] = field(default_factory=dict)


@cache
def about_metrics() -> dict[str, About]:
    """Every metric of ``landscape.measure`` by its name, those that are measured unasked first.

    Example:
        >>> about_metrics()["trace"].symbol, about_metrics()["lambda_max"].error_kind
        ('Tr(∇²L(w))', 'bound')
    """
    found = {}
    for file in sorted((files("landscape") / "measure").iterdir(), key=lambda file: file.name):
        if file.name.endswith(".py"):
            for node in ast.parse(file.read_text(encoding="utf-8")).body:
                for call in getattr(node, "decorator_list", []):
                    if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "metric":
                        assert isinstance(node, ast.FunctionDef)
                        found[node.name] = About(node.name, **_words(call))
    first = {name: place for place, name in enumerate(DEFAULT)}
    return dict(sorted(found.items(), key=lambda one: (first.get(one[0], len(first)), one[0])))


def metrics_table() -> str:
    """All metrics as a table in Markdown.

    Example:
        >>> print(metrics_table().splitlines()[0])
        | metric | what it is | what it says | cost | error |
    """
    rows = ["| metric | what it is | what it says | cost | error |", "|---|---|---|---|---|"]
    for name, one in about_metrics().items():
        what = f"{one.symbol}: {one.definition}" if one.symbol else one.definition
        cells = [f"`{name}`", what, one.meaning, one.cost, one.error_kind]
        rows.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |")
    return "\n".join(rows)


def _words(call: ast.Call) -> dict[str, Any]:
    known = {one.name for one in fields(About)}
    return {word.arg: ast.literal_eval(word.value) for word in call.keywords if word.arg in known}
