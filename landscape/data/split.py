"""What a dataset reader returns: ``Data`` of parts, each a ``Split`` held in memory, in a fixed order.

Images lie in memory as uint8 pixels, a quarter of what they take as float32, and ``Split.prepare`` makes of them what a
network reads when a batch is asked for. Nothing here shuffles or augments: a landscape is measured over fixed examples,
and training does its own shuffling.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from landscape.content import digest


@dataclass(frozen=True, eq=False)
class Split:
    """Examples and their classes.

    Example:
        >>> split = Split(inputs=torch.zeros(5, 1, 8, 8), targets=torch.tensor([0, 1, 0, 1, 0]))
        >>> [len(targets) for _, targets in split.batches(2)]
        [2, 2, 1]
    """

    inputs: Tensor  # (n, channels, height, width): uint8 pixels, or float32 that networks read as they are
    targets: Tensor  # (n,) int64
    mean: tuple[float, ...] = ()  # of each channel of uint8 pixels scaled to [0, 1]; empty: not normalized
    std: tuple[float, ...] = ()

    def __len__(self) -> int:
        return len(self.targets)

    def prepare(self, inputs: Tensor) -> Tensor:
        """Turn some of the inputs into what a network reads: (pixels / 255 - mean) / std; floats stay as they are.

        Example:
            >>> split = Split(torch.tensor([[[[0, 255]]]], dtype=torch.uint8), torch.tensor([0]), (0.5,), (0.25,))
            >>> split.prepare(split.inputs)
            tensor([[[[-2.,  2.]]]])
        """
        if inputs.is_floating_point():
            return inputs
        scaled = inputs.float().div_(255)
        if not self.mean:
            return scaled
        mean, std = (torch.tensor(values, device=inputs.device).view(-1, 1, 1) for values in (self.mean, self.std))
        return scaled.sub_(mean).div_(std)

    def to(self, device: torch.device | str) -> "Split":
        """Return the same split with its tensors on a device."""
        return replace(self, inputs=self.inputs.to(device), targets=self.targets.to(device))

    def batches(self, batch_size: int | None = None) -> Sequence[tuple[Tensor, Tensor]]:
        """Cut the split into batches of prepared inputs and targets, in order.

        The last may be short, and None makes one of all. Pixels are prepared each time that a batch is asked for.

        Raises:
            ValueError: ``batch_size`` is less than one.
        """
        size = len(self) if batch_size is None else batch_size
        if size < 1:
            raise ValueError(
                f"batch_size={size} is out of range. Expected at least 1, or None for one batch of all examples."
            )
        if self.inputs.is_floating_point():
            return list(zip(self.inputs.split(size), self.targets.split(size), strict=True))
        return _Batches(self, size)

    def pilot(self, num_rows: int) -> tuple[Tensor, Tensor]:
        """A batch of the first examples, which takes as much memory as one of any others."""
        return self.batches(num_rows)[0]

    def content_hash(self) -> str:
        """The hash of the examples, as ``landscape.fingerprint`` has them; of pixels, with their normalization."""
        return digest(self.inputs, self.targets, self.mean, self.std)

    def sample(self, num_examples: int, *, seed: int) -> "Split":
        """Draw a stratified subset without replacement, in the original order.

        Every class keeps its share to within one example, and every example of a class is as likely as any other of it.

        Args:
            num_examples: size of the subset, from 1 to n.
            seed: the same seed draws the same subset.

        Raises:
            ValueError: ``num_examples`` is out of range.

        Example:
            >>> split = Split(inputs=torch.zeros(6, 1, 8, 8), targets=torch.tensor([0, 0, 0, 0, 1, 1]))
            >>> split.sample(3, seed=0).targets
            tensor([0, 0, 1])
        """
        return self.divide(num_examples, seed=seed)[0]

    def divide(self, num_examples: int, *, seed: int) -> tuple["Split", "Split"]:
        """Return the subset that ``sample`` draws, and what is left; arguments and errors as there."""
        chosen = drawn(self.targets, num_examples, seed=seed)
        first, second = (replace(self, inputs=self.inputs[at], targets=self.targets[at]) for at in (chosen, ~chosen))
        return first, second


def drawn(classes: Tensor, num_examples: int, *, seed: int) -> Tensor:
    """Which rows (n,) of those classes (n,) ``Split.sample`` draws. Raises ValueError for a number out of range.

    Example:
        >>> drawn(torch.tensor([0, 0, 0, 0, 1, 1]), 3, seed=0).sum()
        tensor(3)
    """
    if not 1 <= num_examples <= len(classes):
        raise ValueError(
            f"num_examples={num_examples} is out of range. "
            f"Expected 1 <= num_examples <= {len(classes)} (the number of examples in the split)."
        )
    order = torch.randperm(len(classes), generator=torch.Generator().manual_seed(seed))
    order = order[classes[order].argsort(stable=True)]  # class by class, at random within each
    evenly = torch.arange(num_examples) * len(classes) // num_examples
    chosen = torch.zeros(len(classes), dtype=torch.bool)
    chosen[order[evenly]] = True
    return chosen


@dataclass(frozen=True, eq=False)
class Data:
    """A dataset cut into train and test, and validation where part of train was held out.

    ``name`` and ``args`` are what ``load_data`` takes to load it again.
    """

    name: str
    args: dict[str, Any]
    train: Split
    test: Split
    num_classes: int
    validation: Split | None = None

    @property
    def splits(self) -> dict[str, Split]:
        """The parts that there are, by name."""
        held_out = {} if self.validation is None else {"validation": self.validation}
        return {"train": self.train, **held_out, "test": self.test}

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one example: (channels, height, width)."""
        return tuple(self.train.inputs.shape[1:])


