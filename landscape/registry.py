"""What files and command lines ask for by name: found, and its arguments checked, before it is called."""

import inspect
from collections.abc import Callable, Mapping
from inspect import Parameter
from typing import Any, TypeVar

T = TypeVar("T")

_ACCEPTED: dict[Any, tuple[type, ...]] = {int: (int,), float: (int, float), str: (str,), bool: (bool,)}


def find(table: Mapping[str, T], kind: str, name: str) -> T:
    """What a table has under a name.

    Raises:
        ValueError: it has nothing, naming what it has.

    Example:
        >>> find({"cnn": 1, "mlp": 2}, "model", "resnet")
        Traceback (most recent call last):
        ValueError: model 'resnet' is unknown. Expected one of: cnn, mlp.
    """
    if name not in table:
        raise ValueError(f"{kind} '{name}' is unknown. Expected one of: {', '.join(table)}.")
    return table[name]


def options(function: Callable[..., Any], *given: str) -> dict[str, Parameter]:
    """The parameters of a function but for those that are given anyway."""
    return {name: one for name, one in inspect.signature(function).parameters.items() if name not in given}


def check(what: str, args: Mapping[str, Any], expected: Mapping[str, Parameter]) -> None:
    """Refuse arguments that do not fit.

    Raises:
        ValueError: one is not expected or is not of the plain type that it is annotated with, or one without a default
            is missing.

    Example:
        >>> def build(*, width: int = 16): ...
        >>> check("model 'cnn'", {"width": "wide"}, options(build))
        Traceback (most recent call last):
        ValueError: model 'cnn': width='wide' is of type str. Expected int.
    """
    words = f"Expected arguments: {', '.join(expected) or 'none'}."
    for name, value in args.items():
        if name not in expected:
            raise ValueError(f"{what} does not take '{name}'. {words}")
        annotation = expected[name].annotation
        fits = _ACCEPTED.get(annotation)
        if fits and (not isinstance(value, fits) or (isinstance(value, bool) and annotation is not bool)):
            raise ValueError(
                f"{what}: {name}={value!r} is of type {type(value).__name__}. Expected {annotation.__name__}."
            )
    if missing := [name for name, one in expected.items() if one.default is one.empty and name not in args]:
        raise ValueError(f"{what} needs {', '.join(missing)}. {words}")
