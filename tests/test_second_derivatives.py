"""Our convolutions and batch norms against torch's: the same values and derivatives, however they are called."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from landscape import Objective
from landscape.operators import Hessian
from landscape.second_derivatives import twice_differentiable
from tests.cases import dense_hessian, relative_error

CALLS = {
    "1d": (functional.conv1d, (2, 4, 9), (6, 4, 3), {"stride": 2, "padding": 1}),
    "2d": (functional.conv2d, (2, 4, 7, 6), (6, 4, 3, 2), {"stride": (2, 1), "padding": (1, 0)}),
    "2d grouped": (functional.conv2d, (2, 4, 7, 6), (6, 2, 3, 3), {"padding": 2, "dilation": 2, "groups": 2}),
    "2d depthwise": (functional.conv2d, (2, 4, 7, 6), (4, 1, 3, 3), {"groups": 4}),
    "3d": (functional.conv3d, (2, 2, 4, 5, 4), (3, 2, 2, 3, 1), {}),
    "same": (functional.conv2d, (2, 4, 7, 6), (6, 4, 3, 3), {"padding": "same"}),
    "no batch": (functional.conv2d, (4, 7, 6), (6, 4, 3, 3), {"padding": 1}),
}


def derivatives(call, *, ours, batched=False):
    """Output, gradients and second derivatives along random vectors of sum(tanh(conv)^2)."""
    function, shape, kernel, settings = CALLS[call]
    torch.manual_seed(0)
    x, w, bias = (torch.randn(size).double().requires_grad_() for size in (shape, kernel, kernel[:1]))
    if ours:
        with twice_differentiable():
            y = function(input=x, weight=w, bias=bias, **settings)
    else:
        y = function(x, w, bias, **settings)
    grads = torch.autograd.grad(y.tanh().square().sum(), (x, w, bias), create_graph=True)
    vectors = [torch.randn((3, *g.shape) if batched else g.shape).double() for g in grads]
    second = torch.autograd.grad(grads, (x, w, bias), vectors, is_grads_batched=batched)
    return [tensor.detach() for tensor in (y, *grads, *second)]


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("call", CALLS)
def test_all_derivatives_are_torch_s(call, batched):
    for found, truth in zip(
        derivatives(call, ours=True, batched=batched), derivatives(call, ours=False, batched=batched), strict=True
    ):
        assert relative_error(found, truth) < 1e-13


def normalized(ours, *, shape=(4, 3, 5), batched=False, **settings):
    """Output, gradients and second derivatives of sum(tanh(batch_norm)^2)."""
    torch.manual_seed(0)
    mean, var = torch.randn(3).double(), torch.rand(3).double() + 0.5
    x, w, b = (torch.randn(size).double().requires_grad_() for size in (shape, 3, 3))
    settings = {"weight": w, "bias": b, "eps": 0.1} | settings
    with twice_differentiable() if ours else torch.enable_grad():
        y = functional.batch_norm(x, mean, var, **settings)
    used = [t for t in (x, settings["weight"], settings["bias"]) if t is not None]
    grads = torch.autograd.grad(y.tanh().square().sum(), used, create_graph=True)
    vectors = [torch.randn((3, *g.shape) if batched else g.shape).double() for g in grads]
    second = torch.autograd.grad(grads, used, vectors, is_grads_batched=batched)
    return [tensor.detach() for tensor in (y, *grads, *second)]


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 5), (2, 3, 4, 5)])
def test_batch_norm_has_torch_s_derivatives(shape, batched):
    for found, truth in zip(
        normalized(True, shape=shape, batched=batched), normalized(False, shape=shape, batched=batched), strict=True
    ):
        assert relative_error(found, truth) < 1e-13


@pytest.mark.parametrize("settings", [{"training": True}, {"weight": None, "bias": None}])
def test_other_batch_norms_are_torch_s(settings):
    for found, truth in zip(normalized(True, **settings), normalized(False, **settings), strict=True):
        assert torch.equal(found, truth)


def test_a_third_derivative_is_torch_s_too():
    def third(ours):
        torch.manual_seed(0)
        x, w = torch.randn(2, 2, 4, 4).double(), torch.randn(3, 2, 2, 2).double().requires_grad_()
        with twice_differentiable() if ours else torch.enable_grad():
            y = functional.conv2d(functional.conv2d(x, w).tanh(), w.transpose(0, 1))
        value = y.tanh().square().sum()
        for _ in range(2):
            (grad,) = torch.autograd.grad(value, w, create_graph=True)
            value = (grad * torch.linspace(1, 2, w.numel()).double().reshape(w.shape)).sum()
        return torch.autograd.grad(value, w)[0]

    assert relative_error(third(True), third(False)) < 1e-12


def test_the_graphs_of_the_hessian_use_them():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Tanh(), nn.Flatten(), nn.Linear(8, 2)).eval()
    objective = Objective(model, nn.CrossEntropyLoss(), [(torch.randn(3, 1, 4, 4), torch.arange(3) % 2)])
    graph = Hessian(objective)._graphs()[0]
    todo, names = [grad.grad_fn for grad in graph.grads], set()
    while todo:
        node = todo.pop()
        if node is not None and node not in names:
            names.add(node)
            todo += [parent for parent, _ in node.next_functions]
    found = {node.name() for node in names}
    assert {"_ConvolutionBackward", "_AffineBackward"} <= found
    assert not {"ConvolutionBackward0", "NativeBatchNormBackward0"} & found


class Recomputing(nn.Module):
    def __init__(self):
        super().__init__()
        self.block, self.head = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Tanh()), nn.Linear(8, 2)

    def forward(self, x):
        return self.head(checkpoint(self.block, x, use_reentrant=False).flatten(1))


def test_activation_checkpointing_is_left_to_torch():
    torch.manual_seed(0)
    model = Recomputing().double().eval()
    inputs, targets = torch.randn(3, 1, 4, 4).double(), torch.arange(3) % 2
    H = Hessian(Objective(model, nn.CrossEntropyLoss(), [(inputs, targets)]), engine="auto")
    truth = dense_hessian(model, nn.CrossEntropyLoss(), (inputs, targets))
    assert relative_error(H @ torch.eye(len(truth)).double(), truth) < 1e-12
    assert H.engine.startswith("double backward")
