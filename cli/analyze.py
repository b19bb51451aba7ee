"""``landscape analyze``: measure checkpoints, ours or anybody's, and say how far each number can be trusted."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Option

from .console import measuring, print_analysis, print_json, print_table, print_text
from .device import find_device
from .options import Checkpoints, Data, Device, Dtype, Json, Model, ProblemFile, Samples, Seed, Split

if TYPE_CHECKING:
    from landscape.checkpoint import Checkpoint
    from landscape.results import Analysis

_NOT_CONVERGED = 4
_COSTS = ("products", "gradients", "seconds", "mib")


def analyze(
    checkpoints: Checkpoints,
    metrics: Annotated[str, Option(metavar="A,B", help="Names, or default, or all.")] = "default",
    split: Split = "both",
    samples: Samples = None,
    rel_error: Annotated[float, Option(metavar="X", help="Accuracy at which estimates stop: 0.05 is 5 %.")] = 0.05,
    num_probes: Annotated[int | None, Option(metavar="N", help="Fixed number of probes for traces.")] = None,
    seed: Seed = 0,
    dtype: Dtype = None,
    layers: Annotated[str, Option(metavar="GLOB", help="Parameters to measure: 'conv*,head.weight'.")] = "*",
    model: Model = None,
    data: Data = None,
    problem: ProblemFile = None,
    out: Annotated[
        Path | None, Option(metavar="DIR", help="Where to write report.html, analysis.json and arrays.npz.")
    ] = None,
    json: Json = False,
    dry_run: Annotated[
        bool, Option("--dry-run", help="Say what it would cost, from one timed product, and stop.")
    ] = False,
    device: Device = "cpu",
) -> None:
    """Measure the loss and its curvature around the weights of checkpoints.

    [bold]landscape analyze runs/sgd/last.pt[/]
    [bold]landscape analyze theirs.safetensors --problem mine.py:problem --out results[/]

    Exit code 4 means that a number did not reach the accuracy asked for; the table says which, and why.
    """
    import landscape
    from landscape.checkpoint import load_checkpoint
    from landscape.measure.analysis import metric_names
    from landscape.measure.cost import foresee
    from landscape.problem import Problem

    names, on = [name.strip() for name in metrics.split(",")], find_device(device)
    files = [load_checkpoint(path) for path in checkpoints]  # all of them before the first is measured
    problems = [
        Problem.from_file(problem, file) if problem else Problem.of(file, model=model, data=data) for file in files
    ]
    into = folders(out, checkpoints) if out else [None] * len(files)
    analyses: list[Analysis] = []
    documents = []
    for file, one, folder in zip(files, problems, into, strict=True):
        splits = list(one.splits) if split == "both" else [split]
        objectives = {
            name: one.objective(name, num_samples=samples, seed=seed, params=layers, dtype=read_dtype(dtype), device=on)
            for name in splits
        }
        if dry_run:
            costs = {name: foresee(objective, names) for name, objective in objectives.items()}
            documents.append({"checkpoint": file.identity, "dry_run": costs})
            if not json:
                _print_costs(file, costs)
            continue
        total = sum(len(metric_names(names, objective)) for objective in objectives.values())
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)  # where that fails, it fails before the measuring
        with measuring(str(file.path), total) as progress:
            analysis = landscape.analyze(
                objectives, names, rel_error=rel_error, num_probes=num_probes, seed=seed, progress=progress
            ).with_checkpoint(file.identity)
        if folder is not None:
            from landscape.figures.page import write_page

            analysis.save(folder)
            write_page(folder)
        if not json:
            if analyses:
                print()
            print(f"{file.path}: {analysis.objective['num_params']:,} parameters, {analysis.objective['dtype']}")
            print_analysis(analysis)
            if folder is not None:
                print(f"Report: {folder / 'report.html'}")
        analyses.append(analysis)
        documents.append(analysis.to_dict())
    if json:
        print_json(documents[0] if len(files) == 1 else documents)
    if not all(analysis.converged for analysis in analyses):
        raise typer.Exit(_NOT_CONVERGED)


def folders(out: Path, checkpoints: list[Path]) -> list[Path]:
    """Where each analysis goes: OUT, or below it as the checkpoints lie to each other."""
    if len(checkpoints) == 1:
        return [out]
    paths = [path.absolute().with_suffix("") for path in checkpoints]
    top = os.path.commonpath([path.parent for path in paths])
    found = [out / path.relative_to(top) for path in paths]
    for index, folder in enumerate(found):
        if (first := found.index(folder)) < index:
            raise ValueError(f"{checkpoints[first]} and {checkpoints[index]} would both be written to {folder}.")
    return found


def read_dtype(name: str | None) -> Any:
    """The torch dtype called ``name``, None for None. Raises ValueError for another."""
    import torch

    dtypes = {None: None, "float32": torch.float32, "float64": torch.float64}
    if name not in dtypes:
        raise ValueError(f"--dtype {name} is not supported. Expected float32 or float64.")
    return dtypes[name]


def _print_costs(file: "Checkpoint", costs: dict[str, dict[str, Any]]) -> None:
    """Least and most products and time of each metric, from one timed product on each split."""
    for split, cost in costs.items():
        print_text(
            f"{file.path}, {split}: {cost['num_params']:,} parameters, {cost['num_examples']:,} examples; one product "
            f"{cost['seconds_per_product']:.3g} s, graphs {cost['graph_bytes'] / 2**20:,.0f} MiB"
        )
        rows = [[name, *(_range(one[key]) for key in _COSTS)] for name, one in cost["metrics"].items()]
        print_table(["", "products", "gradients", "seconds", "MiB"], rows)


def _range(of: dict[str, float]) -> str:
    return " to ".join(dict.fromkeys(f"{n:,.0f}" if n >= 10 or n == int(n) else f"{n:.2g}" for n in of.values()))
