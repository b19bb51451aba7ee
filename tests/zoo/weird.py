"""Models that fit nowhere else: scripted and compiled, branching on values, solvers, nested calls, unusual outputs."""

# ruff: noqa: E501, N812 (one line a case; F as in torch's own)

import threading

import torch
from torch import nn
from torch.nn import functional as F

from tests.zoo.case import Apply, Case, Model, net


def _case(name: str, model, **more) -> Case:
    return Case(f"weird/{name}", model, **more)


def _fcs(function, **more):
    return lambda: Model(function, a=nn.Linear(3, 3), b=nn.Linear(3, 3), **more)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.b(torch.relu(self.a(x)))


class Compiled(nn.Module):
    """A net traced ahead of time, forward and backward: its backward is not to be differentiated again."""

    def __init__(self, inner: nn.Module, *, warm: bool = False) -> None:
        super().__init__()
        from functorch.compile import aot_function, nop  # takes a second

        self.inner = inner
        self.run = aot_function(lambda z, a, b, c, d: torch.tanh(z @ a.T + b) @ c.T + d, nop)
        if warm:
            self.double()(torch.randn(5, 3).double()), self(torch.randn(4, 3).double())

    def forward(self, x):
        return self.run(x, *self.inner.parameters())


class Slotted(nn.Linear):
    """A subclass that computes something else."""

    def forward(self, x):
        return super().forward(x) ** 2


class Renamed(nn.Linear):
    """A subclass that changes nothing."""


class Own(nn.Module):
    """Not to be copied."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.lock = net(nn.ReLU()), threading.Lock()

    def forward(self, x):
        return self.fc(x)


class Called(nn.Module):
    """``__call__`` itself is overridden."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = net(nn.ReLU())

    def __call__(self, x):
        return self.fc(x)


class Patched(nn.Module):
    """The forward of an instance is replaced."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3)
        self.fc.forward = lambda x: F.linear(x, self.fc.weight) ** 2

    def forward(self, x):
        return self.fc(x)


class TrainOnly(nn.Module):
    """Says in train and eval mode two different things."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3)

    def forward(self, x):
        return self.fc(x) if self.training else torch.tanh(self.fc(x)) * 2


class ChangesItself(nn.Module):
    """Writes to its weight in forward."""

    def __init__(self, how) -> None:
        super().__init__()
        self.fc, self.how = nn.Linear(3, 3), how

    def forward(self, x):
        with torch.no_grad():
            self.how(self.fc)
        return self.fc(x)


