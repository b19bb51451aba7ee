"""Random mini-batches of fixed data, whatever their order and however they are batched: those that a training sees.

All rows are dealt out in the order of one random permutation. Data are often sorted, by class or by length, and
mini-batches of rows in their order would be those of single classes, which have other gradients.

A mini-batch is a list of parts, each a batch of the kind of the data's: rows that fit together are put together, at
most as many as a batch of the data has, and others (padded to other lengths, beside other tensors that hold no rows)
stay apart. What does not belong to rows goes with them as it is.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from landscape.batches import map_tensors, num_rows_of
from landscape.content import digest


def minibatches(
    batches: Callable[[], Iterable[Any]],
    num_rows: int,
    *,
    generator: torch.Generator,
    num_examples: int | None = None,
) -> list[list[Any]]:
    """Rows drawn without replacement and dealt into mini-batches, the last one the rest, each a list of parts.

    Args:
        batches: each call is another pass over the same batches; there are two.
        num_rows: of a mini-batch.
        generator: of the permutation.
        num_examples: how many rows are drawn, which are held in memory; None for all.

    Raises:
        ValueError: where a batch has no rows.

    Example:
        >>> x = torch.arange(6)
        >>> parts = minibatches(lambda: [(x[:4],), (x[4:],)], 3, generator=torch.Generator().manual_seed(0))
        >>> [[tuple(part[0].tolist()) for part in each] for each in parts]
        [[(2, 3, 5)], [(0, 1, 4)]]
    """
    sizes = [_size(batch) for batch in batches()]
    order = torch.randperm(sum(sizes), generator=generator)[:num_examples]
    place = torch.full((sum(sizes),), -1)
    place[order] = torch.arange(len(order))
    alike: dict[str, list[_Rows]] = {}  # that fit together
    for batch, here in zip(batches(), place.split(sizes), strict=True):
        drawn = (here >= 0).nonzero()[:, 0]
        if len(drawn):
            rows = _Rows.of(batch, drawn, here[drawn])
            alike.setdefault(rows.kind, []).append(rows)
    together = [_Rows.together(some) for some in alike.values()]
    starts = range(0, len(order), num_rows)
    return [[part for rows in together for part in rows.parts(start, start + num_rows, max(sizes))] for start in starts]


class _Rows:
    """Rows of one batch or of several alike: their tensors, the places that they were given, and all else."""

    def __init__(self, rest: Any, tensors: list[Tensor], of_rows: list[bool], places: Tensor, kind: str) -> None:
        self.rest, self.tensors, self.of_rows, self.places, self.kind = rest, tensors, of_rows, places, kind

    @classmethod
    def of(cls, batch: Any, rows: Tensor, places: Tensor) -> "_Rows":
        size = num_rows_of(batch)
        tensors: list[Tensor] = []
        of_rows: list[bool] = []

        def emptied(t: Tensor) -> Tensor:
            of_rows.append(bool(t.ndim) and len(t) == size)
            tensors.append(t[rows.to(t.device)] if of_rows[-1] else t)
            return t.new_empty(0)

        rest = map_tensors(batch, emptied)
        fixed = [(t.shape[1:], str(t.dtype)) if own else t for t, own in zip(tensors, of_rows, strict=True)]
        return cls(rest, tensors, of_rows, places, digest(rest, of_rows, fixed))

    @classmethod
    def together(cls, some: list["_Rows"]) -> "_Rows":
        first = some[0]
        columns = zip(*(rows.tensors for rows in some), strict=True)
        tensors = [torch.cat(column) if own else column[0] for column, own in zip(columns, first.of_rows, strict=True)]
        return cls(first.rest, tensors, first.of_rows, torch.cat([rows.places for rows in some]), first.kind)

    def parts(self, start: int, stop: int, most: int) -> Iterator[Any]:
        """Batches of at most so many rows of those with places from ``start`` to before ``stop``, in their order."""
        rows = ((self.places >= start) & (self.places < stop)).nonzero()[:, 0]
        for some in rows.split(most) if len(rows) else ():
            picked = [t[some.to(t.device)] if own else t for t, own in zip(self.tensors, self.of_rows, strict=True)]
            left = iter(picked)
            yield map_tensors(self.rest, partial(_next_of, left))


def _next_of(tensors: Iterator[Tensor], _: Tensor) -> Tensor:
    return next(tensors)


def _size(batch: Any) -> int:
    size = num_rows_of(batch)
    if size is None:
        raise ValueError(
            "A batch is cut along the rows of its first tensor, and this one has none. Expected one row an example: "
            "give such batches, or leave out metrics of mini-batches."
        )
    return size
