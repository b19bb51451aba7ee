"""The kinds of figures and tables; importing this registers them in ``landscape.figures.kinds.kind.KINDS``."""

from landscape.figures.kinds import (  # noqa: F401
    comparison,
    curves,
    extrema,
    landscapes,
    layers,
    optimizers,
    spectrum,
    speed,
    track,
)
