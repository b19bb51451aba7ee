"""Vectors that lie wherever there is room: the same run, whatever the blocks and places of its basis."""

import tempfile
import warnings
from pathlib import Path

import pytest
import torch

from landscape.linalg import lanczos as module
from landscape.linalg.lanczos import Basis, Lanczos
from landscape.linalg.slq import slq
from landscape.linalg.top import lanczos_top

D = 40
A = torch.diag(torch.linspace(1.0, 5.0, D, dtype=torch.float64) ** 3)


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(module, "_BLOCK_BYTES", 1)
    monkeypatch.setattr(module, "_BLOCK_ROWS", (3, 3))
    monkeypatch.setattr(module, "_ALWAYS_FITS", 0)


def full(monkeypatch, free: int = 0) -> None:
    monkeypatch.setattr(module, "available_bytes", lambda device: free)


def run(num_steps: int) -> Lanczos:
    made = Lanczos(A, generator=torch.Generator().manual_seed(0))
    made.extend(num_steps)
    return made


def filled(num_rows: int) -> tuple[Basis, torch.Tensor]:
    expected = torch.linalg.qr(
        torch.randn(D, num_rows, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    )
    rows = Basis(D, like=torch.zeros((), dtype=torch.float64))
    for index, row in enumerate(expected.Q.T):
        rows.put(index, row)
    return rows, expected.Q


@pytest.mark.parametrize("num_rows", [1, 3, 7])
def test_what_went_in_comes_out_and_is_removed_and_combined(small_blocks, num_rows):
    rows, Q = filled(num_rows)
    assert len(rows) == num_rows
    for m in range(num_rows + 1):
        assert torch.equal(rows.first(m), Q[:, :m])
        coefficients = torch.arange(2.0 * m, dtype=torch.float64).reshape(m, 2)
        assert torch.allclose(rows.combine(coefficients), Q[:, :m] @ coefficients, rtol=1e-13)
    w = torch.linspace(-1, 1, D, dtype=torch.float64)
    before = w.clone()
    assert torch.allclose(rows.remove_from(w), Q.T @ before, rtol=1e-12)
    assert torch.allclose(w, before - Q @ (Q.T @ before), atol=1e-14)


def test_a_row_put_again_replaces_it_and_forgets_the_later_ones(small_blocks):
    rows, Q = filled(7)
    rows.put(4, Q[:, 6])
    assert torch.equal(rows.first(len(rows)), Q[:, [0, 1, 2, 3, 6]])


def test_a_run_is_the_same_in_one_block_in_many_and_in_a_file(small_blocks, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "_BLOCK_ROWS", (D, D))
    whole = run(25)
    monkeypatch.setattr(module, "_BLOCK_ROWS", (3, 3))
    cut = run(25)
    full(monkeypatch)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    away = run(25)
    assert away.alphas == cut.alphas
    assert torch.equal(away.basis, cut.basis)
    assert cut.alphas == pytest.approx(whole.alphas, rel=1e-10)
    off = away.basis.T @ away.basis - torch.eye(25, dtype=torch.float64)
    assert off.abs().max() < 1e-14
    assert not list(Path(tmp_path).iterdir())  # unlinked already: nothing is left behind, even by a kill


def test_where_a_run_lies_changes_no_bit_of_what_it_gives(small_blocks, monkeypatch):
    here = run(25)
    full(monkeypatch)
    away = run(25)
    assert away._basis._blocks[0].untyped_storage().filename is not None
    assert here._basis._blocks[0].untyped_storage().filename is None
    assert (here.alphas, here.betas) == (away.alphas, away.betas)
    eigenvectors = here.ritz()[2][:, :3]
    assert torch.equal(here.vectors(eigenvectors), away.vectors(eigenvectors))


def test_small_blocks_do_not_ask_what_is_free(monkeypatch):
    monkeypatch.delattr(module, "available_bytes")
    assert len(run(5)) == 5


def test_a_product_that_failed_leaves_the_run_as_it_was():
    class Failing:
        shape, dtype, device, fails = A.shape, A.dtype, A.device, False

        def __matmul__(self, v):
            if self.fails:
                raise KeyboardInterrupt
            return A @ v

    operator = Failing()
    made = Lanczos(operator, generator=torch.Generator().manual_seed(0))
    made.extend(4)
    operator.fails = True
    with pytest.raises(KeyboardInterrupt):
        made.extend(1)
    operator.fails = False
    made.extend(6)
    assert made.alphas == run(10).alphas


def test_what_will_not_fit_is_announced_before_it_starts(small_blocks, monkeypatch):
    full(monkeypatch, free=10 * D * 8)
    with pytest.warns(UserWarning, match=r"of 6 vectors takes .* free on cpu: .* goes to a temporary file"):
        slq(A, generator=torch.Generator().manual_seed(0), num_steps=6, num_runs=1)
    with pytest.warns(UserWarning, match="of 20 vectors") as seen:
        lanczos_top(run(0), 5, rel_error=0.01, max_matvecs=30)
    assert len(seen) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        slq(A, generator=torch.Generator().manual_seed(0), num_steps=4, num_runs=1)
