"""Figures and tables, made from results alone: those read back from disk give the same picture as fresh ones."""

from landscape.figures import kinds
from landscape.figures.compared import compared, comparison_table, run_names
from landscape.figures.comparison import comparison
from landscape.figures.figure import STYLES, save_figure
from landscape.figures.kind import KINDS, draw, save, thumbnail
from landscape.figures.pooled import MissingMeasurementError
from landscape.figures.runs import Run, load_runs, named
from landscape.figures.table import Table, save_table

__all__ = [
    "KINDS",
    "STYLES",
    "MissingMeasurementError",
    "Run",
    "Table",
    "compared",
    "comparison",
    "comparison_table",
    "draw",
    "kinds",
    "load_runs",
    "named",
    "run_names",
    "save",
    "save_figure",
    "save_table",
    "thumbnail",
]
