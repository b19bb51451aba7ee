"""Where the vectors of a Krylov run lie: on the device of the operator, in main memory, or in a temporary file.

A run of m steps keeps m d numbers: 4.5 GB for 100 vectors of 11 million entries in float32. They are laid down in
blocks, none of which is ever copied. A block goes to the first of these places half of whose free memory holds it. What
lies farther away is read once in every pass of the orthogonalization, block by block; the numbers are the same.
"""

import tempfile
import warnings
from collections.abc import Iterator

import torch
from torch import Tensor

from landscape.memory import available_bytes

_BLOCK_BYTES = 256 << 20
_BLOCK_ROWS = 8, 1024  # least and most: a block of few rows makes many small products


class Rows:
    """Vectors (d,) of one dtype and device, one after the other.

    Args:
        dimension: d, which is also the most rows there may be.
        like: a tensor of their dtype and device.

    Example:
        >>> rows = Rows(3, like=torch.zeros(()))
        >>> rows.put(0, torch.tensor([1.0, 0.0, 0.0]))
        >>> w = torch.tensor([3.0, 2.0, 1.0])
        >>> rows.remove_from(w), w
        (tensor([3.]), tensor([0., 2., 1.]))
    """

    def __init__(self, dimension: int, *, like: Tensor) -> None:
        self.dimension, self._like = dimension, like
        self._blocks: list[Tensor] = []  # (rows, d) each, on whatever device
        self._num_rows = 0

    def __len__(self) -> int:
        return self._num_rows

    @property
    def row_bytes(self) -> int:
        """Bytes of one vector."""
        return self.dimension * self._like.element_size()

    def put(self, index: int, row: Tensor) -> None:
        """Keep a copy of a vector as row ``index``, the next one or one that is there; later ones are forgotten."""
        self._num_rows = index
        for block in self._blocks:
            if index < len(block):
                break
            index -= len(block)
        else:
            block = self._new_block()
            self._blocks.append(block)
        block[index] = row
        self._num_rows += 1

    def remove_from(self, w: Tensor) -> Tensor:
        """Subtract from ``w`` (d,), in place, its components along the rows, (m,), which are returned."""
        components = []
        for block in self._filled(len(self)):
            components.append(block @ w)
            w.addmv_(block.T, components[-1], alpha=-1)
        return torch.cat(components)

    def combine(self, coefficients: Tensor) -> Tensor:
        """The combinations (d, k) of the first m rows with the columns of ``coefficients`` (m, k)."""
        total = self._like.new_zeros(self.dimension, coefficients.shape[1])
        start = 0
        for block in self._filled(len(coefficients)):
            total.addmm_(block.T, coefficients[start : start + len(block)])
            start += len(block)
        return total

    def first(self, num_rows: int) -> Tensor:
        """The first rows as columns, (d, m), on the device: a view if they are one block there, else a copy."""
        blocks = list(self._filled(num_rows))
        return (blocks[0] if len(blocks) == 1 else torch.cat([self._like.new_empty(0, self.dimension), *blocks])).T

    def announce(self, num_rows: int) -> None:
        """Warn, before so many rows are made, if they will not all fit on the device."""
        needed = (num_rows - len(self)) * self.row_bytes
        if needed > _BLOCK_BYTES and needed > (free := available_bytes(self._like.device)) // 2:
            place = "a temporary file" if self._like.device.type == "cpu" else "main memory, or a temporary file,"
            warnings.warn(
                f"A Krylov basis of {num_rows} vectors takes {num_rows * self.row_bytes / 2**30:.3g} GiB, and "
                f"{free / 2**30:.3g} GiB are free on {self._like.device}: what does not fit into half of it goes to "
                f"{place} and is slower to read.",
                stacklevel=2,
            )

    def _filled(self, num_rows: int) -> Iterator[Tensor]:
        """The first rows, block by block, on the device."""
        for block in self._blocks:
            if num_rows > 0:
                yield block[:num_rows].to(self._like.device)
            num_rows -= len(block)

    def _new_block(self) -> Tensor:
        least, most = _BLOCK_ROWS
        num_rows = min(max(least, min(most, _BLOCK_BYTES // self.row_bytes)), self.dimension - len(self))
        num_bytes = num_rows * self.row_bytes
        for device in dict.fromkeys([self._like.device, torch.device("cpu")]):
            if num_bytes <= available_bytes(device) // 2:
                return self._like.new_empty(num_rows, self.dimension, device=device)
        with tempfile.NamedTemporaryFile(prefix="krylov-") as file:  # its space is freed with the tensor
            size = num_rows * self.dimension
            flat = torch.from_file(file.name, shared=True, size=size, dtype=self._like.dtype)
        return flat.view(num_rows, self.dimension)
