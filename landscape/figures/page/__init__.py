"""The report: one HTML file that holds all that was measured, and opens anywhere, offline."""

from landscape.figures.page.checkpoint import render_page, write_page
from landscape.figures.page.run import render_run_page, write_run_page

__all__ = ["render_page", "render_run_page", "write_page", "write_run_page"]
