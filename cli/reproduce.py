"""``landscape reproduce``: a question of a paper, asked again: trained, measured, drawn, and answered."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from . import options
from .console import print_text
from .studying import run_study


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
    from landscape.studies import SCALES, find_study

    if scale not in SCALES:
        raise ValueError(f"--scale {scale} is unknown. Expected one of: {', '.join(SCALES)}.")
    if seeds is not None and seeds < 1:
        raise ValueError(f"--seeds {seeds} is out of range. Expected at least 1.")
    if data and scale == "laptop":
        raise ValueError(f"--data {data} is for --scale gpu. Scale laptop is the digits.")
    found, on = find_study(study), options.find_device(device)
    plan = found.plan(scale, data or "cifar10")
    plan = replace(plan, num_seeds=seeds or plan.num_seeds)
    command = ["landscape", "reproduce", Path(study).name, *(["--scale", scale] if scale != "laptop" else [])]
    command += ["--seeds", str(seeds)] if seeds else []
    facts = {"study": found.name, "scale": scale, "num_seeds": plan.num_seeds, "command": shlex.join(command)}
    run_study(found, plan, out or Path("reproduced") / found.name, facts, device=on, dry_run=dry_run, json=json)
