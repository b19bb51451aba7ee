"""Examples of several named tensors, as models of transformers take them: padded at one side to the longest.

A batch is a mapping, cut to the longest of its rows. Nothing is shuffled; how rows are batched changes no mean over
what they count, as padding counts nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from landscape.content import digest
from landscape.data.split import drawn


@dataclass(frozen=True, eq=False)
class Examples:
    """Rows of tensors.

    Attributes:
        columns: by name, (n, length) where they are padded, (n,) of labels that an example has.
        lengths: of each row without its padding, (n,).
        classes: by which samples are stratified, (n,) int64.
        left: whether padding is at the left.
        alone: whether each is a batch of its own, as a model without a padding token needs.

    Example:
        >>> rows = {"input_ids": [[5, 6, 7], [8]], "attention_mask": [[1, 1, 1], [1]]}
        >>> examples = Examples.padded(rows, {"input_ids": 0, "attention_mask": 0})
        >>> examples.batches()[0]["input_ids"]
        tensor([[5, 6, 7],
                [8, 0, 0]])
        >>> examples.batches(1)[1]["input_ids"]
        tensor([[8]])
    """

    columns: dict[str, Tensor]
    lengths: Tensor
    classes: Tensor
    left: bool = False
    alone: bool = False

    @classmethod
    def padded(
        cls,
        rows: Mapping[str, Sequence[Sequence[int]]],
        fill: Mapping[str, int],
        *,
        labels: Tensor | None = None,
        left: bool = False,
        alone: bool = False,
    ) -> "Examples":
        """Of lists of numbers, each column padded with its own number."""
        lengths = torch.tensor([len(row) for row in next(iter(rows.values()))])
        columns = {}
        for name, column in rows.items():
            full = torch.full((len(lengths), int(lengths.max())), fill[name])
            for place, row in zip(full, column, strict=True):
                place[len(place) - len(row) if left else 0 :][: len(row)] = torch.tensor(row, dtype=torch.long)
            columns[name] = full
        if labels is not None:
            columns["labels"] = labels
        is_class = labels is not None and not labels.is_floating_point()
        classes = labels if labels is not None and is_class else torch.zeros(len(lengths), dtype=torch.long)
        return cls(columns, lengths, classes, left, alone)

    def __len__(self) -> int:
        return len(self.lengths)

    def batches(self, batch_size: int | None = None) -> Sequence[dict[str, Tensor]]:
        """Cut into batches, in order; the last may be short, and None makes one of all."""
        return _Batches(self, 1 if self.alone else batch_size or len(self))

    def pilot(self, num_rows: int) -> Any:
        """A batch of the longest rows, whose memory bounds that of any other."""
        rows = self.lengths.argsort(descending=True, stable=True)[:num_rows]
        return self._of(rows).batches()[0]

    def extremes(self) -> "Examples":
        """The shortest row and the longest."""
        return self._of(self.lengths.argsort(stable=True)[[0, -1]])

    def content_hash(self) -> str:
        """The hash of the examples."""
        return digest(self.columns)

    def sample(self, num_examples: int, *, seed: int) -> "Examples":
        """Draw a stratified subset, as ``Split.sample``."""
        return self._of(drawn(self.classes, num_examples, seed=seed))

    def _of(self, rows: Tensor) -> "Examples":
        columns = {name: column[rows] for name, column in self.columns.items()}
        return replace(self, columns=columns, lengths=self.lengths[rows], classes=self.classes[rows])

    def _cut(self, start: int, stop: int) -> dict[str, Tensor]:
        longest = int(self.lengths[start:stop].max())
        inside = slice(-longest, None) if self.left else slice(longest)
        return {name: c[start:stop, inside] if c.ndim == 2 else c[start:stop] for name, c in self.columns.items()}


class _Batches(Sequence[dict[str, Tensor]]):
    def __init__(self, examples: Examples, size: int) -> None:
        self.examples, self.starts = examples, range(0, len(examples), size)

    def __len__(self) -> int:
        return len(self.starts)

    def content_hash(self) -> str:
        return self.examples.content_hash()

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return list(map(self.__getitem__, range(len(self))[index]))
        return self.examples._cut(self.starts[index], self.starts[index] + self.starts.step)
