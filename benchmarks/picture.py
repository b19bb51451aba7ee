"""Time against error, one line a tool over its settings, both axes logarithmic."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from benchmarks.report import US, Row

_COLORS = {"landscape": "#000000", "PyHessian": "#d55e00", "curvlinops": "#0072b2", "hessian-eigenthings": "#009e73"}
_STYLES = ("o-", "s--", "^:")


def draw(rows: Sequence[Row], stem: Path) -> None:
    """Write STEM.png and STEM.pdf: a panel for each set of curves that the rows have."""
    panels = [(title, curves) for row in rows for title, curves in row.curves.items()]
    if not panels:
        return
    figure = Figure(figsize=(4.6 * len(panels), 4.2), layout="constrained")
    for axes, (title, curves) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        seen: dict[str, int] = {}
        for name, points in curves.items():
            tool = name.split(" (")[0]
            style = _STYLES[seen.get(tool, 0) % len(_STYLES)]
            seen[tool] = seen.get(tool, 0) + 1
            axes.loglog(
                *zip(*points, strict=True),
                style,
                color=_COLORS.get(tool, "gray"),
                label=name,
                markersize=4,
                linewidth=2 if tool == US else 1.2,
            )
        axes.axhline(0.01, color="gray", linewidth=0.6)
        axes.set(title=title, xlabel="seconds, from model and data to number", ylabel="relative error")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.grid(True, which="major", alpha=0.2)
        axes.legend(fontsize=6.5)
    with mpl.rc_context({"pdf.fonttype": 42}):
        figure.savefig(stem.with_suffix(".png"), dpi=160)
        figure.savefig(stem.with_suffix(".pdf"), metadata={"CreationDate": None})
