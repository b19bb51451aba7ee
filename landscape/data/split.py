"""What a dataset reader returns: examples held in memory, in a fixed order.

`Split` is one part of a dataset; `Data` is a train and a test part with the name and arguments that load them again.
Nothing here shuffles or augments: a landscape is measured over fixed examples, and training does its own shuffling.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Split:
    """Examples and their classes.

    Example:
        >>> split = Split(inputs=torch.zeros(5, 1, 8, 8), targets=torch.tensor([0, 1, 0, 1, 0]))
        >>> [len(targets) for _, targets in split.batches(2)]
        [2, 2, 1]
    """

    inputs: Tensor  # (n, channels, height, width) float32
    targets: Tensor  # (n,) int64

    def __len__(self) -> int:
        return len(self.targets)

    def batches(self, batch_size: int | None = None) -> list[tuple[Tensor, Tensor]]:
        """Cut the split into batches, in order and without copying; the last may be short, and None makes one of all.

        Raises:
            ValueError: `batch_size` is less than one.
        """
        size = len(self) if batch_size is None else batch_size
        if size < 1:
            raise ValueError(
                f"batch_size={size} is out of range. Expected at least 1, or None for one batch of all examples."
            )
        return list(zip(self.inputs.split(size), self.targets.split(size), strict=True))

    def sample(self, num_examples: int, *, seed: int) -> "Split":
        """Draw a stratified subset without replacement, in the original order.

        Every class keeps its share to within one example, and every example of a class is as likely as any other of it.

        Args:
            num_examples: size of the subset, from 1 to n.
            seed: the same seed draws the same subset.

        Raises:
            ValueError: `num_examples` is out of range.

        Example:
            >>> split = Split(inputs=torch.zeros(6, 1, 8, 8), targets=torch.tensor([0, 0, 0, 0, 1, 1]))
            >>> split.sample(3, seed=0).targets
            tensor([0, 0, 1])
        """
        if not 1 <= num_examples <= len(self):
            raise ValueError(
                f"num_examples={num_examples} is out of range. "
                f"Expected 1 <= num_examples <= {len(self)} (the number of examples in the split)."
            )
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        order = order[self.targets[order].argsort(stable=True)]  # class by class, at random within each
        evenly = torch.arange(num_examples) * len(self) // num_examples
        chosen = order[evenly].sort().values
        return Split(self.inputs[chosen], self.targets[chosen])


@dataclass(frozen=True, eq=False)
class Data:
    """A dataset cut into train and test; `name` and `args` are what `load_data` takes to load it again."""

    name: str
    args: dict[str, Any]
    train: Split
    test: Split
    num_classes: int

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one example: (channels, height, width)."""
        return tuple(self.train.inputs.shape[1:])
