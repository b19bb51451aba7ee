"""Results that are there are kept: those of another checkpoint, or of other settings, are written over only if asked.

The same again is ordinary, whatever came of it; so is measuring where no result can be read. What is compared is what
the files say; what an older one does not say is taken to be the same.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from landscape.files import plain
from landscape.fingerprint import differences
from landscape.readers import read_document
from landscape.results.analysis import SCHEMA as ANALYSIS
from landscape.results.analysis import SCHEMA_1 as ANALYSIS_1
from landscape.results.surface import SCHEMA as SURFACE


def require_same_analysis(folder: Path, asked: Mapping[str, Any]) -> None:
    """Refuse to write over an ``analysis.json`` of other weights or settings.

    Args:
        folder: where it may be.
        asked: the document that will take its place, as far as it is known: checkpoint, objective, provenance, splits.
            What it does not say yet is not compared.

    Raises:
        ValueError: it is another; the message says in what.
    """
    path = folder / "analysis.json"
    if there := _read(path, (ANALYSIS, ANALYSIS_1)):
        was, now = ((one.get("objective") or {}).get("fingerprint") or {} for one in (there, asked))
        _require_same(path, analysis_facts(there), analysis_facts(plain(asked)), differences(was, now))


def analysis_facts(document: Mapping[str, Any]) -> dict[str, Any]:
    """What makes two analyses the same measurement, by name; left out what the document does not say."""
    objective, provenance, splits = (document.get(key) or {} for key in ("objective", "provenance", "splits"))
    facts: dict[str, Any] = {}
    if document.get("checkpoint"):
        facts["checkpoint"] = document["checkpoint"]["sha256"]
    facts |= {f"metrics on {split}": sorted(metrics) for split, metrics in splits.items()}
    facts |= {"splits": sorted(splits)} if splits else {}
    facts |= {key: objective[key] for key in ("num_examples", "params", "mode", "dtype") if key in objective}
    if provenance:  # an older one does not say that there were none
        facts["--set"] = _assignments(provenance.get("arguments") or {}) or ["nothing"]
    return facts | {key: provenance[key] for key in ("rel_error", "num_probes", "seed") if key in provenance}


def require_same_surfaces(
    folder: Path, kind: str, asked: Mapping[str, Any], fingerprint: Mapping[str, Any] | None = None
) -> None:
    """Refuse to write over a ``surface.json`` of other weights, or over a line or plane of other settings.

    Args:
        folder: where it may be.
        kind: "line" or "plane". One of the other kind stays, if it is of the same weights.
        asked: what will be ``details["asked"]``, the checkpoint's hash among it.
        fingerprint: of what it will be measured on.

    Raises:
        ValueError: it is another; the message says in what.
    """
    path, now = folder / "surface.json", plain(asked)
    for entry in (_read(path, (SURFACE,)) or {}).get("surfaces", []):
        names = now if entry["kind"] == kind else ("checkpoint",)
        was = entry["details"].get("fingerprint") or {}
        _require_same(
            path, surface_facts(entry), {name: now[name] for name in names}, differences(was, fingerprint or {})
        )


def surface_facts(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What makes two surfaces the same measurement, by name; left out what the entry does not say."""
    details = entry["details"]
    told = {name: details[name] for name in ("seed", "mode", "orthogonalize", "refine") if name in details}
    return told | {"checkpoint": (details.get("checkpoint") or {}).get("sha256")} | details.get("asked", {})


def _assignments(arguments: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """As METRIC.ARG=VALUE."""
    return sorted(f"{metric}.{name}={value}" for metric, given in arguments.items() for name, value in given.items())


def _read(path: Path, schemas: tuple[str, ...]) -> dict[str, Any] | None:
    """The document, or None where there is none of ours."""
    try:
        return read_document(path, schemas, "landscape")
    except ValueError:
        return None


def _require_same(path: Path, there: Mapping[str, Any], now: Mapping[str, Any], others: Sequence[str]) -> None:
    differ = [*others] + [
        f"{name} {_words(now[name])} (there {_words(there[name])})"
        for name in now
        if name in there and there[name] != now[name]
    ]
    if differ:
        raise ValueError(
            f"{path} is another result: {', '.join(differ)}. Expected the same again. "
            "Give another folder, or --overwrite to lose what is there."
        )


def _words(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return f"{text[:12]}..." if len(text) == 64 else text
