"""Put the weights of a file into a model, where they are the model's: every name, shape and kind of number.

What a writer rightly leaves out may be missing: one of two names of a tied weight, and counts of batches. What a model
does not save may be there: a buffer of its own value. Nothing is forced: numbers of another kind (integers, quantized,
complex) are refused, and where numbers are rounded into a narrower dtype a warning says so.
"""

import re
import warnings
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from landscape.checkpoint.names import Match, match_names
from landscape.text import first_few

_COUNTS = ("num_batches_tracked", "n_averaged")  # of batches and of models, which change no output


def fitted(model: nn.Module, found: Mapping[str, Any]) -> dict[str, Any]:
    """The state dict for the model, from that of a file.

    Args:
        model: which is left as it is.
        found: tensors by name.

    Raises:
        ValueError: they are not the model's; says which are missing, unexpected or of another shape or kind.
    """
    expected = model.state_dict()
    if empty := [name for name, value in expected.items() if isinstance(value, Tensor) and value.is_meta]:
        raise ValueError(f"{first_few(empty)} of the model are on meta, where no weights can be: build it on a device")
    ties = _ties(expected)

    def fits(names: dict[str, str]) -> bool:
        there = all(not tied.isdisjoint(names) or _is_count(name) for name, tied in ties.items())
        return there and not any(_misfit(name, expected[name], found[theirs]) for name, theirs in names.items())

    match = match_names(found, expected, fits)
    if not fits(match.found):
        found = _renamed(model, found, match)
        match = match_names(found, expected, fits)
    own = dict(model.named_buffers())
    ignored = getattr(model, "_keys_to_ignore_on_load_unexpected", None) or ()  # what models of transformers know of
    stray = [
        name
        for name in match.inside
        if not _is_count(name)
        and not _is_own(own, name, found[name], match)
        and not any(re.search(pattern, name) for pattern in ignored)
    ]
    missing = [name for name, tied in ties.items() if tied.isdisjoint(match.found) and not _is_count(name)]
    pairs = {name: (expected[name], found[theirs]) for name, theirs in match.found.items()}
    wrong = [words for name, pair in pairs.items() if (words := _misfit(name, *pair))]
    if missing or stray or wrong:
        listed = {
            "": wrong,
            "missing: ": [f"{name} {_shape(expected[name])}" for name in missing],
            "unexpected: ": [f"{name} {_shape(found[name])}" for name in stray],
        }
        raise ValueError("; ".join(kind + first_few(names) for kind, names in listed.items() if names))
    unequal = [(name, *_unlike(name, ties[name], pairs)) for name in pairs]
    if torn := next(((name, other) for name, *others in unequal for other in others), None):
        raise ValueError(f"{torn[0]} and {torn[1]} are one weight in the model, and two in the file")
    if unused := [name for name in match.outside if not _is_count(name)]:
        warnings.warn(f"The weights are those under {match.prefix!r}; not used: {first_few(unused)}.", stacklevel=4)
    _warn_of_rounding(pairs)
    loaded = {name: theirs for name, (_, theirs) in pairs.items()}
    for name, tied in ties.items():  # which a strict load wants to see
        if name not in loaded:
            loaded[name] = next((loaded[other] for other in tied if other in loaded), expected[name])
    return loaded


def _renamed(model: nn.Module, found: Mapping[str, Any], match: Match) -> dict[str, Any]:
    """The weights under the names that the model's own hooks give them, as it loads those of its older versions."""
    state = {name.removeprefix(match.prefix): found[name] for name in (*match.found.values(), *match.inside)}
    before = set(state)
    with suppress(Exception):  # of weights of another model a hook may make nothing
        for prefix, module in model.named_modules(remove_duplicate=False):
            for hook in list(module._load_state_dict_pre_hooks.values()):
                hook(state, prefix + "." * bool(prefix), {}, True, [], [], [])
        if state.keys() != before:
            return state
    return dict(found)