def held_out(
    data: Data, *, num_train: int | None = None, validation: float = 0.0, label_noise: float = 0.0, split_seed: int = 0
) -> Data:
    """Hold a share of the train part out, to choose hyperparameters on, cut the rest, and spoil some of its labels.

    Pixels stay normalized by the statistics of the whole train part. Labels of validation and test are never changed.

    Args:
        data: a dataset.
        num_train: examples that are left to train on; None: all.
        validation: share of the train part that is held out, from 0 to below 1.
        label_noise: share of the examples left to train on that get another label, each of the other classes alike
            (symmetric noise); their number is exact, to rounding.
        split_seed: of all draws. It is not the seed of training, so that runs of several seeds share their data.

    Raises:
        ValueError: a number out of range.

    Example:
        >>> from landscape.data.digits import digits
        >>> data = held_out(digits(), num_train=100, validation=0.2)
        >>> {name: len(split) for name, split in data.splits.items()}, data.args
        ({'train': 100, 'validation': 287, 'test': 360}, {'num_train': 100, 'validation': 0.2, 'split_seed': 0})
    """
    if num_train is None and not validation and not label_noise:
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
    if label_noise:
        cuts["label_noise"] = label_noise
        targets = mislabelled(train.targets, label_noise, num_classes=data.num_classes, seed=split_seed)
        train = replace(train, targets=targets)
    return replace(data, args=data.args | cuts | {"split_seed": split_seed}, train=train)


def mislabelled(targets: Tensor, share: float, *, num_classes: int, seed: int) -> Tensor:
    """Give round(share n) of n examples another label: symmetric noise, as in GAM (Zhang et al. 2023, appendix C.2).

    Which examples, and which of the other classes each gets, is uniform and independent of the labels. Where others let
    the new label be the old one, a share s of theirs is s (C - 1) / C here; GAM's text does not say which it has.

    Args:
        targets: labels (n,) from 0 to C - 1.
        share: from 0 to 1.
        num_classes: C, at least 2.
        seed: of both draws.

    Raises:
        ValueError: ``share`` is out of range, or there is no other class.

    Example:
        >>> mislabelled(torch.zeros(5, dtype=torch.long), 0.4, num_classes=2, seed=0).sum()
        tensor(2)
    """
    if not 0 <= share <= 1:
        raise ValueError(f"label_noise={share} is out of range. Expected a share of the labels, from 0 to 1.")
    if num_classes < 2:
        raise ValueError(f"label_noise={share} needs another class. Expected at least 2, found {num_classes}.")
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.rand(len(targets), generator=generator).argsort(stable=True)[: round(share * len(targets))]
    steps = torch.randint(1, num_classes, (len(chosen),), generator=generator)
    noisy = targets.clone()
    noisy[chosen] = (targets[chosen] + steps) % num_classes
    return noisy


class _Batches(Sequence[tuple[Tensor, Tensor]]):
    """The batches of a split of pixels, each prepared when it is asked for."""

    def __init__(self, split: Split, size: int) -> None:
        self.split = split
        self.starts = range(0, len(split), size)

    def __len__(self) -> int:
        return len(self.starts)

    def content_hash(self) -> str:
        return self.split.content_hash()

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [self[number] for number in range(len(self))[index]]
        rows = slice(self.starts[index], self.starts[index] + self.starts.step)
        return self.split.prepare(self.split.inputs[rows]), self.split.targets[rows]
