"""The kinds of figures and tables, one a file; importing this registers them in ``landscape.figures.kind.KINDS``."""

from landscape.figures.kinds import (
    accuracy_table,
    all_metrics,
    curves,
    extrema,
    geometry,
    heat_map,
    landscapes,
    layers,
    lines,
    optimizers,
    ratio,
    spectrum,
    speed,
    top_eigenvalues,
    trajectory,
    update_frequency,
)

__all__ = [
    "accuracy_table",
    "all_metrics",
    "curves",
    "extrema",
    "geometry",
    "heat_map",
    "landscapes",
    "layers",
    "lines",
    "optimizers",
    "ratio",
    "spectrum",
    "speed",
    "top_eigenvalues",
    "trajectory",
    "update_frequency",
]
