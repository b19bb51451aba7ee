"""``LightningCallback``: a ``Tracker`` in the Trainer of Lightning, whichever name its package is installed by.

callback = LightningCallback(objective, ["lambda_max"], every=100, out="tracked")
lightning.Trainer(callbacks=[callback]).fit(module, loader)
"""

import importlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from landscape.edge import update_of
from landscape.objective import Objective
from landscape.tracking.callback import Tracking, learning_rate

_PACKAGES = ("lightning.pytorch", "pytorch_lightning")


def _package() -> Any:
    """The one that is in use already, or else the first that is installed."""
    for name in sorted(_PACKAGES, key=lambda name: name not in sys.modules):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError:
            continue
    raise ModuleNotFoundError("No module named 'lightning' or 'pytorch_lightning'", name="lightning")


class LightningCallback(_package().Callback):  # type: ignore[misc]
    """Measures when training begins and after every so many optimizer steps, as ``trainer.global_step`` counts them.

    Losses, gradients, weights, random states and the order of the data are the same bit for bit with and without it.
    The values go to all loggers of the Trainer.

    Args:
        objectives: around the module that is trained, or the network in it; one, or by split.
        metrics: names of ``landscape.measure.METRICS``, "default" or "all".
        every: measure at the optimizer steps that are multiples of it.
        out: folder for track.jsonl, and the table and figure at the end; a run that is resumed goes on there.
        **options: ``rel_error``, ``num_probes`` and ``seed``, as of ``Tracker``.

    Attributes:
        tracking: whose ``tracker`` has the analyses.

    Raises:
        ValueError: wrong arguments; when training begins, another process that writes in the folder.

    Example:
        >>> import torch
        >>> model, batch = torch.nn.Linear(2, 1), (torch.eye(2), torch.zeros(2, 1))
        >>> objective = Objective(model, torch.nn.MSELoss(), [batch])
        >>> LightningCallback(objective, ["lambda_max"], every=100).tracking.tracker.every
        100
    """

    def __init__(
        self,
        objectives: Objective | Mapping[str, Objective],
        metrics: Sequence[str] = ("default",),
        *,
        every: int = 1,
        out: str | Path | None = None,
        **options: Any,
    ) -> None:
        self.tracking = Tracking(objectives, metrics, every=every, out=out, **options)
        self._last: int | None = None  # step at which it looked

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:  # noqa: ARG002, D102 (Lightning's own)
        def log(scalars: dict[str, float], step: int) -> None:
            for logger in trainer.loggers:
                logger.log_metrics({**scalars, "epoch": trainer.current_epoch}, step=step)

        self.tracking.begin(log)
        self._last = None
        self._measure(trainer)

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:  # noqa: D102
        self._measure(trainer)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:  # noqa: ARG002, D102
        self.tracking.end()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:  # noqa: ARG002, D102
        self.tracking.end()

    def _measure(self, trainer: Any) -> None:
        step = trainer.global_step
        if step != self._last:  # no other batch of the same step, where gradients are accumulated
            self._last = step
            optimizer = trainer.optimizers[0] if trainer.optimizers else None
            lr, update = learning_rate(optimizer), update_of(optimizer)
            self.tracking.tracker.measure(step, epoch=trainer.current_epoch, lr=lr, update=update)
