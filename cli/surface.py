"""``landscape surface``: the loss along a line or over a plane through the weights of checkpoints."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    out: Annotated[Path | None, Option(metavar="DIR", help="Where to write surface.json and surface.npz.")] = None,
    overwrite: Annotated[
        bool, Option("--overwrite", help="Measure anew what is there of other weights or data.")
    ] = False,
    export: Annotated[str | None, Option(metavar="A,B", help="Write surface.csv, .vts or .h5 there too.")] = None,
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
    """
    from landscape.checkpoint import load_checkpoint
    from landscape.problem import Problem
    from landscape.results.surface import surfaces_document

    on, formats = options.find_device(device), _formats(export, out, line)
    _require_sense(directions, line=line, refine=refine)
    files = [load_checkpoint(path) for path in checkpoints]
    trajectory = files if directions == "pca" else []
    centres = files[-1:] if trajectory else files
    others = _read_others(directions)
    problems = [Problem.of(file, model=model, data=data, file=problem) for file in centres]
    folders = options.find_folders(out, [file.path for file in centres])
    if not (overwrite or dry_run):
        for file, one, folder in zip(centres, problems, folders, strict=True):
            if folder is not None and (there := _there(folder)):
                fingerprint = one.fingerprint(split, num_samples=samples, seed=seed)
                _refuse_other(folder / "surface.json", there, file, fingerprint)
    how = {"num_samples": samples, "seed": seed, "dtype": options.find_dtype(dtype), "device": on}
    objectives = [one.objectives(split, **how) for one in problems]
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
    found = [
        _find_directions(directions, next(iter(of.values())), one, trajectory, others, **drawn)
        for of, one in zip(objectives, problems, strict=True)
    ]
    asked = {"num_points": grid, "span": span, "seed": seed, "biases": biases, "mode": mode, "overwrite": overwrite}
    asked |= {} if line else {"orthogonalize": orthogonalize, "refine": refine}
    if len(found) > 1:
        asked["reach"] = [span * max(norms) for norms in zip(*(one.norms for one in found), strict=True)]
    documents = []
    for index, (file, of, along, folder) in enumerate(zip(centres, objectives, found, folders, strict=True)):
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        with progress(str(file.path), 1) as tell:
            measured = _measured(of, along, asked | {"rows": folder and folder / ".rows", "progress": _fraction(tell)})
        surfaces = [replace(one, details=one.details | {"checkpoint": file.identity}) for one in measured]
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


def _read_others(directions: str) -> "dict[str, Checkpoint]":
    """The checkpoints after ``to:``, by their paths; none where it is another word."""
    from landscape.checkpoint import load_checkpoint

    if not directions.startswith(_TOWARDS):
        return {}
    paths = directions.removeprefix(_TOWARDS)
    if not paths:
        raise ValueError("--directions to: names no checkpoint. Expected to:CKPT or to:CKPT,CKPT.")
    whole = Path(paths)
    return {path: load_checkpoint(path) for path in ([paths] if whole.is_file() else paths.split(","))}


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
    for name in there:
        with suppress(ValueError):  # without h5py, or of a line, there is none any more
            export(surfaces, folder / f"surface.{name}")
    shutil.rmtree(folder / ".rows", ignore_errors=True)  # they are all in the result
    if (folder / "analysis.json").exists():
        from landscape.figures.page import write_page

        write_page(folder)


def _refuse_other(where: Path, there: "list[Line | Plane]", file: "Checkpoint", fingerprint: dict[str, Any]) -> None:
    """Raise ValueError where the surfaces that are there are of other weights, or of the same on other data."""
    from landscape.fingerprint import refuse_other, united

    remedy = "Choose another --out, or replace it with --overwrite."
    for of in (old.details.get("checkpoint") or {} for old in there):
        if of.get("sha256") not in (None, file.sha256):
            raise ValueError(f"{where}: is of another checkpoint, {of.get('path')}. {remedy}")
    refuse_other(where, united(old.details.get("fingerprint") for old in there), fingerprint, remedy)


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
