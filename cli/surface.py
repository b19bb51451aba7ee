"""``landscape surface``: the loss along a line or over a plane through the weights of checkpoints."""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Option

from . import options
from .console import duration, print_documents, print_line, print_surfaces, print_table, print_text, progress

if TYPE_CHECKING:
    from torch import Tensor

    from landscape.checkpoint import Checkpoint
    from landscape.objective import Objective
    from landscape.problem import Problem
    from landscape.results import Line, Plane
    from landscape.surface.directions import Directions

_TOWARDS = "to:"
_NOT_FINITE = 4


def surface(
    checkpoints: options.Checkpoints,
    directions: Annotated[
        str, Option(metavar="KIND", help="random, eigen, gradient, pca, to:CKPT or to:CKPT,CKPT.")
    ] = "random",
    line: Annotated[bool, Option("--line", help="Only along the first direction.")] = False,
    normalize: Annotated[
        str | None,
        Option(metavar="HOW", help="filter, layer, model or none.", show_default="filter, if random"),
    ] = None,
    grid: Annotated[int, Option(metavar="N", help="Points along an axis.")] = 51,
    span: Annotated[float, Option(metavar="X", help="Reach to each side, in lengths of the direction.")] = 1.0,
    refine: Annotated[bool, Option("--refine", help="Spend the points of the grid where the surface curves.")] = False,
    orthogonalize: Annotated[bool, Option("--orthogonalize", help="Make the directions orthogonal.")] = False,
    biases: Annotated[bool, Option("--biases", help="Move biases and normalization layers too.")] = False,
    mode: Annotated[str, Option(metavar="MODE", help="Batch statistics: eval, or reestimate at each point.")] = "eval",
    split: options.Split = "both",
    samples: options.Samples = None,
    seed: options.Seed = 0,
    dtype: options.Dtype = None,
    model: options.Model = None,
    data: options.Data = None,
    problem: options.ProblemFile = None,
    context: options.Context = None,
    key: options.Key = None,
    trust_checkpoint: options.Trust = False,
    out: Annotated[Path | None, Option(metavar="DIR", help="Where to write surface.json and surface.npz.")] = None,
    export: Annotated[str | None, Option(metavar="A,B", help="Write surface.csv, .vts or .h5 there too.")] = None,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
    dry_run: options.DryRun = False,
    device: options.Device = "cpu",
) -> None:
    """Measure the loss and accuracy over a plane, or along a line, through the weights of checkpoints.

    [bold]landscape surface runs/sgd/last.pt --out surfaces[/]
    [bold]landscape surface runs/sgd/epoch*.pt --directions pca --span 1.5 --out trajectory[/]

    With pca, the checkpoints are one trajectory, in the order given, and the plane goes through the last one.
    Several checkpoints otherwise make a surface each, with the same draws and on the same axes: they all reach to the
    true displacement that the one with the longest directions needs.
    With --out, a run that was stopped goes on from where it was, and report.html, where there is one, is made anew.
    Exit code 4 means that the loss is not finite at the weights.
    """
    from landscape.measure.analysis import fingerprint_of
    from landscape.problem import Problem
    from landscape.results.kept import require_same_surfaces
    from landscape.results.surface import surfaces_document
    from landscape.surface.grid import require_finite

    on, formats = options.find_device(device), _formats(export, out, line)
    _require_sense(directions, line=line, refine=refine)
    files = options.read_checkpoints(checkpoints, key, trust_checkpoint)
    trajectory = files if directions == "pca" else []
    centres = files[-1:] if trajectory else files
    others = _read_others(directions, key, trust_checkpoint)
    problems = [Problem.of(file, model=model, data=data, file=problem, context=context) for file in centres]
    folders = options.find_folders(out, [file.path for file in centres])
    sample = {"num_samples": samples, "seed": seed, "dtype": options.find_dtype(dtype), "device": on}
    objectives = [one.objectives(split, **sample) for one in problems]
    if dry_run:
        from landscape.surface.points import estimate_cost

        costs = [estimate_cost(one, num_points=grid, mode=mode, num_axes=1 if line else 2) for one in objectives]
        if json:
            print_documents([{"checkpoint": f.identity, "dry_run": c} for f, c in zip(centres, costs, strict=True)])
        else:
            for file, cost in zip(centres, costs, strict=True):
                _print_cost(file.path, cost)
        return
    drawn: dict[str, Any] = {"num": 1 if line else 2, "normalize": normalize, "seed": seed, "biases": biases}
    asked = {"num_points": grid, "span": span, "seed": seed, "biases": biases, "mode": mode}
    asked |= {} if line else {"orthogonalize": orthogonalize, "refine": refine}
    told = [
        _told(file, of, trajectory, others, directions, normalize, asked)
        for file, of in zip(centres, objectives, strict=True)
    ]
    documents = []
    num_not_finite = 0
    with options.writing_all(folders):
        for folder, each, of in zip(folders, told, objectives, strict=True):
            if folder is not None and not overwrite:
                require_same_surfaces(folder, "line" if line else "plane", each, fingerprint_of(of))
        found = []
        for file, of, one in zip(centres, objectives, problems, strict=True):
            with _of(file):
                require_finite(of)
                found.append(_find_directions(directions, next(iter(of.values())), one, trajectory, others, **drawn))
        if len(found) > 1:
            asked["reach"] = [span * max(norms) for norms in zip(*(one.norms for one in found), strict=True)]
        for index, (file, of, along, folder) in enumerate(zip(centres, objectives, found, folders, strict=True)):
            with progress(str(file.path), 1) as tell, _of(file):
                how = asked | {"rows": folder and folder / ".rows", "overwrite": overwrite, "progress": _fraction(tell)}
                measured = _measured(of, along, how)
            whence = {"checkpoint": file.identity, "asked": told[index]}
            surfaces = [replace(one, details=one.details | whence) for one in measured]
            num_not_finite += sum(not isfinite(one.centre) for one in surfaces)
            if folder is not None:
                _save(surfaces, folder, formats)
            if json:
                documents.append(surfaces_document(surfaces))
            else:
                if index:
                    print()
                print_surfaces(file.path, surfaces)
                if folder is not None and (folder / "report.html").exists():
                    print_line(f"Report: {folder / 'report.html'}")
    if json:
        print_documents(documents)
    if num_not_finite:
        raise typer.Exit(_NOT_FINITE)


