"""Custom autograd Functions: right, once differentiable, with saved intermediates, and named like torch's own nodes."""

# ruff: noqa: E501 (one line a case; F as in torch's own)

import torch
from torch import nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from tests.zoo.case import Apply, Case, Model, net


def _case(name: str, function, *, after=None, plain=None, **more) -> Case:
    reference = (lambda: net(Apply(plain), *([after()] if after else []))) if plain else None
    return Case(
        f"functions/{name}", lambda: net(Apply(function), *([after()] if after else [])), reference=reference, **more
    )


def _make(name: str, forward, backward) -> type[Function]:
    """A Function of one argument, called ``name``: that is the name of its node in the graph."""
    return type(name, (Function,), {"forward": staticmethod(forward), "backward": staticmethod(backward)})


def _saving(ctx, x, result):
    ctx.save_for_backward(x)
    return result


def _of_input(name: str, function, slope) -> type[Function]:
    """f and its slope as a function of the saved input: twice differentiable."""
    return _make(name, lambda ctx, x: _saving(ctx, x, function(x)), lambda ctx, g: g * slope(*ctx.saved_tensors))


def _of_intermediate(name: str, function, slope) -> type[Function]:
    """The slope computed in forward and saved: its own derivative is lost."""

    def forward(ctx, x):
        ctx.slope = slope(x)
        return function(x)

    return _make(name, forward, lambda ctx, g: g * ctx.slope)


def _saved_intermediate(name: str, function, slope) -> type[Function]:
    return _make(name, lambda ctx, x: _saving(ctx, slope(x), function(x)), lambda ctx, g: g * ctx.saved_tensors[0])


def _on_ctx(name: str, function, slope) -> type[Function]:
    """The input kept on ctx, not by save_for_backward."""

    def forward(ctx, x):
        ctx.x = x
        return function(x)

    return _make(name, forward, lambda ctx, g: g * slope(ctx.x))


def _once(name: str, function, slope) -> type[Function]:
    backward = once_differentiable(lambda ctx, g: g * slope(*ctx.saved_tensors))
    return _make(name, lambda ctx, x: _saving(ctx, x, function(x)), backward)


def _square(x):
    return x * x


def _double(x):
    return 2 * x


def _cos(x):
    return x.cos()


def _one(x):
    return torch.ones_like(x)


def _minus(x):
    return -torch.ones_like(x)


class LinearOnce(Function):
    """x W^T, whose backward torch may not differentiate again."""

    @staticmethod
    def forward(ctx, x, w):
        ctx.save_for_backward(x, w)
        return x @ w.T

    @staticmethod
    @once_differentiable
    def backward(ctx, g):
        x, w = ctx.saved_tensors
        return g @ w, g.T @ x


class LinearTwice(LinearOnce):
    @staticmethod
    def backward(ctx, g):
        x, w = ctx.saved_tensors
        return g @ w, g.T @ x


class LinearDetached(LinearOnce):
    @staticmethod
    def backward(ctx, g):
        x, w = ctx.saved_tensors
        return g @ w.detach(), g.T @ x.detach()


class ReluNoCtx(Function):
    @staticmethod
    def forward(x):
        return x.clamp(min=0)

    @staticmethod
    def setup_context(ctx, inputs, output):  # noqa: ARG004
        ctx.save_for_backward(inputs[0])

    @staticmethod
    def backward(ctx, g):
        return g * (ctx.saved_tensors[0] > 0)


class ExpOfOutput(Function):
    @staticmethod
    def forward(ctx, x):
        y = x.exp()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, g):
        return g * ctx.saved_tensors[0]


class NoBackward(Function):
    @staticmethod
    def forward(ctx, x):  # noqa: ARG004
        return x.tanh()


