"""Checkpoints: ours, which describe themselves, and anybody's weights, read without running anything in the file."""

from landscape.checkpoint.checkpoint import Checkpoint, CheckpointError
from landscape.checkpoint.read import load_checkpoint
from landscape.checkpoint.write import save_checkpoint

__all__ = ["Checkpoint", "CheckpointError", "load_checkpoint", "save_checkpoint"]
