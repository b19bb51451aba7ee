"""Results: a ``Measurement`` a number, an ``Analysis`` a checkpoint, a ``Line`` or ``Plane`` a landscape.

A ``TrackLog`` has the analyses of a run. Numbers are written as JSON and arrays as npz, and read back without torch.
"""

from landscape.results.analysis import Analysis
from landscape.results.difference import Difference, difference
from landscape.results.measurement import Measurement
from landscape.results.surface import Line, Plane, load_surfaces, save_surfaces
from landscape.results.track import TrackLog, read_track

__all__ = [
    "Analysis",
    "Difference",
    "Line",
    "Measurement",
    "Plane",
    "TrackLog",
    "difference",
    "load_surfaces",
    "read_track",
    "save_surfaces",
]
