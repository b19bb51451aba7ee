"""What is measured at every checkpoint, and how: with the checkpoint's hash, what a row of the log is known by."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from landscape.checkpoint import Checkpoint
from landscape.fingerprint import Fingerprint
from landscape.linalg.estimate import require_positive
from landscape.measure import analyze
from landscape.measure.analysis import metric_names
from landscape.measure.arguments import Arguments, other_arguments
from landscape.objective import Objective
from landscape.problem import Problem
from landscape.results import Analysis


@dataclass(frozen=True)
class Settings:
    """What is measured; the words are those of ``analyze``.

    Args:
        metrics: names of ``landscape.measure.METRICS``, "default" or "all".
        split: "train", "test", "validation" or "both" (every split there is, without validation of ours).
        num_samples: of a stratified sample of each split; None for all examples.
        rel_error: accuracy at which estimates stop.
        num_probes: a fixed number of probes for traces instead.
        seed: of all random draws, and of the sample; the same at every checkpoint, so that a difference between two of
            them is no difference of draws.
        dtype: "float32" or "float64"; None for the model's.
        params: glob of the parameters to measure.
        model: where the checkpoints do not say, the name of theirs.
        data: likewise.
        problem: FILE.py:FUNCTION, which brings the model, the loss and the data.
        context: tokens a block, of text for a folder of transformers.
        mode: "eval", "train" or "reestimate"; None for the problem's, or "eval".
        key: where in the checkpoints the weights are, if not in the usual place.
        trust: run what the checkpoints say.
        arguments: of single metrics, by name: {"sam_ratio": {"rho": 0.1}}.

    Raises:
        ValueError: for an unknown metric or dtype, or an accuracy that is not positive.

    Example:
        >>> from landscape.measure import DEFAULT
        >>> Settings(metrics=("default",)).digest == Settings(metrics=DEFAULT).digest
        True
    """

    metrics: tuple[str, ...] = ("default",)
    split: str = "both"
    num_samples: int | None = None
    rel_error: float = 0.05
    num_probes: int | None = None
    seed: int = 0
    dtype: str | None = None
    params: str = "*"
    model: str | None = None
    data: str | None = None
    problem: str | None = None
    context: int | None = None
    mode: str | None = None
    key: str | None = None
    trust: bool = False
    arguments: Arguments = field(default_factory=dict)

    def __post_init__(self) -> None:
        metric_names(self.metrics)
        object.__setattr__(self, "arguments", other_arguments(self.arguments))
        if self.dtype not in (None, "float32", "float64"):
            raise ValueError(f"--dtype {self.dtype} is not supported. Expected float32 or float64.")
        require_positive(rel_error=self.rel_error)

    @property
    def names(self) -> tuple[str, ...]:
        """The metrics one by one, in order."""
        return tuple(sorted(metric_names(self.metrics)))

    @property
    def digest(self) -> str:
        """A hash of all of it: of the problem, the names of its file and function."""
        return digest(self._told() | ({"problem": Path(self.problem).name} if self.problem else {}))

    @property
    def earlier_digest(self) -> str | None:
        """What ``digest`` was in an earlier version, of the text of a problem's file and not of its function."""
        if self.problem and (file := Path(self.problem.rpartition(":")[0])).is_file():
            return digest(self._told() | {"problem": hashlib.sha256(file.read_bytes()).hexdigest()})
        return None

    def _told(self) -> dict[str, Any]:
        """All of it that decides what is measured; what earlier versions did not have only where it is given."""
        values = asdict(self) | {"metrics": self.names}
        left_out = {"trust"} | {name for name in ("key", "context") if values[name] is None}
        left_out |= {"mode"} if self.mode in (None, "eval") else set()
        left_out |= set() if self.arguments else {"arguments"}
        return {name: value for name, value in values.items() if name not in left_out}

    def analyze(
        self, objectives: Mapping[str, Objective], progress: Callable[[str, str], None] | None = None
    ) -> Analysis:
        """The metrics of the objectives; ``progress`` is called before each with the split and the name."""
        return analyze(
            objectives,
            self.metrics,
            rel_error=self.rel_error,
            num_probes=self.num_probes,
            seed=self.seed,
            arguments=self.arguments,
            progress=progress,
        )


class Objectives:
    """The objectives of one checkpoint after another; of the same model and data they are made once.

    Args:
        settings: what is measured.
        device: where.
    """

    def __init__(self, settings: Settings, device: str | torch.device) -> None:
        self.settings, self.device = settings, device
        self._made_for: Any = None
        self._problem: Problem
        self._objectives: dict[str, Objective] = {}
        self._fingerprint: Fingerprint = {}

    def of(self, checkpoint: Checkpoint) -> dict[str, Objective]:
        """The objectives by split, around the weights of the checkpoint.

        Raises:
            ValueError: for a model, data or split that is not there.
            CheckpointError: weights that do not fit.
        """
        self._make(checkpoint)
        s = self.settings
        if self._objectives:
            self._problem.load(checkpoint)
            return self._objectives
        options: dict[str, Any] = {"num_samples": s.num_samples, "seed": s.seed, "params": s.params}
        options |= {"dtype": getattr(torch, s.dtype) if s.dtype else None, "device": self.device}
        self._objectives = self._problem.objectives(s.split, **options)
        return self._objectives

    def fingerprint(self, checkpoint: Checkpoint) -> Fingerprint:
        """What the objectives of the checkpoint are of beside the weights; errors as of ``of``."""
        self._make(checkpoint)
        if not self._fingerprint:
            s = self.settings
            self._fingerprint = self._problem.fingerprint(s.split, num_samples=s.num_samples, seed=s.seed)
        return self._fingerprint

    def _make(self, checkpoint: Checkpoint) -> None:
        describes = described_by(checkpoint)
        if describes != self._made_for:
            s = self.settings
            self._objectives, self._fingerprint, self._made_for = {}, {}, None
            self._problem = Problem.of(
                checkpoint, model=s.model, data=s.data, file=s.problem, context=s.context, mode=s.mode
            )
            self._made_for = describes


def described_by(checkpoint: Checkpoint) -> tuple[Any, ...]:
    """What a checkpoint says of its model, data and loss: where that is the same, so are the objectives."""
    return checkpoint.model, checkpoint.data, checkpoint.loss, checkpoint.config, checkpoint.adapter


def digest(values: Mapping[str, Any]) -> str:
    """A short hash of plain values."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
