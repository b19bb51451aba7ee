"""Whether two measured numbers differ, by what each says of its own error.

Two standard errors are compared by Welch's t test (``landscape.statistics.welch``). With a bound, or an exact number,
on one side, the two differ where their 95 % intervals do not meet, and there is no p value; two exact numbers differ if
they are not equal. Loss and accuracy count as those of a sample of that many examples. Not here: how much one training
differs from the next, which only several seeds show; nor a correction for many comparisons.
"""

import math
from dataclasses import dataclass
from typing import Literal

from landscape.results.measurement import Measurement
from landscape.statistics import LEVEL, welch

State = Literal["lower", "higher", "not told apart", "not measured"]


@dataclass(frozen=True)
class Difference:
    """How the second value stands to the first.

    Attributes:
        state: what can be said: "lower", "higher", "not told apart" or "not measured".
        size: the change in words, such as "25 % lower".
        how: what the state rests on: a p value, or that the intervals meet or do not.
        change: second minus first; NaN where one was not measured.
        std_error: of the change; NaN where it is not two standard errors that are compared, as the next three.
        t: the change in standard errors.
        freedom: degrees of freedom, infinite for a z.
        p: the chance of a change as large were there none, two-sided.
    """

    state: State
    size: str
    how: str = ""
    change: float = math.nan
    std_error: float = math.nan
    t: float = math.nan
    freedom: float = math.nan
    p: float = math.nan

    @property
    def words(self) -> str:
        """All of it in a few words."""
        lead = "not told apart: " if self.state == "not told apart" and self.change else ""
        return f"{lead}{self.size}" + (f" ({self.how})" if self.how else "")


def difference(first: Measurement | None, second: Measurement | None) -> Difference:
    """Compare the second with the first.

    Example:
        >>> a, b, c = (Measurement("trace", value, 1.0, num_samples=50) for value in (20.0, 15.0, 19.0))
        >>> found = difference(a, b)
        >>> round(found.t, 3), round(found.freedom), found.words
        (-3.536, 98, '25 % lower (p < 0.001)')
        >>> difference(a, c).words
        'not told apart: 5 % lower (p = 0.48)'
        >>> difference(a, Measurement("trace", 15.0, 1.0, error_kind="bound")).words
        '25 % lower (intervals apart)'
    """
    if first is None or second is None or not math.isfinite(second.value - first.value):
        return Difference("not measured", "not measured")
    change, size = second.value - first.value, _size(first, second)
    a, b = first.of_fresh_data(), second.of_fresh_data()
    if not math.isfinite(a.std_error + b.std_error):
        return Difference("not told apart", size, "the error is not known", change)
    if {a.error_kind, b.error_kind} <= {"none", "standard error"} and (a.std_error or b.std_error):
        t, freedom, p = welch(change, (a.std_error, a.num_samples), (b.std_error, b.num_samples))
        how = "p < 0.001" if p < 0.001 else f"p = {p:.2g}"
        std_error = math.hypot(a.std_error, b.std_error)
        return Difference(_state(change, p < 1 - LEVEL), size, how, change, std_error, t, freedom, p)
    (a_low, a_high), (b_low, b_high) = a.interval(), b.interval()
    apart = b_low > a_high or b_high < a_low
    exact = not (a.std_error or b.std_error or "lower bound" in (a.error_kind, b.error_kind))
    how = "exact" if exact else "intervals apart" if apart else "intervals meet"
    return Difference(_state(change, apart), size, how, change)


def _state(change: float, told_apart: bool) -> State:
    if not told_apart:
        return "not told apart"
    return "lower" if change < 0 else "higher"


def _size(first: Measurement, second: Measurement) -> str:
    change = second.value - first.value
    direction = "lower" if change < 0 else "higher"
    if change == 0:
        return "equal"
    if first.name == "accuracy":
        return f"{abs(change) * 100:.2g} points {direction}"
    if not first.value:
        return f"{direction} than 0"
    percent = abs(change / first.value) * 100
    return f"{percent:,.0f} % {direction}" if percent >= 10 else f"{percent:.2g} % {direction}"
