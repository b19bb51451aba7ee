"""What an objective is a function of, beside its parameters: work is taken for done only where that is the same.

A fingerprint is plain values, as JSON holds them:

    data       by split: the hash of its inputs and targets, however they are cut, and wherever they were read
    loss       its name and arguments; of a function, its source and what it closes over
    model      its name and arguments, or its structure
    mode, dtype
    statistics the data of which batch statistics were re-estimated, in that mode
    problem    of a problem file: the function that was asked for, and the text of what it imports of one's own
    state      buffers and frozen weights, where that is not told by a checkpoint's hash
    data_spec  what the data were loaded by: it decides nothing, since folders move, and says what changed in words
    sample     of which it was drawn, where one was asked for: data of two samples differ as they should
"""

import re
from collections.abc import Iterable, Mapping
from functools import partial
from types import FunctionType, MethodType
from typing import Any

from torch import nn

from landscape.content import DataHash, attributes, digest, finite, without_addresses
from landscape.eager import uncompiled

Fingerprint = dict[str, Any]
_LONG = 60  # characters of a value in a message


def of_data(data: Iterable[Any]) -> str:
    """The hash of all batches, in one pass; data that know their own (``content_hash``) are asked.

    Example:
        >>> import torch
        >>> x = torch.arange(4.0)
        >>> of_data([(x, x)]) == of_data([(x[:3], x[:3]), (x[3:], x[3:])]) != of_data([(x, x + 1)])
        True
    """
    if hasattr(data, "content_hash"):
        return str(data.content_hash())
    total = DataHash()
    for batch in data:
        total.add(batch)
    return total.hexdigest()


def of_loss(loss: Any, *, weight: Any = None, model: nn.Module | None = None) -> Fingerprint:
    """The name of a loss and its arguments, what is no plain value by its hash; ``model`` in it is passed over.

    Example:
        >>> of_loss(nn.MSELoss())
        {'name': 'MSELoss', 'reduction': 'mean'}
    """
    told = {} if weight is None else {"weight": digest(weight, without=model)}
    if isinstance(loss, (FunctionType, MethodType, partial)):
        return {"name": getattr(loss, "__qualname__", "partial"), "source": digest(loss, without=model), **told}
    if not type(loss).__module__.startswith("torch."):
        told["source"] = digest(type(loss))
    own = {key: value for key, value in attributes(loss).items() if model is None or value is not model}
    return {"name": type(loss).__name__, **told} | {key: _word(own[key], model) for key in sorted(own)}


def of_model(model: nn.Module) -> Fingerprint:
    """The structure of a model, where its name and arguments are not known."""
    return {"structure": digest(without_addresses(repr(uncompiled(model))))}


def of_splits(of_each: Mapping[str, Fingerprint]) -> Fingerprint:
    """The fingerprint of several objectives of one model and loss, each of whose ``data`` is one hash.

    Example:
        >>> of_splits({"train": {"data": "a", "mode": "eval"}, "test": {"data": "b", "mode": "eval"}})
        {'data': {'train': 'a', 'test': 'b'}, 'mode': 'eval'}
    """
    first = next(iter(of_each.values()))
    return {**first, "data": {split: one["data"] for split, one in of_each.items()}}


def united(told: Iterable[Any]) -> Fingerprint:
    """The fingerprint of several splits, each of whose ``data`` is a hash by split.

    Example:
        >>> united([{"data": {"train": "a"}}, {"data": {"test": "b"}}, None])
        {'data': {'train': 'a', 'test': 'b'}}
    """
    known = [one for one in told if isinstance(one, Mapping)]
    whole = {key: value for one in reversed(known) for key, value in one.items()}
    return {**whole, "data": {split: value for one in known for split, value in _part(one, "data").items()}}


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between two fingerprints, in words; what only one of them tells is passed over.

    Example:
        >>> then = {"data": {"test": "a"}, "loss": {"name": "CrossEntropyLoss", "label_smoothing": 0.0}}
        >>> differences(then, then | {"loss": {"name": "CrossEntropyLoss", "label_smoothing": 0.1}})
        ['label_smoothing of the loss (0.0 then, 0.1 now)']
    """
    specs = [as_arguments(_part(one, "data_spec")) for one in (then, now)]
    how = "".join(_values(*pair, key) for key, pair in _changed(*specs) if key not in ("path", "clean"))
    asked_alike = _part(then, "sample") == _part(now, "sample")
    data = _changed(_part(then, "data"), _part(now, "data")) if asked_alike else []
    found = [f"the data of split {split}{how}" for split, _ in data]
    for part in ("loss", "model"):
        changed = _changed(_part(then, part), _part(now, part))
        found += [f"{key} of the {part}{_values(*pair)}" for key, pair in changed]
    problems = [_part(one, "problem") for one in (then, now)]
    names = [{key: value for key, value in one.items() if key == "function"} for one in problems]
    found += [f"the function of the problem file{_values(*pair)}" for _, pair in _changed(*names)]
    if all(files := [_part(one, "files") for one in problems]):
        found += [
            f"the text of {name}" for name in {**files[0], **files[1]} if files[0].get(name) != files[1].get(name)
        ]
    words = {"mode": "the mode", "dtype": "the dtype", "state": "buffers or frozen weights of the model"}
    words["statistics"] = "the data of batch statistics"
    of_whole = [{key: one[key] for key in words if key in one} for one in (then, now) if isinstance(one, Mapping)]
    return found + [
        f"{words[key]}{_values(*pair)}" for key, pair in (_changed(*of_whole) if len(of_whole) == 2 else [])
    ]


def refuse_other(where: Any, then: Mapping[str, Any], now: Mapping[str, Any], remedy: str) -> None:
    """Raise ValueError, naming them and what to do, where there are differences.

    Example:
        >>> refuse_other("run/last.pt", {"mode": "eval"}, {"mode": "train"}, "Choose another folder.")
        Traceback (most recent call last):
        ValueError: run/last.pt: is of something else: the mode (eval then, train now). Choose another folder.
    """
    if found := differences(then, now):
        raise ValueError(f"{where}: is of something else: {'; '.join(found)}. {remedy}")


def as_arguments(spec: Mapping[str, Any] | None) -> Fingerprint:
    """{"name": ..., "args": {...}} as one."""
    return {"name": spec.get("name"), **_part(spec, "args")} if spec else {}


def _part(of: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """What a fingerprint, which may have been read from a file, says of something; nothing where that is no mapping."""
    part = of.get(key) if isinstance(of, Mapping) else None
    return _json(part) if isinstance(part, Mapping) else {}


def _changed(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[tuple[str, tuple[Any, Any]]]:
    """What both have, and is not the same."""
    return [(key, (then[key], now[key])) for key in then if key in now and then[key] != now[key]]


def _json(value: Any) -> Any:
    """As JSON has it, which knows no tuples."""
    if isinstance(value, Mapping):
        return {str(key): _json(item) for key, item in value.items()}
    return [_json(item) for item in value] if isinstance(value, (list, tuple)) else value


def _word(value: Any, model: nn.Module | None) -> Any:
    return finite(value) if not isinstance(value, nn.Module) else digest(value, without=model)


def _values(then: Any, now: Any, key: str = "") -> str:
    """In brackets, but for hashes, which say nothing."""
    if any(isinstance(one, str) and re.fullmatch("[0-9a-f]{32}", one) for one in (then, now)):
        return ""
    texts = [text if len(text := str(one)) <= _LONG else f"{text[: _LONG - 3]}..." for one in (then, now)]
    return f" ({key}{' ' if key else ''}{texts[0]} then, {texts[1]} now)"
