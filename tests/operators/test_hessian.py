"""``H @ V`` is the dense Hessian times V: on every kind of layer, in every batching, at every scale, never stale."""

import numpy as np
import pytest
import scipy.sparse.linalg
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from landscape import Hessian, Objective
from landscape.operators import Restricted, SecondDerivativeError
from tests.cases import CASES, dense_hessian, make, oracle, relative_error
from tests.test_objective import BATCHINGS, WEIGHTS, edit_weights, objective_of


def block(H, k, dtype=torch.float64):
    return torch.randn(
        H if isinstance(H, int) else H.shape[0], k, dtype=dtype, generator=torch.Generator().manual_seed(7)
    )


# --- against the dense Hessian ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [None, 1, 3, 64])
@pytest.mark.parametrize("name", CASES)
def test_products_are_the_dense_hessian_s(name, chunk):
    H = Hessian(objective_of(make(name), 16), chunk=chunk)
    V = block(H, 5)
    assert relative_error(H @ V, oracle(name) @ V) < 1e-10
    assert relative_error(H @ V[:, 0], oracle(name) @ V[:, 0]) < 1e-10
    assert (H @ V).shape == V.shape
    assert (H @ V[:, 0]).shape == V[:, 0].shape


@pytest.mark.parametrize("name", CASES)
def test_exact_engine_by_name(name):
    H = Hessian(objective_of(make(name), 16), engine="exact")
    V = block(H, 2)
    assert relative_error(H @ V, oracle(name) @ V) < 1e-10


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_float32_is_as_good_as_float32_can_be(name):
    case = make(name)
    case.model.float()
    batches = [(x.float(), y.float() if y.is_floating_point() else y) for x, y in case.batches(1)]
    H = Hessian(Objective(case.model, case.criterion, batches))
    V = block(H, 3, torch.float32)
    assert H.dtype == torch.float32
    assert relative_error((H @ V).double(), oracle(name) @ V.double()) < 3e-6


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_symmetric_to_rounding(name):
    H = Hessian(objective_of(make(name), 16))
    dense = H @ torch.eye(H.shape[0], dtype=H.dtype)
    assert relative_error(dense, dense.T) < 1e-14
    assert relative_error(dense, oracle(name)) < 1e-10


@pytest.mark.slow
@pytest.mark.parametrize(("size", "microbatch"), BATCHINGS)
@pytest.mark.parametrize("name", ["mlp_tanh", "conv_batchnorm", "attention"])
def test_batching_changes_nothing(name, size, microbatch):
    H = Hessian(objective_of(make(name), size, microbatch=microbatch))
    V = block(H, 2)
    assert relative_error(H @ V, oracle(name) @ V) < 1e-10


@pytest.mark.parametrize("chunk", [None, 3])
@pytest.mark.parametrize("activation", [nn.SiLU, nn.Softplus, nn.ELU, nn.Sigmoid, nn.LeakyReLU, nn.Hardswish])
@pytest.mark.parametrize(
    "norm", [nn.LayerNorm(6), nn.GroupNorm(2, 6), nn.BatchNorm1d(6), nn.Identity()], ids=lambda m: type(m).__name__
)
def test_every_kind_of_layer(norm, activation, chunk):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), norm, activation(), nn.Linear(6, 3)).double().eval()
    x, y = torch.randn(20, 4).double(), torch.randint(3, (20,))
    H = Hessian(Objective(model, nn.CrossEntropyLoss(), [(x[:13], y[:13]), (x[13:], y[13:])]), chunk=chunk)
    V = block(H, 4)
    assert relative_error(H @ V, dense_hessian(model, nn.CrossEntropyLoss(), (x, y)) @ V) < 1e-10


