"""``landscape analyze``: measure checkpoints, ours or anybody's, and say how far each number can be trusted."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Option

from . import options
from .console import measuring, print_analysis, print_cost, print_documents, print_line, print_table

if TYPE_CHECKING:
    from landscape.checkpoint import Checkpoint
    from landscape.results import Analysis

_NOT_CONVERGED = 4
_COSTS = ("products", "gradients", "seconds", "mib")


def analyze(
    checkpoints: options.Checkpoints,
    metrics: options.Metrics = "default",
    split: options.Split = "both",
    samples: options.Samples = None,
    rel_error: options.RelError = 0.05,
    num_probes: options.NumProbes = None,
    set_: options.Set = None,
    protocol: options.Protocol = None,
    seed: options.Seed = 0,
    dtype: options.Dtype = None,
    layers: options.Layers = "*",
    model: options.Model = None,
    data: options.Data = None,
    problem: options.ProblemFile = None,
    context: options.Context = None,
    mode: options.Mode = None,
    key: options.Key = None,
    trust_checkpoint: options.Trust = False,
    out: Annotated[
        Path | None, Option(metavar="DIR", help="Where to write report.html, analysis.json and arrays.npz.")
    ] = None,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
    dry_run: options.DryRun = False,
    device: options.Device = "cpu",
) -> None:
    """Measure the loss and its curvature around the weights of checkpoints.

    [bold]landscape analyze runs/sgd/last.pt[/]
    [bold]landscape analyze theirs.safetensors --problem mine.py:problem --out results[/]

    Exit code 4 means that a number did not reach the accuracy asked for; the table says which, and why.
    With --out, a closed pipe (| head) stops the table and not the work.
    """
    from landscape.measure import analyze as measure
    from landscape.measure.analysis import fingerprint_of, metric_names, subject
    from landscape.measure.arguments import asked_arguments, other_arguments
    from landscape.measure.cost import estimate_cost
    from landscape.problem import Problem
    from landscape.results.analysis import stale_words
    from landscape.results.kept import require_same_analysis

    names, on = options.names_in(metrics), options.find_device(device)
    own = other_arguments(asked_arguments(set_ or (), metric_names(names), protocol))
    files = options.read_checkpoints(checkpoints, key, trust_checkpoint)  # all of them before the first is measured
    problems = [Problem.of(file, model=model, data=data, file=problem, context=context, mode=mode) for file in files]
    folders = options.find_folders(out, checkpoints)
    how = {"num_samples": samples, "seed": seed, "params": layers, "dtype": options.find_dtype(dtype), "device": on}
    asked: dict[str, Any] = {"rel_error": rel_error, "num_probes": num_probes, "seed": seed}
    given: dict[str, Any] = {"arguments": own} if own else {}
    analyses: list[Analysis] = []
    documents: list[Any] = []
    with options.writing_all([] if dry_run else folders):
        for file, folder in zip(files, folders, strict=True):
            if folder is not None and not overwrite:
                require_same_analysis(folder, {"checkpoint": file.identity, "provenance": asked | given})
        for file, one, folder in zip(files, problems, folders, strict=True):
            objectives = one.objectives(split, **how)
            if dry_run:
                costs = {name: estimate_cost(objective, names, **given) for name, objective in objectives.items()}
                documents.append({"checkpoint": file.identity, "dry_run": costs})
                if not json:
                    _print_costs(file, costs)
                continue
            todo = {split: metric_names(names, objective) for split, objective in objectives.items()}
            if folder is not None and not overwrite:
                require_same_analysis(
                    folder, {"objective": subject(objectives, fingerprint_of(objectives)), "splits": todo}
                )
            with measuring(str(file.path), sum(map(len, todo.values()))) as progress:
                analysis = measure(objectives, names, progress=progress, **asked, **given).with_checkpoint(
                    file.identity
                )
            if words := stale_words(analysis.objective):
                warnings.warn(f"{file.path}: {words}.", stacklevel=1)
            if folder is not None:
                from landscape.figures.page import write_page

                analysis.save(folder)
                write_page(folder)
            if json:
                documents.append(analysis.to_dict())
            else:
                if analyses:
                    print()
                about = analysis.objective
                compiled = ", the original module of a compiled model" if about.get("compiled") else ""
                print_line(f"{file.path}: {about['num_params']:,} parameters, {about['dtype']}{compiled}")
                print_analysis(analysis)
                if folder is not None:
                    print_line(f"Report: {folder / 'report.html'}")
            analyses.append(analysis)
    if json:
        print_documents(documents)
    if not all(analysis.converged for analysis in analyses):
        raise typer.Exit(_NOT_CONVERGED)


def _print_costs(file: "Checkpoint", costs: dict[str, dict[str, Any]]) -> None:
    """Least and most products and time of each metric, from one timed product on each split."""
    for split, cost in costs.items():
        print_cost(f"{file.path}, {split}", cost, f", graphs {cost['graph_bytes'] / 2**20:,.0f} MiB")
        rows = [[name, *(_range(one[key]) for key in _COSTS)] for name, one in cost["metrics"].items()]
        print_table(["", "products", "gradients", "seconds", "MiB"], rows)


def _range(of: dict[str, float]) -> str:
    return " to ".join(dict.fromkeys(f"{n:,.0f}" if n >= 10 or n == int(n) else f"{n:.2g}" for n in of.values()))
