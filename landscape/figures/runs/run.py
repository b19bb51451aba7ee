"""Result folders as runs, with the names that tell them apart.

A run is one set of weights: what was measured on it, and its landscapes, gathered from every folder that speaks of it.
Who it is, the checkpoint says: its recipe and its epoch, or the file's hash where it has no recipe.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from landscape.reading import FileError
from landscape.results import Analysis, Line, Measurement, Plane, load_surfaces, read_track
from landscape.text import printable

_FILES = ("analysis.json", "surface.json", "track.jsonl")
_UNNAMED = ("seed", "epochs", "checkpoint_every", "checkpoint_at")  # what two runs of one name may differ in
_PLAIN = ("SGD", "Adam", "AdamW")  # the first among the names
_SPELLED = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW", "curvsam": "CurvSAM"}  # the others are capitals


@dataclass(frozen=True)
class Run:
    """One set of weights and its results.

    Attributes:
        path: the first folder that holds them.
        checkpoint: what the results say of the file: path, sha256, epoch, recipe, seconds of training.
        splits: {"train" | "test": {metric: Measurement}}.
        objective: what was measured on, as in ``Analysis``.
        surfaces: lines and planes through the weights.

    Example:
        >>> recipe = {"optimizer": "cr-sam", "optimizer_args": {"rho": 0.1}}
        >>> run = Run(Path("results/a"), {"epoch": 3, "recipe": recipe})
        >>> run.epoch, run.optimizer, run.setting("optimizer_args.rho")
        (3, 'CR-SAM', 0.1)
    """

    path: Path
    checkpoint: Mapping[str, Any] = field(default_factory=dict)
    splits: Mapping[str, Mapping[str, Measurement]] = field(default_factory=dict)
    objective: Mapping[str, Any] = field(default_factory=dict)
    surfaces: tuple[Line | Plane, ...] = ()

    @property
    def epoch(self) -> int | None:
        """Of the checkpoint, where it says."""
        return self.checkpoint.get("epoch")

    @property
    def recipe(self) -> dict[str, Any]:
        """Every setting of the training by its dotted name; empty where the checkpoint does not say."""
        return _flat(self.checkpoint.get("recipe") or {})

    @property
    def optimizer(self) -> str:
        """Its name as it is printed."""
        name = str(self.recipe.get("optimizer", ""))
        return _SPELLED.get(name, name.upper())

    @property
    def analysis(self) -> Analysis:
        """The measurements as an ``Analysis``."""
        splits = {split: dict(found) for split, found in self.splits.items()}
        return Analysis(splits, dict(self.objective), {}, dict(self.checkpoint))

    def setting(self, name: str) -> Any:
        """One setting of the recipe, None where it has none."""
        return self.recipe.get(name)

    def get(self, metric: str, split: str) -> Measurement | None:
        """The measurement, None where there is none."""
        return self.splits.get(split, {}).get(metric)


def load_runs(paths: Iterable[str | Path]) -> list[Run]:
    """Read every ``analysis.json``, ``surface.json`` and ``track.jsonl`` in or below the folders.

    Results of the same weights become one run; where two folders hold the same metric, the first one counts.

    Raises:
        FileError: where there is none, or one cannot be read.
    """
    read: list[Run] = []
    for path in map(Path, paths):
        found = [path] if path.is_file() else sorted(file for name in _FILES for file in path.rglob(name))
        found = [file for file in found if file.name in _FILES]
        if not found:
            raise FileError(f"{path}: holds no results. Expected {', '.join(_FILES)} in it or below.")
        for file in found:
            read += _read(file)
    described = {run.checkpoint.get("sha256"): run.checkpoint for run in read if run.recipe}
    runs: dict[str, Run] = {}
    for run in read:
        whole = replace(run, checkpoint={**described.get(run.checkpoint.get("sha256"), {}), **run.checkpoint})
        identity = _identity(whole)
        runs[identity] = _merged(runs[identity], whole) if identity in runs else whole
    return sorted(runs.values(), key=lambda run: run.epoch or 0)


def named(runs: Sequence[Run], *, apart_from: Sequence[str] = ()) -> dict[str, list[Run]]:
    """The runs by name: the optimizer, and the settings in which runs of one optimizer differ; seeds share a name.

    Args:
        runs: in any order; the plain optimizers come first, numbers in their order.
        apart_from: settings that a figure shows in another way, and names need not.

    Example:
        >>> recipes = [{"optimizer": name, "lr": lr} for name, lr in (("sam", 0.2), ("sam", 0.1), ("sgd", 0.1))]
        >>> runs = [Run(Path(str(i)), {"recipe": recipe}) for i, recipe in enumerate(recipes)]
        >>> list(named(runs)), list(named(runs, apart_from=["lr"]))
        (['SGD', 'SAM, lr 0.1', 'SAM, lr 0.2'], ['SGD', 'SAM'])
    """
    unnamed = (*_UNNAMED, *apart_from)
    recipes = {id(run): run.recipe for run in runs}
    keys = sorted({key for recipe in recipes.values() for key in recipe if key not in unnamed})
    differ: dict[str, list[str]] = {}
    for optimizer in {run.optimizer for run in runs}:
        same = [recipes[id(run)] for run in runs if run.optimizer == optimizer]
        differ[optimizer] = [key for key in keys if any(recipe.get(key) != same[0].get(key) for recipe in same)]
    groups: dict[str, list[Run]] = {}
    for run in sorted(
        runs, key=lambda r: (r.optimizer not in _PLAIN, [_sortable(recipes[id(r)].get(key)) for key in keys])
    ):
        recipe = recipes[id(run)]
        words = [f"{key.rpartition('.')[2]} {recipe[key]}" for key in differ[run.optimizer] if key in recipe]
        name = printable(", ".join([run.optimizer or _folder(run, runs), *words]))
        groups.setdefault(name, []).append(run)
    return groups


def last_epochs(runs: Sequence[Run]) -> list[Run]:
    """Of every training, the run of its last epoch."""
    last: dict[str, Run] = {}
    for run in sorted(runs, key=lambda run: run.epoch or 0):
        last[_training(run)] = run
    return list(last.values())


def metrics_of(analyses: Iterable[Analysis]) -> list[str]:
    """The names of all metrics, in order."""
    return list(dict.fromkeys(m for a in analyses for found in a.splits.values() for m in found))


def splits_of(analyses: Iterable[Analysis | Run]) -> list[str]:
    """The names of all splits, in order."""
    return list(dict.fromkeys(split for a in analyses for split in a.splits))


def measurements_of(analyses: Iterable[Analysis]) -> list[Measurement]:
    """All of every analysis."""
    return [m for a in analyses for found in a.splits.values() for m in found.values()]


def made_of(checkpoints: Iterable[Mapping[str, Any]]) -> str:
    """The models and the data that the checkpoints name, as "mlp on digits"; "" where they name none."""
    every = list(checkpoints)
    names = [dict.fromkeys(str(one[key]["name"]) for one in every if one.get(key)) for key in ("model", "data")]
    return printable(" on ".join(" and ".join(found) for found in names if found))


def subject(runs: Sequence[Run]) -> str:
    """The model and the data, where all the runs agree on them."""
    words = {made_of([run.checkpoint]) for run in runs}
    return words.pop() if len(words) == 1 else ""


def _read(file: Path) -> list[Run]:
    if file.name == "surface.json":
        surfaces = load_surfaces(file.parent)
        return [Run(file.parent, one.details.get("checkpoint") or {}, surfaces=(one,)) for one in surfaces]
    analyses = read_track(file) if file.name == "track.jsonl" else [Analysis.load(file.parent)]
    return [Run(file.parent, one.checkpoint or {}, one.splits, one.objective) for one in analyses]


def _training(run: Run) -> str:
    if run.recipe:
        return json.dumps(run.recipe, sort_keys=True, default=str)
    return str(Path(path).parent if (path := run.checkpoint.get("path")) else run.path)


def _identity(run: Run) -> str:
    """The same for results of the same weights: last.pt and epoch-0010.pt of one run are the same."""
    if run.recipe:
        return f"{_training(run)} {run.epoch}"
    return str(run.checkpoint.get("sha256") or run.path)


def _merged(first: Run, second: Run) -> Run:
    splits = {split: {**second.splits.get(split, {}), **first.splits.get(split, {})} for split in second.splits}
    return replace(
        first,
        checkpoint={**second.checkpoint, **first.checkpoint},
        splits={**first.splits, **splits},
        objective={**second.objective, **first.objective},
        surfaces=(*first.surfaces, *second.surfaces),
    )


def _flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def _sortable(value: Any) -> tuple[float, str]:
    return (float(value), "") if isinstance(value, int | float) else (0.0, str(value))


def _folder(run: Run, runs: Sequence[Run]) -> str:
    """A name for weights without a recipe: the folder of the results."""
    names = [other.path.name for other in runs]
    return run.path.name if names.count(run.path.name) == 1 else str(run.path)
