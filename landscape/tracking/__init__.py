"""Tracking: curvature over a run, from its checkpoints or while it trains; a row a point in ``track.jsonl``."""

import importlib
from typing import TYPE_CHECKING, Any

from landscape.results import TrackLog, read_track
from landscape.tracking.run import Track, estimate_cost, track, with_edge
from landscape.tracking.settings import Settings
from landscape.tracking.summary import Limit, summarize
from landscape.tracking.tracker import Tracker

if TYPE_CHECKING:
    from landscape.tracking.huggingface import HuggingFaceCallback
    from landscape.tracking.lightning import LightningCallback

__all__ = [
    "HuggingFaceCallback",
    "LightningCallback",
    "Limit",
    "Settings",
    "Track",
    "TrackLog",
    "Tracker",
    "estimate_cost",
    "read_track",
    "summarize",
    "track",
    "with_edge",
]

_OF_FRAMEWORKS = {"HuggingFaceCallback": ("huggingface", "hf"), "LightningCallback": ("lightning", "lightning")}


def __getattr__(name: str) -> Any:  # frameworks are imported by those who use them
    if name not in _OF_FRAMEWORKS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, extra = _OF_FRAMEWORKS[name]
    try:
        return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    except ModuleNotFoundError as error:
        raise ImportError(f'{name}: {error}. Install it: pip install "landscape-geometry[{extra}]".') from error
