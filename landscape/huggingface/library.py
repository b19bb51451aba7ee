"""transformers and peft, imported when they are needed, without progress bars, reports and warnings."""

import importlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from landscape.reading import FileError

TASKS = {  # what the models that a list of transformers' names are for
    "causal": "CAUSAL_LM",
    "masked": "MASKED_LM",
    "seq2seq": "SEQ_TO_SEQ_CAUSAL_LM",
    "tokens": "TOKEN_CLASSIFICATION",
    "sequences": "SEQUENCE_CLASSIFICATION",
    "images": "IMAGE_CLASSIFICATION",
}
IN_WORDS = {
    "causal": "causal language model",
    "masked": "masked language model",
    "seq2seq": "sequence-to-sequence model",
    "tokens": "classifier of tokens",
    "sequences": "classifier of sequences",
    "images": "classifier of images",
}


def library(name: str = "transformers") -> Any:
    """The module. Raises FileError where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise FileError(f'{name} is not installed: pip install "landscape-geometry[hf]".') from error


@contextmanager
def quiet() -> Iterator[Any]:
    """transformers, while it prints nothing."""
    transformers = library()
    logging = transformers.utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield transformers
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def classes_of(task: str) -> dict[str, tuple[str, ...]]:
    """The names of the classes for a task, by the type of the model."""
    auto = importlib.import_module("transformers.models.auto.modeling_auto")
    names = getattr(auto, f"MODEL_FOR_{TASKS[task]}_MAPPING_NAMES")
    return {kind: (found,) if isinstance(found, str) else tuple(found) for kind, found in names.items()}


def classes_in(config: Any) -> dict[str, int]:
    """The numbers of the classes that a configuration names."""
    return config.label2id or {str(name): int(number) for number, name in (config.id2label or {}).items()}


def first_position(model: Any) -> int:
    """Where positions begin: behind the index of padding, where their embedding has one, as in RoBERTa."""
    embedded = next((module for name, module in model.named_modules() if name.endswith("position_embeddings")), None)
    padding = getattr(embedded, "padding_idx", None)
    return 0 if padding is None else int(padding) + 1


def no_loss(name: str) -> str:
    """The error message for a class that ``task_of`` does not know."""
    known = " or ".join(IN_WORDS.values())
    return (
        f"{name} has no loss that is known as a mean over tokens or examples. Expected a {known}. Give a function "
        "loss(model, batch) that returns per-example losses."
    )


def task_of(cls: type) -> str | None:
    """What a class, or the first of its bases for which that is known, is for; a key of ``TASKS``."""
    of_name = {name: task for task in reversed(TASKS) for found in classes_of(task).values() for name in found}
    return next((of_name[base.__name__] for base in cls.__mro__ if base.__name__ in of_name), None)
