"""Arguments that come from a file or a command line, checked before they are used."""

from collections.abc import Mapping
from inspect import Parameter
from typing import Any

_ACCEPTED: dict[Any, tuple[type, ...]] = {int: (int,), float: (int, float), str: (str,), bool: (bool,)}


def refuse_unfit(what: str, args: Mapping[str, Any], expected: Mapping[str, Parameter]) -> None:
    """Raise ValueError for an argument that is not expected, or is not of the plain type that it is annotated with.

    Example:
        >>> import inspect
        >>> def build(*, width: int = 16): ...
        >>> refuse_unfit("model 'cnn'", {"width": "wide"}, inspect.signature(build).parameters)
        Traceback (most recent call last):
        ValueError: model 'cnn': width='wide' is of type str. Expected int.
    """
    for name, value in args.items():
        if name not in expected:
            raise ValueError(f"{what} does not take '{name}'. Expected arguments: {', '.join(expected) or 'none'}.")
        annotation = expected[name].annotation
        fits = _ACCEPTED.get(annotation)
        if fits and (not isinstance(value, fits) or (isinstance(value, bool) and annotation is not bool)):
            raise ValueError(
                f"{what}: {name}={value!r} is of type {type(value).__name__}. Expected {annotation.__name__}."
            )
