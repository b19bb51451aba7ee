"""What of the train part is trained on: some of it may be held out for validation, and the rest cut to a subset.

Hyperparameters are chosen on the validation part and never on the test part. Both cuts are stratified.
"""

from dataclasses import replace
from typing import Any

from landscape.data.split import Data


def held_out(data: Data, *, num_train: int | None = None, validation: float = 0.0, split_seed: int = 0) -> Data:
    """Hold a share of the train part out, then cut what is left of it to a number of examples.

    Pixels stay normalized by the statistics of the whole train part.

    Args:
        data: a dataset.
        num_train: examples that are left to train on; None: all.
        validation: share of the train part that is held out, from 0 to below 1.
        split_seed: of both draws. It is not the seed of training, so that runs of several seeds share their data.

    Raises:
        ValueError: a number out of range.

    Example:
        >>> from landscape.data.digits import digits
        >>> data = held_out(digits(), num_train=100, validation=0.2)
        >>> {name: len(split) for name, split in data.splits.items()}, data.args
        ({'train': 100, 'validation': 287, 'test': 360}, {'num_train': 100, 'validation': 0.2, 'split_seed': 0})
    """
    if num_train is None and not validation:
        return data
    train, num_held_out = data.train, round(validation * len(data.train))
    left = len(train) - num_held_out
    if validation and not (0 < validation < 1 and num_held_out and left):
        raise ValueError(f"validation={validation} is out of range. Expected a share of {len(train)} examples.")
    if num_train is not None and not 1 <= num_train <= left:
        raise ValueError(f"num_train={num_train} is out of range. Expected 1 <= num_train <= {left}.")
    cuts: dict[str, Any] = {}
    if num_train is not None:
        cuts["num_train"] = num_train
    if validation:
        cuts["validation"] = validation
        part, train = train.divide(num_held_out, seed=split_seed)
        data = replace(data, validation=part)
    train = train.sample(num_train or left, seed=split_seed)
    return replace(data, args=data.args | cuts | {"split_seed": split_seed}, train=train)
