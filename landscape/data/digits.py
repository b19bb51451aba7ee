"""The UCI digits: 1797 real handwritten digits of 8×8 pixels, bundled so that a first measurement needs no download.

Alpaydin and Kaynak (1998), doi 10.24432/C50P49, CC BY 4.0; ``DIGITS.md`` says how the file was made. The test split is
part of the file, 360 examples stratified by class, so that numbers compare between machines and versions.
"""

from importlib.resources import files

import numpy as np
import torch

from landscape.data.split import Data, Split


def digits() -> Data:
    """Load the digits, 1437 to train on and 360 to test on, with pixels scaled from 0..16 to [0, 1].

    Example:
        >>> data = digits()
        >>> len(data.train), len(data.test), data.input_shape, data.num_classes
        (1437, 360, (1, 8, 8), 10)
    """
    with files("landscape.data").joinpath("digits.npz").open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        inputs = torch.from_numpy(arrays["images"]).float().div(16).unsqueeze(1)  # (1797, 1, 8, 8)
        targets = torch.from_numpy(arrays["labels"]).long()
        is_test = torch.zeros(len(targets), dtype=torch.bool)
        is_test[torch.from_numpy(arrays["test_index"]).long()] = True
    train, test = (Split(inputs[part], targets[part]) for part in (~is_test, is_test))
    return Data(name="digits", args={}, train=train, test=test, num_classes=10)
