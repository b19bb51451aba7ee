"""One seed, one number of threads, the same bits: neither what else the machine does nor free memory is in a number."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from landscape import Hessian, Objective
from landscape.data import load_data
from landscape.measure import top_eigenvalues, trace
from landscape.models import build_model
from landscape.operators import EmpiricalFisher, GaussNewton, graph
from landscape.surface import plane
from tests.cases import CASES, make
from tests.test_objective import objective_of

NETWORKS = {"mlp": 600, "cnn": 40}  # and examples: sizes at which one way is hardly faster than another


def measured() -> dict[str, np.ndarray]:
    """What a process finds."""
    found: dict[str, np.ndarray] = {}
    data = load_data("digits")
    for name, num_examples in NETWORKS.items():
        torch.manual_seed(0)
        model = build_model(name, input_shape=data.input_shape, num_classes=data.num_classes)
        objective = Objective(
            model, nn.CrossEntropyLoss(), data.train.sample(num_examples, seed=0).batches(num_examples)
        )
        H = Hessian(objective)
        V = torch.randn(objective.num_params, 8, generator=torch.Generator().manual_seed(1))
        surface = plane(objective, num_points=5)
        arrays = {
            "block": (H @ V).numpy(),
            "trace": trace(objective, method="hutchinson", num_probes=16).details["samples"],
            "eigenvalues": top_eigenvalues(objective, k=3).details["eigenvalues"],
            "loss": surface.loss,
            "how": np.array([H.engine, str(surface.details["points_at_once"])]),
        }
        found |= {f"{name} {key}": np.asarray(array) for key, array in arrays.items()}
    return found


def elsewhere(path: Path) -> dict[str, np.ndarray]:
    """What another process finds, with one thread as all tests."""
    subprocess.run(
        [sys.executable, "-m", "tests.test_same_bits", str(path)],
        cwd=Path(__file__).parent.parent,
        check=True,
        timeout=120,
    )
    with np.load(path) as arrays:
        return dict(arrays)


@pytest.mark.slow
def test_a_busy_machine_gives_the_same_bits(tmp_path):
    idle = elsewhere(tmp_path / "idle.npz")
    burning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]
    try:
        busy = elsewhere(tmp_path / "busy.npz")
    finally:
        for process in burning:
            process.kill()
            process.wait()
    assert idle.keys() == busy.keys()
    for name, array in idle.items():
        np.testing.assert_array_equal(array, busy[name], err_msg=name)


@pytest.mark.parametrize("operator", [Hessian, GaussNewton, EmpiricalFisher])
@pytest.mark.parametrize("chunk", [None, 1, 3])
@pytest.mark.parametrize("name", sorted(CASES))
def test_graphs_that_are_kept_and_graphs_that_are_built_again_give_the_same_bits(name, chunk, operator, monkeypatch):
    engines, products = [], []
    for free in (0, 2**50):
        monkeypatch.setattr(graph, "available_bytes", lambda device, free=free: free)
        try:
            A = operator(objective_of(make(name), 5), chunk=chunk)
        except ValueError:
            return  # no such operator of this loss
        V = torch.randn(A.shape[0], 4, dtype=A.dtype, generator=torch.Generator().manual_seed(7))
        products.append([A @ V, A @ V[:, 0], A @ V])
        engines.append(A.engine)
    assert "rebuilt" in engines[0]
    assert "kept" in engines[1]
    for rebuilt, kept in zip(*products, strict=True):
        assert torch.equal(rebuilt, kept)


def test_where_a_batched_backward_is_refused_the_operator_says_so_and_goes_on_one_by_one():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(16, 2)).double()
    inputs = torch.randn(6, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    batches = [(inputs[:3], torch.tensor([0, 1, 0])), (inputs[3:], torch.tensor([1, 1, 0]))]
    objective = Objective(model, nn.CrossEntropyLoss(), batches)
    H, one_by_one = Hessian(objective, chunk=3), Hessian(objective, chunk=1)
    V = torch.randn(objective.num_params, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert torch.equal(H @ V, one_by_one @ V)
    assert "one by one" in H.engine


if __name__ == "__main__":
    np.savez(sys.argv[1], **measured())
