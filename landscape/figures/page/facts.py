"""What the pages of one checkpoint and of a whole run have in common: what was measured, how, and what to beware of."""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from markupsafe import Markup

from landscape.figures.kinds.planes import remarks
from landscape.figures.page.markup import code, spec
from landscape.results import Analysis, Line, Measurement, Plane
from landscape.results.analysis import stale_words

_TRAINED = ("lr", "momentum", "weight_decay", "batch_size", "schedule", "epochs", "seed")
_CLEAR = 10  # noise floors by which a random line should move the loss
_LIKE_NOISE = 0.8  # of the raw count that noise alone would have
_NAMED = 5  # parameters
_REESTIMATED = "BatchNorm statistics were re-estimated from the training split: the checkpoint keeps others."
Facts: TypeAlias = list[tuple[str, str | Markup]]  # names and values


def measured_on(analysis: Analysis) -> Facts:
    """The model, its data and training, the examples and the parameters."""
    checkpoint, objective = analysis.checkpoint or {}, analysis.objective
    recipe = checkpoint.get("recipe") or {}
    facts: Facts = [(key.capitalize(), spec(checkpoint[key])) for key in ("model", "data") if checkpoint.get(key)]
    if recipe:
        of = [f"{key} {recipe[key]}" for key in _TRAINED if recipe.get(key) is not None]
        own = [f"{key} {value}" for key, value in (recipe.get("optimizer_args") or {}).items()]
        facts.append(("Trained with", ", ".join([str(recipe.get("optimizer", "")), *own, *of])))
    facts.append(("Examples", ", ".join(f"{s} {count(analysis, s) or 'not known'}" for s in analysis.splits)))
    if "num_params" in objective:
        only = "" if objective.get("params", "*") == "*" else f", those of {objective['params']}"
        facts.append(("Parameters", f"{objective['num_params']:,}{only}"))
    how = [f"{objective['mode']} mode"] if "mode" in objective else []
    how += [str(value) for value in (objective.get("dtype"), analysis.provenance.get("device")) if value]
    how += ["the original module of a compiled model"] if objective.get("compiled") else []
    return [*facts, ("Measured in", ", ".join(how))] if how else facts


def provenance(analysis: Analysis, hashes: Mapping[str, str]) -> Facts:
    """Seed, accuracy, versions, when, and the files."""
    about = analysis.provenance
    facts: Facts = []
    if about.get("seed") is not None:
        facts.append(("Seed", f"{about['seed']}, of all random draws. ± covers these draws, not another training."))
    if about.get("rel_error") is not None:
        probes = about.get("num_probes")
        facts.append(("Accuracy", f"{about['rel_error']:g}" + (f", {probes} probes for traces" if probes else "")))
    versions = [f"{name} {about[name]}" for name in ("landscape", "torch", "python") if name in about]
    if versions:
        facts.append(("Versions", ", ".join(versions)))
    if "started" in about:
        facts.append(("Started", f"{about['started']}, {about.get('seconds', 0):.3g} seconds"))
    return [*facts, *((f"SHA-256 of {name}", code(digest)) for name, digest in hashes.items())]


def hashes_of(*paths: Path) -> dict[str, str]:
    """SHA-256 of those files that are there, by name."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths if path.is_file()}


def accuracy(analysis: Analysis) -> str:
    """In brackets, what was asked for."""
    return f" ({analysis.provenance['rel_error']:.2g})" if "rel_error" in analysis.provenance else ""


def count(analysis: Analysis, split: str) -> str:
    """Of the examples of a split, if it is known."""
    found = analysis.objective.get("num_examples", {}).get(split)
    return "" if found is None else f"{found:,}"


def reached(measurements: Sequence[Measurement]) -> str:
    """How many of the numbers reached the accuracy asked for, in a sentence."""
    failed = [m.name for m in measurements if not m.converged]
    if not failed:
        return f"All {len(measurements)} numbers reached the accuracy asked for."
    names = ", ".join(dict.fromkeys(failed))
    return f"{len(failed)} of {len(measurements)} numbers did not reach the accuracy asked for: {names}."


def warnings_of(analysis: Analysis, surfaces: Sequence[Line | Plane] = ()) -> list[str]:
    """One sentence a warning; none where there is nothing to warn of.

    Example:
        >>> short = Measurement("trace", 2.0, 1.0, converged=False, reason="budget of 4 probes")
        >>> warnings_of(Analysis({"train": {"trace": short}}))
        ['trace (train) did not reach its accuracy: budget of 4 probes.']
    """
    return [*_of_measurements(analysis), *_of_objective(analysis.objective), *_of_surfaces(analysis, surfaces)]


def _of_measurements(analysis: Analysis) -> Iterator[str]:
    for split, found in analysis.splits.items():
        for m in found.values():
            if not math.isfinite(m.value):
                yield f"{m.name} ({split}) could not be measured: {m.reason}."
            elif not m.converged:
                yield f"{m.name} ({split}) did not reach its accuracy: {m.reason}."
        if "local_minima" in found:
            yield from _of_minima(split, found["local_minima"])


def _of_minima(split: str, m: Measurement) -> Iterator[str]:
    floor, losses = m.details.get("floor"), m.details.get("losses")
    raw, noise = m.details.get("raw_minima"), m.details.get("noise_expectation")
    if floor is not None and losses is not None:
        moves = float(np.median(np.ptp(losses, axis=1)))
        if moves < _CLEAR * floor:
            yield (
                f"local_minima ({split}) stands near its noise floor: along the median line the loss moves by "
                f"{moves:.1e}, and the floor is {floor:.1e}."
            )
    if raw is not None and noise is not None and np.mean(raw) > _LIKE_NOISE * noise:
        yield (
            f"local_minima ({split}): the raw count of {np.mean(raw):.2g} is what noise alone would give, {noise:.2g}, "
            "and says nothing of the landscape."
        )


def _of_objective(objective: Mapping[str, Any]) -> Iterator[str]:
    if unused := objective.get("unused"):
        more = f" and {len(unused) - _NAMED} more" if len(unused) > _NAMED else ""
        yield f"The loss does not depend on {', '.join(unused[:_NAMED])}{more}: their curvature is 0."
    if objective.get("params", "*") != "*":
        yield f"Only the parameters {objective['params']} were measured, all others held fixed."
    if objective.get("mode", "eval") != "eval":
        reestimated = objective["mode"] == "reestimate"
        yield _REESTIMATED if reestimated else f"Measured in {objective['mode']} mode."
    if words := stale_words(objective):
        yield f"{words}."


def _of_surfaces(analysis: Analysis, surfaces: Sequence[Line | Plane]) -> Iterator[str]:
    own = (analysis.checkpoint or {}).get("sha256")
    for surface in surfaces:
        other = (surface.details.get("checkpoint") or {}).get("sha256")
        if own and other and own != other:
            yield f"The landscape ({surface.split}) is of another checkpoint, of SHA-256 {other}."
        yield from (f"Landscape ({surface.split}): {remark}." for remark in remarks(surface))
