"""Datasets by name, so that a checkpoint can say what it was trained on."""

import inspect
from collections.abc import Callable
from typing import Any

from landscape.data.digits import digits
from landscape.data.split import Data, Split

__all__ = ["DATA", "Data", "Split", "load_data"]

DATA: dict[str, Callable[..., Data]] = {"digits": digits}


def load_data(name: str, **args: Any) -> Data:
    """Load the dataset called `name`.

    Args:
        name: a key of `DATA`.
        args: what that reader takes; `digits` takes nothing.

    Raises:
        ValueError: the name is unknown, or the reader does not take these arguments.

    Example:
        >>> load_data("digits").train.inputs.shape
        torch.Size([1437, 1, 8, 8])
    """
    if name not in DATA:
        raise ValueError(f"data '{name}' is unknown. Expected one of: {', '.join(DATA)}.")
    expected = inspect.signature(DATA[name]).parameters
    for arg in args:
        if arg not in expected:
            raise ValueError(
                f"data '{name}' does not take '{arg}'. Expected arguments: {', '.join(expected) or 'none'}."
            )
    return DATA[name](**args)
