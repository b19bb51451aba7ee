"""Populations of trained networks, each measured where it first fits its training set as well as all the others.

Sharpness falls with the training loss, whatever the network: networks are comparable where they stopped at the same
loss (Jiang et al. 2020, sec. 3). A network that never gets there is measured at its end, and told apart by its loss.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from landscape.checkpoint import Checkpoint, load_checkpoint
from landscape.models import build_model
from landscape.results import Analysis, Measurement, TrackLog, read_track
from landscape.studies.plan import Plan, Tell, identity
from landscape.studies.steps import Measure
from landscape.surroundings import rng_untouched
from landscape.training import Recipe

_USUAL = {"error_kind": "none", "num_samples": 0}  # which a row need not say
_MADE_WITH = ("landscape", "torch", "python", "device", "num_threads", "seconds")


@dataclass(frozen=True)
class Population(Plan):
    """A plan in which no two networks share a seed: networks of different recipes are independent.

    Example:
        >>> plan = Population((Recipe(lr=0.1), Recipe(lr=0.2)), 2, ())
        >>> [(run.lr, run.seed) for run in plan.runs]
        [(0.1, 0), (0.2, 1), (0.1, 2), (0.2, 3)]
    """

    @property
    def runs(self) -> list[Recipe]:
        """Every run in order, numbered."""
        return [replace(recipe, seed=seed) for seed, recipe in enumerate(self.num_seeds * self.recipes)]


@dataclass(frozen=True)
class MeasureFitted(Measure):
    """Measure the first checkpoint whose loss on train is at most the criterion, and otherwise the last one.

    Recipes keep the checkpoint of every epoch; those that are not measured are deleted. Beside the metrics stand the
    length of the weights, and their distance from where training began. Details are left out, to keep results small.

    Example:
        >>> MeasureFitted({"train": ("trace",)}, criterion=0.1).digest == MeasureFitted({"train": ("trace",)}).digest
        False
    """

    criterion: float = 0.01  # mean cross-entropy of the training set

    def is_done(self, run: Recipe, results: Path) -> bool:
        """Whether the run has its row."""
        track = results / "track.jsonl"
        size = track.stat().st_size if track.exists() else 0
        return identity(run) in _measured(track, size, self.digest)

    def do(self, run: Recipe, weights: Path, results: Path, device: torch.device, tell: Tell) -> None:
        """Measure the checkpoint, and delete the others."""
        last = load_checkpoint(weights / "last.pt")
        fitted = (int(row["epoch"]) for row in last.metrics if row["train_loss"] <= self.criterion)
        epoch = next(fitted, run.epochs)
        path = weights / f"epoch-{epoch:04d}.pt"
        tell(f"measuring epoch {epoch}")
        checkpoint = load_checkpoint(path)
        found = self._analysis(checkpoint, device, run.seed)
        found.splits["train"] |= {name: self._compact(one) for name, one in _of_weights(checkpoint).items()}
        facts = {key: value for key, value in checkpoint.identity.items() if key not in ("path", "model", "data")}
        provenance = {key: found.provenance[key] for key in _MADE_WITH}
        objective = {key: found.objective[key] for key in ("num_examples", "num_params")}
        with TrackLog(results / "track.jsonl", self.digest) as log:
            log.append(_Short(found.splits, objective, provenance, facts))
        for other in weights.glob("epoch-*.pt"):
            if other != path:
                other.unlink()

    def _compact(self, m: Measurement) -> Measurement:
        """The number, its error and its cost, to five digits, and whether it converged."""
        value, error, seconds = (float(f"{one:.5g}") for one in (m.value, m.std_error, round(m.seconds, 3)))
        return replace(m, value=value, std_error=error, seconds=seconds, reason="", details={})


class _Short(Analysis):
    """An analysis whose rows leave out of a measurement what holds for most of them."""

    def to_dict(self) -> dict[str, Any]:
        """The document, which ``Analysis.from_dict`` reads."""
        document = super().to_dict()
        for metrics in document["splits"].values():
            for entry in metrics.values():
                for key, usual in _USUAL.items():
                    if entry[key] == usual:
                        del entry[key]
        return document


def _of_weights(checkpoint: Checkpoint) -> Mapping[str, Measurement]:
    """Their length, and how far they are from where training began, which their seed says."""
    recipe, spec = Recipe.from_dict(checkpoint.recipe), checkpoint.model or {}
    with rng_untouched():
        torch.manual_seed(recipe.seed)
        first = [p.detach() for p in build_model(spec["name"], **spec["args"]).parameters()]
    now = [p.detach().cpu() for p in checkpoint.build_model().parameters()]
    norm = torch.cat([p.flatten() for p in now]).double().norm().item()
    distance = torch.cat([(p - p0).flatten() for p, p0 in zip(now, first, strict=True)]).double().norm().item()
    return {"weight_norm": Measurement("weight_norm", norm), "distance": Measurement("distance", distance)}


@lru_cache(maxsize=1)  # every run of hundreds is asked for, and rows are only ever added
def _measured(track: Path, _size: int, settings: str) -> frozenset[str]:
    """The runs that have their row."""
    rows = read_track(track, settings)
    return frozenset(json.dumps((row.checkpoint or {}).get("recipe"), sort_keys=True) for row in rows)
