"""One measured number, what its error is, and what it cost; and a number in words, to the digits that its error allows.

The error of a measurement is one of four kinds, and ``interval`` is what follows from it:

    "none"             exact on these data         value
    "standard error"   of a random estimate        value +- t(num_samples - 1) std_error
    "bound"            on the error                value +- std_error
    "lower bound"      the number is the value     value to infinity; std_error suggests how much higher, and
                       or anything above it        proves nothing
"""

import math
import sys
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from landscape.statistics import LEVEL, half_width

ErrorKind = Literal["none", "standard error", "bound", "lower bound"]
ERROR_KINDS: tuple[str, ...] = get_args(ErrorKind)
_EXACT_DIGITS = 4  # of a number without an error
_TINY = sys.float_info.min  # below, not every digit of a number is held
_MOST_DIGITS = 6  # of a number whose error is tiny


@dataclass(frozen=True)
class Measurement:
    """One measured number, how far it can be trusted, and what it cost.

    Attributes:
        name: the metric, as in ``landscape.measure``.
        value: the number; NaN where it could not be measured.
        std_error: standard error of an estimate, bound on the error, or what a lower bound may be short of; 0 if exact.
        num_matvecs: products with the Hessian it took.
        num_gradients: gradients over all the data it took.
        seconds: wall time.
        converged: whether it reached the accuracy asked for.
        reason: why it stopped, in words.
        details: further numbers, and arrays.
        error_kind: "none", "standard error", "bound" or "lower bound" (see the module); where it is not given, "none"
            if ``std_error`` is 0, and otherwise "standard error".
        num_samples: independent samples behind a standard error; 0 where their number is not known, or large.

    Raises:
        ValueError: for another kind, or an error without one.

    Example:
        >>> m = Measurement("trace", 12.5, 0.25, num_matvecs=64, num_samples=40, reason="interval within 0.05")
        >>> print(m)
        trace = 12.50 ± 0.51 (64 products, converged: interval within 0.05)
        >>> [round(end, 2) for end in m.interval()]
        [11.99, 13.01]
    """

    name: str
    value: float
    std_error: float = 0.0
    num_matvecs: int = 0
    num_gradients: int = 0
    seconds: float = 0.0
    converged: bool = True
    reason: str = "exact on these data"
    details: dict[str, Any] = field(default_factory=dict)
    error_kind: ErrorKind | None = None
    num_samples: int = 0

    def __post_init__(self) -> None:
        if self.error_kind is None:
            object.__setattr__(self, "error_kind", "standard error" if self.std_error else "none")
        if self.error_kind not in ERROR_KINDS:
            raise ValueError(f"error_kind={self.error_kind!r}. Expected one of: {', '.join(ERROR_KINDS)}.")
        if self.error_kind == "none" and self.std_error:
            raise ValueError(f"{self.name} has std_error={self.std_error:g} of kind 'none'. Expected an error of 0.")

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """The interval that holds the number with probability ``level``; all numbers where the error is not known.

        A bound is one at 95 %, and the interval the same at every level. A lower bound has no upper end: (value, inf).

        Example:
            >>> Measurement("lambda_max", 5.0, 0.5, error_kind="bound").interval()
            (4.5, 5.5)
        """
        if self.error_kind == "lower bound":
            return self.value, math.inf
        half = self.half_width(level)
        return self.value - half, self.value + half

    def half_width(self, level: float = LEVEL) -> float:
        """Half of the interval: the length of an error bar to each side; infinite where the error is not known."""
        if self.error_kind == "lower bound" or math.isnan(self.std_error):
            return math.inf
        if self.error_kind == "standard error":
            return half_width(self.std_error, self.num_samples, level)
        return self.std_error

    def of_fresh_data(self) -> "Measurement":
        """The number as an estimate for other examples of the same source, where that is known (loss and accuracy).

        Example:
            >>> m = Measurement("loss", 0.5, details={"data_std_error": 0.1})
            >>> m.half_width(), round(m.of_fresh_data().half_width(), 3)
            (0.0, 0.196)
        """
        if "data_std_error" not in self.details:
            return self
        error = self.details["data_std_error"]
        error = math.nan if error is None else float(error)
        return replace(self, std_error=error, error_kind="standard error", num_samples=0, details={})

    @property
    def text(self) -> str:
        """The value with half of its 95 % interval, or "≥" before a lower bound."""
        if self.error_kind == "lower bound":
            return f"≥ {quantity(self.value)}"
        return quantity(self.value, self.half_width())

    def __str__(self) -> str:
        state = "converged" if self.converged else "NOT converged"
        return f"{self.name} = {self.text} ({self.num_matvecs} products, {state}: {self.reason})"


def quantity(value: float, error: float = 0.0) -> str:
    """The number to two digits of its error, or to four digits where it has none.

    Example:
        >>> quantity(123.456, 1.234), quantity(123456.0, 1234.0), quantity(1.5e-7, 2e-9), quantity(0.97531)
        ('123.5 ± 1.2', '123,500 ± 1,200', '(1.500 ± 0.020)e-07', '0.9753')
        >>> quantity(float("nan")), quantity(2.5, 1e-9)
        ('not finite', '2.50000 ± 1e-09')
    """
    value, error = (0.0 if abs(one) < _TINY else one for one in (value, error))
    if not math.isfinite(value):
        return "not finite"
    if not math.isfinite(error):
        return f"{quantity(value)} ± ?"
    exponent = _exponent(value) if abs(value) > error else _exponent(error)
    if not -4 <= exponent < 6:
        scaled = quantity(value / 10.0**exponent, error / 10.0**exponent)
        return f"({scaled})e{exponent:+03d}" if error else f"{scaled}e{exponent:+03d}"
    if not error:
        return _fixed(value, _EXACT_DIGITS - 1 - exponent)
    decimals, most = 1 - _exponent(error), _MOST_DIGITS - 1 - exponent
    if decimals > most:
        return f"{_fixed(value, most)} ± {error:.0e}"
    return f"{_fixed(value, decimals)} ± {_fixed(error, decimals)}"


def _exponent(value: float) -> int:
    """Of ten, of the first digit."""
    return math.floor(math.log10(abs(value))) if value else 0


def _fixed(value: float, decimals: int) -> str:
    return f"{round(value, decimals):,.{max(decimals, 0)}f}"