class Numpy(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.from_numpy(torch.tanh(x.detach()).numpy().copy())

    @staticmethod
    def backward(ctx, g):
        return g * (1 - torch.tanh(ctx.saved_tensors[0].detach()) ** 2)


def _apply_linear(function):
    return lambda: Model(lambda m, x: m.b(torch.tanh(function.apply(x, m.w))), w=torch.randn(3, 3), b=nn.Linear(3, 3))


def _linear(name: str, function) -> Case:
    plain = lambda: Model(lambda m, x: m.b(torch.tanh(x @ m.w.T)), w=torch.randn(3, 3), b=nn.Linear(3, 3))  # noqa: E731
    return Case(f"functions/{name}", _apply_linear(function), reference=plain)


CASES = [
    _case("sin, right", _of_input("Sin", torch.sin, _cos).apply),
    _case("square, right", _of_input("Own", _square, _double).apply),
    _case("exp of its output", ExpOfOutput.apply),
    _case("relu, new style", ReluNoCtx.apply),
    _case("square, once differentiable", _once("Own", _square, _double).apply),
    _case("sin, once differentiable", _once("Own", torch.sin, _cos).apply, after=nn.Tanh),
    _case("square, slope on ctx", _of_intermediate("Own", _square, _double).apply),
    _case("square, slope saved", _saved_intermediate("Own", _square, _double).apply),
    _case("sin, slope saved", _saved_intermediate("Own", torch.sin, _cos).apply, after=nn.Tanh),
    _case("square, input on ctx", _on_ctx("Own", _square, _double).apply),
    _case("sin, input on ctx", _on_ctx("Own", torch.sin, _cos).apply),
    _case("no backward", NoBackward.apply),
    _case("numpy inside", Numpy.apply, plain=torch.tanh),
    _case("square called Relu", _of_input("Relu", _square, _double).apply),
    _case("sin called Clamp", _of_input("Clamp", torch.sin, _cos).apply),
    _case("square called Add", _of_input("Add", _square, _double).apply),
    _case("exp called View", _of_input("View", torch.exp, torch.exp).apply),
    _case("square called Mm", _of_input("Mm", _square, _double).apply),
    _case("square called CloneBackward0", _of_input("CloneBackward0", _square, _double).apply),
    _case("relu called Relu", _of_input("Relu", torch.relu, lambda x: (x > 0).to(x)).apply),
    _case("square called Relu, once differentiable", _once("Relu", _square, _double).apply),
    _case("square called AccumulateGrad", _of_input("AccumulateGrad", _square, _double).apply),
    _case("gradient reversal", _of_input("Reverse", lambda x: x.clone(), _minus).apply, after=nn.Tanh),
    _case("gradient reversal called Clone", _of_input("Clone", lambda x: x.clone(), _minus).apply, after=nn.ReLU),
    _case("gradient doubled", _of_input("Own", lambda x: x.clone(), lambda x: 2 * _one(x)).apply, after=nn.Tanh),
    _case("gradient one per cent off", _of_input("Own", torch.tanh, lambda x: 1.01 * (1 - x.tanh() ** 2)).apply),
    _case("straight through sign", _of_input("Own", torch.sign, _one).apply),
    _case("straight through round", _of_input("Own", torch.round, _one).apply, after=nn.Tanh),
    _case("gradient clipped", _make("Own", lambda ctx, x: x.clone(), lambda ctx, g: g.clamp(-0.01, 0.01)).apply, after=nn.Tanh),
    _case("slope of a surrogate", _of_input("Spike", lambda x: (x > 0).to(x), lambda x: 1 / (1 + x.abs()) ** 2).apply),
    _linear("linear, once differentiable", LinearOnce),
    _linear("linear, twice", LinearTwice),
    _linear("linear, detached in backward", LinearDetached),
    _case("checkpoint", lambda h: checkpoint(torch.tanh, h, use_reentrant=False)),
    _case("checkpoint relu", lambda h: checkpoint(torch.relu, h, use_reentrant=False)),
    _case("checkpoint reentrant", lambda h: checkpoint(torch.tanh, h, use_reentrant=True), plain=torch.tanh),
    Case("functions/checkpointed layers", lambda: Model(lambda m, x: m.b(checkpoint(lambda z: torch.relu(m.a(z)), x, use_reentrant=False)), a=nn.Linear(3, 3), b=nn.Linear(3, 3))),
    Case("functions/checkpointed layers, reentrant", lambda: Model(lambda m, x: m.b(checkpoint(lambda z: torch.relu(m.a(z)), x, use_reentrant=True)), a=nn.Linear(3, 3), b=nn.Linear(3, 3))),
    Case("functions/checkpointed net", lambda: Model(lambda m, x: checkpoint(m.net, x, use_reentrant=False), net=net(nn.Tanh()))),
    _case("detach half", lambda h: torch.cat([h[:, :1].detach(), h[:, 1:]], 1).tanh()),
    _case("under no_grad", lambda h: _no_grad(h).tanh()),
    _case("through data", lambda h: (h.data + h * 0).tanh()),
    _case("by item", lambda h: h * float(h.detach().mean()), sizes=(9,)),
    _case("sign times abs", lambda h: h.sign() * h.abs()),
    _case("vmap", lambda h: torch.vmap(torch.tanh)(h)),
    _case("func.grad inside", lambda h: torch.vmap(torch.func.grad(lambda z: z.cos().sum()))(h)),
    _case("saved tensors on the side", lambda h: _saved_hooks(h)),
    _case("linalg.solve", lambda h: torch.linalg.solve(torch.eye(3).to(h) * 3 + h[:, :, None] * 0.1, h)),
    _case("eigh", lambda h: torch.linalg.eigvalsh(h[:, :, None] * h[:, None, :] + torch.diag(torch.arange(3.0)).to(h))),
    _case("svd", lambda h: torch.linalg.svdvals(h[:, :, None] * h[:, None, :] + torch.diag(torch.arange(1.0, 4)).to(h))),
    _case("inverse", lambda h: torch.linalg.inv(torch.eye(3).to(h) * 3 + torch.diag_embed(h.tanh())).diagonal(dim1=1, dim2=2)),
    _case("matrix_exp", lambda h: torch.matrix_exp(0.3 * h[:, :, None] * h[:, None, :]).sum(2)),
]  # fmt: skip


def _no_grad(h):
    with torch.no_grad():
        return h * 1


def _saved_hooks(h):
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t):
        return h.tanh()
