"""Tracking: curvature over a run, from its checkpoints or while it trains; a row a point in ``track.jsonl``."""

from landscape.results import TrackLog, read_track
from landscape.tracking.run import Track, estimate_cost, track
from landscape.tracking.settings import Settings
from landscape.tracking.summary import Limit, summarize
from landscape.tracking.tracker import Tracker

__all__ = ["Limit", "Settings", "Track", "TrackLog", "Tracker", "estimate_cost", "read_track", "summarize", "track"]
