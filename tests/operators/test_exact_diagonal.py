"""The exact diagonal against dense matrices, and the proof of when it is the Hessian's: claimed nowhere else."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from landscape import Objective
from landscape.operators import NoExactDiagonalError, gauss_newton_diagonal, gauss_newton_traces
from landscape.operators.layer_squares import sum_of_squares, total_of_squares
from landscape.operators.piecewise import obstacle
from tests.cases import CASES, Case, dense_hessian, make, oracle, relative_error
from tests.operators.test_gauss_newton import dense_gauss_newton
from tests.test_objective import objective_of


class Residual(nn.Module):
    """Convolutions of every kind, in-place ReLU, a residual addition, pooling: piecewise linear in each parameter."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(2, 6, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.wide = nn.Conv2d(6, 6, 3, padding=2, dilation=2, groups=3)
        self.down = nn.Conv2d(6, 4, (2, 3), stride=2, padding=(0, 1))
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        x = functional.relu(self.norm(self.stem(x)), inplace=True)
        x = functional.leaky_relu(x + self.wide(x), 0.1)
        x = functional.max_pool2d(self.down(x).abs(), 2, padding=1)
        return self.head(functional.adaptive_avg_pool2d(x, 1).flatten(1))


def residual(criterion=None):
    torch.manual_seed(3)
    model = Residual().double().eval()
    nn.init.normal_(model.norm.running_mean, std=0.3)
    nn.init.uniform_(model.norm.running_var, 0.3, 2.0)
    return Case(model, criterion or nn.CrossEntropyLoss(), torch.randn(21, 2, 7, 6).double(), torch.randint(3, (21,)))


def hessian_of(case):
    return dense_hessian(case.model, case.criterion, case.data)


@pytest.mark.parametrize("size", [None, 4, 1])
@pytest.mark.parametrize("name", ["mlp_relu", "conv_batchnorm", "residual"])
def test_it_is_the_diagonal_of_the_hessian_where_that_is_proved(name, size):
    case = residual() if name == "residual" else make(name)
    truth = (hessian_of(case) if name == "residual" else oracle(name)).diag()
    diagonal, num_passes = gauss_newton_diagonal(objective_of(case, size), of_hessian=True)
    assert relative_error(diagonal, truth) < 1e-12
    assert num_passes == 3


@pytest.mark.parametrize("name", ["mlp_relu", "conv_batchnorm", "residual"])
def test_the_traces_are_the_sums_of_the_diagonal(name):
    case = residual() if name == "residual" else make(name)
    truth = (hessian_of(case) if name == "residual" else oracle(name)).diag()
    objective = objective_of(case, 8)
    blocks = torch.stack([block.sum() for block in objective.layout.split(truth)])
    traces, num_passes = gauss_newton_traces(objective, of_hessian=True)
    assert relative_error(traces, blocks) < 1e-12
    assert num_passes == 3


@pytest.mark.parametrize(("positions", "kernel"), [(2, 30), (30, 2)])
def test_a_gram_matrix_or_the_products_themselves(positions, kernel):
    torch.manual_seed(0)
    b, a = torch.randn(3, 4, 5, positions).double(), torch.randn(4, kernel, positions).double()
    truth = torch.einsum("cnop,nkp->cnok", b, a).square()
    assert relative_error(sum_of_squares(b, a), truth.sum((0, 1))) < 1e-12
    assert relative_error(total_of_squares(b, a), truth.sum()) < 1e-12


@pytest.mark.parametrize("block_bytes", [1, 2000])
def test_the_size_of_a_block_does_not_change_it(monkeypatch, block_bytes):
    monkeypatch.setattr("landscape.operators.exact_diagonal._BLOCK_BYTES", block_bytes)
    case = residual()
    diagonal, _ = gauss_newton_diagonal(objective_of(case, 4), of_hessian=True)
    assert relative_error(diagonal, hessian_of(case).diag()) < 1e-12


class Mixing(nn.Module):
    """The examples of a batch are mixed: by their mean, or by a matrix that fits one size of batch."""

    def __init__(self, matrix=None):
        super().__init__()
        self.linear, self.matrix = nn.Linear(3, 2), matrix

    def forward(self, x):
        outputs = self.linear(x)
        return outputs - 3 * outputs.mean(0) if self.matrix is None else self.matrix @ outputs


@pytest.mark.parametrize("matrix", [None, torch.ones(6, 6)])
def test_a_model_that_mixes_the_examples_of_a_batch_is_refused(matrix):
    torch.manual_seed(0)
    objective = Objective(Mixing(matrix), nn.CrossEntropyLoss(), [(torch.randn(6, 3), torch.arange(6) % 2)])
    with pytest.raises(NoExactDiagonalError, match=r"batch|single"):
        gauss_newton_diagonal(objective, of_hessian=True)


