"""All corruptions of a test set in one split, as CIFAR-10-C is used: the mean over them is the mean over the split."""

from functools import lru_cache

import torch

from landscape.data import Split, corrupt, load_data
from landscape.data.corruptions import CORRUPTIONS


@lru_cache(maxsize=2)  # every run of a study is measured on the same images
def corrupted_test(name: str, args: tuple[tuple[str, object], ...], severity: int, num_samples: int | None) -> Split:
    """The test part under each of the 15 corruptions, one after the other.

    Args:
        name: of the data.
        args: items of what ``load_data`` takes.
        severity: of every corruption, from 1 to 5.
        num_samples: of a stratified sample of the test part, the same for each corruption; None for all of it.

    Example:
        >>> len(corrupted_test("digits", (), 3, 20))  # 15 corruptions of 20 images
        300
    """
    test = load_data(name, **dict(args)).test
    if num_samples is not None and num_samples < len(test):
        test = test.sample(num_samples, seed=0)
    parts = [corrupt(test, corruption=each, severity=severity) for each in CORRUPTIONS]
    inputs, targets = (torch.cat([getattr(part, key) for part in parts]) for key in ("inputs", "targets"))
    return Split(inputs, targets, test.mean, test.std)
