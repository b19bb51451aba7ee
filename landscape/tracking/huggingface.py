"""``HuggingFaceCallback``: a ``Tracker`` in the Trainer of transformers.

    trainer = Trainer(model, arguments, train_dataset=data)
    trainer.add_callback(HuggingFaceCallback(objective, ["lambda_max"], every=100, out="tracked", trainer=trainer))

No event tells a callback of its Trainer. With ``trainer=``, values go to all that the Trainer reports to; without it,
to the history of its log and to an open run of W&B.
"""

import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from landscape.edge import update_of
from landscape.objective import Objective
from landscape.tracking.callback import Tracking, learning_rate

if TYPE_CHECKING:
    from transformers import Trainer


class HuggingFaceCallback(TrainerCallback):
    """Measures when training begins and after every so many optimizer steps.

    Losses, gradients, weights, random states and the order of the data are the same bit for bit with and without it.
    The values are in ``trainer.state.log_history``, at their steps, and wherever the Trainer reports to.

    Args:
        objectives: around the model that is trained; one, or by split.
        metrics: names of ``landscape.measure.METRICS``, "default" or "all".
        every: measure at the optimizer steps that are multiples of it.
        out: folder for track.jsonl, and the table and figure at the end; a run that is resumed goes on there.
        trainer: whose other callbacks (TensorBoard, W&B, ...) are handed the values.
        **options: ``rel_error``, ``num_probes`` and ``seed``, as of ``Tracker``.

    Attributes:
        tracking: whose ``tracker`` has the analyses.

    Raises:
        ValueError: wrong arguments; when training begins, another process that writes in the folder.

    Example:
        >>> import torch
        >>> model, batch = torch.nn.Linear(2, 1), (torch.eye(2), torch.zeros(2, 1))
        >>> objective = Objective(model, torch.nn.MSELoss(), [batch])
        >>> HuggingFaceCallback(objective, ["lambda_max"], every=100).tracking.tracker.every
        100
    """

    def __init__(
        self,
        objectives: Objective | Mapping[str, Objective],
        metrics: Sequence[str] = ("default",),
        *,
        every: int = 1,
        out: str | Path | None = None,
        trainer: "Trainer | None" = None,
        **options: Any,
    ) -> None:
        self.tracking = Tracking(objectives, metrics, every=every, out=out, **options)
        self.trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: D102 (its own)
        unreached = [name for name in args.report_to if name != "wandb"]
        if self.trainer is None and unreached:
            warnings.warn(
                f"The Trainer reports to {', '.join(unreached)}, and HuggingFaceCallback is not told of it: give it "
                "trainer=trainer, in trainer.add_callback(...).",
                stacklevel=2,
            )

        def log(scalars: dict[str, float], step: int) -> None:
            logs = {**scalars, "epoch": state.epoch}
            state.log_history.append({**logs, "step": step})
            if self.trainer is not None:
                due = control.should_log  # of the loss, at this step: handing on takes it for done
                self.trainer.callback_handler.on_log(args, state, control, logs)
                control.should_log = due
            elif run := getattr(sys.modules.get("wandb"), "run", None):
                run.log({**scalars, "train/global_step": step})

        self.tracking.begin(log)
        self._measure(state, kwargs.get("optimizer"))

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002, D102
        self._measure(state, kwargs.get("optimizer"))

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002, D102
        self.tracking.end()

    def _measure(self, state: Any, optimizer: Any) -> None:
        lr, update = learning_rate(optimizer), update_of(optimizer)
        self.tracking.tracker.measure(state.global_step, epoch=int(state.epoch or 0), lr=lr, update=update)