@pytest.mark.parametrize(
    "criterion",
    [
        nn.CrossEntropyLoss(weight=torch.tensor([0.2, 1.0, 2.0]).double()),
        nn.CrossEntropyLoss(label_smoothing=0.2),
        nn.CrossEntropyLoss(ignore_index=1),
        nn.CrossEntropyLoss(weight=torch.tensor([0.2, 1.0, 2.0]).double(), label_smoothing=0.2),
    ],
)
def test_variants_of_cross_entropy(criterion):
    case = residual(criterion)
    diagonal, _ = gauss_newton_diagonal(objective_of(case, 4), of_hessian=True)
    assert relative_error(diagonal, hessian_of(case).diag()) < 1e-12


def test_tanh_is_not_proved_and_its_diagonal_is_gauss_newton_s():
    objective = objective_of(make("mlp_tanh"), 16)
    with pytest.raises(NoExactDiagonalError, match="Tanh"):
        gauss_newton_diagonal(objective, of_hessian=True)
    diagonal, _ = gauss_newton_diagonal(objective)
    assert relative_error(diagonal, dense_gauss_newton(make("mlp_tanh")).diag()) < 1e-12
    assert relative_error(diagonal, oracle("mlp_tanh").diag()) > 0.05


def test_one_layer_of_a_network_with_curved_layers_before_it_qualifies():
    case = make("mlp_tanh")
    objective = Objective(case.model, case.criterion, case.batches(16), params="4.*")
    diagonal, _ = gauss_newton_diagonal(objective, of_hessian=True)
    assert relative_error(diagonal, oracle("mlp_tanh").diag()[-32:]) < 1e-12


def test_tokens_share_a_layer():
    class Pooled(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.head = nn.Linear(3, 5), nn.Linear(5, 4)

        def forward(self, x):  # (n, tokens, 3)
            return self.head(self.embed(x).relu().mean(1))

    torch.manual_seed(0)
    case = Case(Pooled().double(), nn.CrossEntropyLoss(), torch.randn(9, 6, 3).double(), torch.randint(4, (9,)))
    diagonal, _ = gauss_newton_diagonal(objective_of(case, 2), of_hessian=True)
    assert relative_error(diagonal, hessian_of(case).diag()) < 1e-12


@pytest.mark.parametrize("name", sorted(set(CASES) - {"mlp_relu", "conv_batchnorm"}))
def test_no_other_case_is_claimed(name):
    with pytest.raises(NoExactDiagonalError):
        gauss_newton_diagonal(objective_of(make(name), 16), of_hessian=True)


@pytest.mark.parametrize(
    ("function", "word"),
    [
        (lambda w, v: (w * v).relu() * 2 - v, None),
        (lambda w, v: torch.maximum(w, v) @ torch.ones(3), None),
        (lambda w, v: torch.where(w > 0, w, v).clamp(-1, 1), None),
        (lambda w, v: functional.prelu(w[None], v[:1]), None),
        (lambda w, v: w * w.relu(), "same parameter"),
        (lambda w, v: (w + v) * v, "same parameter"),
        (lambda w, v: v / w, "divides"),
        (lambda w, v: w.softmax(0) * v, "Softmax"),
        (lambda w, v: functional.layer_norm(w, (3,)), "LayerNorm"),
        (lambda w, v: functional.gelu(w), "Gelu"),
        (lambda w, v: functional.hardswish(w), "Hardswish"),
        (lambda w, v: functional.batch_norm((w * v).repeat(4, 1), None, None, training=True), "batch statistics"),
        (lambda w, v: w**2, "Pow"),
        (lambda w, v: torch.outer(w, v) @ w, "same parameter"),
    ],
)
def test_the_proof_reads_operations(function, word):
    w, v = (torch.tensor(values, requires_grad=True) for values in ([1.0, -2.0, 3.0], [0.5, 4.0, -1.0]))
    reason = obstacle(function(w, v), [w, v])
    assert (reason is None) if word is None else (word in reason)


def test_a_layer_called_twice_and_a_coupled_loss_are_refused():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 3)

        def forward(self, x):
            return self.layer(x) + self.layer(-x)

    batch = (torch.randn(5, 3), torch.randint(3, (5,)))
    with pytest.raises(NoExactDiagonalError, match="2 times"):
        gauss_newton_diagonal(Objective(Twice(), nn.CrossEntropyLoss(), [batch]))

    def coupled(model, batch):
        z = model(batch[0])
        return (z * z.mean(0)).sum(1)

    with pytest.raises(NoExactDiagonalError, match="couples"):
        gauss_newton_diagonal(Objective(nn.Linear(3, 3), coupled, [batch]))
    with pytest.raises(NoExactDiagonalError, match="convex"):
        gauss_newton_diagonal(Objective(nn.Linear(3, 3), lambda model, b: -(model(b[0]) ** 2).sum(1), [batch]))
