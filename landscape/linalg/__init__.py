"""Matrix-free linear algebra on anything with ``A @ v``: symmetric operators, and dense symmetric tensors."""

from landscape.linalg.deflated import deflated_trace, hutchpp_trace
from landscape.linalg.diagonal import hutchinson_diagonal
from landscape.linalg.eigenvalues import lanczos_extreme
from landscape.linalg.estimate import Estimate
from landscape.linalg.hutchinson import hutchinson_trace
from landscape.linalg.lanczos import Lanczos, lanczos_largest
from landscape.linalg.power import power_iteration
from landscape.linalg.slq import slq
from landscape.linalg.top import lanczos_top
from landscape.linalg.xtrace import xtrace

__all__ = [
    "Estimate",
    "Lanczos",
    "deflated_trace",
    "hutchinson_diagonal",
    "hutchinson_trace",
    "hutchpp_trace",
    "lanczos_extreme",
    "lanczos_largest",
    "lanczos_top",
    "power_iteration",
    "slq",
    "xtrace",
]
