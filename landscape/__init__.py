"""What does the loss look like around these weights?

The public names, imported on first use so that ``import landscape`` costs nothing:
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from landscape import measure, optim, surface
    from landscape.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
    from landscape.measure import analyze
    from landscape.objective import Objective
    from landscape.operators import GaussNewton, Hessian
    from landscape.results import Analysis, Measurement

_HOME = {
    "Objective": "landscape.objective",
    "GaussNewton": "landscape.operators",
    "Hessian": "landscape.operators",
    "Measurement": "landscape.results",
    "Analysis": "landscape.results",
    "analyze": "landscape.measure",
    "Checkpoint": "landscape.checkpoint",
    "load_checkpoint": "landscape.checkpoint",
    "save_checkpoint": "landscape.checkpoint",
}
_MODULES = ("measure", "optim", "surface")

__all__ = [
    "Analysis",
    "Checkpoint",
    "GaussNewton",
    "Hessian",
    "Measurement",
    "Objective",
    "analyze",
    "load_checkpoint",
    "measure",
    "optim",
    "save_checkpoint",
    "surface",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"landscape.{name}")
    raise AttributeError(f"module 'landscape' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
