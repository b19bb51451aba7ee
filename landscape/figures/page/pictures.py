"""The pictures of the report as SVG in the page itself, in its font and colours; each is told in words too."""

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from landscape.figures.kinds.planes import axis_names, beyond, common_norm, contours
from landscape.figures.kinds.spectrum import DEEPEST, draw_density
from landscape.figures.kinds.style import SUPERSCRIPTS, styled
from landscape.figures.kinds.track import by_run, legend_handles, panel
from landscape.figures.page.markup import short
from landscape.figures.runs.run import measurements_of, splits_of
from landscape.results import Analysis, Line, Measurement, Plane
from landscape.text import printable

_WIDTH = 5.0  # inches, 360 units of the picture: a phone's width, so that type has there the size that it has here
_TYPE = 10
_THEME = {"#0072b2": "var(--first)", "#d55e00": "var(--second)"}  # the first two colours of our style
_RC: dict[Any, Any] = {
    "font.size": _TYPE,
    "axes.labelsize": _TYPE,
    "axes.titlesize": _TYPE,
    "xtick.labelsize": _TYPE,
    "ytick.labelsize": _TYPE,
    "legend.fontsize": _TYPE,
    "svg.fonttype": "none",
    "svg.hashsalt": "landscape",
    "lines.linewidth": 1.5,
    "text.parse_math": False,  # a dollar sign in a name is one
}
_LONGEST = 40  # letters of a name in a picture, which has no room for more
_MANY = 1e3  # fold, from which on ticks are powers of ten


@dataclass(frozen=True)
class Picture:
    """An SVG that stands in a page as it is, and the caption: what it shows, and how far to trust it."""

    svg: Markup
    caption: str


def density(analysis: Analysis) -> Picture | None:
    """The spectral density on logarithmic axes with its 95 % band; None where it was not measured."""
    found = _with_detail(analysis, "spectral_density", "log_density")
    if not found:
        return None
    with _drawing(3.3) as (figure, axes):
        threshold = max(float(m.details["log_threshold"]) for m in found.values())
        highest = max(float(m.details["log_density"].max()) for m in found.values())
        for index, (split, m) in enumerate(found.items()):
            draw_density(axes, m, f"C{index}", linestyle=_line(index), label=_short(split))
        axes.set_xscale("symlog", linthresh=threshold)
        axes.set_yscale("log")
        axes.set_ylim(DEEPEST * highest, 2 * highest)
        low, high = axes.get_xlim()
        first = int(np.ceil(np.log10(threshold)))
        ticks = [0.0, *(sign * 10.0**exponent for sign in (-1, 1) for exponent in range(first, 12))]
        axes.xaxis.set_ticks([tick for tick in ticks if low <= tick <= high])
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_minor_locator(NullLocator())
            axis.set_major_formatter(FuncFormatter(lambda value, _: _power(value)))
        axes.set_xlabel("eigenvalue")
        axes.set_ylabel("density, a decade")
        axes.legend()
        ends = f"from {short(low)} to {short(high)}, on log axes"
    return Picture(
        _svg(figure, "density", f"Spectral density of the Hessian on {' and '.join(found)}, {ends}."),
        "How the eigenvalues of the Hessian are spread. The bands are 95 % intervals over Lanczos runs. Between "
        f"−{short(threshold)} and {short(threshold)} the axis is linear.",
    )


def eigenvalues(analysis: Analysis) -> Picture | None:
    """The largest eigenvalues by rank with their bounds; None where they were not measured."""
    found = _with_detail(analysis, "top_eigenvalues", "eigenvalues", "bounds")
    if not found:
        return None
    with _drawing(3.3) as (figure, axes):
        for index, (split, m) in enumerate(found.items()):
            values, bounds = m.details["eigenvalues"], m.details["bounds"]
            ranks = np.arange(1, len(values) + 1) + 0.2 * index
            axes.errorbar(
                ranks, values, bounds, color=f"C{index}", fmt="os"[index % 2], ms=3, lw=0.8, label=_short(split)
            )
        if min(m.details["eigenvalues"].min() for m in found.values()) > 0:
            axes.set_yscale("log")
            _plain(axes.yaxis)
        axes.set_xlabel("rank")
        axes.set_ylabel("eigenvalue")
        axes.legend()
        ends = ", ".join(
            f"{short(m.details['eigenvalues'][0])} down to {short(m.details['eigenvalues'][-1])} on {split}"
            for split, m in found.items()
        )
        num = max(len(m.details["eigenvalues"]) for m in found.values())
    return Picture(
        _svg(figure, "eigenvalues", f"The {num} largest eigenvalues of the Hessian: {ends}."),
        f"The {num} largest eigenvalues. The bars are bounds on their errors; most are smaller than the dots.",
    )


