"""What a value from a file has to look like, said once as a form; ``misfit`` says where a value is not like it.

Kind                    a number, a text, ...: what it is called, and a test
{"a": form, "b?": form} an object with these keys, the latter if it is there; others are free
Each(form)              an object whose values are all of one form
[form]                  a list of such
Maybe(form)             null, or of the form
a function              of the value, that returns its form
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

_SHOWN = 40  # letters of a value in a message


class Kind(NamedTuple):
    """A plain value: what it is called in messages, and whether a value is one."""

    words: str
    holds: Callable[[Any], bool]


class Maybe(NamedTuple):
    """Null, or of the form."""

    form: Any


class Each(NamedTuple):
    """An object whose values are all of the form, under any keys."""

    form: Any


TEXT = Kind("a text", lambda value: isinstance(value, str))
BOOL = Kind("true or false", lambda value: isinstance(value, bool))
NUMBER = Kind("a finite number", lambda value: _is_number(value) and math.isfinite(value))
POSITIVE = Kind("a number above 0", lambda value: _is_number(value) and 0 < value < math.inf)
AT_LEAST_0 = Kind("a number of at least 0", lambda value: _is_number(value) and 0 <= value < math.inf)
COUNT = Kind(
    "a whole number of at least 0", lambda value: _is_number(value) and isinstance(value, int) and 0 <= value < 2**63
)
OBJECT = Kind("an object", lambda value: isinstance(value, dict))


def recipe(value: Any) -> Any:
    """The form of a recipe: of ours, which names all of these, or of anybody's, which is free.

    Example:
        >>> recipe({"lr": "cosine"}) is OBJECT
        True
    """
    return _RECIPE if is_ours(value) else OBJECT


def is_ours(recipe: Any) -> bool:
    """Whether a recipe has the fields of ours, and so must mean what they do."""
    return isinstance(recipe, dict) and recipe.keys() >= _RECIPE_OF_OURS


SPEC = {"name": TEXT, "args": OBJECT}  # a model, data or a loss
_RECIPE = {"model": TEXT, "model_args": OBJECT, "data": TEXT, "data_args": OBJECT, "optimizer": TEXT}
_RECIPE |= {"optimizer_args": OBJECT, "epochs": COUNT, "batch_size": COUNT, "lr": POSITIVE, "schedule": TEXT}
_RECIPE_OF_OURS = frozenset(_RECIPE)
_RECIPE |= {"momentum?": AT_LEAST_0, "weight_decay?": AT_LEAST_0, "seed?": COUNT, "warmup?": COUNT}


def misfit(value: Any, form: Any, at: str = "") -> str:
    """Where a value is not of its form, and what was expected there; "" where it is.

    Args:
        value: as it was read.
        form: see the module.
        at: where the value stands, in words.

    Example:
        >>> misfit({"a": [1, "x"]}, {"a": [NUMBER], "b?": TEXT})
        "a.1 is 'x', expected a finite number"
        >>> misfit({"a": []}, {"a": [NUMBER], "b?": TEXT}), misfit({}, {"a": [NUMBER]})
        ('', 'a is missing')
    """
    match form:
        case Kind(words, holds):
            return "" if holds(value) else _words(at, value, words)
        case Maybe(inner):
            return "" if value is None else misfit(value, inner, at)
        case Each(inner):
            form = dict.fromkeys(value, inner) if isinstance(value, Mapping) else {}
        case [inner]:
            if not isinstance(value, list):
                return _words(at, value, "a list")
            return next(filter(None, (misfit(item, inner, _under(at, i)) for i, item in enumerate(value))), "")
        case _ if callable(form):
            return misfit(value, form(value), at)
    if not isinstance(value, Mapping):
        return _words(at, value, "an object")
    for key, inner in form.items():
        name = key if key in value else key.removesuffix("?")
        if name in value:
            if found := misfit(value[name], inner, _under(at, name)):
                return found
        elif name == key:
            return f"{_under(at, name)} is missing"
    return ""


def misfit_arrays(arrays: Mapping[str, Any], shapes: Mapping[str, str]) -> str:
    """Where arrays of numbers have not the shapes that they must have beside each other; "" where they have.

    Args:
        arrays: by name; those without a shape are free.
        shapes: by name, a letter an axis: the same letter is the same length; a digit is that length.

    Example:
        >>> arrays = {"x": np.zeros(3), "y": np.zeros(2), "loss": np.zeros((2, 3))}
        >>> misfit_arrays(arrays, {"x": "n", "y": "m", "loss": "nm"})
        'loss has shape (2, 3), expected (3, 2)'
    """
    lengths = {str(digit): digit for digit in range(10)}
    for name, axes in shapes.items():
        if name not in arrays:
            continue
        array = arrays[name]
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
            return f"{name} is {getattr(array, 'dtype', type(array).__name__)}, expected an array of numbers"
        if array.ndim == len(axes):
            for axis, length in zip(axes, array.shape, strict=True):
                lengths.setdefault(axis, length)
        expected = tuple(lengths.get(axis, 0) for axis in axes)
        if array.shape != expected:
            return f"{name} has shape {array.shape}, expected {expected}"
    return ""


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _under(at: str, key: object) -> str:
    return f"{at}.{key}" if at else str(key)


def _words(at: str, value: Any, expected: str) -> str:
    shown = repr(value)
    return f"{at or 'it'} is {shown if len(shown) <= _SHOWN else shown[:_SHOWN] + '...'}, expected {expected}"
