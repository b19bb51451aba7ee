"""``landscape track``: measure every checkpoint of a run in order, while it trains or afterwards."""

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from . import options
from .console import cell, print_cost, print_json, print_line, print_notes, print_table, print_text, progress

if TYPE_CHECKING:
    from landscape.results import Analysis
    from landscape.tracking import Track

_NOT_REACHED = 4


def track(
    sources: Annotated[list[str], Argument(metavar="RUN_DIR|GLOB", help="A folder of checkpoints, or a pattern.")],
    metrics: options.Metrics = "default",
    every: Annotated[int, Option(metavar="N", help="Measure every N-th checkpoint.")] = 1,
    follow: Annotated[bool, Option("--follow", help="Wait for new ones until the run has ended.")] = False,
    fail_above: Annotated[
        list[str] | None,
        Option(metavar="METRIC=X", help="Exit with 4 above X, or lambda_max=2/lr: the optimizer's edge."),
    ] = None,
    out: Annotated[
        Path | None, Option(metavar="DIR", help="Where to write track.* and report.html.", show_default="RUN_DIR")
    ] = None,
    overwrite: Annotated[
        bool, Option("--overwrite", help="Measure anew what was measured on other data, or with another problem.")
    ] = False,
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
    json: options.Json = False,
    dry_run: options.DryRun = False,
    device: options.Device = "cpu",
) -> None:
    """Measure every checkpoint of a run, in order; what is done is not measured again.

    [bold]landscape track runs/sgd --metrics lambda_max,trace[/]
    [bold]landscape track 'runs/*/epoch-*.pt' --out tracks --fail-above lambda_max=2/lr[/]

    It can be stopped at any moment, and goes on where it was. Exit code 4 means that a limit was passed or a number did
    not reach the accuracy asked for.
    """
    from landscape import tracking
    from landscape.measure.analysis import metric_names
    from landscape.measure.arguments import asked_arguments

    names = options.names_in(metrics)
    settings = tracking.Settings(
        metrics=tuple(names),
        arguments=asked_arguments(set_ or (), metric_names(names), protocol),
        split=split,
        num_samples=samples,
        rel_error=rel_error,
        num_probes=num_probes,
        seed=seed,
        dtype=dtype,
        params=layers,
        model=model,
        data=data,
        problem=problem,
        context=context,
        mode=mode,
        key=key,
        trust=trust_checkpoint,
    )
    limits = [tracking.Limit.of(text) for text in fail_above or ()]
    for limit in limits:
        if limit.metric not in settings.names:
            raise ValueError(
                f"--fail-above {limit.metric} is not measured. Expected one of: {', '.join(settings.names)}."
            )
    if any(limit.value is None and limit.metric == "lambda_max" for limit in limits):
        settings = tracking.with_edge(sources, settings, follow=follow)
    on = options.find_device(device)
    if dry_run:
        plan = tracking.estimate_cost(sources, settings, out=out, every=every, overwrite=overwrite, device=on)
        print_json({"dry_run": plan}) if json else _print_plan(plan)
        return

    def passed_by(points: "Iterable[Analysis]") -> list[dict[str, str]]:
        """Every limit that was passed, in words, with the checkpoint that did."""
        every = [(point, words) for point in points for limit in limits for words in limit.passed_by(point)]
        return [{"path": (point.checkpoint or {})["path"], "words": words} for point, words in every]

    def warn(point: "Analysis") -> None:
        for one in passed_by([point]):
            warnings.warn("{path}: {words}.".format(**one), stacklevel=1)

    with progress("Tracking", 100) as tell:
        tracked = tracking.track(
            sources,
            settings,
            out=out,
            every=every,
            follow=follow,
            overwrite=overwrite,
            device=on,
            progress=lambda share, text: tell(round(100 * share), text),
            on_point=warn,
        )
    passed = passed_by(tracked.analyses)
    if json:
        facts = {key: getattr(tracked, key) for key in ("ended", "num_measured", "seconds")}
        rows = [point.to_dict() for point in tracked.analyses]
        print_json({"schema": "landscape.track/1", "out": str(tracked.out), **facts, "above": passed, "rows": rows})
    else:
        _print(tracked, passed)
    if passed or not all(point.converged for point in tracked.analyses):
        raise typer.Exit(_NOT_REACHED)


def _print(tracked: "Track", passed: list[dict[str, str]]) -> None:
    """A table a split, a row a checkpoint; then what did not converge and what passed a limit."""
    points = [
        (point, Path((point.checkpoint or {})["path"]), (point.checkpoint or {})["step"]) for point in tracked.analyses
    ]
    one_run = len({path.parent for _, path, _ in points}) == 1
    metrics = list(dict.fromkeys(name for point, *_ in points for found in point.splits.values() for name in found))
    for split in dict.fromkeys(split for point, *_ in points for split in point.splits):
        rows = [
            ([] if one_run else [str(path)])
            + [f"{step:,}"]
            + [cell(point[split][name]) if name in point.splits.get(split, {}) else "" for name in metrics]
            for point, path, step in points
        ]
        print_table([*([] if one_run else [""]), f"{split}: step", *metrics], rows, num_left=not one_run)
        print()
    print_notes({str(path): point for point, path, _ in points})
    for one in passed:
        print_text(f"{one['path']}: {one['words']}", indent=2)
    before = f" ({len(points) - tracked.num_measured} were done before)" if len(points) > tracked.num_measured else ""
    products = sum(m.num_matvecs for point, *_ in points for found in point.splits.values() for m in found.values())
    print(f"Measured {tracked.num_measured} checkpoints in {tracked.seconds:.1f} s{before}.")
    if products:
        print(f"All {len(points)} took {products:,} products; warm starts saved 0: every Krylov run begins at random.")
    print_line(f"The page is {tracked.out / 'report.html'}; track.png, track.csv and track.jsonl are beside it.")


def _print_plan(plan: dict[str, Any]) -> None:
    print_text(f"{plan['num_checkpoints']} checkpoints, {plan['num_done']} of them done.")
    for split, cost in plan.get("splits", {}).items():
        products = cost["metrics"]["total"]["products"]
        print_cost(split, cost, f"; each checkpoint {products['least']:,} to {products['most']:,} products")
    if "seconds" in plan:
        print_text(f"In all {plan['seconds']['least']:,.1f} to {plan['seconds']['most']:,.1f} s.")
