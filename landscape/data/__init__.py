"""Datasets by name, so that a checkpoint can say what it was trained on."""

from collections.abc import Callable
from typing import Any

from landscape.data.augment import augment
from landscape.data.cifar import cifar10, cifar10_c, cifar100, cifar100_c
from landscape.data.corruptions import corrupt, corrupted
from landscape.data.digits import digits
from landscape.data.folder import folder
from landscape.data.npz import npz
from landscape.data.parquet import parquet
from landscape.data.places import DataError
from landscape.data.split import Data, Split, held_out
from landscape.registry import check, find, options

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
    """Load the dataset called ``name``.

    Args:
        name: a key of ``DATA``; or NAME-c, that set with its test part corrupted here, which takes ``corruption``,
            ``severity`` and ``seed`` beside what NAME takes (only "cifar10-c" and "cifar100-c" are the published
            files); or NAME:PATH, short for ``load_data(NAME, path=PATH)``.
        args: what that reader takes, and what all take: ``num_train``, to train on a stratified subset of so many
            examples, ``validation``, the share of the train part that is held out first, ``label_noise``, the share of
            the labels trained on that are made wrong, and ``split_seed`` of all three.

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
    made = name not in DATA and name.removesuffix("-c") in DATA
    reader = find(DATA, "data", name.removesuffix("-c") if made else name)
    changes: list[Callable[..., Data]] = [corrupted, held_out] if made else [held_out]
    taken = [options(function, "data") for function in (reader, *changes)]
    check(f"data '{name}'", args, {arg: parameter for some in taken for arg, parameter in some.items()})
    given = [{arg: args[arg] for arg in some if arg in args} for some in taken]
    data = reader(**given[0])
    for change, some in zip(changes, given[1:], strict=True):
        data = change(data, **some)
    return data
