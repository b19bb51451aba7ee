"""What was measured, and how: the facts that the page of one checkpoint and that of a whole run have in common."""

from collections.abc import Mapping
from typing import TypeAlias

from markupsafe import Markup

from landscape.figures.report.markup import code, spec
from landscape.results import Analysis

_TRAINED = ("lr", "momentum", "weight_decay", "batch_size", "schedule", "epochs", "seed")
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


def count(analysis: Analysis, split: str) -> str:
    """Of the examples of a split, if it is known."""
    found = analysis.objective.get("num_examples", {}).get(split)
    return "" if found is None else f"{found:,}"
