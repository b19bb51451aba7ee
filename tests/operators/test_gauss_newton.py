"""Gauss-Newton and Fisher against dense matrices built from their definitions."""

import pytest
import torch
from torch import nn
from torch.func import functional_call

from landscape import Objective
from landscape.operators import EmpiricalFisher, GaussNewton
from tests.cases import CASES, Case, dense_hessian, make, oracle, relative_error
from tests.test_objective import objective_of


def outputs_of(case):
    params = {name: p.detach() for name, p in case.model.named_parameters() if p.requires_grad}
    shapes, sizes = [p.shape for p in params.values()], [p.numel() for p in params.values()]

    def outputs(flat):
        pieces = [piece.view(shape) for piece, shape in zip(flat.split(sizes), shapes, strict=True)]
        return functional_call(case.model.eval(), dict(zip(params, pieces, strict=True)), (case.inputs,))

    return outputs, torch.cat([p.flatten() for p in params.values()])


def dense_gauss_newton(case):
    """J^T (d^2 of the mean loss by all outputs) J."""
    outputs, w = outputs_of(case)
    z = outputs(w).detach()
    J = torch.autograd.functional.jacobian(outputs, w).reshape(z.numel(), -1)
    H = torch.autograd.functional.hessian(lambda flat: case.criterion(flat.view(z.shape), case.targets), z.flatten())
    return J.T @ H @ J


def dense_fisher(case):
    """The mean over examples of g g^T."""
    outputs, w = outputs_of(case)

    def loss(flat, i):
        return case.criterion(outputs(flat)[i : i + 1], case.targets[i : i + 1])

    gradients = [
        torch.autograd.functional.jacobian(lambda flat, i=i: loss(flat, i), w) for i in range(len(case.inputs))
    ]
    return sum(torch.outer(g, g) for g in gradients) / len(gradients)


def block(A, k=4):
    return torch.randn(A.shape[0], k, dtype=A.dtype, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("chunk", [1, 3])
@pytest.mark.parametrize("size", [None, 16])
@pytest.mark.parametrize("name", CASES)
def test_gauss_newton_is_the_dense_one(name, size, chunk):
    G = GaussNewton(objective_of(make(name), size), chunk=chunk)
    V, dense = block(G), dense_gauss_newton(make(name))
    assert relative_error(G @ V, dense @ V) < 1e-10
    assert relative_error(G @ V[:, 0], dense @ V[:, 0]) < 1e-10


@pytest.mark.parametrize("size", [None, 16])
@pytest.mark.parametrize("name", ["mlp_tanh", "mlp_relu", "conv_batchnorm", "unused"])
def test_fisher_is_the_dense_one(name, size):
    F = EmpiricalFisher(objective_of(make(name), size))
    V, dense = block(F), dense_fisher(make(name))
    assert relative_error(F @ V, dense @ V) < 1e-10


@pytest.mark.parametrize("criterion", [nn.MSELoss(), nn.SmoothL1Loss(beta=0.5), nn.BCEWithLogitsLoss()])
def test_any_criterion(criterion):
    case = make("mlp_tanh")
    targets = torch.rand(len(case.inputs), 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    case = Case(case.model, criterion, case.inputs, targets)
    G = GaussNewton(objective_of(case, 16))
    V = block(G)
    assert relative_error(G @ V, dense_gauss_newton(case) @ V) < 1e-10


def test_a_function_of_model_and_batch():
    case = make("mlp_tanh")

    def loss(model, batch):
        return nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="none")

    G = GaussNewton(Objective(case.model, loss, case.batches(16)))
    V = block(G)
    assert relative_error(G @ V, dense_gauss_newton(case) @ V) < 1e-10


def test_it_is_the_hessian_of_a_linear_model_and_semi_definite_otherwise():
    linear = Case(nn.Linear(5, 4).double(), nn.CrossEntropyLoss(), *make("mlp_tanh").data)
    G = GaussNewton(objective_of(linear, 16))
    identity = torch.eye(G.shape[0], dtype=G.dtype)
    assert relative_error(G @ identity, dense_hessian(linear.model, linear.criterion, linear.data)) < 1e-10
    G = GaussNewton(objective_of(make("mlp_tanh"), 16))
    dense = G @ torch.eye(G.shape[0], dtype=G.dtype)
    assert torch.linalg.eigvalsh(dense).min() > -1e-12
    assert relative_error(dense, oracle("mlp_tanh")) > 0.01  # and it is not the Hessian


def test_a_loss_that_is_linear_in_the_output_has_none():
    model = nn.Linear(3, 1).double()
    objective = Objective(model, lambda model, batch: model(batch)[:, 0], [torch.ones(4, 3).double()])
    assert (GaussNewton(objective) @ torch.ones(4).double()).norm() == 0


def test_refusals():
    model = nn.Linear(3, 1).double()
    twice = Objective(model, lambda model, batch: (model(batch) * model(-batch))[:, 0], [torch.ones(4, 3).double()])
    with pytest.raises(ValueError, match="called once"):
        GaussNewton(twice) @ torch.ones(4).double()
    means = Objective(model, lambda model, batch: model(batch).mean(), [torch.ones(4, 3).double()], weight=len)
    with pytest.raises(ValueError, match="per-example"):
        EmpiricalFisher(means)
