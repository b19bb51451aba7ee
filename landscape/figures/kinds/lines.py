"""The loss along a line through the weights, and the accuracy: train solid, test dashed."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from landscape.figures.kind import kind
from landscape.figures.panels import colours, in_decades, legend, panels, split_style, subject
from landscape.figures.planes import axis_names, remarks, surface_command
from landscape.figures.pooled import MissingMeasurementError
from landscape.figures.runs import Run, last_epochs, named
from landscape.results import Line


@kind("lines", needs="a line of each run: landscape surface --line")
def lines(runs: Sequence[Run]) -> Figure:
    """Loss and accuracy along a line through the weights, train solid, test dashed; dotted, what it goes through."""
    all_runs, runs = runs, [run for run in last_epochs(runs) if any(isinstance(one, Line) for one in run.surfaces)]
    if not runs:
        raise MissingMeasurementError(f"No result holds a line. Measure it: {surface_command(all_runs, '--line')}")
    groups = named(runs)
    colour = colours(groups)
    found = [
        (name, line)
        for name, group in groups.items()
        for run in group
        for line in run.surfaces
        if isinstance(line, Line)
    ]
    others = {mark["at"][0] for _, line in found for mark in line.details.get("marks", {}).values()}
    whats = ["loss", "accuracy"] if any(line.accuracy is not None for _, line in found) else ["loss"]
    figure, axes = panels(len(whats), height=2.0, sharex=True)
    for panel, what in zip(axes, whats, strict=True):
        drawn: list[float] = []
        for name, line in found:
            values = getattr(line, what)
            if values is not None:
                panel.plot(line.x, np.ma.masked_invalid(values), color=colour[name], linestyle=split_style(line.split))
                drawn += list(values)
        for at in {0.0, *others}:
            panel.axvline(at, color="0.5", linewidth=0.6, linestyle=":")
        if what == "loss" and in_decades(drawn):
            panel.set_yscale("log")
        panel.set_ylabel(what)
        panel.set_xlabel(axis_names(found[0][1])[0].replace(" 1:", ":"))
    said = sorted({f"{name}: {remark}" for name, line in found for remark in remarks(line)})
    figure.suptitle("\n".join([subject(runs), *said]))
    legend(figure, colour, list(dict.fromkeys(line.split for _, line in found)), "")
    return figure
