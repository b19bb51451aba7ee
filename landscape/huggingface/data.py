"""Data for a model of transformers, by the tokenizer or the image processor in its folder.

    text:FILE       for causal language models: tokenized as one text and cut into blocks of ``context`` tokens, one
                    after the other. The last block is kept, if it has a token to predict; each block predicts all of
                    its tokens but the first
    lines:FILE      for causal language models: each line that is not blank a text of its own, padded
    csv:FILE        for classifiers of sequences: columns text and label, or a pair of texts as GLUE names them, and
                    labels as numbers or as config.json names them. For causal language models the texts, as lines:
    images:FOLDER   for classifiers of images: train/CLASS/*.png and test/CLASS/*.png, or CLASS/*.png alone
    parquet:PATH    likewise, as Hugging Face's datasets have them

Texts longer than the model's context, or than ``context``, are cut there, and it is said how many. Nothing is shuffled.
"""

import math
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from landscape.data.examples import Examples
from landscape.data.places import DataError
from landscape.data.text import read_lines, read_table, read_whole, text_files
from landscape.huggingface.images import images_of
from landscape.huggingface.library import IN_WORDS, classes_in, first_position, quiet
from landscape.huggingface.loss import ModelLoss
from landscape.text import reason_of

_CONTEXT = 1024  # tokens a block, of models that take more
_SUFFIXES = {"text": (".txt", ".text", ".md"), "lines": (".txt", ".text"), "csv": (".csv", ".tsv")}
_FOR = {"text": ("causal",), "lines": ("causal",), "csv": ("sequences", "causal"), "images": ("images",)}
_FOR["parquet"] = _FOR["images"]
_TEXTS = (  # the columns of a table that are read, the first of these that is there: one text, or a pair
    ("text", "text_pair"),
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("text",),
    ("sentence",),
)
_NUMBER = re.compile(r"[0-9]+(\.0*)?")  # pandas writes floats where a row had none
_LABELS = ("label", "labels")
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "vocab.txt", "tokenizer.model", "spiece.model")
_GENERIC = ("TokenizersBackend", "PreTrainedTokenizerFast")  # classes of tokenizer.json that change nothing of it
Column = Sequence[Sequence[int]]