@contextmanager
def _of(file: "Checkpoint") -> Iterator[None]:
    """What cannot be computed is told with the file that it is about."""
    from landscape.errors import MeasurementError

    try:
        yield
    except MeasurementError as error:
        raise type(error)(f"{file.path}: {error}") from error


def _told(
    file: "Checkpoint",
    objectives: "Mapping[str, Objective]",
    trajectory: "list[Checkpoint]",
    others: "dict[str, Checkpoint]",
    directions: str,
    normalize: str | None,
    asked: Mapping[str, Any],
) -> dict[str, Any]:
    """What was asked, as the result says it: by it another call knows whether it is the same."""
    first = next(iter(objectives.values()))
    return {
        "checkpoint": file.sha256,
        "directions": directions.partition(":")[0],
        "towards": [other.sha256 for other in (*trajectory, *others.values())],
        "normalize": normalize or ("filter" if directions == "random" else "none"),
        **asked,
        "num_points": asked["num_points"] + 1 - asked["num_points"] % 2,  # with the middle
        "num_examples": {split: one.num_examples for split, one in objectives.items()},
        "dtype": str(first.dtype).removeprefix("torch."),
    }


def _formats(export: str | None, out: Path | None, line: bool) -> list[str]:
    from landscape.results.surface import EXPORTS

    formats = options.names_in(export) if export else []
    for name in formats:
        if name not in EXPORTS or (line and name == "vts"):
            known = ", ".join(one for one in EXPORTS if not (line and one == "vts"))
            raise ValueError(f"--export {name} is not supported{' of a line' if line else ''}. Expected: {known}.")
    if formats and out is None:
        raise ValueError("--export writes beside surface.json. Say where with --out DIR.")
    return formats


def _require_sense(directions: str, *, line: bool, refine: bool) -> None:
    if line and refine:
        raise ValueError("--refine spends the points of a plane. Leave it out with --line.")
    if line and directions == "pca":
        raise ValueError("--directions pca makes a plane. With --line, expected random, eigen, gradient or to:CKPT.")


def _read_others(directions: str, key: str | None, trust: bool) -> "dict[str, Checkpoint]":
    """The checkpoints after ``to:``, by their paths; none where it is another word."""
    if not directions.startswith(_TOWARDS):
        return {}
    paths = directions.removeprefix(_TOWARDS)
    if not paths:
        raise ValueError("--directions to: names no checkpoint. Expected to:CKPT or to:CKPT,CKPT.")
    named = [paths] if Path(paths).exists() else paths.split(",")
    return dict(zip(named, options.read_checkpoints(list(map(Path, named)), key, trust), strict=True))


