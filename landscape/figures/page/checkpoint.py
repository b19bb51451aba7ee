"""``report.html``: an analysis and the landscapes beside it as one page that needs no other file and no network.

Everything that comes from outside (paths, names of layers, splits and models) is escaped, and a policy in the page
allows no script but our own, by its hash, and no request at all.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from landscape.figures.kinds.layers import layers_of
from landscape.figures.kinds.planes import notes
from landscape.figures.kinds.track import edge_of_stability
from landscape.figures.page import pictures
from landscape.figures.page.facts import (
    Facts,
    accuracy,
    count,
    hashes_of,
    measured_on,
    provenance,
    reached,
    warnings_of,
)
from landscape.figures.page.markup import asset, cell, code, number, render
from landscape.figures.page.readings import reading
from landscape.figures.page.rotatable import plotly_script, surface_data
from landscape.figures.runs.run import made_of, measurements_of, metrics_of
from landscape.files import write_text
from landscape.results import Analysis, Line, Plane, load_surfaces

_RESULTS = ("analysis.json", "arrays.npz", "surface.json", "surface.npz")


def write_page(directory: str | Path) -> Path:
    """Write ``report.html`` from the ``analysis.json`` in a directory, and its ``surface.json`` where there is one.

    Raises:
        ValueError: where there is no analysis, or it cannot be read. A landscape that cannot is a warning in the page.
    """
    directory = Path(directory)
    analysis, surfaces, warnings = Analysis.load(directory), [], []
    if (directory / "surface.json").exists():
        try:
            surfaces = load_surfaces(directory)
        except ValueError as error:
            warnings.append(f"The landscape is left out. {error}")
    hashes = hashes_of(*(directory / name for name in _RESULTS))
    page = render_page(analysis, surfaces, hashes=hashes, warnings=warnings)
    return write_text(directory / "report.html", page)


def render_page(
    analysis: Analysis,
    surfaces: Sequence[Line | Plane] = (),
    *,
    hashes: Mapping[str, str] | None = None,
    warnings: Sequence[str] = (),
) -> str:
    """The page as text.

    Args:
        analysis: what was measured.
        surfaces: landscapes of the same weights.
        hashes: SHA-256 of the files that it was read from, by name.
        warnings: what to say beyond what the results say themselves.

    Example:
        >>> from landscape.results import Measurement
        >>> page = render_page(Analysis({"train": {"loss": Measurement("loss", 0.5)}}))
        >>> page.splitlines()[0], "0.5000" in page
        ('<!doctype html>', True)
    """
    has_plane = any(isinstance(surface, Plane) for surface in surfaces)
    script = plotly_script() if has_plane else None
    return render(
        "checkpoint.html",
        scripts=[script, asset("page.js")] if script else [],
        title=_title(analysis),
        summary=_summary(analysis),
        facts=_facts(analysis),
        warnings=[*warnings, *warnings_of(analysis, surfaces)],
        accuracy=accuracy(analysis),
        splits={split: count(analysis, split) for split in analysis.splits},
        rows=_rows(analysis),
        spectra=list(filter(None, (pictures.density(analysis), pictures.eigenvalues(analysis)))),
        surfaces=_surfaces(surfaces),
        missing_extra=has_plane and script is None,
        layers={s: layers_of(ms["layer_table"]) for s, ms in analysis.splits.items() if "layer_table" in ms},
        command=analysis.provenance.get("command"),
        provenance=provenance(analysis, hashes or {}),
    )


def _title(analysis: Analysis) -> str:
    checkpoint = analysis.checkpoint or {}
    words = made_of([checkpoint]) or Path(checkpoint.get("path", "A model in memory")).name
    return words if checkpoint.get("epoch") is None else f"{words}, epoch {checkpoint['epoch']}"


def _summary(analysis: Analysis) -> list[str]:
    """The page in three sentences."""
    sentences = []
    values = {
        metric: {split: ms[metric].value for split, ms in analysis.splits.items() if metric in ms}
        for metric in ("loss", "accuracy", "trace", "lambda_max")
    }
    fit = [f"Loss {_each(values['loss'])}"] if values["loss"] else []
    if values["accuracy"]:
        fit.append(f"accuracy {_each({split: 100 * value for split, value in values['accuracy'].items()}, ' %')}")
    curvature = [f"trace of the Hessian {_each(values['trace'])}"] if values["trace"] else []
    if values["lambda_max"]:
        limit, steepest = edge_of_stability(analysis), values["lambda_max"].get("train", math.nan)
        beside = (
            f", {100 * steepest / limit.value:.0f} % of {limit.rule} on train"
            if limit and math.isfinite(steepest)
            else ""
        )
        curvature.append(f"largest eigenvalue {_each(values['lambda_max'])}{beside}")
    for parts in (fit, curvature):
        if parts:
            text = "; ".join(parts)
            sentences.append(f"{text[0].upper()}{text[1:]}.")
    return [*sentences, reached(measurements_of([analysis]))]


def _facts(analysis: Analysis) -> Facts:
    checkpoint = analysis.checkpoint or {}
    facts: Facts = [("Checkpoint", code(checkpoint.get("path", "a model in memory")))]
    if checkpoint.get("sha256"):
        facts.append(("SHA-256", code(checkpoint["sha256"])))
    place = [f"{key} {checkpoint[key]:,}" for key in ("epoch", "step") if checkpoint.get(key) is not None]
    if place:
        facts.append(("Saved at", ", ".join(place)))
    return [*facts, *measured_on(analysis)]


def _rows(analysis: Analysis) -> list[dict[str, Any]]:
    """One entry a metric: its value by split, and its reading."""
    return [
        {
            "metric": name,
            "anchor": f"metric-{index}",
            "cells": {split: cell(ms[name]) for split, ms in analysis.splits.items() if name in ms},
            "reading": reading(name, analysis),
        }
        for index, name in enumerate(metrics_of([analysis]))
    ]


def _surfaces(surfaces: Sequence[Line | Plane]) -> list[dict[str, Any]]:
    """One entry a plane, and one for all the lines."""
    shown: list[dict[str, Any]] = []
    lines = [surface for surface in surfaces if isinstance(surface, Line)]
    if lines:
        shown.append({"data": None, "words": number(_how(lines[0])), "picture": pictures.along(lines, "lines")})
    for index, plane in enumerate(surface for surface in surfaces if isinstance(surface, Plane)):
        picture = pictures.seen_from_above(plane, f"plane{index}")
        if picture is not None:
            drawn = {"name": f"plane{index}", "split": plane.split, "data": surface_data(plane)}
            shown.append(drawn | {"words": number(_how(plane)), "picture": picture})
    return shown


def _how(surface: Line | Plane) -> str:
    """How the directions were chosen, and what failed its check."""
    details = surface.details
    facts = [f"{' × '.join(str(n) for n in surface.loss.shape)} points"]
    if "directions" in details:
        named = details["directions"]
        facts.append(f"directions {named if isinstance(named, str) else ', '.join(map(str, named))}")
    if details.get("normalize") is not None:
        facts.append(f"normalized by {details['normalize']}" if details["normalize"] != "none" else "not normalized")
    if isinstance(details.get("cosine"), float):
        facts.append(f"cosine between them {details['cosine']:.2g}")
    if "noise_floor" in details and details["noise_floor"] is not None:
        facts.append(f"noise floor {details['noise_floor']:.1e}")
    return " ".join([f"{', '.join(facts)}.", *(f"{note}." for note in notes(surface))])


def _each(values: Mapping[str, float], unit: str = "") -> str:
    return ", ".join(f"{value:.3g}{unit} ({split})" for split, value in values.items())
