"""Whether two measured numbers differ: z, or Welch's t where an estimate comes from few probes.

    t = (b - a) / sqrt(s_a^2 + s_b^2),    nu = (s_a^2 + s_b^2)^2 / (s_a^4 / nu_a + s_b^4 / nu_b)

s is the standard error: of the estimate; of loss and accuracy, that of a sample of that many examples; of an
eigenvalue, its bound, which holds at 95 %, over 1.96. Two exact numbers differ if they are not equal. Not here: how
much one training differs from the next, which only several seeds show; nor a correction for many comparisons.
"""

import math
from dataclasses import dataclass

from scipy.special import stdtr

from landscape.figures.comparison import EIGENVALUES
from landscape.results import Measurement

_NORMAL_95 = 1.96
_LEVEL = 0.05


@dataclass(frozen=True)
class Difference:
    """How the second value stands to the first.

    Attributes:
        change: second minus first; NaN where one was not measured.
        std_error: of the change.
        t: the change in standard errors; infinite for two exact numbers that differ.
        freedom: degrees of freedom, infinite for a z.
        p: the chance of a change as large were there none, two-sided.
        words: all of it in a few words.
    """

    change: float
    std_error: float
    t: float
    freedom: float
    p: float
    words: str

    @property
    def significant(self) -> bool:
        """Whether p < 0.05."""
        return self.p < _LEVEL


def difference(first: Measurement | None, second: Measurement | None) -> Difference:
    """Compare the second with the first.

    Example:
        >>> a, b = (Measurement("trace", value, 1.0, num_matvecs=50) for value in (20.0, 15.0))
        >>> found = difference(a, b)
        >>> round(found.t, 3), round(found.freedom), found.words
        (-3.536, 98, '25 % lower (p < 0.001)')
        >>> difference(a, Measurement("trace", 19.0, 1.0, num_matvecs=50)).words
        'not told apart: 5 % lower (p = 0.48)'
    """
    if first is None or second is None or not math.isfinite(second.value - first.value):
        return Difference(math.nan, math.nan, math.nan, math.nan, math.nan, "not measured")
    change = second.value - first.value
    (s_a, nu_a), (s_b, nu_b) = _error(first), _error(second)
    std_error = math.hypot(s_a, s_b)
    words = _change_words(first, change)
    if not math.isfinite(std_error):
        return Difference(change, std_error, math.nan, math.nan, math.nan, f"{words}; the error is not known")
    if std_error == 0:
        t = math.copysign(math.inf, change) if change else 0.0
        return Difference(
            change, 0.0, t, math.inf, float(change == 0), f"{words} (exact)" if change else "equal (exact)"
        )
    t = change / std_error
    freedom = std_error**4 / (s_a**4 / nu_a + s_b**4 / nu_b) if s_a**4 / nu_a + s_b**4 / nu_b else math.inf
    p = float(2 * stdtr(freedom, -abs(t)))
    chance = "p < 0.001" if p < 0.001 else f"p = {p:.2g}"
    told = f"{words} ({chance})" if p < _LEVEL else f"not told apart: {words} ({chance})"
    return Difference(change, std_error, t, freedom, p, told)


def _error(m: Measurement) -> tuple[float, float]:
    """The standard error and its degrees of freedom."""
    if "data_std_error" in m.details:
        return float(m.details["data_std_error"]), math.inf
    if m.name in EIGENVALUES:
        return m.std_error / _NORMAL_95, math.inf
    num_samples = m.details.get("num_samples", m.num_matvecs)
    return m.std_error, num_samples - 1 if num_samples > 1 else math.inf


def _change_words(first: Measurement, change: float) -> str:
    direction = "lower" if change < 0 else "higher"
    if change == 0:
        return "equal"
    if first.name == "accuracy":
        return f"{abs(change) * 100:.2g} points {direction}"
    if not first.value:
        return f"{direction} than 0"
    percent = abs(change / first.value) * 100
    return f"{percent:,.0f} % {direction}" if percent >= 10 else f"{percent:.2g} % {direction}"
