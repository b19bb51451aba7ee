"""New directions: orthonormal to the last digit however small they are in the block, and none made of rounding."""

import pytest
import torch

from landscape.linalg.orthonormal import column_dots, gram, new_directions
from tests.matrices import seeded


def orthonormal(d, k, seed, dtype=torch.float64):
    return torch.linalg.qr(torch.randn(d, k, generator=seeded(seed), dtype=torch.float64)).Q.to(dtype)


@pytest.mark.parametrize(
    ("dtype", "smallest", "tolerance"), [(torch.float32, 1e-4, 1e-6), (torch.float64, 1e-13, 1e-14)]
)
def test_directions_of_any_size_are_orthonormal_and_span_the_block(dtype, smallest, tolerance):
    basis = orthonormal(300, 11, seed=0)
    Q, new = basis[:, :5].to(dtype), basis[:, 5:]
    sizes = torch.logspace(0, torch.tensor(smallest).log10().item(), 6, dtype=torch.float64)
    mixed = (new * sizes) @ orthonormal(6, 6, seed=1) + basis[:, :5] @ torch.ones(5, 6, dtype=torch.float64)
    found = new_directions(Q, mixed.to(dtype), scale=1.0)
    together = torch.cat([Q, found], 1).double()
    assert found.dtype == dtype
    assert found.shape == (300, 6)
    assert (together.T @ together - torch.eye(11)).abs().max() < tolerance
    seen = new[:, :4].T @ found.double()  # the two smallest are near rounding
    assert torch.allclose(seen.norm(dim=1), torch.ones(4, dtype=torch.float64), atol=1e-2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("k", [0, 3])
def test_what_is_there_already_gives_nothing(dtype, k):
    Q = orthonormal(100, 3, seed=2, dtype=dtype)
    again = Q[:, :k] @ torch.randn(k, 4, generator=seeded(3), dtype=dtype)
    assert new_directions(Q, again, scale=1.0).shape == (100, 0)
    assert new_directions(Q[:, :0], torch.zeros(100, 4, dtype=dtype), scale=0.0).shape == (100, 0)


def test_inner_products_are_added_up_in_float64():
    x, y = torch.ones(3, 1), torch.tensor([[1e8], [1.0], [-1e8]])  # in float32, 1e8 + 1 is 1e8
    assert gram(x, y).tolist() == [[1.0]]
    assert column_dots(x, y).tolist() == [1.0]
    assert gram(torch.ones(5, 0), torch.ones(5, 2)).shape == (0, 2)