class Replaces(nn.Module):
    """Puts a new parameter in the place of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3)

    def forward(self, x):
        self.fc.weight = nn.Parameter(self.fc.weight.detach().clone())
        return self.fc(x)


def _solve(m, x):
    z = torch.zeros_like(x)
    for _ in range(30):
        z = torch.tanh(0.3 * m.a(z) + x)
    return m.b(z)


def _until(m, x):
    h = m.a(x)
    while float(h.detach().abs().max()) > 1.0:
        h = h / 2
    return m.b(h)


def _ode(m, x):
    for _ in range(4):
        x = x + 0.25 * torch.tanh(m.a(x))
    return m.b(x)


def _normal_equations(m, x):
    h = m.a(x)
    return m.b(h) + h @ torch.linalg.solve(h.T @ h + torch.eye(3).to(h), h.T @ h)


def _norm_of(layer):
    layer.weight.div_(layer.weight.norm())


def _nothing(layer):
    for p in layer.parameters():
        nn.init.zeros_(p)
    return layer


_NEAR = {"loss": nn.MSELoss(), "y": lambda n: 1e-3 * torch.randn(n, 3), "sizes": (8,)}

CASES = [
    _case("jit script", lambda: torch.jit.script(Net())),
    _case("jit script, double from the start", lambda: torch.jit.script(Net().double()), dtype=None, batches=lambda: [(torch.randn(5, 3).double(), torch.arange(5) % 3)]),
    _case("jit trace", lambda: torch.jit.trace(Net().double(), torch.randn(2, 3).double())),
    _case("jit script of one layer", lambda: nn.Sequential(nn.Linear(3, 3), torch.jit.script(nn.Sequential(nn.ReLU(), nn.Linear(3, 3))))),
    _case("jit script of a function", lambda: net(_Scripted())),
    _case("fx trace", lambda: torch.fx.symbolic_trace(Net())),
    _case("torch.export", lambda: torch.export.export(Net(), (torch.randn(5, 3),), dynamic_shapes=({0: torch.export.Dim("n")},)).module(), dtype=torch.float32),
    _case("torch.compile", lambda: torch.compile(Net(), backend="aot_eager"), reference=Net),
    _case("torch.compile, whole graph", lambda: torch.compile(net(nn.Tanh()), backend="aot_eager", fullgraph=True), reference=lambda: net(nn.Tanh())),
    _case("torch.compile of a layer", lambda: nn.Sequential(torch.compile(nn.Linear(3, 3), backend="aot_eager"), nn.Tanh(), nn.Linear(3, 3))),
    _case("torch.compile in place", lambda: _compiled_in_place(net(nn.Tanh()))),
    _case("torch.compile of a layer in place", lambda: (lambda m: (_compiled_in_place(m[0]), m)[1])(net(nn.ReLU()))),
    _case("torch.compile of the forward", lambda: _compiled_forward(Net())),
    _case("torch.compile of a function", lambda: net(Apply(torch.compile(lambda h: h * torch.sigmoid(h), backend="aot_eager")))),
    _case("torch.compile of the loss", lambda: net(nn.Tanh()), loss=torch.compile(nn.CrossEntropyLoss(), backend="aot_eager")),
    _case("torch.compile of a loss function", lambda: net(nn.Tanh()), loss=torch.compile(lambda m, b: F.cross_entropy(m(b[0]), b[1], reduction="none"), backend="aot_eager")),
    _case("torch.compile that has trained", lambda: _trained(torch.compile(net(nn.Tanh()).double(), backend="aot_eager")), reference=lambda: net(nn.Tanh())),
    _case("aot function", lambda: Compiled(net(nn.Tanh())), reference=lambda: net(nn.Tanh())),
    _case("aot function that has seen gradients", lambda: Compiled(net(nn.Tanh()), warm=True), reference=lambda: net(nn.Tanh())),
    _case("DataParallel", lambda: nn.DataParallel(net(nn.ReLU()))),
    _case("subclass that squares", lambda: nn.Sequential(nn.Linear(3, 3), nn.ReLU(), Slotted(3, 3))),
    _case("subclass that squares first", lambda: nn.Sequential(Slotted(3, 3), nn.ReLU(), nn.Linear(3, 3))),
    _case("subclass that changes nothing", lambda: nn.Sequential(Renamed(3, 3), nn.ReLU(), Renamed(3, 3))),
    _case("forward replaced", Patched),
    _case("call overridden", Called),
    _case("not to be copied", Own),
    _case("other in train mode", TrainOnly),
    _case("other in train mode, measured in train", TrainOnly, options={"mode": "train"}),
    _case("handed over in eval", lambda: net(nn.ReLU()).eval()),
    _case("writes to its weight", lambda: ChangesItself(_norm_of)),
    _case("writes the same to its weight", lambda: ChangesItself(lambda fc: fc.weight.mul_(1))),
    _case("clamps its weight", lambda: ChangesItself(lambda fc: fc.weight.clamp_(-0.3, 0.3))),
    _case("replaces its parameter", Replaces),
    _case("branches on a value", _fcs(lambda m, x: m.b(m.a(x)) if float(m.a(x).sum()) > 0 else m.b(torch.tanh(m.a(x)))), sizes=(9,)),
    _case("branches by example", _fcs(lambda m, x: torch.stack([m.a(r) if float(r[0]) > 0 else m.b(r) for r in x]))),
    _case("branches on a value, in two batches", _fcs(lambda m, x: m.b(m.a(x)) if float(m.a(x).sum()) > 0 else m.b(torch.tanh(m.a(x))))),
    _case("loops over examples", _fcs(lambda m, x: torch.stack([m.b(F.relu(m.a(r))) for r in x]))),
    _case("loops until small", _fcs(_until), sizes=(9,)),
    _case("fixed point unrolled", _fcs(_solve)),
    _case("ordinary differential equation", _fcs(_ode)),
    _case("normal equations over the batch", _fcs(_normal_equations), sizes=(9,)),
    _case("normal equations over two batches", _fcs(_normal_equations)),
    _case("called without grad for a part", _fcs(lambda m, x: m.b(_eval_without_grad(m, x)) + m.a(x))),
    _case("asks whether gradients are on", _fcs(lambda m, x: m.b(m.a(x).relu() if torch.is_grad_enabled() else m.a(x).tanh())), grad=True),
    _case("asks whether its input needs gradients", _fcs(lambda m, x: m.b(F.relu(h) if (h := m.a(x)).requires_grad else h.tanh())), grad=True),
    _case("asks the default dtype", _fcs(lambda m, x: m.b(m.a(x) * torch.ones(3)))),
    _case("nested functional call", _fcs(lambda m, x: m.b(torch.func.functional_call(m.a, {"weight": m.a.weight * 2, "bias": m.a.bias}, (x,))))),
    _case("nested functional call of its own weights", _fcs(lambda m, x: m.b(F.relu(torch.func.functional_call(m.a, dict(m.a.named_parameters()), (x,)))))),
    _case("vmap over examples", _fcs(lambda m, x: torch.vmap(lambda r: m.b(F.relu(m.a(r))))(x))),
    _case("ensemble by vmap", lambda: Model(lambda m, x: torch.vmap(lambda w: x @ w)(m.w).mean(0), w=torch.randn(2, 3, 3))),
    _case("ensemble in the batch", lambda: Model(lambda m, x: torch.bmm(F.relu(m.a(x)).expand(2, -1, -1), m.w).mean(0), a=nn.Linear(3, 3), w=torch.randn(2, 3, 3))),
    _case("input jacobian inside", _fcs(lambda m, x: m.b(torch.vmap(torch.func.jacrev(lambda r: torch.tanh(m.a(r)).sum()))(x)))),
    _case("einsum", lambda: Model(lambda m, x: torch.einsum("ni,ij,jk->nk", x, m.u, m.v), u=torch.randn(3, 3), v=torch.randn(3, 3))),
    _case("tensor train", lambda: Model(lambda m, x: torch.einsum("ni,iar,rbk->nk", x, m.u, m.v), u=torch.randn(3, 2, 2), v=torch.randn(2, 2, 3))),
    _case("kernel machine", lambda: Model(lambda m, x: torch.exp(-torch.cdist(x, m.c) ** 2) @ m.w, c=torch.randn(4, 3), w=torch.randn(4, 3))),
    _case("soft decision tree", lambda: Model(lambda m, x: torch.sigmoid(m.s(x)) @ m.l, s=nn.Linear(3, 2), l=torch.randn(2, 3))),
    _case("quadratic layer", lambda: Model(lambda m, x: torch.einsum("ni,oij,nj->no", x, m.q, x), q=torch.randn(3, 3, 3))),
    _case("product of linear maps", lambda: nn.Sequential(*(nn.Linear(3, 3, bias=False) for _ in range(3)))),
    _case("product of relu and its input's layer", _fcs(lambda m, x: m.b(F.relu(m.a(x)) * x))),
    _case("product of two layers", _fcs(lambda m, x: m.a(x) * m.b(x))),
    _case("product of two reluctant layers", _fcs(lambda m, x: F.relu(m.a(x)) * F.relu(m.b(x)))),
    _case("quotient of two layers", _fcs(lambda m, x: m.a(x) / (2 + m.b(x).abs()))),
    _case("residual of itself", _fcs(lambda m, x: m.b(F.relu(m.a(x)) + m.a(x)))),
    _case("dense connections", _fcs(lambda m, x: m.b(F.relu(m.a(x))) + m.a(x) + x)),
    _case("output is a tuple", lambda: Model(lambda m, x: (m.n(x), x), n=net(nn.ReLU())), loss=lambda m, b: F.cross_entropy(m(b[0])[0], b[1], reduction="none")),
    _case("output is a dictionary", lambda: Model(lambda m, x: {"logits": m.n(x)}, n=net(nn.ReLU())), loss=lambda m, b: F.cross_entropy(m(b[0])["logits"], b[1], reduction="none")),
    _case("output is a dictionary for a criterion", lambda: Model(lambda m, x: {"scores": m.n(x)}, n=net(nn.ReLU()))),
    _case("output is a view of the input", lambda: Model(lambda m, x: x[:, :3] * 1 + 0 * m.a(x), a=nn.Linear(3, 3))),
    _case("output has one column", lambda: net(nn.ReLU(), out=1), loss=nn.BCEWithLogitsLoss(), y=lambda n: torch.rand(n, 1)),
    _case("output has no second dimension", lambda: nn.Sequential(net(nn.ReLU(), out=1), nn.Flatten(0)), loss=nn.MSELoss(), y=lambda n: torch.randn(n)),
    _case("output has three dimensions", lambda: nn.Sequential(net(nn.ReLU()), nn.Unflatten(1, (3, 1))), loss=nn.MSELoss(), y=(3, 1)),
    _case("output has a single row for all", lambda: Model(lambda m, x: m.n(x).mean(0, keepdim=True), n=net(nn.ReLU()))),
    _case("output does not depend on parameters", lambda: Model(lambda m, x: x * 1.0, a=nn.Linear(3, 3))),
    _case("output's rows in another order", lambda: Model(lambda m, x: m.n(x)[torch.arange(len(x)).flip(0)], n=net(nn.ReLU()))),
    _case("output of a neighbour", lambda: Model(lambda m, x: m.n(x.roll(1, 0)), n=net(nn.ReLU())), sizes=(9,)),
    _case("output of two neighbours", lambda: Model(lambda m, x: m.b(F.relu(m.a(x)) + F.relu(m.a(x)).roll(1, 0)), a=nn.Linear(3, 3), b=nn.Linear(3, 3)), sizes=(9,)),
    _case("output of a neighbour, small numbers", lambda: Model(lambda m, x: m.b(F.relu(m.a(x)) + 0.01 * F.relu(m.a(x)).roll(1, 0)), a=nn.Linear(3, 3), b=nn.Linear(3, 3)), sizes=(8,)),
    _case("small losses that mix examples", lambda: Model(lambda m, x: 1e-2 * (m.n(x) + m.n(x).roll(1, 0)), n=net(nn.ReLU())), loss=nn.MSELoss(), y=lambda n: 1e-2 * torch.randn(n, 3), sizes=(8,)),
    _case("small losses that mix distant examples", lambda: Model(lambda m, x: 1e-2 * (m.n(x) - m.n(x).flip(0)), n=net(nn.ReLU())), loss=nn.MSELoss(), y=lambda n: 1e-2 * torch.randn(n, 3), sizes=(8,)),
    _case("next to no loss, mixing examples", lambda: Model(lambda m, x: m.z(x + x.flip(0)), z=_nothing(nn.Linear(3, 3))), **_NEAR),
    _case("next to no loss, mixing neighbours", lambda: Model(lambda m, x: m.z(x - x.roll(1, 0)), z=_nothing(nn.Linear(3, 3))), **_NEAR),
    _case("next to no loss, mixing examples by layers", lambda: Model(lambda m, x: m.z(F.relu(m.a(x)) - F.relu(m.a(x)).mean(0)), a=nn.Linear(3, 3), z=_nothing(nn.Linear(3, 3))), **_NEAR),
    _case("same example in all rows of the layer", lambda: Model(lambda m, x: m.b(F.relu(m.a(x)).sum(0, keepdim=True) / 9 + x), a=nn.Linear(3, 3), b=nn.Linear(3, 3)), sizes=(9,)),
    _case("at a minimum", lambda: _zero(net(nn.Tanh())), loss=nn.MSELoss(), y=lambda n: torch.zeros(n, 3)),
    _case("flat everywhere", lambda: Model(lambda m, x: m.n(x) * 0 + x, n=net(nn.ReLU()))),
    _case("indefinite saddle", lambda: Model(lambda m, x: x * (m.u @ m.v), u=torch.zeros(1, 3), v=torch.zeros(3, 3)), loss=nn.MSELoss(), y=(3,)),
    _case("ten equal eigenvalues", lambda: Model(lambda m, x: m.w.expand(len(x), 10), w=torch.randn(10)), loss=nn.MSELoss(), y=(10,)),
    _case("kinks at the weights themselves", lambda: Model(lambda m, x: F.relu(x @ m.w), w=torch.eye(3) * 0 + torch.randn(3, 3))),
]  # fmt: skip


class _Scripted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.function = torch.jit.script(_gelu)

    def forward(self, x):
        return self.function(x)


def _gelu(x: torch.Tensor) -> torch.Tensor:
    return x * torch.sigmoid(1.702 * x)


def _compiled_in_place(model: nn.Module) -> nn.Module:
    model.compile(backend="aot_eager")
    return model


def _compiled_forward(model: nn.Module) -> nn.Module:
    model.forward = torch.compile(model.forward, backend="aot_eager")
    return model


def _trained(model: nn.Module) -> nn.Module:
    model(torch.ones(5, 3).double()).sum().backward()
    model.zero_grad()
    return model


def _eval_without_grad(m, x):
    with torch.no_grad():
        return m.a(x)


def _zero(model: nn.Module) -> nn.Module:
    with torch.no_grad():
        for p in model[2].parameters():
            p.zero_()
    return model
