"""``Tracker``: measure in the middle of training, in a loop of one's own; training goes on as if nothing had been.

The objectives look at copies of the live weights, and flags and random states are put back: the weights at the end are
the same bit for bit with and without it.
"""

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from landscape.fingerprint import refuse_other
from landscape.measure.analysis import fingerprint_of
from landscape.objective import Objective
from landscape.results import Analysis, TrackLog
from landscape.results.track import row_of
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
    ) -> None:
        if every < 1:
            raise ValueError(f"every={every} is out of range. Expected at least 1.")
        self.objectives = dict(objectives) if isinstance(objectives, Mapping) else {"train": objectives}
        self.settings = Settings(tuple(metrics), rel_error=rel_error, num_probes=num_probes, seed=seed)
        self.every, self.seconds, self.training_seconds = every, 0.0, 0.0
        self._begun: float | None = None
        self.analyses: list[Analysis] = []
        self._log: TrackLog | None = None
        if out is not None:
            of_what = {split: (one.num_examples, one.params, str(one.dtype)) for split, one in self.objectives.items()}
            self._log = TrackLog(Path(out) / "track.jsonl", digest({"settings": self.settings.digest, "of": of_what}))
            self.analyses = self._log.analyses

    def measure(self, step: int, *, epoch: int | None = None, lr: float | None = None) -> Analysis | None:
        """Measure the model as it is now; None where the step is no multiple of ``every``, or is done already.

        Args:
            step: optimizer steps done.
            epoch: epochs done, if it is to be told.
            lr: the learning rate, if the edge of stability is to be drawn.
        """
        if step % self.every:
            return None
        start = time.perf_counter()
        self._begun = start if self._begun is None else self._begun
        sha256 = _hash(next(iter(self.objectives.values())).model)
        if self._log and (row := row_of(self._log.analyses, sha256, step=step)):
            remedy = "Give another folder, or remove the file."
            then = row.objective.get("fingerprint") or {}
            refuse_other(f"{self._log.path}: the row of step {step}", then, fingerprint_of(self.objectives), remedy)
            return None
        facts = {"path": None, "sha256": sha256, "epoch": epoch, "step": step, "lr": lr}
        analysis = self.settings.analyze(self.objectives).with_checkpoint(facts)
        for objective in self.objectives.values():
            objective.forget()  # training has no use for it
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
        self.seconds += time.perf_counter() - start
        return analysis

    def close(self) -> None:
        """Write the table and the figure, and let others write the log."""
        if self._log:
            self._log.close()
            summarize(self.analyses, self._log.path.parent)

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
