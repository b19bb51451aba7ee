"""Where in the object of a file the weights are: a state dict, alone or in wrappers of any depth.

A state dict is tensors by name. A file may hold several: weights beside their average, a generator beside a
discriminator. The usual one of a single model is taken, its average is not, and the others are named; where the choice
is the user's it is asked for, as ``--key``.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from landscape.checkpoint.containers import Opened
from landscape.checkpoint.inert import Inert
from landscape.checkpoint.stored import Stored
from landscape.forms import AT_LEAST_0
from landscape.reading import FileError
from landscape.text import first_few

_DEPTH = 20
_KEYS = 8  # in a message
_EXPECTED = "Expected tensors by name, alone or in dicts, as torch.save(model.state_dict(), PATH) writes them."
_USUAL = {"state_dict", "model", "model_state_dict", "net", "network", "params", "weights", "model_state", "module"}
_USUAL |= {"state", "net_state_dict", "model_weights", "network_state_dict", "checkpoint", "student", "online_model"}
_AVERAGED = ("ema", "swa", "average", "averaged", "shadow", "polyak")
_SWAPPED = {"current_model_state", "averaging_state"}  # beside these Lightning has the average as "state_dict"
_OPTIMIZER = {"state", "param_groups"}
_TRAINING = ("optim", "sched", "scaler", "rng", "random", "callback", "loop", "buffer_state", "sampler", "lr_")


class Weights(NamedTuple):
    """The state dict that was taken.

    Attributes:
        state: its entries by name.
        key: where it was, "ema.state_dict"; "" where it is all there is.
        others: where others are.
        beside: names that stand in it and are no tensors: an epoch, settings.
    """

    state: dict[str, Any]
    key: str
    others: tuple[str, ...]
    beside: tuple[str, ...] = ()


class NoWeightsError(ValueError):
    """There is no state dict; the message says which there are elsewhere."""


class SeveralWeightsError(NoWeightsError):
    """There are several state dicts, of which none is the usual one; the message names them."""


def find_weights(content: Any, key: str | None = None) -> Weights:
    """The state dict in the object of a file.

    Args:
        content: the object.
        key: where it is, with dots between the keys on the way and, in the state dict, for the prefix of the names
            wanted; None for the usual one.

    Raises:
        NoWeightsError: there is none, or no usual one among several.

    Example:
        >>> from landscape.checkpoint.stored import Storage
        >>> w = Stored("float32", (2,), Storage(None, 8))
        >>> find_weights({"epoch": 3, "model": {"w": w}, "ema": {"w": w}})[1:]
        ('model', ('ema',), ())
    """
    if key is not None:
        return _at_key(content, key)
    found = _all(content)
    if not found:
        raise NoWeightsError("holds no state dict")
    if len(found) == 1:
        (one,) = found
    else:
        swapped = content.keys() >= _SWAPPED if isinstance(content, dict) else False
        plain = [path for path in found if not any(_is_averaged(word) for word in path)]
        plain = [path for path in plain if not (swapped and path == ("state_dict",))] or plain
        usual = [path for path in plain if all(word in _USUAL for word in path)] or plain
        if len(usual) != 1:
            names = first_few([".".join(path) or "the file itself" for path in found], _KEYS)
            raise SeveralWeightsError(f"holds more than one state dict: {names}. Choose one with --key")
        (one,) = usual
    others = tuple(".".join(path) or "the file itself" for path in found if path != one)
    return _weights(found[one], ".".join(one), others)


def training_facts(content: Any) -> dict[str, int]:
    """The numbers "epoch" and "step", as the object of a file names them, if it says them.

    Example:
        >>> training_facts({"epoch": 2.5, "global_step": 100})
        {'epoch': 2, 'step': 100}
    """
    said = content if isinstance(content, dict) else {}
    step = next((said[name] for name in ("global_step", "step", "iteration") if name in said), None)
    numbers: dict[str, Any] = {"epoch": said.get("epoch"), "step": step}
    return {name: int(value) for name, value in numbers.items() if AT_LEAST_0.holds(value) and value < 2**63}


def weights_of(path: Path, opened: Opened, key: str | None = None) -> Weights:
    """``find_weights`` in what was opened at ``path``. Raises FileError where there are none, saying what there is."""
    content, left_out = opened.content, opened.left_out
    try:
        return find_weights(content, key)
    except SeveralWeightsError as error:
        raise FileError(f"{path}: {error}.") from error
    except NoWeightsError as error:
        if left_out and key is None:
            names = first_few(left_out)
            raise FileError(
                f"{path}: is refused: reading it would run {names}. If you trust it, load it where it was made and "
                "save model.state_dict() alone, or read it with --trust-checkpoint."
            ) from error
        if not isinstance(content, dict):
            kind = "Tensor" if isinstance(content, Stored) else type(content).__name__
            raise FileError(f"{path}: holds a {kind}, not a state dict. {_EXPECTED}") from error
        keys = (
            f"; its top-level keys: {first_few([str(one) for one in content], _KEYS) or 'none'}" if key is None else ""
        )
        raise FileError(f"{path}: {error}{keys}. {_EXPECTED}") from error


def is_state_dict(value: Any) -> bool:
    """Whether it is tensors by name; a module may add an object of its own under a name with ``_extra_state``."""
    items = _mapping(value)
    return (
        items is not None
        and any(isinstance(item, Stored) for item in items.values())
        and all(isinstance(key, str) for key in items)
        and all(isinstance(item, Stored) or key.endswith("_extra_state") for key, item in items.items())
    )


def _all(content: Any) -> dict[tuple[str, ...], Mapping[str, Any]]:
    """All state dicts that belong to no optimizer, by the keys on the way.

    Numbers by name (losses, statistics) are none beside others. Tensors among other things (an epoch, settings, in the
    same dict) are one where there is no usual one and their names, or where they are, say so; or where nothing else is.
    """
    found, mixed = _state_dicts(content)
    once = {id(state): state for state in found.values()}
    has_axes = {one: any(_has_axes(item) for item in state.values()) for one, state in once.items()}
    large = {way: state for way, state in found.items() if has_axes[id(state)]}
    if any(all(word in _USUAL for word in way) for way in large):
        return large
    dotted = {
        way: state for way, state in mixed.items() if any(map(_has_axes, state.values())) and _is_named(way, state)
    }
    return large | dotted or {way: state for way, state in mixed.items() if not _has_inert(state)} or found


def _state_dicts(content: Any) -> tuple[dict[tuple[str, ...], Mapping[str, Any]], ...]:
    """Those of tensors alone, and those where tensors are more than half."""
    level: list[tuple[tuple[str, ...], Any]] = [((), content)]
    seen: set[int] = set()
    states: dict[int, Mapping[str, Any]] = {}
    found: dict[tuple[str, ...], Mapping[str, Any]] = {}
    mixed: dict[tuple[str, ...], Mapping[str, Any]] = {}
    for _ in range(_DEPTH):
        inner = []
        for path, node in level:
            if states.get(id(node)):
                found[path] = states[id(node)]  # under another name
            if id(node) in seen:
                continue
            seen.add(id(node))
            items = _mapping(node) or {}
            if is_state_dict(node):
                found[path] = states[id(node)] = items
                continue
            if 2 * len(_tensors(items)) > len(items):
                mixed[path] = items
            for name, value in items.items() if not items.keys() >= _OPTIMIZER else ():
                if isinstance(name, str) and not any(word in name.lower() for word in _TRAINING):
                    inner.append(((*path, name), value))
        level = inner
    return found, mixed


def _weights(items: Mapping[Any, Any], key: str, others: tuple[str, ...]) -> Weights:
    if is_state_dict(items):
        return Weights(dict(items), key, others)
    tensors = _tensors(items)
    return Weights(tensors, key, others, tuple(str(name) for name in items if name not in tensors))


def _tensors(items: Mapping[Any, Any]) -> dict[str, Any]:
    return {name: item for name, item in items.items() if isinstance(name, str) and isinstance(item, Stored)}


def _is_named(way: tuple[str, ...], state: Mapping[str, Any]) -> bool:
    return any("." in name for name in _tensors(state)) or (way != () and all(word in _USUAL for word in way))


def _has_inert(items: Mapping[Any, Any]) -> bool:
    return any(isinstance(item, Inert) for item in items.values())


def _has_axes(item: Any) -> bool:
    return isinstance(item, Stored) and item.shape != ()


def _at_key(content: Any, key: str) -> Weights:
    found = _all(content)
    others = tuple(".".join(path) for path in found if ".".join(path) != key)
    for path, node in _nodes_at(content, key):
        if is_state_dict(node):
            return Weights(dict(_mapping(node) or {}), path, others)
        inner = _all(node)
        if len(inner) == 1:
            ((below, state),) = inner.items()
            return _weights(state, ".".join(filter(None, (path, *below))), others)
    inside = {}  # a prefix of the names in a state dict
    for way, state in found.items():
        before = ".".join((*way, ""))
        if entries := _under(key.removeprefix(before) + ".", state):
            inside[key.startswith(before), way] = entries
    within = [entries for (is_there, _), entries in inside.items() if is_there] or list(inside.values())
    if len(within) == 1:
        return Weights(within[0], key, others)
    names = first_few([".".join(path) or "the file itself" for path in found], _KEYS) or "none"
    raise NoWeightsError(f"has no state dict at --key {key}; there are: {names}")


def _under(prefix: str, state: Mapping[str, Any]) -> dict[str, Any]:
    """The entries whose names begin so, or all after one and the same beginning, as wrappers put it there."""
    tops = {name[: -len(rest) - len(prefix)] for name in state if (rest := f".{name}".partition(f".{prefix}")[2])}
    top = "" if "" in tops else next(iter(tops)) if len(tops) == 1 else None
    if top is None:
        return {}
    return {name.removeprefix(top + prefix): item for name, item in state.items() if name.startswith(top + prefix)}


def _nodes_at(content: Any, key: str, path: str = "") -> Iterator[tuple[str, Any]]:
    """What is at the end of the dotted path, whose keys may have dots themselves."""
    if not key:
        yield path, content
        return
    entries = enumerate(content) if isinstance(content, (list, tuple)) else (_mapping(content) or {}).items()
    for name, value in ((str(name), value) for name, value in entries if isinstance(name, (str, int))):
        if key == name or key.startswith(f"{name}."):
            yield from _nodes_at(value, key[len(name) + 1 :], f"{path}.{name}" if path else name)


def _mapping(value: Any) -> Mapping[Any, Any] | None:
    """The entries of a dict, or of an object that would have been one."""
    if isinstance(value, Inert):
        return value.items or None  # of none it is none
    return value if isinstance(value, dict) else None


def _is_averaged(word: str) -> bool:
    return any(part in _AVERAGED for part in word.lower().replace("-", "_").split("_"))
