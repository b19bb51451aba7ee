"""What is in the folder of a study, and what of its plan is done.

OUT/recipes/NAME.toml          what was trained; landscape train --recipe takes it
OUT/runs/NAME-seed-N/          checkpoints; they may be deleted once all is measured
OUT/results/study.json         scale, seeds, command, and how each training ended
OUT/results/track.jsonl        every measurement, a row a checkpoint
OUT/results/planes/            landscapes
OUT/tables OUT/figures OUT/README.md     drawn up from the results alone, anew each time
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from landscape.files import read_document, write_document
from landscape.results import read_track
from landscape.studies.plan import Plan, key
from landscape.training import Recipe

SCHEMA = "landscape.study/1"


@dataclass
class Store:
    """The folder of one study.

    Attributes:
        out: the folder.
        plan: what belongs in it.
        facts: of the call, as in ``study.json``: study, scale, seeds, data, command.
        trainings: by run, how each ended: name, seed, status ("finished" or "diverged"), reason, seconds.

    Raises:
        ValueError: the folder holds another study, or measurements made with other settings.
    """

    out: Path
    plan: Plan
    facts: dict[str, Any]
    trainings: dict[str, dict[str, Any]]

    @classmethod
    def open(cls, out: Path, plan: Plan, facts: dict[str, Any]) -> "Store":
        """Read what is there; nothing is written."""
        there = read_facts(out)
        if there and (there["study"], there["scale"]) != (facts["study"], facts["scale"]):
            raise ValueError(f"{out}: holds {there['study']} at scale {there['scale']}. Choose another folder.")
        track = out / "results" / "track.jsonl"
        ours = sum(len(read_track(track, digest)) for digest in {step.digest for step in plan.steps})
        if ours != len(read_track(track)):
            raise ValueError(f"{out}: holds measurements made with other settings. Choose another folder.")
        return cls(out, plan, facts, there.get("trainings", {}))

    @property
    def results(self) -> Path:
        """The folder of the results."""
        return self.out / "results"

    def weights(self, run: Recipe) -> Path:
        """The folder of a run's checkpoints."""
        return self.out / "runs" / self.plan.folder(run)

    def is_trained(self, run: Recipe) -> bool:
        """Whether its last weights are there."""
        return key(run) in self.trainings and (self.weights(run) / "last.pt").exists()

    def is_done(self, run: Recipe) -> bool:
        """Whether the run is trained and measured, or has diverged."""
        training = self.trainings.get(key(run))
        if training is None:
            return False
        return training["status"] == "diverged" or all(step.is_done(run, self.results) for step in self.plan.steps)

    def trained(self, run: Recipe, *, status: str, reason: str, seconds: float) -> None:
        """Write down how a training ended."""
        self.trainings[key(run)] = {
            "name": self.plan.name(run),
            "seed": run.seed,
            "status": status,
            "reason": reason,
            "seconds": round(seconds, 3),
        }
        self.write()

    def write(self) -> None:
        """Write study.json."""
        document = {"schema": SCHEMA, **self.facts, "trainings": self.trainings}
        write_document(self.results / "study.json", document)


def read_facts(out: Path) -> dict[str, Any]:
    """What study.json holds; nothing where there is none.

    Raises:
        ValueError: it is no JSON, or none of ours.
    """
    path = out / "results" / "study.json"
    if not path.exists():
        return {}
    return read_document(path, SCHEMA, "landscape reproduce", "Choose another folder.")
