"""How a model is called on a batch for a torch criterion, and which of what it returns is its output.

Batches are (inputs, targets), or mappings with "labels" whose other entries are arguments by name, as tokenizers and
collators of transformers make them. What a model returns may be an object or a mapping with ``logits``.
"""

import inspect
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

_OWN = "Give loss as a function loss(model, batch) that returns per-example losses."


def inputs_and_targets(batch: Any) -> tuple[Any, Any]:
    """The two parts of a batch.

    Raises:
        ValueError: it has not two; or its labels are of tokens, which some models shift and others do not.

    Example:
        >>> inputs_and_targets({"pixels": 1, "labels": 2})
        ({'pixels': 1}, 2)
    """
    if isinstance(batch, (tuple, list)) and len(batch) == 2:
        return batch[0], batch[1]
    if not isinstance(batch, Mapping) or "labels" not in batch:
        what = f"a {type(batch).__name__} without 'labels'" if isinstance(batch, Mapping) else type(batch).__name__
        raise ValueError(f"A batch is {what}, and a torch criterion needs (inputs, targets). {_OWN}")
    targets = batch["labels"]
    if isinstance(targets, Tensor) and targets.ndim == 2 and not targets.is_floating_point():
        raise ValueError(
            "A batch has labels of tokens, and a torch criterion does not say which logits they belong to. Give loss "
            "as a function that does: landscape.losses.token_losses(model(**batch).logits, batch['labels'], shift=...)"
            ", shifted for causal language models."
        )
    return {key: value for key, value in batch.items() if key != "labels"}, targets


def call(model: nn.Module, inputs: Any, *, by_name: bool = False) -> Any:
    """What the model returns; the entries of a mapping are arguments where asked, or where all are names of them."""
    if isinstance(inputs, Mapping) and (by_name or _are_arguments(model, inputs)):
        return model(**inputs)
    return model(inputs)


def output_of(returned: Any, targets: Any) -> Any:
    """The tensor that a criterion takes: ``logits``, of tokens with the classes in the second place, or what it is.

    Example:
        >>> import torch
        >>> output_of({"logits": torch.zeros(2, 3, 5)}, torch.zeros(2, 3, dtype=torch.long)).shape
        torch.Size([2, 5, 3])
    """
    has = isinstance(returned, Mapping) and "logits" in returned
    logits = returned["logits"] if has else getattr(returned, "logits", None)
    if isinstance(returned, Tensor) or not isinstance(logits, Tensor):
        return returned
    of_tokens = logits.ndim == 3 and isinstance(targets, Tensor) and logits.shape[:2] == targets.shape
    return logits.movedim(2, 1) if of_tokens else logits


def _are_arguments(model: nn.Module, inputs: Mapping[Any, Any]) -> bool:
    names = inspect.signature(model.forward).parameters
    return bool(inputs) and all(key in names for key in inputs)
