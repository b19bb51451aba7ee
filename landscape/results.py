"""Results: one ``Measurement`` a number, an ``Analysis`` for all that was measured on a checkpoint, as JSON + npz.

``DIR/analysis.json`` (schema ``landscape.analysis/1``) holds every number, ``DIR/arrays.npz`` every array, under
``split/metric/name``. JSON has no NaN or infinity: they are written as null, and ``reason`` says what happened.
"""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

SCHEMA = "landscape.analysis/1"
_SCALARS = ("value", "std_error", "converged", "reason", "num_matvecs", "num_gradients", "seconds")


@dataclass(frozen=True)
class Measurement:
    """One measured number, how far it can be trusted, and what it cost.

    Attributes:
        name: the metric, as in ``landscape.measure``.
        value: the number; NaN where it could not be measured.
        std_error: standard error of an estimate, residual bound of an eigenvalue, 0 where exact on these data.
        num_matvecs: products with the Hessian it took.
        num_gradients: gradients over all the data it took.
        seconds: wall time.
        converged: whether it reached the accuracy asked for.
        reason: why it stopped, in words.
        details: further numbers, and arrays.

    Example:
        >>> print(Measurement("trace", 12.5, 0.25, num_matvecs=64, converged=True, reason="interval within 0.05"))
        trace = 12.5 +- 0.25 (64 products, converged: interval within 0.05)
    """

    name: str
    value: float
    std_error: float = 0.0
    num_matvecs: int = 0
    num_gradients: int = 0
    seconds: float = 0.0
    converged: bool = True
    reason: str = "exact on these data"
    details: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        error = f" +- {self.std_error:.2g}" if self.std_error else ""
        state = "converged" if self.converged else "NOT converged"
        return f"{self.name} = {self.value:.6g}{error} ({self.num_matvecs} products, {state}: {self.reason})"


@dataclass(frozen=True)
class Analysis:
    """All measurements of one set of weights, by split and in order, with what they were made of.

    Attributes:
        splits: {"train" | "test": {metric: Measurement}}.
        objective: number of parameters, mode, dtype, and the number of examples a split.
        provenance: versions, device, seed, accuracy asked for, command, start and duration.
        checkpoint: path, sha256, epoch and step, or None for a model in memory.

    Example:
        >>> analysis = Analysis({"train": {"loss": Measurement("loss", 0.5)}})
        >>> analysis["train"]["loss"].value, analysis.converged
        (0.5, True)
    """

    splits: dict[str, dict[str, Measurement]]
    objective: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    checkpoint: dict[str, Any] | None = None

    def __getitem__(self, split: str) -> dict[str, Measurement]:
        return self.splits[split]

    @property
    def converged(self) -> bool:
        """Whether every measurement reached its accuracy."""
        return all(m.converged for metrics in self.splits.values() for m in metrics.values())

    def with_checkpoint(self, checkpoint: Mapping[str, Any]) -> "Analysis":
        """The same analysis, saying which file the weights came from."""
        return replace(self, checkpoint=dict(checkpoint))

    def to_dict(self) -> dict[str, Any]:
        """The document of ``analysis.json``: plain JSON values, arrays left out."""
        return _plain(
            {
                "schema": SCHEMA,
                "checkpoint": self.checkpoint,
                "objective": self.objective,
                "provenance": self.provenance,
                "splits": {
                    split: {name: _scalars(m) for name, m in metrics.items()} for split, metrics in self.splits.items()
                },
            }
        )

    def to_frame(self) -> pd.DataFrame:
        """One row a measurement: split, metric, value, std_error, converged, reason and cost."""
        rows = [
            {"split": split, "metric": name} | {key: getattr(m, key) for key in _SCALARS}
            for split, metrics in self.splits.items()
            for name, m in metrics.items()
        ]
        return pd.DataFrame(rows, columns=["split", "metric", *_SCALARS])

    def save(self, directory: str | Path) -> Path:
        """Write ``arrays.npz`` and ``analysis.json`` into ``directory``, each whole or not at all."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        arrays = {
            f"{split}/{name}/{key}": value
            for split, metrics in self.splits.items()
            for name, m in metrics.items()
            for key, value in m.details.items()
            if isinstance(value, np.ndarray)
        }
        document = json.dumps(self.to_dict(), indent=1, allow_nan=False, ensure_ascii=False)
        arrays_part, document_part = directory / "arrays.npz.part", directory / "analysis.json.part"
        with arrays_part.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
        document_part.write_text(document + "\n", encoding="utf-8")
        os.replace(arrays_part, directory / "arrays.npz")
        os.replace(document_part, directory / "analysis.json")
        return directory / "analysis.json"

    @classmethod
    def load(cls, directory: str | Path) -> "Analysis":
        """Read what ``save`` wrote.

        Raises:
            ValueError: where ``analysis.json`` is missing, is no JSON, or has another schema.
        """
        path = Path(directory) / "analysis.json"
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ValueError(f"{path}: {error.strerror}. Expected a directory written by Analysis.save.") from error
        except ValueError as error:
            raise ValueError(f"{path}: not valid JSON ({error}). Measure again.") from error
        if not isinstance(document, dict) or document.get("schema") != SCHEMA:
            found = document.get("schema") if isinstance(document, dict) else type(document).__name__
            raise ValueError(f"{path}: schema is {found!r}. Expected {SCHEMA!r}.")
        splits: dict[str, dict[str, Measurement]] = {
            split: {name: _measurement(name, entry) for name, entry in metrics.items()}
            for split, metrics in document["splits"].items()
        }
        arrays_path = path.with_name("arrays.npz")
        if arrays_path.exists():
            with np.load(arrays_path, allow_pickle=False) as arrays:
                for key in arrays.files:
                    split, name, detail = key.split("/", 2)
                    splits[split][name].details[detail] = arrays[key]
        return cls(splits, document["objective"], document["provenance"], document["checkpoint"])


def _scalars(m: Measurement) -> dict[str, Any]:
    details = {key: value for key, value in m.details.items() if not isinstance(value, np.ndarray)}
    return {key: getattr(m, key) for key in _SCALARS} | details


def _measurement(name: str, entry: dict[str, Any]) -> Measurement:
    fields = {key: entry[key] for key in _SCALARS}
    for key in ("value", "std_error"):
        fields[key] = math.nan if entry[key] is None else entry[key]
    return Measurement(name, **fields, details={key: value for key, value in entry.items() if key not in _SCALARS})


def _plain(value: Any) -> Any:
    """The value in JSON's own types: NaN and infinity become null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
