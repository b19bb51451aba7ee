"""Figures and tables, made from results alone: those read back from disk give the same picture as fresh ones.

runs    result folders as runs, their names, their numbers pooled over seeds, and compared
kinds   every kind of figure and table, and what they share
page    the report: one HTML file of a checkpoint, or of a whole run
"""

from landscape.figures import kinds
from landscape.figures.kinds.comparison import comparison, comparison_table
from landscape.figures.kinds.kind import KINDS, draw, save, thumbnail
from landscape.figures.kinds.style import STYLES, save_figure
from landscape.figures.kinds.table import Table, save_table
from landscape.figures.kinds.track import track_figure
from landscape.figures.runs.compared import compared, run_names
from landscape.figures.runs.pooled import MissingMeasurementError, Value
from landscape.figures.runs.run import Run, load_runs, named

__all__ = [
    "KINDS",
    "STYLES",
    "MissingMeasurementError",
    "Run",
    "Table",
    "Value",
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
    "track_figure",
]
