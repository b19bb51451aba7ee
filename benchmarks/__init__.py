"""Measurements of speed and truth beside the other tools: see README.md. Run by ``make bench``."""
