"""``landscape arena``: optimizers compared on the same terms, over one grid of radii and at equal budgets."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from . import options
from .console import print_table
from .studying import run_study

_VALIDATION = 0.2  # of recipes that hold nothing out
_BASES = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW"}  # what "sgd" is where a recipe has another base
_NOT_POSITIVE = ("lambda_min", "negative_share", "local_minima", "gradient_curvature")


def _print_arms() -> None:
    """Print the optimizers that can be named, and what of each is swept."""
    from landscape.studies.arena import ARMS

    rows = [[name, arm.name, arm.setting(1.0) if arm.knob else "nothing"] for name, arm in ARMS.items()]
    print_table(["optimizer", "", "swept: at point 1"], rows, num_left=3)


def arena(
    recipes: Annotated[list[str], Argument(metavar="RECIPE...", help="What to train: names, or TOML files.")],
    optimizers: Annotated[
        str, Option(metavar="A,B", help="Which take part: names of --list. Each takes the place of the recipe's.")
    ] = "sgd,sam,asam,cr-sam,gam",
    reference: Annotated[
        str, Option(metavar="NAME", help="With which the others are compared, and whose gradients are the budget.")
    ] = "sam",
    grid: Annotated[
        str, Option(metavar="X,Y", help="Points of the radius that every optimizer sweeps.")
    ] = "0.05,0.1,0.2,0.5",
    metrics: Annotated[
        str, Option(metavar="A,B", help="Numbers on train that are compared at equal radius.")
    ] = "trace",
    seeds: Annotated[int, Option(metavar="N", help="That are reported.")] = 8,
    tuning_seeds: Annotated[int, Option(metavar="N", help="Others, by which points of the grid are chosen.")] = 3,
    samples: options.Samples = None,
    out: Annotated[Path, Option(metavar="DIR", help="Folder of the study.")] = Path("arena"),
    device: options.Device = "cpu",
    dry_run: options.DryRun = False,
    json: options.Json = False,
    _list: Annotated[bool, options.listing("the optimizers", _print_arms)] = False,
) -> None:
    """Compare optimizers on the same terms: one grid of radii, equal budgets, choices by seeds that are not reported.

    [bold]landscape arena digits-150 --optimizers sgd,sam,cr-sam[/]
    [bold]landscape arena mine.toml digits-noisy --optimizers sam,gam --seeds 10 --out compared[/]

    The report says at which radii an optimizer is flatter than the reference, and whether it is more accurate where
    both are tuned. It can be stopped at any moment, and goes on where it was. A recipe that holds nothing out to choose
    by holds a fifth of its training examples out.
    """
    from landscape.studies import Measure
    from landscape.studies.arena import ARMS, Arena, arena_study
    from landscape.studies.arena.arms import base_of
    from landscape.training import load_recipe

    names = options.names_in(optimizers)
    for option, name in (*(("optimizers", name) for name in names), ("reference", reference)):
        if name not in ARMS:
            raise ValueError(f"--{option} {name} is unknown. Expected some of: {', '.join(ARMS)}.")
    if len({*names, reference}) < 2:
        raise ValueError(f"--optimizers {optimizers} has nothing to compare with {reference}. Give another one.")
    points = _points(grid)
    if seeds < 2:
        raise ValueError(f"--seeds {seeds} is out of range. Expected at least 2: one seed tells nothing apart.")
    if tuning_seeds < 1:
        raise ValueError(f"--tuning-seeds {tuning_seeds} is out of range. Expected at least 1.")
    benchmarks = {}
    for recipe in recipes:
        made = load_recipe(recipe)
        held_out = {"validation": _VALIDATION} | made.data_args
        benchmarks[Path(recipe).stem if len(recipes) > 1 else ""] = replace(made, data_args=held_out)
    if len(benchmarks) < len(recipes):
        raise ValueError(f"Two of the recipes {', '.join(recipes)} have one name. Give each another.")
    flatness = {name: (name, "train") for name in options.names_in(metrics)}
    if "accuracy" in flatness:
        raise ValueError("--metrics accuracy is compared as it is, on test. Expected numbers above 0: trace,loss.")
    if unfit := [name for name in flatness if name in _NOT_POSITIVE]:
        raise ValueError(f"--metrics {unfit[0]} may be 0 or less, and has no ratios. Expected others: trace,loss.")
    measure = Measure(
        {"validation": ("accuracy",), "test": ("accuracy",), "train": tuple(flatness)},
        num_samples=samples,
        mode="reestimate",
    )
    plain = " or ".join(dict.fromkeys(_BASES[base_of(one)[0]] for one in benchmarks.values()))
    arms = {name: replace(ARMS[name], name=plain) if name == "sgd" else ARMS[name] for name in (*names, reference)}
    compared = Arena(
        benchmarks,
        tuple(arms.values()),
        points,
        (measure,),
        flatness=flatness,
        reference=arms[reference].name,
        num_seeds=seeds,
        tuning_seeds=tuple(range(1000, 1000 + tuning_seeds)),
    )
    question = f"How do {', '.join(names)} compare with {reference} on {', '.join(Path(one).name for one in recipes)}?"
    study = arena_study("arena", question, "on the same terms", lambda *_: compared)
    command = ["landscape", "arena", *(Path(recipe).name for recipe in recipes), "--optimizers", optimizers]
    command += ["--reference", reference, "--grid", grid, "--metrics", metrics]
    command += ["--seeds", str(seeds), "--tuning-seeds", str(tuning_seeds)]
    command += [] if samples is None else ["--samples", str(samples)]
    facts = {"study": "arena", "scale": "laptop", "num_seeds": seeds, "command": shlex.join(command)}
    facts["recipes"] = {name or Path(recipes[0]).stem: one.to_toml() for name, one in benchmarks.items()}
    run_study(study, compared.plan(), out, facts, device=options.find_device(device), dry_run=dry_run, json=json)


def _points(grid: str) -> tuple[float, ...]:
    try:
        points = tuple(sorted({float(each) for each in options.names_in(grid)}))
    except ValueError as error:
        raise ValueError(f"--grid {grid} is no list of numbers. Expected radii: 0.05,0.1,0.2.") from error
    if len(points) < 2 or points[0] <= 0:
        raise ValueError(f"--grid {grid} is no grid. Expected two radii or more, above 0: 0.05,0.1,0.2.")
    return points