def test_a_transformer_layer():
    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.head = nn.TransformerEncoderLayer(4, 2, 6, batch_first=True), nn.Linear(4, 3)

        def forward(self, x):
            return self.head(self.layer(x).mean(1))

    torch.manual_seed(0)
    model, x, y = Encoder().double().eval(), torch.randn(9, 5, 4).double(), torch.arange(9) % 3
    H = Hessian(Objective(model, nn.CrossEntropyLoss(), [(x[:4], y[:4]), (x[4:], y[4:])]))
    V = block(H, 3)
    assert relative_error(H @ V, dense_hessian(model, nn.CrossEntropyLoss(), (x, y)) @ V) < 1e-10


def test_what_torch_differentiates_wrongly_is_refused_and_measured_otherwise():
    """The second derivative of torch 2.13's fused weight_norm is wrong by a third and not symmetric."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 6)), nn.Tanh(), nn.Linear(6, 3)).double()
    objective = Objective(model, nn.CrossEntropyLoss(), [(torch.randn(9, 4).double(), torch.arange(9) % 3)])
    w, v = objective.vector(), block(objective.layout.size, 1)[:, 0]
    with pytest.raises(SecondDerivativeError, match="weight_norm"):
        Hessian(objective, engine="exact") @ v
    H = Hessian(objective)
    expected = (objective.gradient(at=w + 1e-5 * v) - objective.gradient(at=w - 1e-5 * v)) / 2e-5
    assert relative_error(H @ v, expected) < 1e-6
    assert "finite difference" in H.engine


@pytest.mark.parametrize("chunk", [1, 3])
def test_embeddings_and_recurrence(chunk):
    class Tagger(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.gru, self.head = nn.Embedding(7, 4), nn.GRU(4, 5, batch_first=True), nn.Linear(5, 3)

        def forward(self, tokens):
            return self.head(self.gru(self.embed(tokens))[0]).transpose(1, 2)

    torch.manual_seed(0)
    model = Tagger().double().eval()
    x, y = torch.randint(6, (9, 5)), torch.randint(3, (9, 5))  # token 6 never occurs
    y[::2, 3:] = -100
    H = Hessian(Objective(model, nn.CrossEntropyLoss(), [(x[:4], y[:4]), (x[4:], y[4:])]), chunk=chunk)
    V = block(H, 3)
    assert relative_error(H @ V, dense_hessian(model, nn.CrossEntropyLoss(), (x, y)) @ V) < 1e-10


@pytest.mark.parametrize("arguments", [{"weight": WEIGHTS}, {"ignore_index": 1}, {"label_smoothing": 0.2}])
def test_weighted_cross_entropies(arguments):
    case = make("mlp_tanh")
    criterion = nn.CrossEntropyLoss(**arguments)
    H = Hessian(Objective(case.model, criterion, case.batches(16)))
    V = block(H, 3)
    assert relative_error(H @ V, dense_hessian(case.model, criterion, case.data) @ V) < 1e-10


# --- closed forms ----------------------------------------------------------------------------------------------------


def test_linear_least_squares_is_two_over_n_xtx():
    x = torch.randn(50, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    model = nn.Linear(6, 1, bias=False).double()
    H = Hessian(Objective(model, nn.MSELoss(), [(x[:32], x[:32, :1] ** 2), (x[32:], x[32:, :1] ** 2)]))
    assert relative_error(H @ torch.eye(6).double(), 2 / 50 * x.T @ x) < 1e-8


def test_a_short_last_batch_counts_by_its_examples():
    model = nn.Linear(1, 1, bias=False).double()
    x = torch.tensor([[1.0], [1.0], [1.0], [3.0]]).double()  # 2/N Σ x² = 6; a mean of batch means would say 10
    H = Hessian(Objective(model, nn.MSELoss(), [(x[:3], x[:3]), (x[3:], x[3:])]))
    assert (H @ torch.ones(1).double()).item() == pytest.approx(6, rel=1e-12)


def test_softmax_regression_is_diag_p_minus_ppt_kron_xxt():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(40, 5, dtype=torch.float64, generator=generator), torch.arange(40) % 3
    model = nn.Linear(5, 3, bias=False).double()
    p = (x @ model.weight.detach().T).softmax(1)
    expected = sum(
        torch.kron(torch.diag(pi) - torch.outer(pi, pi), torch.outer(xi, xi)) for pi, xi in zip(p, x, strict=True)
    ) / len(x)
    H = Hessian(Objective(model, nn.CrossEntropyLoss(), [(x[:16], y[:16]), (x[16:], y[16:])]))
    assert relative_error(H @ torch.eye(15).double(), expected) < 1e-8


def test_a_model_linear_in_its_parameters_under_a_linear_loss_has_no_curvature():
    model = nn.Linear(3, 2).double()
    H = Hessian(Objective(model, lambda model, batch: model(batch).sum(1), [torch.ones(4, 3).double()]))
    assert (H @ torch.ones(8).double()).abs().max() == 0


# --- invariances -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e-7, 1e7])
@pytest.mark.parametrize("name", ["mlp_tanh", "attention"])
def test_a_scaled_loss_has_the_scaled_hessian(name, scale):
    case = make(name)

    def loss(model, batch):
        return scale * cross_entropy(model(batch[0]), batch[1], reduction="none")

    H = Hessian(Objective(case.model, loss, case.batches(16)))
    V = block(H, 3)
    assert relative_error(H @ V / scale, oracle(name) @ V) < 1e-10


def test_products_are_linear_and_zero_at_zero():
    H = Hessian(objective_of(make("mlp_tanh"), 16))
    u, v = block(H, 2).T
    assert relative_error(H @ (1e6 * u - 2 * v), 1e6 * (H @ u) - 2 * (H @ v)) < 1e-13
    assert (H @ torch.zeros_like(u)).abs().max() == 0


def test_the_same_product_twice_is_the_same():
    H = Hessian(objective_of(make("attention"), 16))
    V = block(H, 3)
    first = H @ V
    H @ (2 * V)
    assert torch.equal(H @ V, first)


def test_the_probes_are_not_written_to():
    H = Hessian(objective_of(make("mlp_tanh"), 16))
    V = block(H, 3)
    copy = V.clone()
    H @ V
    assert torch.equal(V, copy)


def test_strided_probes():
    H = Hessian(objective_of(make("mlp_tanh"), 16))
    V = block(H, 6)[:, ::2]
    assert relative_error(H @ V, oracle("mlp_tanh") @ V) < 1e-10


# --- parameters ------------------------------------------------------------------------------------------------------


def test_unused_parameters_have_zero_rows_and_columns():
    objective = objective_of(make("unused"), 16)
    dense = Hessian(objective) @ torch.eye(objective.num_params, dtype=torch.float64)
    spare = slice(30, 42)
    assert dense[spare].abs().max() == 0
    assert dense[:, spare].abs().max() == 0


@pytest.mark.parametrize("engine", ["auto", "exact"])
@pytest.mark.parametrize("glob", ["0.*", "*.bias", "2.weight"])
def test_a_glob_gives_the_diagonal_block(glob, engine):
    case = make("mlp_tanh")
    objective = objective_of(case, 16, params=glob)
    H = Hessian(objective, engine=engine)
    expected = dense_hessian(case.model, case.criterion, case.data, names=objective.names)
    V = block(H, 3)
    assert relative_error(H @ V, expected @ V) < 1e-10
    whole = Hessian(objective_of(case, 16))
    restricted = Restricted(whole, glob)
    assert restricted.shape == H.shape
    assert relative_error(restricted @ V, expected @ V) < 1e-10


def test_a_restriction_to_nothing_is_refused():
    with pytest.raises(ValueError, match=r"decoder\.\*"):
        Restricted(Hessian(objective_of(make("mlp_tanh"))), "decoder.*")


# --- never stale -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [None, torch.float64])
@pytest.mark.parametrize("chunk", [None, 1])
@pytest.mark.parametrize("edit", ["p.data.add_", "p.add_", "load_state_dict", "assign", "running_mean"])
def test_edits_between_products_are_seen(edit, chunk, dtype):
    case = make("conv_batchnorm")
    H = Hessian(objective_of(case, dtype=dtype), chunk=chunk)  # one batch: the graph of the gradient could be kept
    V = block(H, 2)
    before = [H @ V, H @ V][1]
    edit_weights(case.model, edit)
    expected = dense_hessian(case.model, case.criterion, case.data) @ V
    assert relative_error(before, expected) > 1e-3
    assert relative_error(H @ V, expected) < 1e-10
    assert relative_error(H @ V[:, 0], expected[:, 0]) < 1e-10


def test_an_edit_that_is_undone_is_seen_twice():
    case = make("conv_batchnorm")
    H = Hessian(objective_of(case))
    v = block(H, 1)[:, 0]
    before = H @ v
    state = {k: t.clone() for k, t in case.model.state_dict().items()}
    edit_weights(case.model, "p.data.add_")
    assert relative_error(H @ v, before) > 1e-3
    case.model.load_state_dict(state)
    assert relative_error(H @ v, before) < 1e-12


def test_edits_of_frozen_parameters_are_seen():
    case = make("frozen")
    H = Hessian(objective_of(case))
    V = block(H, 2)
    before = H @ V
    case.model[0].weight.data.mul_(2)
    expected = dense_hessian(case.model, case.criterion, case.data) @ V
    assert relative_error(before, expected) > 1e-2
    assert relative_error(H @ V, expected) < 1e-10


def test_training_between_products():
    case = make("mlp_tanh")
    H = Hessian(objective_of(case))
    optimizer = torch.optim.SGD(case.model.parameters(), lr=0.5)
    for _ in range(3):
        v = block(H, 1)[:, 0]
        expected = dense_hessian(case.model, case.criterion, case.data) @ v
        assert relative_error(H @ v, expected) < 1e-10
        optimizer.zero_grad()
        case.criterion(case.model(case.inputs), case.targets).backward()
        optimizer.step()


# --- the operator ----------------------------------------------------------------------------------------------------


def test_attributes_and_count_of_products():
    H = Hessian(objective_of(make("mlp_tanh"), 16))
    assert tuple(H.shape) == oracle("mlp_tanh").shape
    assert H.dtype == torch.float64
    assert torch.device(H.device).type == "cpu"
    assert H.num_matvecs == 0
    H @ block(H, 1)[:, 0]
    H @ block(H, 4)
    assert H.num_matvecs == 5


@pytest.mark.parametrize("shape", [(3,), (1, 156), (156, 2, 2)])
def test_a_vector_of_another_shape_is_refused(shape):
    H = Hessian(objective_of(make("mlp_tanh")))
    assert H.shape[0] == 156
    with pytest.raises(ValueError, match="156"):
        H @ torch.zeros(shape, dtype=torch.float64)


def test_an_unknown_engine_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"warp.*exact"):
        Hessian(objective_of(make("mlp_tanh")), engine="warp")


@pytest.mark.parametrize("chunk", [0, -1])
def test_a_chunk_below_one_is_refused(chunk):
    with pytest.raises(ValueError, match="chunk"):
        Hessian(objective_of(make("mlp_tanh")), chunk=chunk)


def test_scipy_sees_the_same_operator():
    H = Hessian(objective_of(make("mlp_tanh"), 16))
    A = H.to_scipy()
    V = block(H, 2)
    np.testing.assert_allclose(A @ V.numpy(), (oracle("mlp_tanh") @ V).numpy(), rtol=0, atol=1e-12)
    top = scipy.sparse.linalg.eigsh(A, k=2, which="LA", return_eigenvectors=False)
    np.testing.assert_allclose(top[::-1], torch.linalg.eigvalsh(oracle("mlp_tanh")).flip(0)[:2].numpy(), rtol=1e-8)


def test_products_build_no_graph():
    H = Hessian(objective_of(make("mlp_tanh"), 16))
    V = block(H, 2).requires_grad_()
    assert not (H @ V).requires_grad
    with torch.no_grad():
        assert relative_error(H @ V.detach(), oracle("mlp_tanh") @ V.detach()) < 1e-10
