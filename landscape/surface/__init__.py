"""Landscapes: the loss on lines and planes around the weights.

``directions`` makes what to look along; ``line`` and ``plane`` give results that say how they were checked.
"""

from landscape.surface import directions
from landscape.surface.grid import line, plane

__all__ = ["directions", "line", "plane"]
