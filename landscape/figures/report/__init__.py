"""The report: one HTML file that holds all that was measured, and opens anywhere, offline."""

from landscape.figures.report.page import render_report, write_report

__all__ = ["render_report", "write_report"]
