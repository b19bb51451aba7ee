"""Figures, made from results alone: an ``Analysis`` read back from disk gives the same picture as a fresh one."""

from landscape.figures.comparison import comparison
from landscape.figures.figure import save_figure

__all__ = ["comparison", "save_figure"]
