"""What a reader has to know before believing the numbers: all that the results admit of themselves."""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from landscape.figures.planes import remarks
from landscape.results import Analysis, Line, Measurement, Plane

_CLEAR = 10  # noise floors by which a random line should move the loss
_LIKE_NOISE = 0.8  # of the raw count that noise alone would have
_NAMED = 5  # parameters


def warnings_of(analysis: Analysis, surfaces: Sequence[Line | Plane] = ()) -> list[str]:
    """One sentence a warning; none where there is nothing to warn of.

    Example:
        >>> short = Measurement("trace", 2.0, 1.0, converged=False, reason="budget of 4 probes")
        >>> warnings_of(Analysis({"train": {"trace": short}}))
        ['trace (train) did not reach its accuracy: budget of 4 probes.']
    """
    return [*_of_measurements(analysis), *_of_objective(analysis), *_of_surfaces(analysis, surfaces)]


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


def _of_objective(analysis: Analysis) -> Iterator[str]:
    objective = analysis.objective
    if unused := objective.get("unused"):
        more = f" and {len(unused) - _NAMED} more" if len(unused) > _NAMED else ""
        yield f"The loss does not depend on {', '.join(unused[:_NAMED])}{more}: their curvature is 0."
    if objective.get("params", "*") != "*":
        yield f"Only the parameters {objective['params']} were measured, all others held fixed."
    if objective.get("mode", "eval") != "eval":
        yield f"Measured in {objective['mode']} mode."


def _of_surfaces(analysis: Analysis, surfaces: Sequence[Line | Plane]) -> Iterator[str]:
    own = (analysis.checkpoint or {}).get("sha256")
    for surface in surfaces:
        other = (surface.details.get("checkpoint") or {}).get("sha256")
        if own and other and own != other:
            yield f"The landscape ({surface.split}) is of another checkpoint, of SHA-256 {other}."
        yield from (f"Landscape ({surface.split}): {remark}." for remark in remarks(surface))
