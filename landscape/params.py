"""One flat vector and the named parameters it stands for.

``ParameterLayout`` fixes an order: parameter i occupies the entries after those of the parameters before it.
``matches`` decides which parameters a glob such as ``"*"``, ``"layers.0"`` or ``"conv*,head.weight"`` selects; names as
they stand, which may hold what is special in a glob, select themselves.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import prod

import torch
from torch import Tensor


@dataclass(frozen=True)
class ParameterLayout:
    """The order and the shapes in which named parameters make up one vector of length ``size``.

    Example:
        >>> layout = ParameterLayout.of({"weight": torch.ones(2, 3), "bias": torch.zeros(2)})
        >>> layout.size, layout.names
        (8, ('weight', 'bias'))
        >>> [tuple(t.shape) for t in layout.split(torch.arange(8.0))]
        [(2, 3), (2,)]
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, params: Mapping[str, Tensor]) -> "ParameterLayout":
        """The layout of these parameters, in their own order."""
        return cls(tuple(params), tuple(tuple(p.shape) for p in params.values()))

    @property
    def sizes(self) -> list[int]:
        """Number of entries of each parameter."""
        return [prod(shape) for shape in self.shapes]

    @property
    def size(self) -> int:
        """Length d of the vector."""
        return sum(self.sizes)

    def flatten(self, tensors: Sequence[Tensor]) -> Tensor:
        """One tensor a parameter, each of shape (*shape), to a vector (d,)."""
        return torch.cat([t.reshape(-1) for t in tensors])

    def split(self, vector: Tensor) -> list[Tensor]:
        """A vector (d,), or k of them as rows (k, d), to views of shape (*shape) or (k, *shape)."""
        rows = vector.shape[:-1]
        pieces = torch.split(vector, self.sizes, dim=-1)
        return [piece.reshape((*rows, *shape)) for piece, shape in zip(pieces, self.shapes, strict=True)]

    def indices(self, chosen: str | Collection[str]) -> Tensor:
        """Positions in the vector, ascending, of the parameters that ``chosen`` selects. Raises ValueError for none."""
        selected = torch.tensor([matches(name, chosen) for name in self.names])
        if not selected.any():
            raise ValueError(no_match(chosen, self.names))
        return torch.repeat_interleave(selected, torch.tensor(self.sizes)).nonzero().squeeze(1)


def matches(name: str, chosen: str | Collection[str]) -> bool:
    """Whether a glob (shell patterns, comma-separated) selects the parameter, or the module that it belongs to.

    Instead of a glob, names of parameters as they stand may be given.

    Example:
        >>> matches("layers.0.weight", "layers.0"), matches("layers.0.weight", "*.bias,head*")
        (True, False)
        >>> matches("a*.weight", ["a*.weight"]), matches("ab.weight", ["a*.weight"])
        (True, False)
    """
    if not isinstance(chosen, str):
        return name in chosen
    parts = name.split(".")
    paths = [".".join(parts[:depth]) for depth in range(1, len(parts) + 1)]
    return any(fnmatchcase(path, pattern.strip()) for pattern in chosen.split(",") for path in paths)


def no_match(chosen: str | Collection[str], names: Sequence[str]) -> str:
    """The error message for a glob that selects nothing."""
    if not names:
        return "The model has no trainable parameters: it has none at all, or all are frozen (requires_grad=False)."
    shown = ", ".join(names[:6]) + (f", ... ({len(names)} in all)" if len(names) > 6 else "")
    return f"No parameter matches {chosen!r}. The trainable ones are: {shown}."
