"""``landscape surface``: the loss over a plane through the weights of checkpoints."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from .analyze import folders, read_dtype
from .console import print_json, print_table, print_text, progress, quantity
from .device import find_device

if TYPE_CHECKING:
    from torch import Tensor

    from landscape.checkpoint import Checkpoint
    from landscape.objective import Objective
    from landscape.problem import Problem
    from landscape.results import Plane

_TOWARDS = "to:"


def surface(
    checkpoints: Annotated[list[Path], Argument(metavar="CKPT", help="Checkpoints, state dicts or .safetensors.")],
    directions: Annotated[
        str, Option(metavar="KIND", help="random, eigen, gradient, pca, to:CKPT or to:CKPT,CKPT.")
    ] = "random",
    normalize: Annotated[
        str | None,
        Option(metavar="HOW", help="filter, layer, model or none.", show_default="filter, if random"),
    ] = None,
    grid: Annotated[int, Option(metavar="N", help="Points along an axis.")] = 51,
    span: Annotated[float, Option(metavar="X", help="Reach to each side, in lengths of the direction.")] = 1.0,
    orthogonalize: Annotated[bool, Option("--orthogonalize", help="Make the directions orthogonal.")] = False,
    biases: Annotated[bool, Option("--biases", help="Move biases and normalization layers too.")] = False,
    mode: Annotated[str, Option(metavar="MODE", help="Batch statistics: eval, or reestimate at each point.")] = "eval",
    split: Annotated[str, Option(metavar="NAME", help="train, test or both.")] = "both",
    samples: Annotated[int | None, Option(metavar="N", help="Stratified sample of each split.")] = None,
    seed: Annotated[int, Option(metavar="N", help="Of all random draws.")] = 0,
    dtype: Annotated[str | None, Option(metavar="TYPE", help="float32 or float64.", show_default="the model's")] = None,
    model: Annotated[
        str | None, Option(metavar="NAME", help="Where the file does not say: mlp, cnn, resnet18, ...")
    ] = None,
    data: Annotated[
        str | None, Option(metavar="NAME", help="Where the file does not say: digits, cifar10:PATH, ...")
    ] = None,
    problem: Annotated[
        str | None, Option(metavar="FILE.py:FUNCTION", help="Your own: it returns (model, loss, {split: batches}).")
    ] = None,
    out: Annotated[Path | None, Option(metavar="DIR", help="Where to write surface.json and surface.npz.")] = None,
    json: Annotated[bool, Option("--json", help="Print one JSON document.")] = False,
    dry_run: Annotated[bool, Option("--dry-run", help="Say what it would cost, from timed points, and stop.")] = False,
    device: Annotated[str, Option(metavar="D", help="cpu, cuda, cuda:1, mps.")] = "cpu",
) -> None:
    """Measure the loss and accuracy over a plane through the weights of checkpoints.

    [bold]landscape surface runs/sgd/last.pt --out surfaces[/]
    [bold]landscape surface runs/sgd/epoch*.pt --directions pca --span 1.5 --out trajectory[/]

    With pca, the checkpoints are one trajectory, in the order given, and the plane goes through the last one.
    Several checkpoints otherwise make a plane each, with the same draws and the same reach.
    With --out, a run that was stopped goes on from its finished rows.
    """
    from landscape.checkpoint import load_checkpoint
    from landscape.problem import Problem

    on = find_device(device)
    files = [load_checkpoint(path) for path in checkpoints]
    trajectory = files if directions == "pca" else []
    centres = files[-1:] if trajectory else files
    others = _others(directions)
    problems = [
        Problem.from_file(problem, file) if problem else Problem.of(file, model=model, data=data) for file in centres
    ]
    into = folders(out, [file.path for file in centres]) if out else [None] * len(centres)
    documents = []
    for index, (file, one, folder) in enumerate(zip(centres, problems, into, strict=True)):
        splits = list(one.splits) if split == "both" else [split]
        objectives = {
            name: one.objective(name, num_samples=samples, seed=seed, dtype=read_dtype(dtype), device=on)
            for name in splits
        }
        first = objectives[splits[0]]
        if dry_run:
            cost = _cost(objectives, grid, mode)
            documents.append({"checkpoint": file.identity, "dry_run": cost})
            if not json:
                _print_cost(file, cost)
            continue
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        with progress(str(file.path), 1) as tell:
            planes = _planes(
                objectives,
                directions=_directions(directions, first, one, trajectory, others, seed),
                normalize=normalize,
                num_points=grid,
                span=span,
                seed=seed,
                orthogonalize=orthogonalize,
                biases=biases,
                mode=mode,
                rows=folder and folder / ".rows",
                progress=_fraction(tell),
            )
        planes = [replace(plane, details=plane.details | {"checkpoint": file.identity}) for plane in planes]
        documents.append(_save(planes, folder))
        if not json:
            if index:
                print()
            _print(file, planes)
    if json:
        print_json(documents[0] if len(documents) == 1 else documents)


def _planes(objectives: "dict[str, Objective]", **options: Any) -> "list[Plane]":
    from landscape.surface import plane

    return list(plane(objectives, **options).values())


def _save(planes: "list[Plane]", folder: Path | None) -> dict[str, Any]:
    from landscape.results import save_surfaces
    from landscape.results.files import plain
    from landscape.results.surface import surfaces_document

    if folder is not None:
        save_surfaces(folder, planes)
        shutil.rmtree(folder / ".rows", ignore_errors=True)  # they are all in the result
    return plain(surfaces_document(planes))


def _others(directions: str) -> "dict[str, Checkpoint]":
    """The checkpoints after ``to:``, by their paths."""
    from landscape.checkpoint import load_checkpoint

    if not directions.startswith(_TOWARDS):
        return {}
    paths = directions.removeprefix(_TOWARDS)
    if not paths:
        raise ValueError("--directions to: names no checkpoint. Expected to:CKPT or to:CKPT,CKPT.")
    whole = Path(paths)
    return {path: load_checkpoint(path) for path in ([paths] if whole.is_file() else paths.split(","))}


def _directions(
    kind: str,
    objective: "Objective",
    problem: "Problem",
    trajectory: "list[Checkpoint]",
    others: "dict[str, Checkpoint]",
    seed: int,
) -> Any:
    """What ``plane`` takes: a name, or directions made of further checkpoints."""
    from landscape.surface import directions

    if trajectory:
        found = directions.pca(objective, [_vector(file, problem, objective) for file in trajectory])
        steps = [{"path": str(file.path), "epoch": file.epoch, "step": file.step} for file in trajectory]
        return replace(found, details=found.details | {"trajectory": steps})
    if others:
        vectors = {name: _vector(file, problem, objective) for name, file in others.items()}
        return directions.towards(objective, vectors, seed=seed)
    return kind


def _vector(file: "Checkpoint", problem: "Problem", objective: "Objective") -> "Tensor":
    """The weights of another checkpoint of the same model, (d,)."""
    from copy import deepcopy

    model = deepcopy(problem.model)
    file.load_into(model)
    params = dict(model.named_parameters())
    return objective.layout.flatten([params[name].detach() for name in objective.names])


def _fraction(tell: Callable[[float, str], None]) -> Callable[[int, int, float], None]:
    return lambda done, total, left: tell(done / total, f"row {done} of {total}, {_duration(left)} left")


def _cost(objectives: "dict[str, Objective]", grid: int, mode: str) -> dict[str, Any]:
    from landscape.surface.cost import foresee

    return foresee(objectives, num_points=grid, mode=mode)


def _print_cost(file: "Checkpoint", cost: dict[str, Any]) -> None:
    print_text(
        f"{file.path}: {cost['num_params']:,} parameters, {cost['num_points']} by {cost['num_points']} points; "
        f"{_duration(cost['seconds'])} in all, and directions and checks"
    )
    rows = [
        [
            name,
            f"{one['num_examples']:,}",
            f"{one['num_forwards']:,}",
            f"{one['seconds_per_point'] * 1e3:.3g} ms",
            _duration(one["seconds"]),
        ]
        for name, one in cost["splits"].items()
    ]
    print_table(["", "examples", "points", "a point", "together"], rows)


def _print(file: "Checkpoint", planes: "list[Plane]") -> None:
    details = planes[0].details
    print_text(
        f"{file.path}: {details['num_params']:,} parameters, {details['directions']} directions, "
        f"{len(planes[0].x)} by {len(planes[0].y)} points to ±{planes[0].x[-1]:.4g} and ±{planes[0].y[-1]:.4g}"
        + (f", cosine {details['cosine']:.2g}" if abs(details["cosine"]) >= 1e-6 else "")
    )
    rows = []
    for plane in planes:
        finite = plane.loss[abs(plane.loss) < float("inf")]
        ends = [quantity(float(end)) for end in (finite.min(), finite.max())] if len(finite) else ["", ""]
        accuracy = (
            "" if plane.accuracy is None else quantity(float(plane.accuracy[len(plane.x) // 2, len(plane.y) // 2]))
        )
        floor = plane.details["noise_floor"]
        rows.append(
            [
                f"{plane.split} (n = {plane.details['num_examples']:,})",
                quantity(plane.centre),
                accuracy,
                *ends,
                f"{floor:.1e}" if floor == floor else "?",
                str(plane.num_nonfinite or ""),
            ]
        )
    print_table(["", "loss here", "accuracy", "lowest", "highest", "noise floor", "not finite"], rows)
    for plane in planes:
        checks = plane.details["checks"]
        named = {"centre": checks["centre"]} | dict(zip(("x", "y"), checks["curvature"], strict=True))
        for name, check in named.items():
            if check["agrees"] is not True:
                verdict = "FAILED" if check["agrees"] is False else "undecided"
                print_text(f"* {plane.split}, check of {name} {verdict}: {check['reason']}", indent=2)
    for name, mark in details.get("marks", {}).items():
        x, y = mark["at"]
        print_text(f"{name} lies at ({x:.4g}, {y:.4g}), {mark['residual']:.3g} from the plane", indent=2)
    if "residuals" in details:
        print_text(
            f"The plane has {sum(details['explained']):.1%} of the trajectory; its points lie up to "
            f"{details['residuals'].max():.3g} from it",
            indent=2,
        )


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.2g} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
