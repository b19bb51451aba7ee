"""Comparisons of optimizers that are fair by construction."""
