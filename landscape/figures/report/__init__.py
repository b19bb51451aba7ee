"""The report: one HTML file that holds all that was measured, and opens anywhere, offline."""

from landscape.figures.report.page import render_report, write_report
from landscape.figures.report.tracked import render_track, write_track_report

__all__ = ["render_report", "render_track", "write_report", "write_track_report"]
