"""What the object in a checkpoint file may be: plain values and tensors that are there, within bounds.

A file can say more than it holds: a tensor whose strides are 0 has as many entries as its shape says, one list can
stand a billion times in others or in itself, and a description can ask for a model that no memory holds.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from landscape import __version__
from landscape.checkpoint.containers import Opened
from landscape.checkpoint.inert import Inert
from landscape.checkpoint.stored import Stored
from landscape.checkpoint.weights import is_state_dict
from landscape.forms import AT_LEAST_0, COUNT, NUMBER, OBJECT, SPEC, Kind, Maybe, is_ours, misfit, recipe
from landscape.reading import FileError, require_room

FORMAT = "landscape.checkpoint/1"
_SPECS: dict[str, type] = {"model": dict, "data": dict, "loss": dict}
_FIELDS = _SPECS | {"recipe": dict, "epoch": int, "step": int, "metrics": list, "state": dict}
_DEPTH = 100
_NODES = 1_000_000  # or as many as the file has bytes

_TENSOR = Kind("a tensor", lambda value: isinstance(value, Stored))
_NUMBER = Kind("a number", lambda value: NUMBER.holds(value) or (isinstance(value, Stored) and value.num_entries == 1))
_ROW = {"epoch?": COUNT, "step?": COUNT, "seconds?": AT_LEAST_0, "lr?": NUMBER}
_OPTIMIZER = {"state?": OBJECT, "param_groups?": [{"params": [COUNT], "lr?": _NUMBER}]}
_NAMED = Kind("arguments by name", lambda value: isinstance(value, dict) and all(isinstance(key, str) for key in value))
_OURS = {  # beside the state of the model
    **dict.fromkeys(("model", "data", "loss"), SPEC | {"args": _NAMED}),
    "recipe": recipe,
    "epoch": COUNT,
    "step": COUNT,
    "metrics": [OBJECT],
}


def require_plain(content: Any, num_bytes: int) -> None:
    """Refuse an object that is far more than the bytes of its file, or in which something stands within itself.

    Raises:
        ValueError: saying what.
    """
    level, num_nodes = [content], 1
    for _ in range(_DEPTH):
        for node in level:
            if isinstance(node, Stored):
                require_room(node.num_bytes, num_bytes)
        nodes = [_inside(node) for node in level if isinstance(node, (dict, list, tuple, Inert))]
        num_nodes += sum(map(len, nodes))
        if num_nodes > max(_NODES, num_bytes):
            raise ValueError("it holds more than its bytes can say")
        level = [item for node in nodes for item in (node.values() if isinstance(node, dict) else node)]
        if not level:
            return
    raise ValueError(f"it is nested more than {_DEPTH} deep")


def fields_of_ours(path: Path, opened: Opened) -> dict[str, Any] | None:
    """The fields of a checkpoint of ours; None of another object.

    Raises:
        FileError: it says that it is one of ours, and cannot be.
    """
    content, left_out = opened.content, opened.left_out
    tag = content.get("format") if isinstance(content, dict) else None
    if not isinstance(tag, str) or not tag.startswith("landscape.checkpoint/"):
        return None
    if tag != FORMAT:
        upgrade = "Upgrade with pip install --upgrade landscape-geometry"
        raise FileError(f"{path}: is of format {tag}, and landscape {__version__} reads {FORMAT}. {upgrade}.")
    wrong = [name for name, kind in _FIELDS.items() if not isinstance(content.get(name), kind)]
    wrong += [name for name in _SPECS if name not in wrong and not _is_spec(content[name])]
    if "state" not in wrong and not is_state_dict(content["state"].get("model")):
        wrong.append("state")
    if not isinstance(content.get("fingerprint", {}), dict):  # which checkpoints used not to have
        wrong.append("fingerprint")
    remedy = "Write it with landscape.save_checkpoint"
    if left_out:
        names = ", ".join(left_out)
        raise FileError(f"{path}: is of format {FORMAT} and names {names}, which ours never does. {remedy}.")
    if wrong:
        fields = ", ".join(wrong)
        raise FileError(f"{path}: is of format {FORMAT} but has missing or malformed fields: {fields}. {remedy}.")
    if impossible := misfit_of_ours(content):
        raise FileError(f"{path}: {impossible}. {remedy}.")
    return {name: content[name] for name in _FIELDS} | {"fingerprint": content.get("fingerprint", {})}


def misfit_of_ours(content: Mapping[str, Any]) -> str:
    """What a checkpoint of ours says of itself and cannot be; "" where there is nothing."""
    said, state = content["recipe"], content["state"]
    wrong = misfit(content, _OURS) or misfit(state, {"optimizer?": Maybe(_OPTIMIZER), "rng?": Maybe(OBJECT)}, "state")
    if not wrong and COUNT.holds(said.get("epochs")) and content["epoch"] > said["epochs"]:
        wrong = f"epoch is {content['epoch']}, of {said['epochs']} in its recipe"
    if not wrong and is_ours(said):
        wrong = misfit(content, {"metrics": [_ROW], "state": {"rng?": Maybe({"torch": _TENSOR})}})
    if isinstance(said.get("lr"), str):
        wrong = wrong or f"recipe.lr is {said['lr']!r}, expected a number"
    return wrong


def told(value: Any) -> Any:
    """What a checkpoint says, as results can quote it: what JSON has no word for in Python's words.

    Example:
        >>> told({"lr": (0.1, {1}), 3: 10**30})
        {'lr': (0.1, '{1}'), '3': '1000000000000000000000000000000'}
    """
    if isinstance(value, dict):
        return {str(key): told(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(told, value)) if type(value) in (list, tuple) else list(map(told, value))
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    is_plain = value is None or isinstance(value, (bool, float)) or (isinstance(value, int) and abs(value) < 2**63)
    return value if is_plain else repr(value)


def _inside(node: Any) -> Any:
    return (node.args, node.state, node.items, node.entries) if isinstance(node, Inert) else node


def _is_spec(value: Mapping[str, Any]) -> bool:
    return isinstance(value.get("name"), str) and isinstance(value.get("args"), dict)
