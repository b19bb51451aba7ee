"""What all operators over parameters share: shapes, counting, a SciPy view, and restriction to some layers."""

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator
from torch import Tensor

from landscape.params import ParameterLayout, matches


class ParameterOperator:
    """A symmetric d x d matrix over the parameters of a layout; subclasses give ``_product`` for rows of vectors.

    Attributes:
        layout: names and shapes of the parameters, in the order of the rows.
        shape: (d, d).
        dtype: of the vectors.
        device: of the vectors.
        num_matvecs: products made so far; a block of k columns is k.
    """

    def __init__(self, layout: ParameterLayout, dtype: torch.dtype, device: torch.device) -> None:
        self.layout, self.dtype, self.device = layout, dtype, device
        self.shape = (layout.size, layout.size)
        self.num_matvecs = 0

    def __matmul__(self, v: Tensor) -> Tensor:
        """The product with a vector (d,) or a block of columns (d, k); one matvec a column."""
        d = self.shape[0]
        if v.ndim not in (1, 2) or v.shape[0] != d:
            raise ValueError(f"The vector has shape {tuple(v.shape)}. Expected ({d},) or ({d}, k).")
        rows = v.to(self.device, self.dtype).reshape(d, -1).T.contiguous()
        product = self._product(rows)
        self.num_matvecs += len(rows)
        return product.T.reshape(v.shape)

    def _product(self, rows: Tensor) -> Tensor:  # (k, d) -> (k, d)
        raise NotImplementedError

    def to_scipy(self) -> LinearOperator:
        """The same operator on numpy arrays, for ``scipy.sparse.linalg``."""
        dtype = np.dtype(str(self.dtype).removeprefix("torch."))

        def matmat(V: np.ndarray) -> np.ndarray:
            return (self @ torch.from_numpy(np.ascontiguousarray(V, dtype=dtype))).cpu().numpy()

        return LinearOperator(self.shape, matvec=matmat, rmatvec=matmat, matmat=matmat, rmatmat=matmat, dtype=dtype)


class Restricted(ParameterOperator):
    """The diagonal block of an operator that belongs to the parameters a glob selects: P A P^T.

    Costs a full product each; ``Objective(..., params=glob)`` gives the same block of the Hessian for less.

    Raises:
        ValueError: where the glob selects no parameter.
    """

    def __init__(self, operator: ParameterOperator, glob: str) -> None:
        layout = operator.layout
        self.indices = layout.indices(glob).to(operator.device)
        chosen = {name: shape for name, shape in zip(layout.names, layout.shapes, strict=True) if matches(name, glob)}
        super().__init__(ParameterLayout(tuple(chosen), tuple(chosen.values())), operator.dtype, operator.device)
        self.operator = operator

    def _product(self, rows: Tensor) -> Tensor:
        padded = rows.new_zeros(len(rows), self.operator.shape[0])
        padded[:, self.indices] = rows
        return (self.operator @ padded.T).T[:, self.indices]
