"""``Tracker``: measure in the middle of training, in a loop of one's own; training goes on as if nothing had been.

The objectives look at copies of the live weights, and flags and random states are put back: the weights at the end are
the same bit for bit with and without it. What fails is told at the first measurement, as training has just begun; later
it costs a row, and a warning, and not the run.

Of several processes, rank 0 measures and writes, on all the examples of its objectives. Weights that are sharded over
processes are refused.
"""

import hashlib
import os
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import distributed, nn

from landscape.fingerprint import refuse_other
from landscape.measure.analysis import fingerprint_of
from landscape.objective import Objective
from landscape.results import Analysis, TrackLog
from landscape.results.track import row_of
from landscape.surroundings import rng_untouched
from landscape.text import reason_of
from landscape.tracking.loggers import log_to, scalars_of
from landscape.tracking.settings import Settings, digest
from landscape.tracking.summary import summarize


class Tracker:
    """Measures every so many steps, and keeps the results in memory, and in a folder if one is given.

    Args:
        objectives: around the model that is being trained; one, or by split.
        metrics: names of ``landscape.measure.METRICS``, "default" or "all".
        every: measure at the steps that are multiples of it.
        out: folder for track.jsonl (a row as soon as it is measured), track.csv and the figure (when closed); a point
            whose weights and step are there already is not measured again, so that a run can be resumed.
        rel_error: accuracy at which estimates stop.
        num_probes: a fixed number of probes for traces instead.
        seed: of all random draws.
        log: where values go, too, as "landscape/SPLIT/METRIC": a function of (scalars, step), an open ``SummaryWriter``
            or W&B run.

    Attributes:
        analyses: the points so far; ``checkpoint`` says step, epoch and lr of each.
        seconds: time spent measuring.
        training_seconds: all other time from the first measurement to the last; each row keeps both so far, and the
            one in percent of the other.

    Raises:
        ValueError: wrong arguments, or another process is writing the same log.

    Example:
        >>> model, batch = nn.Linear(2, 1, bias=False), (torch.eye(2), torch.zeros(2, 1))
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> with Tracker(Objective(model, nn.MSELoss(), [batch]), metrics=["lambda_max"], every=5) as tracker:
        ...     for step in range(10):
        ...         _ = tracker.measure(step, lr=0.1)
        ...         optimizer.zero_grad()
        ...         nn.functional.mse_loss(model(batch[0]), batch[1]).backward()
        ...         optimizer.step()
        >>> [(a.checkpoint["step"], round(a["train"]["lambda_max"].value, 4)) for a in tracker.analyses]  # of 2/n X^T X
        [(0, 1.0), (5, 1.0)]
    """

    def __init__(
        self,
        objectives: Objective | Mapping[str, Objective],
        metrics: Sequence[str] = ("default",),
        *,
        every: int = 1,
        out: str | Path | None = None,
        rel_error: float = 0.05,
        num_probes: int | None = None,
        seed: int = 0,
        log: Any = None,
    ) -> None:
        if every < 1:
            raise ValueError(f"every={every} is out of range. Expected at least 1.")
        self.objectives = dict(objectives) if isinstance(objectives, Mapping) else {"train": objectives}
        self.settings = Settings(tuple(metrics), rel_error=rel_error, num_probes=num_probes, seed=seed)
        self.every, self.seconds, self.training_seconds = every, 0.0, 0.0
        self._begun: float | None = None
        self._has_measured = False
        self._send = log_to(log) if log is not None else None
        self.analyses: list[Analysis] = []
        self._log: TrackLog | None = None
        if out is not None and _is_first_process():
            of_what = {split: (one.num_examples, one.params, str(one.dtype)) for split, one in self.objectives.items()}
            self._log = TrackLog(Path(out) / "track.jsonl", digest({"settings": self.settings.digest, "of": of_what}))
            self.analyses = self._log.analyses

    def measure(
        self,
        step: int,
        *,
        epoch: int | None = None,
        lr: float | None = None,
        update: Mapping[str, Any] | None = None,
    ) -> Analysis | None:
        """Measure the model as it is now; None where the step is no multiple of ``every``, or is done already.

        None, too, in all processes but the first, and where an error is told by a warning.

        Args:
            step: optimizer steps done.
            epoch: epochs done, if it is to be told.
            lr: the learning rate, if the edge of stability is to be drawn.
            update: the optimizer's numbers, of which that edge is, as ``landscape.edge.update_of`` tells them.
        """
        if step % self.every or not _is_first_process():
            return None
        try:
            with rng_untouched():  # whatever a loss, a logger or an error leaves
                analysis = self._measure(step, epoch, lr, update)
        except Exception as error:  # whatever it is, training goes on
            if not self._has_measured:
                raise
            self._forget()
            warnings.warn(f"Tracking failed at step {step}, and training goes on: {reason_of(error)}.", stacklevel=2)
            return None
        self._has_measured = True
        return analysis

    def _measure(
        self, step: int, epoch: int | None, lr: float | None, update: Mapping[str, Any] | None
    ) -> Analysis | None:
        start = time.perf_counter()
        self._begun = start if self._begun is None else self._begun
        model = next(iter(self.objectives.values())).model
        _refuse_joint_work(model)
        sha256 = _hash(model)
        if self._log and (row := row_of(self._log.analyses, sha256, step=step)):
            remedy = "Give another folder, or remove the file."
            then = row.objective.get("fingerprint") or {}
            refuse_other(f"{self._log.path}: the row of step {step}", then, fingerprint_of(self.objectives), remedy)
            return None
        facts: dict[str, Any] = {"path": None, "sha256": sha256, "epoch": epoch, "step": step, "lr": lr}
        facts |= {"update": dict(update)} if update else {}
        analysis = self.settings.analyze(self.objectives).with_checkpoint(facts)
        self._forget()
        self.training_seconds = start - self._begun - self.seconds
        seconds = self.seconds + time.perf_counter() - start
        cost = {"seconds": seconds, "training_seconds": self.training_seconds}
        if self.training_seconds:
            cost["percent"] = 100 * seconds / self.training_seconds
        analysis = replace(analysis, provenance=analysis.provenance | {"tracking": cost})
        if self._log:
            self._log.append(analysis)
        else:
            self.analyses.append(analysis)
        if self._send:
            self._send(scalars_of(analysis), step)
        self.seconds += time.perf_counter() - start
        return analysis

    def _forget(self) -> None:
        """Free what was found at the weights: training has no use for it."""
        for objective in self.objectives.values():
            objective.forget()

    def close(self) -> None:
        """Let others write the log, and write the table and the figure."""
        if self._log:
            self.release()
            summarize(self.analyses, self._log.path.parent)

    def release(self) -> None:
        """Let others write the log."""
        if self._log:
            self._log.close()

    def __enter__(self) -> "Tracker":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _hash(model: nn.Module) -> str:
    """Of all weights and buffers."""
    total = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        if isinstance(tensor, torch.Tensor):
            total.update(name.encode())
            total.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def _is_first_process() -> bool:
    """Of those that train together: by their group, or before there is one by what their launcher says."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank() == 0
    return int(os.environ.get("RANK") or os.environ.get("LOCAL_RANK") or 0) == 0


def _refuse_joint_work(model: nn.Module) -> None:
    """Raise ValueError where one process alone cannot call the model: it would wait for the others for ever."""
    kinds = [type(one).__name__ for one in model.modules()]
    if "DistributedDataParallel" in kinds and distributed.get_world_size() > 1:
        raise ValueError("The model waits for all processes in its forward pass. Make the Objective of ddp.module.")
    sharded = [kind for kind in kinds if kind == "FullyShardedDataParallel"]
    sharded += [name for name, p in model.named_parameters() if type(p).__name__ == "DTensor" or hasattr(p, "ds_id")]
    if sharded:
        raise ValueError(
            f"The weights are sharded over processes ({sharded[0]}), and one alone measures. Save checkpoints, and "
            "measure those: landscape track DIR."
        )
