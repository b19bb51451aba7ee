"""Matrix-free linear algebra on anything with ``A @ v``: symmetric operators, and dense symmetric tensors."""

from landscape.linalg.estimate import Estimate
from landscape.linalg.extreme import lanczos_extreme, lanczos_largest, lanczos_top
from landscape.linalg.hutchinson import hutchinson_trace
from landscape.linalg.lanczos import Lanczos
from landscape.linalg.power import power_iteration

__all__ = [
    "Estimate",
    "Lanczos",
    "hutchinson_trace",
    "lanczos_extreme",
    "lanczos_largest",
    "lanczos_top",
    "power_iteration",
]
