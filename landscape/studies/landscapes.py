"""The step that draws a landscape: a plane through the last weights of the first seed."""

import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from landscape.checkpoint import Checkpoint, load_checkpoint
from landscape.objective import Objective
from landscape.problem import Problem
from landscape.results import load_surfaces
from landscape.studies.plan import Tell, key, slug
from landscape.surface import plane
from landscape.surface.cost import foresee
from landscape.tracking.settings import digest
from landscape.training import Recipe


@dataclass(frozen=True)
class Landscape:
    """Measure the training loss on a plane of random, filter-normalized directions (Li et al. 2018).

    Every run has the same draws, so that the planes differ by the weights and their filters' norms alone.

    Args:
        num_points: along an axis.
        span: reach to each side, in lengths of the directions.
        num_samples: of a stratified sample; None for all examples.
    """

    num_points: int = 25
    span: float = 1.0
    num_samples: int | None = None

    @property
    def digest(self) -> str:
        """A hash of the settings."""
        return digest(asdict(self))

    def is_done(self, run: Recipe, results: Path) -> bool:
        """Whether the plane of this run is there; none is wanted of other seeds than the first."""
        if run.seed:
            return True
        folder = results / self._folder(run)
        if not (folder / "surface.json").exists():
            return False
        return all(surface.details.get("made_for") == self._made_for(run) for surface in load_surfaces(folder))

    def do(self, run: Recipe, weights: Path, results: Path, device: torch.device, tell: Tell) -> None:
        """Measure the plane; one that was stopped goes on from its finished rows."""
        checkpoint = load_checkpoint(weights / "last.pt")
        folder = results / self._folder(run)
        folder.mkdir(parents=True, exist_ok=True)
        found = plane(
            self._objective(checkpoint, device),
            num_points=self.num_points,
            span=self.span,
            rows=folder / ".rows",
            progress=lambda done, total, _: tell(f"plane, row {done} of {total}"),
        )
        facts = checkpoint.identity | {"path": f"../runs/{weights.name}/last.pt"}
        provenance = {"made_for": self._made_for(run), "checkpoint": facts}
        replace(found, details=found.details | provenance).save(folder)
        shutil.rmtree(folder / ".rows", ignore_errors=True)

    def foresee(self, checkpoint: Checkpoint, device: torch.device) -> float:
        """Seconds of one plane, without its checks."""
        return float(foresee({"train": self._objective(checkpoint, device)}, num_points=self.num_points)["seconds"])

    def _objective(self, checkpoint: Checkpoint, device: torch.device) -> Objective:
        return Problem.of(checkpoint).objective("train", num_samples=self.num_samples, device=device)

    def _made_for(self, run: Recipe) -> str:
        return f"{key(run)} {self.digest}"

    def _folder(self, run: Recipe) -> str:
        return f"planes/{slug(run.optimizer)}-{key(run)[:6]}"
