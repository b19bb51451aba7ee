"""A value that a metric should not pass, such as the edge of stability: lambda_max = 2 / lr.

Plain gradient descent on a quadratic diverges where the curvature exceeds 2 / lr (Cohen et al. 2021, arXiv:2103.00065);
with momentum beta the edge is 2 (1 + beta) / lr, and with small batches training stays below it.
"""

from dataclasses import dataclass

from landscape.results import Analysis

EDGE = "2/lr"


@dataclass(frozen=True)
class Limit:
    """A metric and what it should not exceed; None for 2/lr.

    Example:
        >>> from landscape.results import Measurement
        >>> point = Analysis({"train": {"lambda_max": Measurement("lambda_max", 25.0)}}, checkpoint={"lr": 0.1})
        >>> Limit.of("lambda_max=2/lr").passed_by(point)
        ['lambda_max on train is 25, above 2/lr = 20']
    """

    metric: str
    value: float | None

    @classmethod
    def of(cls, text: str) -> "Limit":
        """Read "METRIC=VALUE" or "METRIC=2/lr".

        Raises:
            ValueError: it is neither.
        """
        metric, _, value = (part.strip() for part in text.partition("="))
        try:
            return cls(metric, None if value == EDGE else float(value))
        except ValueError as error:
            raise ValueError(f"--fail-above {text} is no limit. Expected METRIC=VALUE or METRIC=2/lr.") from error

    def passed_by(self, analysis: Analysis) -> list[str]:
        """The splits on which the value is above the limit, in words.

        Raises:
            ValueError: the limit is 2/lr, and the learning rate is not known.
        """
        words = "" if self.value is not None else f"{EDGE} = "
        limit = self.value if self.value is not None else 2 / self._lr(analysis)
        return [
            f"{self.metric} on {split} is {found[self.metric].value:.6g}, above {words}{limit:.6g}"
            for split, found in analysis.splits.items()
            if self.metric in found and found[self.metric].value > limit
        ]

    def _lr(self, analysis: Analysis) -> float:
        checkpoint = analysis.checkpoint or {}
        if not checkpoint.get("lr"):
            raise ValueError(f"{checkpoint.get('path')} does not say its learning rate. Give --fail-above a number.")
        return float(checkpoint["lr"])
