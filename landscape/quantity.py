"""A number in as many digits as its error allows: what tables on a terminal, on paper and in a browser agree in."""

import math

_EXACT_DIGITS = 4  # of a number without an error
_MOST_DIGITS = 6  # of a number whose error is tiny


def quantity(value: float, error: float = 0.0) -> str:
    """The number to two digits of its error, or to four digits where it has none.

    Example:
        >>> quantity(123.456, 1.234), quantity(123456.0, 1234.0), quantity(1.5e-7, 2e-9), quantity(0.97531)
        ('123.5 ± 1.2', '123,500 ± 1,200', '(1.500 ± 0.020)e-07', '0.9753')
        >>> quantity(float("nan")), quantity(2.5, 1e-9)
        ('not finite', '2.50000 ± 1e-09')
    """
    if not math.isfinite(value):
        return "not finite"
    if not math.isfinite(error):
        return f"{quantity(value)} ± ?"
    exponent = _exponent(value) if abs(value) > error else _exponent(error)
    if not -4 <= exponent < 6:
        scaled = quantity(value / 10.0**exponent, error / 10.0**exponent)
        return f"({scaled})e{exponent:+03d}" if error else f"{scaled}e{exponent:+03d}"
    decimals = 1 - _exponent(error) if error else _EXACT_DIGITS - 1 - exponent
    most = _MOST_DIGITS - 1 - exponent
    if not error:
        return _fixed(value, decimals)
    if decimals > most:
        return f"{_fixed(value, most)} ± {error:.0e}"
    return f"{_fixed(value, decimals)} ± {_fixed(error, decimals)}"


def _exponent(value: float) -> int:
    """Of ten, of the first digit."""
    return math.floor(math.log10(abs(value))) if value else 0


def _fixed(value: float, decimals: int) -> str:
    return f"{round(value, decimals):,.{max(decimals, 0)}f}"
