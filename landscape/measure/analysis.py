"""``analyze``: several metrics on one objective, or on train and test side by side."""

import inspect
import platform
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from landscape import __version__
from landscape.fingerprint import Fingerprint, of_splits
from landscape.measure.arguments import Arguments, other_arguments
from landscape.measure.metric import DEFAULT, METRICS, Work
from landscape.objective import Objective
from landscape.results import Analysis, Measurement


def analyze(
    objective: Objective | Mapping[str, Objective],
    metrics: Sequence[str] = ("default",),
    *,
    rel_error: float = 0.05,
    num_probes: int | None = None,
    seed: int = 0,
    arguments: Arguments | None = None,
    progress: Callable[[str, str], None] | None = None,
) -> Analysis:
    """Measure the metrics on each split.

    Args:
        objective: one objective (reported as split "train"), or {"train": ..., "test": ...}.
        metrics: names of ``landscape.measure.METRICS``, "default" or "all". Accuracy is left out of those two where the
            loss is no classification.
        rel_error: accuracy asked of every estimate, as a fraction of its value.
        num_probes: a fixed number of probes for traces, instead of stopping at ``rel_error``.
        seed: of all random draws.
        arguments: of single metrics, by name: {"sam_ratio": {"rho": 0.1}}. They go before the others.
        progress: called with (split, metric) before each measurement.

    Raises:
        ValueError: for an unknown metric, naming those there are, or arguments that a metric refuses.

    Example:
        >>> model, batch = torch.nn.Linear(2, 1), (torch.eye(2), torch.zeros(2, 1))
        >>> analysis = analyze(Objective(model, torch.nn.MSELoss(), [batch]), metrics=["loss", "trace"])
        >>> list(analysis["train"]), analysis.converged
        (['loss', 'trace'], True)
    """
    splits = dict(objective) if isinstance(objective, Mapping) else {"train": objective}
    own = other_arguments(arguments or {})
    options: dict[str, Any] = {"rel_error": rel_error, "num_probes": num_probes, "seed": seed}
    started, start = datetime.now(UTC), time.perf_counter()
    first = next(iter(splits.values()))
    fingerprint = fingerprint_of(splits)  # where the data have gone, that is told before the measuring
    results: dict[str, dict[str, Measurement]] = {}
    for split, one in splits.items():
        results[split] = {}
        for name in metric_names(metrics, one):
            if progress is not None:
                progress(split, name)
            function = METRICS[name]
            accepted = inspect.signature(function).parameters
            shared = {key: value for key, value in options.items() if key in accepted}
            results[split][name] = function(one, **shared | own.get(name, {}))
        Work.of(one).release()  # the next split needs the memory
    staleness = 0.0 if first.training is None else first.staleness(first.training)
    about = subject(splits, fingerprint) | ({"staleness": staleness} if staleness else {})
    told = provenance(first.device, started, **options, **({"arguments": own} if own else {}))
    return Analysis(results, about, told | {"seconds": time.perf_counter() - start})


def subject(objectives: Mapping[str, Objective], fingerprint: Fingerprint) -> dict[str, Any]:
    """What is measured, as an analysis says it in ``objective``; ``fingerprint`` is that of these objectives."""
    first = next(iter(objectives.values()))
    return {
        "splits": list(objectives),
        "num_examples": {split: one.num_examples for split, one in objectives.items()},
        "batch_size": {split: one.batch_size for split, one in objectives.items()},
        "num_params": first.num_params,
        "params": first.params,
        "unused": first.known_unused,
        "mode": first.mode,
        "dtype": str(first.dtype).removeprefix("torch."),
        "fingerprint": fingerprint,
        **({"compiled": True} if first.compiled else {}),  # and measured through the original module
    }


def fingerprint_of(objectives: Mapping[str, Objective]) -> Fingerprint:
    """What an analysis of these objectives is of, beside the weights: see ``landscape.fingerprint``.

    Example:
        >>> batch = (torch.eye(2), torch.zeros(2, 1))
        >>> objective = Objective(torch.nn.Linear(2, 1), torch.nn.MSELoss(), [batch])
        >>> list(fingerprint_of({"train": objective}))
        ['data', 'loss', 'model', 'mode', 'dtype']
    """
    return of_splits({split: one.fingerprint() for split, one in objectives.items()})


def metric_names(metrics: Sequence[str], objective: Objective | None = None) -> list[str]:
    """The names that ``metrics`` stands for, on this objective if one is given, each once, in the order of the report.

    Raises:
        ValueError: for an unknown name.
    """
    groups = {"default": DEFAULT, "all": tuple(METRICS)}
    unknown = [name for name in metrics if name not in METRICS and name not in groups]
    if unknown:
        raise ValueError(f"Unknown metric {unknown[0]!r}. Expected default, all, or some of: {', '.join(METRICS)}.")
    named = [name for name in metrics if name in METRICS]
    implied = [name for group in metrics for name in groups.get(group, ())]
    if objective is not None and not objective.classifies:
        implied = [name for name in implied if name != "accuracy"]
    if objective is not None and not objective.optimizer:  # where it would be lambda_max again
        implied = [name for name in implied if name != "preconditioned_sharpness"]
    return sorted({*named, *implied}, key=lambda name: (DEFAULT.index(name) if name in DEFAULT else len(DEFAULT), name))


def device_name(device: torch.device) -> str:
    """The device in words: the GPU's name, or the processor's architecture."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device.type} ({platform.machine()})"


def provenance(device: torch.device, started: datetime, **options: Any) -> dict[str, Any]:
    """What a result was made with, and the command of this process, without the folder of its program."""
    program, *arguments = sys.argv
    return {
        "landscape": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": device_name(device),
        "num_threads": torch.get_num_threads(),
        **options,
        "command": shlex.join([Path(program).name, *arguments]),
        "started": started.isoformat(timespec="seconds"),
    }
