"""The optimizers of ``landscape.optim`` in the training loops of transformers, Lightning and accelerate.

These loops run the backward passes themselves, once for each micro-batch, so a closure in them sees one micro-batch
only. Here each pass of an optimizer runs all the micro-batches of its step. The loop goes on between the passes and the
update as it does between backward pass and update: it clips the direction, logs its norm, calls its hooks.

Nothing is imported before it is used: each module needs the framework that it is named after only.
"""

from landscape.integrations.accelerate import Accumulated
from landscape.integrations.lightning import MultiPassModule
from landscape.integrations.transformers import MultiPassTrainer

__all__ = ["Accumulated", "MultiPassModule", "MultiPassTrainer"]