def examples_of(
    data: str, *, folders: Sequence[Path], model: Any, loss: ModelLoss, context: int | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The splits that a name with a path stands for, and what they were loaded by.

    Args:
        data: "text:FILE", say.
        folders: where the tokenizer or image processor may be, the first first.
        model: of transformers.
        loss: of it.
        context: tokens a block, or at most of a text.

    Raises:
        ValueError: the data are not for this model, or the context is out of range.
        DataError: the data or the tokenizer are not there, damaged, or of something else.
    """
    name, colon, path = data.partition(":")
    if name not in _FOR or not colon or not path:
        raise ValueError(f"--data {data} is not for a model of transformers. Expected one of: {_all('{}:PATH', _FOR)}.")
    if loss.task not in _FOR[name]:
        own = [kind for kind, tasks in _FOR.items() if loss.task in tasks]
        instead = (
            f"Give {_all('{}:PATH', own)}." if own else "Give --problem FILE.py:FUNCTION, which makes its batches."
        )
        wanted = " or ".join(IN_WORDS[task] for task in _FOR[name])
        raise ValueError(f"{data} is for a {wanted}, and {type(model).__name__} is a {IN_WORDS[loss.task]}. {instead}")
    if context is not None and loss.task == "images":
        raise ValueError("--context is of texts, and these are images. Leave it out.")
    if loss.task == "images":
        return images_of(name, path, folders=folders, config=model.config), {"name": name, "args": {"path": path}}
    tokenizer = _tokenizer(folders)
    room = _room(model, tokenizer, context)
    files = text_files(name, path, _SUFFIXES[name])
    read: Callable[[Path], Examples] = {
        "text": lambda file: _blocks(file, tokenizer, min(room, context or _CONTEXT)),
        "lines": lambda file: _texts(file, [read_lines(file)], tokenizer, room),
        "csv": lambda file: _table(file, tokenizer, room, model.config, loss),
    }[name]
    splits = {split: read(file) for split, file in files.items()}
    for split, examples in splits.items():
        _require_known(files[split], examples.columns["input_ids"], model)
    args = {"path": str(Path(path).absolute()), "context": room if name != "text" else min(room, context or _CONTEXT)}
    return splits, {"name": name, "args": args}


def _blocks(file: Path, tokenizer: Any, context: int) -> Examples:
    """One text in blocks of so many tokens."""
    ids = tokenizer(read_whole(file), verbose=False)["input_ids"]
    rows = [ids[start : start + context] for start in range(0, len(ids), context)]
    rows = [row for row in rows if len(row) > 1]
    if not rows:
        raise DataError(
            f"{file}: is a text of {len(ids)} tokens. Expected at least two, of which the second is predicted."
        )
    return _language({"input_ids": rows, "attention_mask": [[1] * len(row) for row in rows]}, tokenizer)


def _texts(file: Path, columns: list[list[str]], tokenizer: Any, room: int) -> Examples:
    """Texts of their own, for a language model."""
    rows = _tokenized(file, columns, tokenizer, room)
    kept = [number for number, row in enumerate(rows["input_ids"]) if len(row) > 1]
    if not kept:
        raise DataError(f"{file}: has no text of two tokens or more, of which the second is predicted.")
    return _language({name: [rows[name][n] for n in kept] for name in ("input_ids", "attention_mask")}, tokenizer)


def _language(rows: dict[str, Column], tokenizer: Any) -> Examples:
    """Padding is masked, so that any token serves."""
    return Examples.padded(rows, {"input_ids": tokenizer.pad_token_id or 0, "attention_mask": 0})


def _table(file: Path, tokenizer: Any, room: int, config: Any, loss: ModelLoss) -> Examples:
    table = read_table(file)
    names = next((names for names in _TEXTS if all(name in table for name in names)), None)
    label = next((name for name in _LABELS if name in table), None)
    if names is None or (label is None and loss.task == "sequences"):
        raise DataError(
            f"{file}: has columns {', '.join(table)}. Expected label, and text (with text_pair where it is of two)."
        )
    columns = [table[name] for name in names]
    if loss.task == "causal":
        return _texts(file, columns, tokenizer, room)
    rows = _tokenized(file, columns, tokenizer, room)
    if bad := next((n for n, row in enumerate(rows["input_ids"], 1) if not row), 0):
        raise DataError(f"{file}: row {bad} has no text.")
    pad = getattr(config, "pad_token_id", None)
    fill = {"input_ids": tokenizer.pad_token_id or 0 if pad is None else pad, "attention_mask": 0}
    fill["token_type_ids"] = getattr(tokenizer, "pad_token_type_id", 0)
    labels = _labels(file, table[label or ""], config, loss)
    return Examples.padded(rows, fill, labels=labels, left=tokenizer.padding_side == "left", alone=pad is None)


def _labels(file: Path, words: list[str], config: Any, loss: ModelLoss) -> Tensor:
    """Numbers, or names of classes."""
    if loss.problem_type == "multi_label_classification":
        raise DataError(f"{file}: the model gives several labels a text. Give --problem FILE.py:FUNCTION for it.")
    try:
        if loss.problem_type == "regression" or (loss.problem_type is None and config.num_labels == 1):
            if config.num_labels != 1:
                raise DataError(f"{file}: the model gives {config.num_labels} numbers a text. Give --problem for it.")
            return torch.tensor([_finite(file, word) for word in words])
        words = [word.strip() for word in words]
        names = classes_in(config)
        if any(name.isdecimal() for name in names) and not names.keys() >= set(words):
            names = {}  # they are all numbers, then
        return torch.tensor([_class_of(word, names, config.num_labels) for word in words])
    except KeyError as error:
        known = ", ".join(map(str, list(classes_in(config))[:8]))
        raise DataError(
            f"{file}: has the label {reason_of(error)[:300]}. Expected {known}, or their numbers."
        ) from error


def _class_of(word: str, names: Mapping[str, int], num_classes: int) -> int:
    """The number of a class by its name or number. Raises KeyError for one that the model does not have."""
    number = names.get(word)
    if number is None and _NUMBER.fullmatch(word):
        number = int(float(word))
    if number is None or not 0 <= number < num_classes:
        raise KeyError(word)
    return int(number)


def _finite(file: Path, word: str) -> float:
    try:
        number = float(word)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise DataError(f"{file}: has the label {word[:300]!r}. Expected a number, as the model gives one.")
    return number


def _tokenized(file: Path, columns: list[list[str]], tokenizer: Any, room: int) -> dict[str, Column]:
    """What the tokenizer makes of texts, or of pairs, cut where they are longer than there is room for."""
    with quiet():
        whole = tokenizer(*columns, verbose=False)["input_ids"]
        found = tokenizer(*columns, truncation=True, max_length=room, verbose=False)
    if cut := sum(map(len, whole)) and sum(len(a) > len(b) for a, b in zip(whole, found["input_ids"], strict=True)):
        warnings.warn(f"{file}: {cut} of {len(whole)} texts are cut after {room} tokens.", stacklevel=2)
    names = ("input_ids", "attention_mask", "token_type_ids")
    return {name: found[name] for name in names if name in found}


def _tokenizer(folders: Sequence[Path]) -> Any:
    folder = next((one for one in folders if any((one / name).is_file() for name in _TOKENIZER)), None)
    if folder is None:
        raise DataError(
            f"{folders[0]}: has no tokenizer. Save the one it was trained with there: tokenizer.save_pretrained(DIR)."
        )
    try:
        with quiet() as transformers:
            said = transformers.models.auto.tokenization_auto.get_tokenizer_config(
                str(folder), local_files_only=True
            ).get("tokenizer_class")
            as_it_is = said in _GENERIC and (folder / "tokenizer.json").is_file()  # and not as the model's kind has it
            cls = transformers.PreTrainedTokenizerFast if as_it_is else transformers.AutoTokenizer
            found = cls.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except Exception as error:  # whatever transformers says of files that make no sense
        raise DataError(f"{folder}: has a tokenizer that cannot be read: {reason_of(error)[:300]}.") from error
    return found


def _room(model: Any, tokenizer: Any, context: int | None) -> int:
    """The most tokens that the model takes, or fewer where that is asked for."""
    config = model.config.get_text_config()
    names = ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length")
    said = [value for name in names if isinstance(value := getattr(config, name, None), int) and value > 0]
    most = said[0] - first_position(model) if said else tokenizer.model_max_length
    if context is None:
        return int(min(most, _CONTEXT)) if most > 10**9 else int(most)
    if not 2 <= context <= most:
        raise ValueError(f"--context {context} is out of range. Expected 2 to {most:,}, what the model takes.")
    return context


def _require_known(file: Path, ids: Tensor, model: Any) -> None:
    try:
        known = model.get_input_embeddings().weight.shape[0]
    except (NotImplementedError, AttributeError):  # of models that hash characters, say
        return
    if int(ids.max()) >= known:
        raise DataError(
            f"{file}: the tokenizer gives tokens up to {int(ids.max())}, and the model knows {known}. "
            "Expected the tokenizer that it was trained with."
        )


def _all(form: str, names: Iterable[str]) -> str:
    return ", ".join(map(form.format, names))