def _ties(state: Mapping[str, Any]) -> dict[str, set[str]]:
    """For each name those that share its memory, itself among them."""
    groups: dict[Any, set[str]] = {}
    keys = {name: _place(name, value) for name, value in state.items()}
    for name, key in keys.items():
        groups.setdefault(key, set()).add(name)
    return {name: groups[key] for name, key in keys.items()}


def _place(name: str, value: Any) -> Any:
    if not isinstance(value, Tensor) or value.layout != torch.strided or not value.numel() or value.is_meta:
        return name
    return value.data_ptr(), value.shape, value.stride(), value.dtype


def _misfit(name: str, expected: Any, found: Any) -> str:
    if not isinstance(expected, Tensor):
        return ""  # what a module adds of its own
    if not isinstance(found, Tensor) or (found.shape != expected.shape and not is_lazy(expected)):
        return f"{name} is {_shape(found)}, expected {_shape(expected)}"
    if _kind(found) != _kind(expected) and not _is_count(name):
        return f"{name} is {_kind(found)} ({_dtype(found)}), expected {_dtype(expected)} {_shape(expected)}"
    return ""


def _kind(tensor: Tensor) -> str:
    if tensor.is_quantized or tensor.layout != torch.strided:
        return "quantized" if tensor.is_quantized else str(tensor.layout).removeprefix("torch.")
    return "complex" if tensor.is_complex() else "floating" if tensor.is_floating_point() else "integer"


def _warn_of_rounding(pairs: Mapping[str, tuple[Any, Any]]) -> None:
    """Raises ValueError where a number has no place in the model's dtype at all."""
    rounded = []
    for name, (expected, found) in pairs.items():
        if not isinstance(expected, Tensor) or expected.dtype == found.dtype or _kind(expected) != _kind(found):
            continue
        widest = {"complex": torch.complex128, "floating": torch.float64, "integer": torch.int64}[_kind(found)]
        before, after = found.to(widest), found.to(expected.dtype).to(widest)
        if not _equal(before, after):
            if _kind(found) == "integer" or not torch.equal(before.isfinite(), after.isfinite()):
                raise ValueError(f"{name} has numbers of {_dtype(found)} that {_dtype(expected)}, the model's, has not")
            rounded.append(name)
    if rounded:
        expected, found = pairs[rounded[0]]
        words = f"{len(rounded)} tensors are rounded from {_dtype(found)} to {_dtype(expected)}, the model's: "
        warnings.warn(f"{words}{first_few(rounded)}.", stacklevel=5)


def _unlike(name: str, tied: set[str], pairs: Mapping[str, tuple[Any, Any]]) -> list[str]:
    """The other names of a weight under which the file has other numbers."""
    others = [other for other in sorted(tied) if other in pairs and other > name]
    mine = pairs[name][1]
    return [other for other in others if not _same(mine, pairs[other][1])]


def _same(one: Any, other: Any) -> bool:
    if not isinstance(one, Tensor) or (one.data_ptr() == other.data_ptr() and one.stride() == other.stride()):
        return True
    return _equal(one, other)


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and bool(((one == other) | (one.isnan() & other.isnan())).all())


def _is_own(buffers: Mapping[str, Tensor], name: str, found: Any, match: Match) -> bool:
    """Whether a tensor that the model does not save is a buffer that it has, of the same value."""
    bare = name.removeprefix(match.prefix)
    mine = next((value for own, value in buffers.items() if own in (name, bare) or own.endswith(f".{bare}")), None)
    if mine is None or not isinstance(found, Tensor) or mine.shape != found.shape or _kind(mine) != _kind(found):
        return False
    return _kind(found) in ("floating", "integer") and _equal(mine.to(found.dtype), found)


def _is_count(name: str) -> bool:
    return name.rpartition(".")[2] in _COUNTS


def _shape(value: Any) -> str:
    return str(tuple(value.shape)) if isinstance(value, Tensor) else type(value).__name__


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
