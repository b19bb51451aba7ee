"""All that was measured on a checkpoint, as JSON + npz.

``DIR/analysis.json`` (schema ``landscape.analysis/2``) holds every number, ``DIR/arrays.npz`` every array, under
``split/metric/name``. JSON has no NaN or infinity: they are written as null, and ``reason`` says what happened.
Schema 1, which did not say of what kind an error is, is read too: there the metric's name says it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from landscape.files import plain, write_document
from landscape.readers import read_arrays, read_document
from landscape.reading import reading
from landscape.results.content import ANALYSIS, require_arrays
from landscape.results.measurement import ErrorKind, Measurement

SCHEMA, SCHEMA_1 = "landscape.analysis/2", "landscape.analysis/1"
_ERROR = ("std_error", "error_kind", "num_samples")
_SCALARS = ("value", *_ERROR, "converged", "reason", "num_matvecs", "num_gradients", "seconds")
_KINDS_1: dict[str, ErrorKind] = {  # of errors in schema 1, where they are not standard errors
    **dict.fromkeys(("lambda_max", "lambda_min", "top_eigenvalues", "gradient_curvature"), "bound"),
    **dict.fromkeys(("zeroth_order_flatness", "first_order_flatness"), "lower bound"),
}
# By ``landscape.batchnorm.staleness``. On digits, small networks at the end of a schedule have 0.01 to 0.04, and the
# loss is the same to a few percent; a constant rate of 0.1 leaves 0.13 to 0.17, and the training loss is up to three
# times what it is with the training statistics; a rate of 1, or an epoch or two, 0.27 to 0.75.
STALE = 0.12


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
        return plain(
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
        """One row a measurement: split, metric, value, error, converged, reason and cost."""
        every = ((split, name, m) for split, metrics in self.splits.items() for name, m in metrics.items())
        rows = [[split, name, *(getattr(m, key) for key in _SCALARS)] for split, name, m in every]
        return pd.DataFrame(rows, columns=["split", "metric", *_SCALARS])

    def save(self, directory: str | Path) -> Path:
        """Write ``arrays.npz`` and ``analysis.json`` into ``directory``, each whole or not at all.

        A ``report.html`` of the analysis that was there is removed; ``landscape.figures.page`` writes one anew.
        """
        directory = Path(directory)
        arrays = {
            f"{split}/{name}/{key}": value
            for split, metrics in self.splits.items()
            for name, m in metrics.items()
            for key, value in m.details.items()
            if isinstance(value, np.ndarray)
        }
        return write_document(
            directory / "analysis.json",
            self.to_dict(),
            (directory / "arrays.npz", arrays),
            outdated=reports_of("analysis.json", directory),
        )

    @classmethod
    def load(cls, directory: str | Path) -> "Analysis":
        """Read what ``save`` wrote.

        Raises:
            FileError: where ``analysis.json`` is missing, is no JSON, has another schema or holds what no analysis
                does, or the arrays are broken, those of another analysis, or not those of its metrics.
        """
        path, arrays_path = Path(directory) / "analysis.json", Path(directory) / "arrays.npz"
        document = read_document(path, (SCHEMA, SCHEMA_1), "Analysis.save", form=ANALYSIS)
        with reading(path, "Measure again."):
            analysis = cls.from_dict(document)
        if arrays_path.exists():
            remedy = f"Measure again: landscape analyze CKPT --out {directory}."
            with reading(arrays_path, remedy):
                for key, value in read_arrays(arrays_path, document=document, remedy=remedy).items():
                    split, name, detail = key.split("/", 2)
                    analysis.splits[split][name].details[detail] = value
        for split, metrics in analysis.splits.items():
            for measurement in metrics.values():
                require_arrays(arrays_path, measurement, split)
        return analysis

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> "Analysis":
        """What ``to_dict`` was made from, without the arrays."""
        splits = {
            split: {name: _measurement(name, entry) for name, entry in metrics.items()}
            for split, metrics in document["splits"].items()
        }
        return cls(splits, document["objective"], document["provenance"], document["checkpoint"])


def stale_words(objective: Mapping[str, Any]) -> str:
    """What has to be said of batch statistics that do not fit the weights, or "".

    Example:
        >>> stale_words({"staleness": 0.04}), stale_words({"staleness": 1.5})[:30]
        ('', 'BatchNorm statistics are stale')
    """
    found = objective.get("staleness")
    if not isinstance(found, float) or found <= STALE:
        return ""
    return (
        f"BatchNorm statistics are stale: with those of the training split, activations are others by {found:.2g} "
        "standard deviations (--mode reestimate measures with those)"
    )


def reports_of(name: str, directory: Path) -> list[Path]:
    """The ``report.html`` of a directory, if it says that it was made of the file of this name."""
    report = directory / "report.html"
    return [report] if report.is_file() and f"SHA-256 of {name}".encode() in report.read_bytes() else []


def _scalars(m: Measurement) -> dict[str, Any]:
    details = {key: value for key, value in m.details.items() if not isinstance(value, np.ndarray)}
    return {key: getattr(m, key) for key in _SCALARS} | details


def _measurement(name: str, entry: dict[str, Any]) -> Measurement:
    fields = {key: entry[key] for key in _SCALARS if key in entry}
    for key in ("value", "std_error"):
        fields[key] = math.nan if entry[key] is None else entry[key]
    if "error_kind" not in entry and fields["std_error"]:
        fields["error_kind"] = _KINDS_1.get(name, "standard error")
    return Measurement(name, **fields, details={key: value for key, value in entry.items() if key not in _SCALARS})