def seen_from_above(plane: Plane, name: str) -> Picture | None:
    """A plane as contours; None where no loss in it is finite."""
    finite = plane.loss[np.isfinite(plane.loss)]
    if not len(finite):
        return None
    with _drawing(4.2) as (figure, axes):
        norm = common_norm([plane])
        image = contours(axes, plane, norm)
        across, up = axis_names(plane)
        axes.set_xlabel(_short(across))
        axes.set_ylabel(_short(up))
        bar = figure.colorbar(image, ax=axes, extend=beyond(norm))
        bar.set_label(f"loss ({_short(plane.split)})")
        if bar.ax.get_yscale() == "log":
            _plain(bar.ax.yaxis)
    ranges = f"from {short(finite.min())} to {short(finite.max())}, at the weights {short(plane.centre)}"
    return Picture(
        _svg(figure, name, f"Contours of the {plane.split} loss over the plane: {ranges}."),
        f"The {plane.split} loss seen from above, {ranges}. The cross marks the weights{_extrema(plane)}.",
    )


def _extrema(plane: Plane) -> str:
    """What the triangles in the picture are."""
    inside = {kind: sum(not one["on_edge"] for one in plane.details.get(kind, [])) for kind in ("minima", "maxima")}
    words = [f"{num} {kind if num > 1 else f'{kind[:-1]}um'}" for kind, num in inside.items() if num]
    if not words:
        return ""
    verb = "is" if sum(inside.values()) == 1 else "are"
    return f", and triangles what {verb} more prominent than the noise floor: {' and '.join(words)}"


def along(lines: Sequence[Line], name: str) -> Picture:
    """The loss along a direction, a curve a split."""
    with _drawing(3.3) as (figure, axes):
        for index, line in enumerate(lines):
            axes.plot(
                line.x, np.where(np.isfinite(line.loss), line.loss, np.nan), _line(index), label=_short(line.split)
            )
        axes.axvline(0, color="0.5", linewidth=0.8, linestyle=":")
        axes.set_xlabel(_short(axis_names(lines[0])[0].replace(" 1:", ":")))
        axes.set_ylabel("loss")
        axes.legend()
    at = ", ".join(f"{short(line.centre)} ({line.split})" for line in lines)
    return Picture(
        _svg(figure, name, f"The loss along one direction through the weights, where it is {at}."),
        f"The loss along one direction. At the weights, on the dotted line, it is {at}.",
    )


def over_training(analyses: Sequence[Analysis], metric: str, name: str) -> Picture:
    """A metric over the steps of each run, with 95 % bands and, for lambda_max, the edge of stability."""
    runs, splits = by_run(analyses), splits_of(analyses)
    own = [replace(a, splits={s: {metric: m[metric]} for s, m in a.splits.items() if metric in m}) for a in analyses]
    shown = [split for split in splits if any(split in a.splits for a in own)]
    with _drawing(3.3) as (figure, axes):
        edge = panel(axes, metric, list(runs.values()), shown)
        axes.set_xlabel("step")
        handles = legend_handles(own, [_short(run) for run in runs], [_short(split) for split in shown], edge=edge)
        figure.legend(handles=handles, loc="outside lower center", ncols=2 if len(runs) > 1 else 4)
    values = [m.value for m in measurements_of(own) if np.isfinite(m.value)]
    ranges = f"values from {short(min(values))} to {short(max(values))}" if values else "no finite value"
    of = f" of {len(runs)} runs" if len(runs) > 1 else ""
    alt = f"{metric} over the steps of training{of}, on {' and '.join(shown)}: {ranges}."
    return Picture(_svg(figure, name, alt), "")


@contextmanager
def _drawing(height: float) -> Iterator[tuple[Figure, Axes]]:
    with styled(), matplotlib.rc_context(_RC):
        figure = Figure(figsize=(_WIDTH, height))
        yield figure, figure.add_subplot()


def _svg(figure: Figure, name: str, alt: str) -> Markup:
    """The figure as an ``<svg>`` element whose ids are its own and whose colours are those of the page."""
    file = io.StringIO()
    with styled(), matplotlib.rc_context(_RC):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = file.getvalue()
    view = re.search(r'viewBox="[^"]*"', text)
    body = text[text.index("<defs>") : text.rindex("</svg>")]  # without the XML head, size and metadata
    assert view is not None
    body = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", body)
    body = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", body)
    body = re.sub(r"(fill|stroke): #(?:000000|262626)", r"\1: currentColor", body)
    for colour, variable in _THEME.items():
        body = body.replace(colour, variable)
    return Markup(f'<svg {view[0]} role="img" aria-label="{escape(alt)}">{body}</svg>')


def _plain(axis: Axis) -> None:
    """Ticks at 1, 2 and 5 times powers of ten, or at the powers alone where there are many."""
    low, high = axis.get_view_interval()
    many = high / low > _MANY
    axis.set_major_locator(LogLocator(subs=(1,) if many else (1, 2, 5)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: _power(value) if many else short(value)))


def _power(value: float) -> str:
    if value == 0:
        return "0"
    exponent = round(np.log10(abs(value)))
    sign = "−" if value < 0 else ""
    if 0 <= exponent <= 2:
        return f"{sign}{10**exponent}"
    return f"{sign}10{str(exponent).translate(SUPERSCRIPTS)}"


def _with_detail(analysis: Analysis, metric: str, *details: str) -> dict[str, Measurement]:
    found = {split: ms[metric] for split, ms in analysis.splits.items() if metric in ms}
    return {s: m for s, m in found.items() if all(isinstance(m.details.get(one), np.ndarray) for one in details)}


def _line(index: int) -> str:
    return ("-", "--", ":", "-.")[index % 4]


def _short(name: str) -> str:
    name = printable(name)
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
