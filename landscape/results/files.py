"""A document as JSON beside its arrays as npz: each file is written whole or not at all, and read back with reasons.

JSON has no NaN or infinity: they are written as null. Arrays keep them, and are never pickled.
"""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


def write(
    document_path: Path, document: Mapping[str, Any], arrays_path: Path, arrays: Mapping[str, np.ndarray]
) -> Path:
    """Write both files, the arrays first, and return the path of the document; their directory is made."""
    document_path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(plain(document), indent=1, allow_nan=False, ensure_ascii=False)
    parts = {path: path.with_name(f"{path.name}.part") for path in (arrays_path, document_path)}
    with parts[arrays_path].open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
    parts[document_path].write_text(text + "\n", encoding="utf-8")
    for path, part in parts.items():
        os.replace(part, path)
    return document_path


def read_document(path: Path, schema: str | tuple[str, ...], writer: str) -> dict[str, Any]:
    """The document at ``path``.

    Raises:
        ValueError: where it is missing, is no JSON, or has another schema.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}. Expected a directory written by {writer}.") from error
    except ValueError as error:
        raise ValueError(f"{path}: not valid JSON ({error}). Measure again.") from error
    schemas = (schema,) if isinstance(schema, str) else schema
    if not isinstance(document, dict) or document.get("schema") not in schemas:
        found = document.get("schema") if isinstance(document, dict) else type(document).__name__
        raise ValueError(f"{path}: schema is {found!r}. Expected {' or '.join(map(repr, schemas))}.")
    return document


def plain(value: Any) -> Any:
    """The value in JSON's own types: NaN and infinity become null.

    Example:
        >>> plain({"a": (1, np.float64(2.5)), "b": math.inf})
        {'a': [1, 2.5], 'b': None}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
