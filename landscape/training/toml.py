"""Write plain values as TOML, which `tomllib` reads and does not write."""

import json
import re
from typing import Any


def to_toml(values: dict[str, Any]) -> str:
    """Return one line ``key = value`` for each item; tables within are inline.

    Args:
        values: By name: strings, numbers, booleans, lists and tuples (both become arrays), and dicts of these.

    Raises:
        ValueError: A value of another type, None among them, which TOML cannot say; leave the key out.

    Example:
        >>> print(to_toml({"model": "cnn", "lr": 0.1, "optimizer_args": {"rho": 0.05, "betas": (0.9, 0.99)}}), end="")
        model = "cnn"
        lr = 0.1
        optimizer_args = {rho = 0.05, betas = [0.9, 0.99]}
    """
    return "".join(f"{_key(key)} = {_value(value)}\n" for key, value in values.items())


def _value(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case int() | float():
            return str(value)
        case str():
            return _string(value)
        case list() | tuple():
            return f"[{', '.join(map(_value, value))}]"
        case dict():
            return f"{{{', '.join(f'{_key(key)} = {_value(item)}' for key, item in value.items())}}}"
    raise ValueError(f"{value!r} cannot be written as TOML. Expected strings, numbers, booleans, and lists or dicts.")


def _key(key: str) -> str:
    return key if re.fullmatch("[A-Za-z0-9_-]+", key) else _string(key)


def _string(text: str) -> str:
    # JSON's strings are TOML's, but for DEL, which JSON does not escape.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
