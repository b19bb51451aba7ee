"""Two runs compared number by number, in words, and only as far as the error bars allow.

Two values differ where their 95 % intervals (residual bounds, for an eigenvalue) do not overlap. Loss and accuracy are
exact for these examples and carry the standard error of a sample of that size; all else is about these examples alone.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from landscape.results import Measurement

_NORMAL_95 = 1.96


@dataclass(frozen=True)
class Difference:
    """How the second run's value stands to the first one's.

    Attributes:
        metric: its name.
        split: on which it was measured.
        state: "lower", "higher", "not told apart" or "not measured".
        words: by how much; in brackets where that is within the error bars.
    """

    metric: str
    split: str
    state: str
    words: str


def difference(split: str, first: "Measurement", second: "Measurement") -> Difference:
    """Compare the second value with the first.

    Example:
        >>> from landscape.results import Measurement
        >>> first, second = (Measurement("trace", value, 0.5, num_matvecs=50) for value in (20.0, 15.0))
        >>> difference("train", first, second)
        Difference(metric='trace', split='train', state='lower', words='25 % lower')
    """
    change = second.value - first.value
    if not math.isfinite(change):
        return Difference(first.name, split, "not measured", "not measured")
    direction = "lower" if change < 0 else "higher"
    if change == 0:
        words = "equal"
    elif first.name == "accuracy":
        words = f"{abs(change) * 100:.2g} points {direction}"
    else:
        words = f"{abs(change / first.value) * 100:.2g} % {direction}" if first.value else f"{direction} than 0"
    if abs(change) > _error_bar(first) + _error_bar(second):
        return Difference(first.name, split, direction, words)
    return Difference(first.name, split, "not told apart", words if change == 0 else f"({words})")


def summary(differences: Iterable[Difference], first: str, second: str) -> list[str]:
    """All of it in a few lines, whatever it is; ``first`` and ``second`` are the names of the runs."""
    by_state: dict[str, dict[str, list[str]]] = {}
    for d in differences:
        by_state.setdefault(d.state, {}).setdefault(d.metric, []).append(d.split)
    leads = {
        "lower": f"Lower with {second}, beyond the error bars",
        "higher": f"Higher with {second}, beyond the error bars",
        "not told apart": "Not told apart",
        "not measured": "Not measured",
    }
    lines = []
    for state, metrics in ((state, by_state[state]) for state in leads if state in by_state):
        listed = ", ".join(f"{metric} ({', '.join(splits)})" for metric, splits in metrics.items())
        lines.append(f"{leads[state]}: {listed}.")
    flatter = [
        name
        for state, name in (("lower", second), ("higher", first))
        if all("train" in by_state.get(state, {}).get(metric, ()) for metric in ("trace", "lambda_max"))
    ]
    lines.append(
        f"By trace and lambda_max on the training data, {flatter[0]} found the flatter place."
        if flatter
        else f"By trace and lambda_max on the training data, neither {first} nor {second} found the flatter place."
    )
    return lines


def _error_bar(m: "Measurement") -> float:
    from landscape.figures.comparison import error_bar

    if "data_std_error" in m.details:
        return _NORMAL_95 * float(m.details["data_std_error"])
    return error_bar(m)
