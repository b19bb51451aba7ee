"""``report.html`` of a track: curvature over a run as one page that needs no other file and no network.

What is read is the rows of ``track.jsonl`` alone. The page of one checkpoint is in ``checkpoint``.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from markupsafe import Markup

from landscape.figures.kinds.track import by_run, edge_of_stability, step_of
from landscape.figures.page import pictures
from landscape.figures.page.facts import Facts, accuracy, hashes_of, measured_on, provenance, reached, warnings_of
from landscape.figures.page.markup import cell, code, number, render, short
from landscape.figures.page.readings import reading
from landscape.figures.runs.run import made_of, measurements_of, metrics_of
from landscape.files import write_text
from landscape.results import Analysis, Measurement, difference

_IN_THE_LEAD = 4  # metrics
_NAMED = 3  # steps
_COLD = "0 products saved: every Krylov run begins at a random vector, on which the 95 % bounds rest."


def write_run_page(analyses: Sequence[Analysis], directory: str | Path) -> Path:
    """Write ``report.html`` of these points into the folder of their ``track.jsonl``, if there is one.

    Raises:
        ValueError: where there is no point.
    """
    directory = Path(directory)
    page = render_run_page(analyses, hashes=hashes_of(directory / "track.jsonl"))
    return write_text(directory / "report.html", page)


def render_run_page(analyses: Sequence[Analysis], *, hashes: Mapping[str, str] | None = None) -> str:
    """The page as text.

    Args:
        analyses: the points of each run in order, those of a run together.
        hashes: SHA-256 of the files that they were read from, by name.

    Raises:
        ValueError: where there is no point.

    Example:
        >>> points = [Analysis({"train": {"loss": Measurement("loss", 1 / n)}}, checkpoint={"step": n}) for n in (1, 2)]
        >>> page = render_run_page(points)
        >>> page.splitlines()[0], "lower (exact)" in page
        ('<!doctype html>', True)
    """
    if not analyses:
        raise ValueError("No point to write of. Expected at least one analysis.")
    runs, names, last = by_run(analyses), metrics_of(analyses), analyses[-1]
    if len(runs) == 1:
        runs = {"": list(analyses)}  # of a single run the name is not said
    return render(
        "run.html",
        title=f"{made_of(points[-1].checkpoint or {} for points in runs.values()) or 'Curvature'} over training",
        summary=_summary(runs, names),
        facts=_facts(runs),
        warnings=[*_warnings(runs, names), *warnings_of(replace(last, splits={}))],
        metrics=[_metric(runs, name, index) for index, name in enumerate(names)],
        edge="lambda_max" in names and any(map(edge_of_stability, analyses)),
        tables={run: _table(points, names) for run, points in runs.items()},
        accuracy=accuracy(last),
        commands=_each_once(analyses, "command"),
        provenance=_how(analyses, hashes or {}),
        points=[(analysis, measurements_of([analysis])) for analysis in analyses],
    )


def _summary(runs: Mapping[str, list[Analysis]], names: Sequence[str]) -> list[str]:
    """The page in a few sentences."""
    points = [point for run in runs.values() for point in run]
    steps = [step_of(point) for point in points]
    of = f" of {len(runs)} runs" if len(runs) > 1 else ""
    sentences = [f"{_checkpoints(len(points))}{of}, steps {min(steps):,} to {max(steps):,}."]
    if len(runs) == 1:
        for name in names[:_IN_THE_LEAD]:
            ends = {split: (found[0][1], found[-1][1]) for split, found in _series(points, name).items()}
            words = [f"{short(a.value)} to {short(b.value)} ({split})" for split, (a, b) in ends.items()]
            sentences.append(f"{name}: {', '.join(words)}.")
    if "lambda_max" in names:
        edges = [f"{_of(run)}{words}" for run in runs for words in _beside_the_edge(runs[run])[:1]]
        sentences += edges[:_IN_THE_LEAD]
    return [*sentences, reached(measurements_of(points))]


def _facts(runs: Mapping[str, list[Analysis]]) -> Facts:
    """What was measured; where runs differ, in the order of the runs."""
    found: dict[str, dict[str | Markup, None]] = {"Runs": {code(run): None for run in runs}} if len(runs) > 1 else {}
    for points in runs.values():
        for name, value in measured_on(points[-1]):
            found.setdefault(name, {})[value] = None
    return [(name, Markup("; ").join(values)) for name, values in found.items()]


def _warnings(runs: Mapping[str, list[Analysis]], names: Sequence[str]) -> list[str]:
    """One a metric and split, with the first of the reasons."""
    found = []
    for run, points in runs.items():
        of = f", {run}" if run else ""
        every = [(name, split, series) for name in names for split, series in _series(points, name).items()]
        for name, split, series in every:
            absent = [(step, m) for step, m in series if not math.isfinite(m.value)]
            missed = [(step, m) for step, m in series if math.isfinite(m.value) and not m.converged]
            for failed, what in ((absent, "could not be measured"), (missed, "did not reach its accuracy")):
                if failed:
                    step, m = failed[0]
                    found.append(
                        f"{name} ({split}{of}) {what} at {len(failed)} of {_checkpoints(len(series))}; "
                        f"at step {step:,}: {m.reason or 'no reason given'}."
                    )
    points = [point for run in runs.values() for point in run]
    for key in ("landscape", "torch", "device", "dtype"):
        values = _each_once(points, key)
        if len(values) > 1:
            found.append(f"Not all was measured with the same {key}: {', '.join(values)}.")
    return found


def _metric(runs: Mapping[str, list[Analysis]], name: str, index: int) -> dict[str, Any]:
    """The picture of a metric and what it says, run by run and split by split."""
    points = [point for run in runs.values() for point in run]
    here = []
    for run, found in runs.items():
        here += [f"{_of(run)}{split}: {_course(series)}" for split, series in _series(found, name).items()]
        here += [f"{_of(run)}{words}" for words in _beside_the_edge(found)] if name == "lambda_max" else []
    return {
        "name": name,
        "anchor": f"metric-{index}",
        "reading": reading(name, points[-1]),
        "here": here,
        "converged": all(m.converged for series in _series(points, name).values() for _, m in series),
        "picture": pictures.over_training(points, name, f"metric{index}"),
    }


def _course(series: Sequence[tuple[int, Measurement]]) -> str:
    """From where to where, by how much, and the extremes on the way."""
    (first_step, first), (last_step, last) = series[0], series[-1]
    if len(series) == 1:
        return f"{first.text} at step {first_step:,}."
    words = difference(first, last).words
    text = f"from {first.text} at step {first_step:,} to {last.text} at step {last_step:,}, {words}."
    finite = [(step, m) for step, m in series if math.isfinite(m.value)]
    for what, choose in (("Highest", max), ("Lowest", min)):
        if finite:
            step, m = choose(finite, key=lambda one: one[1].value)
            if step not in (first_step, last_step):
                text = f"{text} {what}: {m.text} at step {step:,}."
    return text


def _beside_the_edge(points: Sequence[Analysis]) -> list[str]:
    """How lambda_max stands to the edge of stability: above it where, or how near it came."""
    sentences = []
    edges = {step_of(point): edge_of_stability(point) for point in points}
    rules = {edge.rule for edge in edges.values() if edge}
    rule = rules.pop() if len(rules) == 1 else "the edge of stability"
    for split, series in _series(points, "lambda_max").items():
        shares = [
            (m.value / edge.value, step) for step, m in series if (edge := edges[step]) and math.isfinite(m.value)
        ]
        if split == "test" or not shares:
            continue
        above = [f"{step:,}" for share, step in shares if share > 1]
        if above:
            named = ", ".join(above[:_NAMED]) + (f" and {len(above) - _NAMED} more" if len(above) > _NAMED else "")
            sentences.append(
                f"lambda_max on {split} is above {rule}, where its optimizer is unstable on a quadratic, at "
                f"{len(above)} of {_checkpoints(len(shares))}: step {named}."
            )
        else:
            share, step = max(shares)
            sentences.append(
                f"lambda_max on {split} stays below {rule}, up to which its optimizer is stable on a quadratic; it "
                f"comes nearest at step {step:,}, with {100 * share:.0f} % of it."
            )
    last = edges[step_of(points[-1])]
    if sentences and last and last.notes:
        sentences.append(f"That limit is {'; '.join(last.notes)}.")
    return sentences


def _table(points: Sequence[Analysis], names: Sequence[str]) -> dict[str, Any]:
    """The first, the middle and the last checkpoint, or as many as there are."""
    chosen = [points[index] for index in sorted({0, (len(points) - 1) // 2, len(points) - 1})]
    rows = []
    for index, name in enumerate(names):
        for split in _series(points, name):
            found = [point.splits.get(split, {}).get(name) for point in chosen]
            rows.append(
                {
                    "metric": name,
                    "anchor": f"metric-{index}",
                    "split": split,
                    "cells": [m and cell(m) for m in found],
                    "words": difference(found[0], found[-1]).words if len(found) > 1 else "",
                }
            )
    return {"steps": [f"{step_of(point):,}" for point in chosen], "rows": rows}


def _how(analyses: Sequence[Analysis], hashes: Mapping[str, str]) -> Facts:
    last, measured = analyses[-1], measurements_of(analyses)
    seconds = sum(point.provenance.get("seconds", 0.0) for point in analyses)
    cost = f"{sum(m.num_matvecs for m in measured):,} products, {sum(m.num_gradients for m in measured):,} gradients"
    facts: Facts = [("Cost", number(f"{cost}, {seconds:.3g} seconds"))]
    if "percent" in (live := last.provenance.get("tracking", {})):
        spent = f"{live['seconds']:.3g} seconds, {live['percent']:.2g} % of the training time"
        facts.append(("Overhead", number(f"{spent} ({live['training_seconds']:.3g} seconds)")))
    facts.append(("Warm starts", _COLD))
    started = min(_each_once(analyses, "started"), default="")
    facts += [("Started", started)] if started else []
    without = {key: value for key, value in last.provenance.items() if key != "started"}
    return [*facts, *provenance(replace(last, provenance=without), hashes)]


def _series(points: Sequence[Analysis], name: str) -> dict[str, list[tuple[int, Measurement]]]:
    """(step, measurement) in order, by split."""
    found: dict[str, list[tuple[int, Measurement]]] = {}
    for point in points:
        for split, measured in point.splits.items():
            if name in measured:
                found.setdefault(split, []).append((step_of(point), measured[name]))
    return found


def _each_once(points: Sequence[Analysis], key: str) -> list[str]:
    """What the points say of how they were measured, each answer once."""
    return list(dict.fromkeys(str(point.provenance[key]) for point in points if point.provenance.get(key) is not None))


def _of(run: str) -> str:
    """The run, where there are others."""
    return f"{run}, " if run else ""


def _checkpoints(num: int) -> str:
    return f"{num} checkpoint{'' if num == 1 else 's'}"
