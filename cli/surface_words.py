"""What ``landscape surface`` prints: what was measured, what was found, and which check failed."""

from collections.abc import Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any

from .console import print_table, print_text

if TYPE_CHECKING:
    from landscape.checkpoint import Checkpoint
    from landscape.results import Line, Plane


def print_surfaces(file: "Checkpoint", surfaces: "Sequence[Line | Plane]") -> None:
    """Print the surfaces of one checkpoint, a row a split, and what has to be said of them."""
    details = surfaces[0].details
    axes = [getattr(surfaces[0], axis) for axis in surfaces[0].axes]
    num = f"{details['num_forwards']:,} of" if details.get("refine") else ""
    along = "a line along the first direction, " if len(axes) == 1 else ""
    points = f"{num} {' by '.join(str(len(axis)) for axis in axes)} points".lstrip()
    cosine = details["cosine"]
    print_text(
        f"{file.path}: {details['num_params']:,} parameters, directions: {details['directions']}, {along}{points} to "
        + " and ".join(f"±{axis[-1]:.4g}" for axis in axes)
        + (f", cosine {cosine:.2g}" if cosine is not None and abs(cosine) >= 1e-6 else "")
    )
    header = ["", "loss here", "accuracy", "lowest", "highest", "noise floor", "not finite"]
    print_table(header, [_row(surface) for surface in surfaces])
    for surface in surfaces:
        checks = surface.details["checks"]
        named = {"centre": checks["centre"]} | dict(zip(("x", "y"), checks["curvature"], strict=False))
        for name, check in named.items():
            if check["agrees"] is not True:
                verdict = "FAILED" if check["agrees"] is False else "undecided"
                print_text(f"* {surface.split}, check of {name} {verdict}: {check['reason']}", indent=2)
    if any("minima" in surface.details for surface in surfaces):
        counts = [f"{surface.split} {_counts(surface.details)}" for surface in surfaces if "minima" in surface.details]
        print_text(f"Extrema above the noise floor: {'; '.join(counts)}", indent=2)
    for name, mark in details.get("marks", {}).items():
        at = ", ".join(f"{place:.4g}" for place in mark["at"])
        off = f"{mark['residual']:.3g} from the {'line' if len(axes) == 1 else 'plane'}"
        print_text(f"{name} lies at ({at}), {off}", indent=2)
    if "path" in details:
        print_text(
            f"The plane has {sum(details['explained']):.1%} of the trajectory; its points lie up to "
            f"{details['residuals'].max():.3g} from it",
            indent=2,
        )


def print_cost(file: "Checkpoint", cost: dict[str, Any]) -> None:
    """Print what a surface would cost."""
    points = " by ".join([str(cost["num_points"])] * cost["num_axes"])
    print_text(
        f"{file.path}: {cost['num_params']:,} parameters, {points} points; "
        f"{duration(cost['seconds'])} in all, and directions and checks"
    )
    rows = [
        [
            name,
            f"{one['num_examples']:,}",
            f"{one['num_forwards']:,}",
            f"{one['seconds_per_point'] * 1e3:.3g} ms",
            duration(one["seconds"]),
        ]
        for name, one in cost["splits"].items()
    ]
    print_table(["", "examples", "points", "a point", "together"], rows)


def duration(seconds: float) -> str:
    """In the unit that one would say it in."""
    if seconds < 60:
        return f"{seconds:.2g} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _row(surface: "Line | Plane") -> list[str]:
    from landscape.results.measurement import quantity

    finite = surface.loss[abs(surface.loss) < float("inf")]
    ends = [quantity(float(end)) for end in (finite.min(), finite.max())] if len(finite) else ["", ""]
    middle = tuple(size // 2 for size in surface.loss.shape)
    accuracy = "" if surface.accuracy is None else quantity(float(surface.accuracy[middle]))
    floor = surface.details["noise_floor"]
    return [
        f"{surface.split} (n = {surface.details['num_examples']:,})",
        quantity(surface.centre),
        accuracy,
        *ends,
        f"{floor:.1e}" if isfinite(floor) else "?",
        str(surface.num_nonfinite or ""),
    ]


def _counts(details: dict[str, Any]) -> str:
    """How many minima and maxima there are, those on the edge apart."""
    words = []
    for kind, one in (("minima", "minimum"), ("maxima", "maximum")):
        inside = sum(not extremum["on_edge"] for extremum in details[kind])
        words.append(f"{inside} {one if inside == 1 else kind} (and {len(details[kind]) - inside} on the edge)")
    return ", ".join(words)
