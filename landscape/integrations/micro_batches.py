"""Micro-batches that are run once a pass: each pass gets them as the loop gave them."""

import copy
from collections.abc import MutableMapping
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree


def fresh(batch: Any) -> Any:
    """A copy of which a training step may change containers and tensors: ``batch.pop("labels")``, ``x.div_(255)``.

    Example:
        >>> import torch
        >>> batch = {"x": [torch.ones(2)], "name": "a"}
        >>> _ = fresh(batch).pop("name"), fresh(batch)["x"][0].zero_()
        >>> batch
        {'x': [tensor([1., 1.])], 'name': 'a'}
    """
    return pytree.tree_map(_own, batch)


def _own(leaf: Any) -> Any:
    if isinstance(leaf, Tensor):
        return leaf.detach().clone().requires_grad_(leaf.requires_grad)
    if callable(getattr(leaf, "clone", None)):  # a graph
        return leaf.clone()
    try:
        own = copy.copy(leaf)
    except Exception:  # what cannot be copied is handed on as it is
        return leaf
    if isinstance(own, MutableMapping):  # of a tokenizer
        own.update({name: fresh(value) for name, value in own.items()})
    elif is_dataclass(own) and not isinstance(own, type):
        for field in fields(own):
            object.__setattr__(own, field.name, fresh(getattr(own, field.name)))
    return own
