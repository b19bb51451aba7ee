"""``landscape reproduce``: a question of a paper, asked again: trained, measured, drawn, and answered."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from . import options
from .console import duration, print_json, print_line, print_table, print_text, progress

if TYPE_CHECKING:
    from landscape.studies import Cost


def _print_studies() -> None:
    """Print the studies and what each asks."""
    from landscape.studies import named_studies

    for name, study in named_studies().items():
        print_text(f"{name}: {study.question} ({study.paper})", indent=2)


def reproduce(
    study: Annotated[str, Argument(metavar="STUDY", help="A name of --list, or your own: mine.py.")],
    scale: Annotated[str, Option(metavar="SCALE", help="laptop: the digits. gpu: CIFAR-10.")] = "laptop",
    seeds: Annotated[int | None, Option(metavar="N", help="How many of each.", show_default="the study's")] = None,
    out: Annotated[
        Path | None, Option(metavar="DIR", help="Folder of the study.", show_default="reproduced/STUDY")
    ] = None,
    data: Annotated[
        str | None, Option(metavar="NAME", help="Of scale gpu: cifar10:PATH.", show_default="cifar10")
    ] = None,
    device: options.Device = "cpu",
    dry_run: options.DryRun = False,
    json: options.Json = False,
    _list: Annotated[bool, options.listing("the studies", _print_studies)] = False,
) -> None:
    """Ask a paper's question again: train, measure, draw, and say what the intervals over seeds allow.

    [bold]landscape reproduce cr-sam-geometry[/]
    [bold]landscape reproduce gam-geometry --scale gpu --device cuda --data cifar10:PATH --dry-run[/]

    It says first what it will cost. It can be stopped at any moment, and goes on where it was; a closed pipe (| head)
    does not stop it.
    """
    from landscape.studies import SCALES, Collected, Store, estimate_cost, find_study, grown
    from landscape.studies import reproduce as run

    if scale not in SCALES:
        raise ValueError(f"--scale {scale} is unknown. Expected one of: {', '.join(SCALES)}.")
    if seeds is not None and seeds < 1:
        raise ValueError(f"--seeds {seeds} is out of range. Expected at least 1.")
    if data and scale == "laptop":
        raise ValueError(f"--data {data} is for --scale gpu. Scale laptop is the digits.")
    found, on = find_study(study), options.find_device(device)
    plan = found.plan(scale, data or "cifar10")
    plan = replace(plan, num_seeds=seeds or plan.num_seeds)
    folder = out or Path("reproduced") / found.name
    command = ["landscape", "reproduce", Path(study).name, *(["--scale", scale] if scale != "laptop" else [])]
    command += ["--seeds", str(seeds)] if seeds else []
    facts: dict[str, Any] = {"study": found.name, "scale": scale, "num_seeds": plan.num_seeds}
    with options.writing_all([] if dry_run else [folder]):
        plan = grown(found, plan, folder)
        store = Store.open(folder, plan, facts | {"command": shlex.join(command)})
        cost = _document(estimate_cost(store, on))
        if not json:
            _print_cost(cost)
        elif dry_run:
            print_json({"dry_run": cost})
        if dry_run:
            return
        with progress("Runs", len(plan.runs)) as tell:
            run(found, store, device=on, progress=lambda done, _, text: tell(done, text))
    collected = Collected(store.plan, folder)
    readme = folder / "README.md"
    if json:
        print_json(
            {
                "schema": "landscape.reproduce/1",
                "report": str(readme),
                "answer": found.answer(collected),
                "num_trainings": len(collected.trainings),
                "num_diverged": len(collected.diverged),
                "num_not_converged": len(collected.not_converged),
            }
        )
    else:
        print_text(found.answer(collected))
        print()
        print_line(f"The report is {readme}.")


def _document(costs: "list[Cost]") -> dict[str, Any]:
    by_name = {c.optimizer: {"runs": c.num_runs, "training": c.training, "measuring": c.measuring} for c in costs}
    return {"optimizers": by_name, "seconds": sum(c.training + c.measuring for c in costs)}


def _print_cost(cost: dict[str, Any]) -> None:
    found = cost["optimizers"].items()
    rows = [[name, str(c["runs"]), duration(c["training"]), duration(c["measuring"])] for name, c in found]
    if rows:
        print_table(["to do", "runs", "training", "measuring"], rows)
    left = f"About {duration(cost['seconds'])} are left, by timed steps."
    print_text(left if rows else "Everything is done already.")
