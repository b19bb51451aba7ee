"""``landscape surface``: the loss along a line or over a plane through the weights of checkpoints."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from .analyze import folders, read_dtype
from .console import print_json, progress
from .device import find_device
from .options import Checkpoints, Data, Device, Dtype, Json, Model, ProblemFile, Samples, Seed, Split
from .surface_directions import find_directions, read_others
from .surface_words import duration, print_cost, print_surfaces

if TYPE_CHECKING:
    from landscape.objective import Objective
    from landscape.results import Line, Plane
    from landscape.surface.directions import Directions

_EXPORTS = ("csv", "vts", "h5")  # and surface.npz is there anyway


def surface(
    checkpoints: Checkpoints,
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
    split: Split = "both",
    samples: Samples = None,
    seed: Seed = 0,
    dtype: Dtype = None,
    model: Model = None,
    data: Data = None,
    problem: ProblemFile = None,
    out: Annotated[Path | None, Option(metavar="DIR", help="Where to write surface.json and surface.npz.")] = None,
    export: Annotated[str | None, Option(metavar="A,B", help="Write surface.csv, .vts or .h5 there too.")] = None,
    json: Json = False,
    dry_run: Annotated[bool, Option("--dry-run", help="Say what it would cost, from timed points, and stop.")] = False,
    device: Device = "cpu",
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

    on, formats = find_device(device), _formats(export, out, line)
    _require_sense(directions, line=line, refine=refine)
    files = [load_checkpoint(path) for path in checkpoints]
    trajectory = files if directions == "pca" else []
    centres = files[-1:] if trajectory else files
    others = read_others(directions)
    problems = [
        Problem.from_file(problem, file) if problem else Problem.of(file, model=model, data=data) for file in centres
    ]
    into = folders(out, [file.path for file in centres]) if out else [None] * len(centres)
    options = {"num_samples": samples, "seed": seed, "dtype": read_dtype(dtype), "device": on}
    objectives = [
        {name: one.objective(name, **options) for name in (one.splits if split == "both" else [split])}
        for one in problems
    ]
    if dry_run:
        costs = [_cost(of, grid, mode, line) for of in objectives]
        if json:
            documents = [{"checkpoint": f.identity, "dry_run": cost} for f, cost in zip(centres, costs, strict=True)]
            print_json(documents[0] if len(documents) == 1 else documents)
        else:
            for file, cost in zip(centres, costs, strict=True):
                print_cost(file, cost)
        return
    how: dict[str, Any] = {"num": 1 if line else 2, "normalize": normalize, "seed": seed, "biases": biases}
    found = [
        find_directions(directions, next(iter(of.values())), one, trajectory, others, **how)
        for of, one in zip(objectives, problems, strict=True)
    ]
    asked = {"num_points": grid, "span": span, "seed": seed, "biases": biases, "mode": mode}
    asked |= {} if line else {"orthogonalize": orthogonalize, "refine": refine}
    if len(found) > 1:
        asked["reach"] = [span * max(norms) for norms in zip(*(one.norms for one in found), strict=True)]
    documents = []
    for index, (file, of, along, folder) in enumerate(zip(centres, objectives, found, into, strict=True)):
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        with progress(str(file.path), 1) as tell:
            measured = _measured(of, along, asked | {"rows": folder and folder / ".rows", "progress": _fraction(tell)})
        surfaces = [replace(one, details=one.details | {"checkpoint": file.identity}) for one in measured]
        documents.append(_save(surfaces, folder, formats))
        if not json:
            if index:
                print()
            print_surfaces(file, surfaces)
            if folder is not None and (folder / "report.html").exists():
                print(f"Report: {folder / 'report.html'}")
    if json:
        print_json(documents[0] if len(documents) == 1 else documents)


def _formats(export: str | None, out: Path | None, line: bool) -> list[str]:
    formats = [name.strip() for name in export.split(",")] if export else []
    for name in formats:
        if name not in _EXPORTS or (line and name == "vts"):
            known = ", ".join(one for one in _EXPORTS if not (line and one == "vts"))
            raise ValueError(f"--export {name} is not supported{' of a line' if line else ''}. Expected: {known}.")
    if formats and out is None:
        raise ValueError("--export writes beside surface.json. Say where with --out DIR.")
    return formats


def _require_sense(directions: str, *, line: bool, refine: bool) -> None:
    if line and refine:
        raise ValueError("--refine spends the points of a plane. Leave it out with --line.")
    if line and directions == "pca":
        raise ValueError("--directions pca makes a plane. With --line, expected random, eigen, gradient or to:CKPT.")


def _cost(objectives: "Mapping[str, Objective]", grid: int, mode: str, line: bool) -> dict[str, Any]:
    from landscape.surface.cost import foresee

    return foresee(objectives, num_points=grid, mode=mode, num_axes=1 if line else 2)


def _measured(
    objectives: "Mapping[str, Objective]", found: "Directions", options: dict[str, Any]
) -> "list[Line | Plane]":
    from landscape.surface import line, plane

    if len(found.vectors) == 2:
        return list(plane(objectives, directions=found, **options).values())
    reach = options.pop("reach", None)
    return list(line(objectives, direction=found, reach=reach and reach[0], **options).values())


def _save(surfaces: "Sequence[Line | Plane]", folder: Path | None, formats: Sequence[str]) -> dict[str, Any]:
    """Write the surfaces, their exports and the report, and give the document."""
    from landscape.results import save_surfaces
    from landscape.results.export import export
    from landscape.results.files import plain
    from landscape.results.surface import surfaces_document

    if folder is not None:
        save_surfaces(folder, [*surfaces, *_beside(surfaces[0], folder)])
        for name in formats:
            export(surfaces, folder / f"surface.{name}")
        shutil.rmtree(folder / ".rows", ignore_errors=True)  # they are all in the result
        if (folder / "analysis.json").exists():
            from landscape.figures.page import write_page

            write_page(folder)
    return plain(surfaces_document(surfaces))


def _beside(new: "Line | Plane", folder: Path) -> "list[Line | Plane]":
    """What the folder holds of the same weights that is not measured anew: lines where there is a plane now."""
    from landscape.results import load_surfaces

    try:
        old = load_surfaces(folder)
    except ValueError:  # there is none, or none that can be read
        return []
    same = new.details["checkpoint"]["sha256"]
    return [one for one in old if type(one) is not type(new) and one.details["checkpoint"]["sha256"] == same]


def _fraction(tell: Callable[[float, str], None]) -> Callable[[int, int, float], None]:
    return lambda done, total, left: tell(done / total, f"part {done} of {total}, {duration(left)} left")
