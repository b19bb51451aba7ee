"""Where scalars of a point go beside ``track.jsonl``: to a logger that is open already, whoever's it is."""

from collections.abc import Callable
from math import isfinite
from typing import Any

from landscape.results import Analysis

Log = Callable[[dict[str, float], int], None]


def scalars_of(analysis: Analysis) -> dict[str, float]:
    """The values of a point by "landscape/SPLIT/METRIC"; what could not be measured is left out.

    Example:
        >>> from landscape.results import Measurement
        >>> scalars_of(Analysis({"train": {"lambda_max": Measurement("lambda_max", 25.0)}}))
        {'landscape/train/lambda_max': 25.0}
    """
    return {
        f"landscape/{split}/{name}": one.value
        for split, found in analysis.splits.items()
        for name, one in found.items()
        if isfinite(one.value)
    }


def log_to(logger: Any) -> Log:
    """The function (scalars, step) that writes to a logger: a ``SummaryWriter``, a W&B run, a logger of Lightning's.

    Raises:
        ValueError: it is none of these, and no function.

    Example:
        >>> log_to(lambda scalars, step: print(step, scalars))({"landscape/train/loss": 0.5}, 10)
        10 {'landscape/train/loss': 0.5}
    """
    if hasattr(logger, "add_scalar"):

        def write(scalars: dict[str, float], step: int) -> None:
            for name, value in scalars.items():
                logger.add_scalar(name, value, step)

        return write
    if hasattr(logger, "log_metrics"):
        return lambda scalars, step: logger.log_metrics(scalars, step=step)
    if callable(getattr(logger, "log", None)):
        return lambda scalars, step: logger.log(scalars, step=step)
    if callable(logger):
        return logger
    raise ValueError(
        f"log is {type(logger).__name__}. Expected a function of (scalars, step), a SummaryWriter or a wandb run."
    )
