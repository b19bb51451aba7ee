"""Rows of results: what was raced, what came out, and whether the bar was met; as JSON and as a Markdown table."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.race import Timing

START, END = "<!-- results: written by make bench -->", "<!-- end of results -->"
US = "landscape"


@dataclass
class Bar:
    """What a row had to reach, and what it did; ``met`` is None where there is nothing to judge."""

    wanted: str
    reached: str
    met: bool | None


@dataclass
class Row:
    """One piece of work: who did it in what time, and the bars on it.

    Attributes:
        key: the letter that ``--rows`` takes.
        curves: by picture and tool, points (seconds, error) over the tool's settings.
    """

    key: str
    title: str
    timings: list[Timing]
    bars: list[Bar]
    facts: dict[str, Any] = field(default_factory=dict)
    curves: dict[str, dict[str, list[tuple[float, float]]]] = field(default_factory=dict)


def ratio_bar(
    wanted: str, ours: Timing, theirs: Sequence[Timing], *, at_least: float, unknown: str = "no peer is correct"
) -> Bar:
    """That the fastest of ``theirs`` takes at least so many times our median."""
    if not theirs:
        return Bar(wanted, unknown, None)
    fastest = min(theirs, key=lambda timing: timing.median)
    ratio = fastest.median / ours.median
    return Bar(wanted, f"{ratio:.3g}x ({fastest.tool}, {fastest.setting})", ratio >= at_least)


def save(row: Row, path: Path, about: dict[str, Any]) -> None:
    """Write a row, and what it was measured on, as JSON."""
    document = {"about": about, "row": asdict(row)}
    for timing in document["row"]["timings"]:
        del timing["values"]  # what they add to the errors is arrays
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(_plain(document), indent=1) + "\n")


def load(path: Path) -> tuple[Row, dict[str, Any]]:
    """Read what ``save`` wrote."""
    document = json.loads(path.read_text())
    row = document["row"]
    row["timings"] = [Timing(**timing) for timing in row["timings"]]
    row["bars"] = [Bar(**bar) for bar in row["bars"]]
    return Row(**row), document["about"]


def markdown(rows: Sequence[Row]) -> str:
    """The tables: bars first, then one line a contender."""
    lines = ["| | bar | reached | |", "|---|---|---|---|"]
    marks = {True: "met", False: "**not met**", None: ""}
    lines += [f"| {row.key} | {bar.wanted} | {bar.reached} | {marks[bar.met]} |" for row in rows for bar in row.bars]
    for row in rows:
        lines += ["", f"**{row.key}. {row.title}**", ""]
        lines += [f"- {name}: {_shown(value)}" for name, value in row.facts.items()]
        if row.timings:
            lines += [
                "",
                "| tool | setting | median | best | CPU | products | error | |",
                "|---|---|---|---|---|---|---|---|",
            ]
            lines += [_line(timing) for timing in row.timings]
    return "\n".join(lines) + "\n"


def write_into(readme: Path, text: str) -> None:
    """Put the tables between the marks of the README."""
    before, rest = readme.read_text().split(START)
    _, after = rest.split(END)
    readme.write_text(f"{before}{START}\n\n{text}\n{END}{after}")


def _line(timing: Timing) -> str:
    cpu = sorted(timing.cpu_seconds)[len(timing.cpu_seconds) // 2]
    products = sorted(timing.products)[len(timing.products) // 2]
    error = f"{max(timing.errors):.1e}" if timing.errors else ""
    note = "; ".join(part for part in (timing.note, "extrapolated" if timing.extrapolated else "") if part)
    shown = f"{products:.0f}" if products else ""
    return (
        f"| {timing.tool} | {timing.setting} | {seconds(timing.median)} | {seconds(timing.best)} | {seconds(cpu)} "
        f"| {shown} | {error} | {note} |"
    )


def seconds(value: float) -> str:
    """A time with three digits and its unit."""
    return f"{value:.3g} s" if value >= 1 else f"{value * 1e3:.3g} ms"


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _plain(value: Any) -> Any:
    """JSON's own types; NaN and infinity are null."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "item"):
        return _plain(value.item())
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value
