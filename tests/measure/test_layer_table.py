"""The layer table against the diagonal blocks of the dense Hessian."""

import numpy as np
import pytest
import torch
from torch import nn

from landscape import Hessian, Objective
from landscape.measure import layer_table
from landscape.statistics import half_width
from tests.cases import CASES, dense_gradient, make, oracle
from tests.test_objective import objective_of


def blocks(objective, names):
    return [objective.layout.indices(name) for name in names]


@pytest.mark.parametrize("name", sorted(set(CASES) - {"unused"}))
def test_every_column_is_that_of_the_dense_block(name):
    case = make(name)
    objective = objective_of(case, 16)
    table = layer_table(objective, rel_error=0.02, max_matvecs=3000)
    assert table.converged, table.reason
    details, H, g = table.details, oracle(name), dense_gradient(case.model, case.criterion, case.data)
    layers = blocks(objective, details["layers"])
    assert details["num_params"].sum() == objective.num_params
    for i, rows in enumerate(layers):
        block = H[rows][:, rows]
        assert details["gradient_norm"][i] == pytest.approx(g[rows].norm().item(), rel=1e-10)
        largest = torch.linalg.eigvalsh(block)[-1].item()
        assert details["lambda_max"][i] == pytest.approx(largest, rel=0.02)
        assert abs(details["lambda_max"][i] - largest) <= details["lambda_max_error"][i] + 1e-12
        allowed = 4 * details["trace_std_error"][i] + 1e-12 * abs(block.trace().item())
        assert abs(details["trace"][i] - block.trace().item()) <= allowed
    assert table.value == pytest.approx(H.trace().item(), rel=0.04)
    assert details["share"].sum() == pytest.approx(1)
    piecewise_linear = name in ("mlp_relu", "conv_batchnorm")
    if piecewise_linear:
        assert "piecewise" in table.reason
    assert (details["method"] == "exact") == (piecewise_linear or "whole diagonal" in table.reason)
    if details["method"] == "exact":
        assert table.value == pytest.approx(H.trace().item(), rel=1e-12)


def test_the_whole_diagonal_is_taken_where_probes_would_cost_as_much():
    objective = objective_of(make("mlp_tanh"), 16)
    d, H = objective.num_params, oracle("mlp_tanh")
    table = layer_table(objective, rel_error=1e-3, max_matvecs=1000)
    assert (table.converged, table.std_error, table.details["method"]) == (True, 0, "exact")
    assert table.value == pytest.approx(H.trace().item(), rel=1e-12)
    traces = [H[rows][:, rows].trace().item() for rows in blocks(objective, table.details["layers"])]
    assert table.details["trace"] == pytest.approx(traces, rel=1e-12)
    short = layer_table(objective, rel_error=1e-3, max_matvecs=d)
    assert (short.converged, short.details["method"]) == (False, "deflated")


def test_intervals_of_estimated_layers_cover():
    name, num_seeds, covered, stated = "mlp_tanh", 100, 0, 0
    H = oracle(name)
    objective = objective_of(make(name), 70)
    for seed in range(num_seeds):
        table = layer_table(objective, rel_error=0.1, max_matvecs=objective.num_params, seed=seed)  # not exactly
        num_probes = table.details["num_probes"]
        for i, rows in enumerate(blocks(objective, table.details["layers"])):
            half = half_width(table.details["trace_std_error"][i], num_probes)
            covered += abs(table.details["trace"][i] - H[rows][:, rows].trace().item()) <= half
            stated += 1
    assert 0.88 <= covered / stated <= 0.995


def test_globs_and_refusals():
    objective = objective_of(make("mlp_tanh"), 16)
    table = layer_table(objective, layers=("0", "*.bias"))
    assert table.details["layers"].tolist() == ["0", "*.bias"]
    assert table.details["num_params"].tolist() == [54, 20]
    assert np.isfinite(table.details["trace"]).all()
    with pytest.raises(ValueError, match="nothing"):
        layer_table(objective, layers=("nothing",))
    with pytest.raises(ValueError, match="rel_error"):
        layer_table(objective, rel_error=0)


def test_a_module_with_parameters_and_modules_of_its_own_counts_no_parameter_twice():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale, self.linear = nn.Parameter(torch.ones(3)), nn.Linear(4, 3)

        def forward(self, x):
            return self.scale * self.linear(x).tanh()

    torch.manual_seed(0)
    model = nn.Sequential(Scaled(), nn.Linear(3, 2)).double()
    batch = (torch.randn(9, 4).double(), torch.arange(9) % 2)
    objective = Objective(model, nn.CrossEntropyLoss(), [batch])
    table = layer_table(objective, rel_error=1e-6)
    assert list(table.details["layers"]) == ["0", "0.linear", "1"]
    assert table.details["num_params"].sum() == objective.num_params
    whole = torch.stack([(Hessian(objective) @ torch.eye(objective.num_params).double())[i, i] for i in range(26)])
    assert table.value == pytest.approx(whole.sum().item(), rel=1e-6)
