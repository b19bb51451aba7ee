"""``landscape analyze``: measure checkpoints, ours or anybody's, and say how far each number can be trusted."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from .console import measuring, print_analysis, print_json, print_table
from .device import find_device

if TYPE_CHECKING:
    from landscape.checkpoint import Checkpoint
    from landscape.objective import Objective

_NOT_CONVERGED = 4


def analyze(
    checkpoints: Annotated[list[Path], Argument(metavar="CKPT...", help="Checkpoints, state dicts or .safetensors.")],
    metrics: Annotated[str, Option(metavar="A,B", help="Names, or default, or all.")] = "default",
    split: Annotated[str, Option(metavar="NAME", help="train, test or both.")] = "both",
    samples: Annotated[int | None, Option(metavar="N", help="Stratified sample of each split.")] = None,
    rel_error: Annotated[float, Option(metavar="X", help="Accuracy at which estimates stop: 0.05 is 5 %.")] = 0.05,
    num_probes: Annotated[int | None, Option(metavar="N", help="Fixed number of probes for traces.")] = None,
    seed: Annotated[int, Option(metavar="N", help="Of all random draws.")] = 0,
    dtype: Annotated[str | None, Option(metavar="TYPE", help="float32 or float64.", show_default="the model's")] = None,
    layers: Annotated[str, Option(metavar="GLOB", help="Parameters to measure: 'conv*,head.weight'.")] = "*",
    model: Annotated[str | None, Option(metavar="NAME", help="Where the file does not say: mlp or cnn.")] = None,
    data: Annotated[str | None, Option(metavar="NAME", help="Where the file does not say: digits.")] = None,
    problem: Annotated[
        str | None, Option(metavar="FILE.py:FUNCTION", help="Your own: it returns (model, loss, {split: batches}).")
    ] = None,
    out: Annotated[Path | None, Option(metavar="DIR", help="Where to write analysis.json and arrays.npz.")] = None,
    json: Annotated[bool, Option("--json", help="Print one JSON document.")] = False,
    dry_run: Annotated[
        bool, Option("--dry-run", help="Say what it would cost, from one timed product, and stop.")
    ] = False,
    device: Annotated[str, Option(metavar="D", help="cpu, cuda, cuda:1, mps.")] = "cpu",
) -> None:
    """Measure the loss and its curvature around the weights of checkpoints.

    [bold]landscape analyze runs/sgd/last.pt[/]
    [bold]landscape analyze theirs.safetensors --problem mine.py:problem --out results[/]

    Exit code 4 means that a number did not reach the accuracy asked for; the table says which, and why.
    """
    import landscape
    from landscape.checkpoint import load_checkpoint
    from landscape.measure.analysis import metric_names
    from landscape.problem import Problem

    names, on = metrics.split(","), find_device(device)
    files = [load_checkpoint(path) for path in checkpoints]  # all of them before the first is measured
    problems = [
        Problem.from_file(problem, file) if problem else Problem.of(file, model=model, data=data) for file in files
    ]
    analyses = []
    for file, one in zip(files, problems, strict=True):
        splits = list(one.splits) if split == "both" else [split]
        objectives = {
            name: one.objective(name, num_samples=samples, seed=seed, params=layers, dtype=_dtype(dtype), device=on)
            for name in splits
        }
        if dry_run:
            _print_cost(file, objectives, names, json)
            continue
        total = sum(len(metric_names(names, objective)) for objective in objectives.values())
        with measuring(str(file.path), total) as progress:
            analysis = landscape.analyze(
                objectives, names, rel_error=rel_error, num_probes=num_probes, seed=seed, progress=progress
            ).with_checkpoint(_identity(file))
        analyses.append(analysis)
        if out is not None:
            analysis.save(out if len(files) == 1 else out / f"{file.path.parent.name}-{file.path.stem}")
        if not json:
            print(f"{file.path}: {analysis.objective['num_params']:,} parameters, {analysis.objective['dtype']}")
            print_analysis(analysis)
    if json and analyses:
        documents = [analysis.to_dict() for analysis in analyses]
        print_json(documents[0] if len(files) == 1 else documents)
    if not all(analysis.converged for analysis in analyses):
        raise typer.Exit(_NOT_CONVERGED)


def _identity(file: "Checkpoint") -> dict[str, Any]:
    return {"path": str(file.path), "sha256": file.sha256, "epoch": file.epoch, "step": file.step}


def _dtype(name: str | None) -> Any:
    import torch

    dtypes = {None: None, "float32": torch.float32, "float64": torch.float64}
    if name not in dtypes:
        raise ValueError(f"--dtype {name} is not supported. Expected float32 or float64.")
    return dtypes[name]


def _print_cost(file: "Checkpoint", objectives: "dict[str, Objective]", metrics: list[str], json: bool) -> None:
    """Least and most products and time of each metric, from one timed product on each split."""
    from landscape.measure.cost import foresee

    costs = {split: foresee(objective, metrics) for split, objective in objectives.items()}
    if json:
        print_json({"checkpoint": _identity(file), "dry_run": costs})
        return
    for split, cost in costs.items():
        print(
            f"{file.path}, {split}: {cost['num_params']:,} parameters, {cost['num_examples']:,} examples; one product "
            f"{cost['seconds_per_product']:.3g} s, graphs {cost['graph_bytes'] / 2**20:,.0f} MiB"
        )
        rows = [
            [name, _range(one["products"], ",d"), _range(one["seconds"], ",.2g"), _range(one["mib"], ",.0f")]
            for name, one in cost["metrics"].items()
        ]
        print_table(["", "products", "seconds", "MiB"], rows)


def _range(of: dict[str, Any], spec: str) -> str:
    return " to ".join(dict.fromkeys(format(of[end], spec) for end in ("least", "most")))