def _find_directions(
    kind: str,
    objective: "Objective",
    problem: "Problem",
    trajectory: "list[Checkpoint]",
    others: "dict[str, Checkpoint]",
    *,
    num: int,
    seed: int,
    **drawn: Any,
) -> "Directions":
    """The directions around the weights of the objective: by name, of a trajectory, or towards others."""
    from landscape.surface import directions

    found: Directions | str = kind
    if trajectory:
        plane = directions.pca(objective, [_vector(file, problem, objective) for file in trajectory])
        steps = [{"path": str(file.path), "epoch": file.epoch, "step": file.step} for file in trajectory]
        found = replace(plane, details=plane.details | {"trajectory": steps})
    elif others:
        vectors = {name: _vector(file, problem, objective) for name, file in others.items()}
        found = directions.towards(objective, vectors, num=num, seed=seed)
    return directions.find_directions(objective, found, num=num, seed=seed, **drawn)


def _vector(file: "Checkpoint", problem: "Problem", objective: "Objective") -> "Tensor":
    """The weights of another checkpoint of the same model, (d,)."""
    from copy import deepcopy

    model = deepcopy(problem.model)
    file.load_into(model)
    params = dict(model.named_parameters())
    return objective.layout.flatten([params[name].detach() for name in objective.names])


def _measured(
    objectives: "Mapping[str, Objective]", found: "Directions", asked: dict[str, Any]
) -> "list[Line | Plane]":
    from landscape.surface import line, plane

    if len(found.vectors) == 2:
        return list(plane(objectives, directions=found, **asked).values())
    reach = asked.pop("reach", None)
    return list(line(objectives, direction=found, reach=reach and reach[0], **asked).values())


def _save(surfaces: "Sequence[Line | Plane]", folder: Path, formats: Sequence[str]) -> None:
    """Write the surfaces, their exports and the report."""
    from landscape.results import save_surfaces
    from landscape.results.export import export
    from landscape.results.surface import EXPORTS

    there = [name for name in EXPORTS if (folder / f"surface.{name}").is_file()]
    save_surfaces(folder, [*surfaces, *_beside(surfaces, folder)])
    for name in formats:
        export(surfaces, folder / f"surface.{name}")
    for name in set(there) - set(formats):
        with suppress(ValueError):  # without h5py, or of a line, there is none any more
            export(surfaces, folder / f"surface.{name}")
    shutil.rmtree(folder / ".rows", ignore_errors=True)  # they are all in the result
    if (folder / "analysis.json").exists():
        from landscape.figures.page import write_page

        write_page(folder)


def _beside(new: "Sequence[Line | Plane]", folder: Path) -> "list[Line | Plane]":
    """What the folder holds of the same weights and data and is not measured anew: lines where there is a plane now."""
    from landscape.fingerprint import differences, united

    sha256 = new[0].details["checkpoint"]["sha256"]
    now = united(one.details["fingerprint"] for one in new)
    return [
        old
        for old in _there(folder)
        if type(old) is not type(new[0])
        and (old.details.get("checkpoint") or {}).get("sha256") == sha256
        and not differences(old.details.get("fingerprint") or {}, now)
    ]


def _there(folder: Path) -> "list[Line | Plane]":
    """The surfaces of a folder; none where it has none, or none that can be read."""
    from landscape.results import load_surfaces

    try:
        return load_surfaces(folder)
    except ValueError:
        return []


def _fraction(tell: Callable[[float, str], None]) -> Callable[[int, int, float], None]:
    return lambda done, total, left: tell(done / total, f"part {done} of {total}, {duration(left)} left")


def _print_cost(path: Path, cost: dict[str, Any]) -> None:
    """Print what a surface would cost."""
    points = " by ".join([str(cost["num_points"])] * cost["num_axes"])
    print_text(
        f"{path}: {cost['num_params']:,} parameters, {points} points; "
        f"{duration(cost['seconds'])} in all, and directions and checks"
    )
    rows = []
    for name, one in cost["splits"].items():
        times = [f"{one['seconds_per_point'] * 1e3:.3g} ms", duration(one["seconds"])]
        rows.append([name, f"{one['num_examples']:,}", f"{one['num_forwards']:,}", *times])
    print_table(["", "examples", "points", "a point", "together"], rows)
