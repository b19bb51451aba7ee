"""One measured number, how far it can be trusted, and what it cost."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Measurement:
    """One measured number, how far it can be trusted, and what it cost.

    Attributes:
        name: the metric, as in ``landscape.measure``.
        value: the number; NaN where it could not be measured.
        std_error: standard error of an estimate, residual bound of an eigenvalue, 0 where exact on these data.
        num_matvecs: products with the Hessian it took.
        num_gradients: gradients over all the data it took.
        seconds: wall time.
        converged: whether it reached the accuracy asked for.
        reason: why it stopped, in words.
        details: further numbers, and arrays.

    Example:
        >>> print(Measurement("trace", 12.5, 0.25, num_matvecs=64, converged=True, reason="interval within 0.05"))
        trace = 12.5 +- 0.25 (64 products, converged: interval within 0.05)
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

    def __str__(self) -> str:
        error = f" +- {self.std_error:.2g}" if self.std_error else ""
        state = "converged" if self.converged else "NOT converged"
        return f"{self.name} = {self.value:.6g}{error} ({self.num_matvecs} products, {state}: {self.reason})"
