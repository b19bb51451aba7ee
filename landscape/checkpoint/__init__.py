"""Checkpoints: ours, which describe themselves, and anybody's weights, read without running anything in the file.

Names are imported when they are used, so that a file is described without torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from landscape.checkpoint.checkpoint import Checkpoint, CheckpointError, NoCheckpointError
    from landscape.checkpoint.read import load_checkpoint
    from landscape.checkpoint.write import save_checkpoint

__all__ = ["Checkpoint", "CheckpointError", "NoCheckpointError", "load_checkpoint", "save_checkpoint"]

_WHERE = {"Checkpoint": "checkpoint", "CheckpointError": "checkpoint", "load_checkpoint": "read"}
_WHERE |= {"NoCheckpointError": "checkpoint", "save_checkpoint": "write"}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
