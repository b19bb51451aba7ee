"""Datasets by name, so that a checkpoint can say what it was trained on."""

import inspect
from collections.abc import Callable
from typing import Any

from landscape.arguments import refuse_unfit
from landscape.data.augment import augment
from landscape.data.cifar import cifar10, cifar100
from landscape.data.cifar_c import cifar10_c, cifar100_c
from landscape.data.corruptions import corrupt, corrupted
from landscape.data.digits import digits
from landscape.data.folder import folder
from landscape.data.held_out import held_out
from landscape.data.npz import npz
from landscape.data.parquet import parquet
from landscape.data.places import DataError
from landscape.data.split import Data, Split

__all__ = ["DATA", "Data", "DataError", "Split", "augment", "corrupt", "load_data"]

DATA: dict[str, Callable[..., Data]] = {
    "digits": digits,
    "cifar10": cifar10,
    "cifar100": cifar100,
    "cifar10-c": cifar10_c,
    "cifar100-c": cifar100_c,
    "npz": npz,
    "parquet": parquet,
    "folder": folder,
}


def load_data(name: str, **args: Any) -> Data:
    """Load the dataset called `name`.

    Args:
        name: a key of `DATA`; or NAME-c, that set with its test part corrupted here, which takes `corruption`,
            `severity` and `seed` beside what NAME takes (only "cifar10-c" and "cifar100-c" are the published files);
            or NAME:PATH, short for ``load_data(NAME, path=PATH)``.
        args: what that reader takes, and what all take: `num_train`, to train on a stratified subset of so many
            examples, `validation`, the share of the train part that is held out first, and `split_seed` of both.

    Raises:
        ValueError: the name is unknown, or the reader does not take these arguments.
        DataError: the dataset is missing or damaged.

    Example:
        >>> load_data("digits").train.inputs.shape
        torch.Size([1437, 1, 8, 8])
        >>> load_data("digits-c", corruption="gaussian_noise", severity=3).name
        'digits-c'
    """
    name, colon, path = name.partition(":")
    if colon:
        args = {"path": path} | args
    base = name if name in DATA else name.removesuffix("-c")
    if base not in DATA:
        raise ValueError(f"data '{name}' is unknown. Expected one of: {', '.join(DATA)}.")
    reader = DATA[base]
    changes: list[Callable[..., Data]] = [held_out] if base == name else [corrupted, held_out]
    options = {function: _options(function) for function in (reader, *changes)}
    expected = {arg: parameter for some in options.values() for arg, parameter in some.items()}
    refuse_unfit(f"data '{name}'", args, expected)
    missing = [arg for arg, parameter in expected.items() if parameter.default is parameter.empty and arg not in args]
    if missing:
        raise ValueError(f"data '{name}' needs {', '.join(missing)}. Expected arguments: {', '.join(expected)}.")
    given = {function: {arg: args[arg] for arg in some if arg in args} for function, some in options.items()}
    data = reader(**given[reader])
    for change in changes:
        data = change(data, **given[change])
    return data


def _options(function: Callable[..., Data]) -> dict[str, inspect.Parameter]:
    parameters = dict(inspect.signature(function).parameters)
    parameters.pop("data", None)
    return parameters
