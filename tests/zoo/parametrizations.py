"""Parameters that are made of others, shared, frozen, outside their module's call, or of unusual shape and name."""

# ruff: noqa: E501, N812 (one line a case; F as in torch's own)

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize, prune

from tests.zoo.case import Apply, Case, Model, net


def _case(name: str, model, **more) -> Case:
    return Case(f"parametrizations/{name}", model, **more)


def _with(register, act=nn.Tanh, hidden: int = 3):
    """A net after ``register(its first linear layer)``."""

    def model() -> nn.Module:
        made = net(act(), hidden=hidden)
        register(made[0])
        return made

    return model


class Function(nn.Module):
    """A parametrization by a function."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, w):
        return self.function(w)


def _by(function, act=nn.ReLU):
    return _with(
        lambda layer: parametrize.register_parametrization(layer, "weight", Function(function), unsafe=True), act
    )


class LoRA(nn.Module):
    """A linear layer and a product of two thin matrices; ``eval`` adds the product to the weight, ``train`` takes it away."""

    def __init__(self, *, merges: bool, asks_training: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 3))
        self.a, self.b = nn.Parameter(torch.randn(1, 3)), nn.Parameter(torch.randn(3, 1))
        self.merges, self.asks_training, self.merged = merges, asks_training, False

    def train(self, mode: bool = True) -> nn.Module:
        if self.merges and self.merged == mode:
            self.weight.data += (-1.0 if mode else 1.0) * (self.b @ self.a).data
            self.merged = not mode
        return super().train(mode)

    def forward(self, x):
        apart = self.training if self.asks_training else not self.merged
        return F.linear(x, self.weight + self.b @ self.a if apart else self.weight)


class Scaled(nn.Module):
    """A module with a parameter of its own around a module with others."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.scale = inner, nn.Parameter(torch.ones(3))

    def forward(self, x):
        return self.scale * self.inner(x)


def _lora(**more):
    return lambda: nn.Sequential(LoRA(**more), nn.Tanh(), nn.Linear(3, 3))


def _handed_over_in_eval(model):
    return lambda: model().eval()


def _two(first, second):
    """Two linear layers, a relation between them, and what they make of x."""

    def model() -> nn.Module:
        made = Model(second, a=nn.Linear(3, 3), b=nn.Linear(3, 3))
        first(made)
        return made

    return model


def _share(m) -> None:
    m.b.weight = m.a.weight


def _fc_twice(name: str, function, **more) -> Case:
    return _case(name, lambda: Model(function, a=nn.Linear(3, 3), b=nn.Linear(3, 3)), **more)


CASES = [
    _case("weight_norm", _with(parametrizations.weight_norm)),
    _case("weight_norm relu", _with(parametrizations.weight_norm, nn.ReLU)),
    _case("weight_norm of hooks", _with(nn.utils.weight_norm, nn.ReLU)),
    _case("spectral_norm", _with(parametrizations.spectral_norm)),
    _case("spectral_norm of hooks", _with(nn.utils.spectral_norm)),
    _case("spectral_norm in train", _with(parametrizations.spectral_norm), options={"mode": "train"}),
    _case("orthogonal exponential", _with(lambda layer: parametrizations.orthogonal(layer, orthogonal_map="matrix_exp"))),
    _case("orthogonal cayley", _with(lambda layer: parametrizations.orthogonal(layer, orthogonal_map="cayley"))),
    _case("identity", _by(lambda w: w)),
    _case("symmetric", _by(lambda w: w.triu() + w.triu(1).mT)),
    _case("skew", _by(lambda w: w.triu(1) - w.triu(1).mT)),
    _case("exponential", _by(torch.exp)),
    _case("square", _by(torch.square)),
    _case("relu of weights", _by(F.relu)),
    _case("doubled", _by(lambda w: 2 * w)),
    _case("low rank", lambda: Model(lambda m, x: F.relu(x @ m.u @ m.v) @ m.h, u=torch.randn(3, 1), v=torch.randn(1, 3), h=torch.randn(3, 3))),
    _case("two parametrizations", _with(lambda layer: [parametrize.register_parametrization(layer, "weight", Function(f)) for f in (torch.tanh, torch.neg)])),
    _case("of the bias", _with(lambda layer: parametrize.register_parametrization(layer, "bias", Function(torch.exp)), nn.ReLU)),
    _case("cached", lambda: _cached(net(nn.ReLU()))),
    _case("masked weights", _by(lambda w: w * torch.eye(3).to(w))),
    _case("quantized, straight through", _by(lambda w: w + ((4 * w).round() / 4 - w).detach())),
    _case("detached norm of weights", _by(lambda w: w / w.norm().detach())),
    _case("prune", _with(lambda layer: prune.l1_unstructured(layer, "weight", 4), nn.ReLU)),
    _case("prune tanh", _with(lambda layer: prune.random_unstructured(layer, "weight", 3))),
    _case("prune for good", _with(lambda layer: prune.remove(prune.ln_structured(layer, "weight", 1, 2, 0), "weight"), nn.ReLU)),
    _case("prune all layers", lambda: _pruned(net(nn.ReLU()))),
    _case("LoRA", _lora(merges=False)),
    _case("LoRA frozen base", lambda: _frozen_base(_lora(merges=False)())),
    _case("LoRA that merges", _lora(merges=True)),
    _case("LoRA that merges and asks for training", _lora(merges=True, asks_training=True)),
    _case("LoRA that merges, in eval", _handed_over_in_eval(_lora(merges=True))),
    _case("LoRA that merges and asks, in eval", _handed_over_in_eval(_lora(merges=True, asks_training=True))),
    _case("shared by two modules", _two(_share, lambda m, x: m.b(F.relu(m.a(x))))),
    _case("shared by two modules, sum", _two(_share, lambda m, x: m.b(x) + m.a(x))),
    _case("shared by two modules, one unused", _two(_share, lambda m, x: m.a(x))),
    _case("shared bias", _two(lambda m: setattr(m.b, "bias", m.a.bias), lambda m, x: m.b(F.relu(m.a(x))))),
    _case("shared bias, no activation between", _two(lambda m: setattr(m.b, "bias", m.a.bias), lambda m, x: m.b(x) + m.a(x))),
    _case("module twice by two names", _two(lambda m: setattr(m, "c", m.a), lambda m, x: m.b(F.relu(m.c(x))))),
    _fc_twice("weight used outside", lambda m, x: F.relu(m.a(x)) @ m.b.weight + m.b(x)),
    _fc_twice("functional linear", lambda m, x: F.linear(F.relu(F.linear(x, m.a.weight, m.a.bias)), m.b.weight)),
    _fc_twice("functional linear beside the call", lambda m, x: m.a(x) + F.linear(F.relu(m.b(x)), m.a.weight)),
    _fc_twice("functional linear beside the call, additive", lambda m, x: m.a(x) + F.linear(x, m.a.weight) + m.b(x)),
    _fc_twice("bias used outside", lambda m, x: m.b(F.relu(m.a(x))) + m.b.bias),
    _fc_twice("weight added to the output", lambda m, x: m.b(F.relu(m.a(x))) + m.b.weight.sum(1)),
    _fc_twice("first weight seen by the second", lambda m, x: F.relu(m.a(x)) @ (m.b.weight * 1.0).T + m.a.bias),
    _fc_twice("called by keyword", lambda m, x: m.b(input=F.relu(m.a(input=x)))),
    _fc_twice("called by forward", lambda m, x: m.b.forward(F.relu(m.a.forward(x)))),
    _fc_twice("called once by forward, once properly", lambda m, x: m.b(F.relu(m.a(x))) + m.b.forward(x)),
    _fc_twice("called in vain", lambda m, x: (m.b(x), m.a(x))[1]),
    _fc_twice("called in vain with other inputs", lambda m, x: (m.a(2 * x), F.linear(F.relu(F.linear(x, m.a.weight)), m.b.weight))[1]),
    _fc_twice("called under no_grad", lambda m, x: m.b(x) + _without_grad(lambda: m.a(x))),
    _fc_twice("output changed in place", lambda m, x: m.b(m.a(x).mul_(2).relu_())),
    _fc_twice("input changed by data", lambda m, x: (lambda z: (h := m.a(z), z.data.zero_(), m.b(F.relu(h)))[2])(x.clone())),
    _fc_twice("output's rows permuted", lambda m, x: m.b(F.relu(m.a(x.flip(0)))).flip(0)),
    _fc_twice("output's rows permuted after one layer", lambda m, x: m.b(F.relu(m.a(x.flip(0))).flip(0))),
    _fc_twice("rows of a constant", lambda m, x: m.b(F.relu(m.a(x.new_ones(len(x), 3)))) + x),
    _fc_twice("one row for all", lambda m, x: m.b(x) * m.a(x[:1] * 0 + 1)),
    _fc_twice("one row for all, relu", lambda m, x: m.b(x) + F.relu(m.a(x.new_ones(1, 3)))),
    _case("hypernetwork", lambda: Model(lambda m, x: F.relu(x @ m.h(m.z).view(3, 3)), h=nn.Linear(2, 9), z=nn.Buffer(torch.randn(1, 2)))),
    _case("hypernetwork per example", lambda: Model(lambda m, x: torch.einsum("ni,nio->no", x, m.h(x).view(-1, 3, 3)), h=nn.Linear(3, 9))),
    _case("Bilinear", lambda: Model(lambda m, x: m.b(x, x), b=nn.Bilinear(3, 3, 2)), y=2),
    _case("ParameterList", lambda: Model(lambda m, x: F.relu(x @ m.p[0]) @ m.p[1], p=nn.ParameterList([torch.randn(3, 3), torch.randn(3, 3)]))),
    _case("ParameterDict", lambda: Model(lambda m, x: F.relu(x @ m.p["a"]) @ m.p["b"], p=nn.ParameterDict({"a": torch.randn(3, 3), "b": torch.randn(3, 3)}))),
    _case("names with brackets", lambda: Model(lambda m, x: m.d["out[0]"](F.relu(m.d["in*"](x))), d=nn.ModuleDict({"in*": nn.Linear(3, 3), "out[0]": nn.Linear(3, 3)}))),
    _case("names with commas", lambda: Model(lambda m, x: m.d["b,a"](F.relu(m.d["a"](x))), d=nn.ModuleDict({"a": nn.Linear(3, 3), "b,a": nn.Linear(3, 3)}))),
    _case("names that shadow", lambda: Model(lambda m, x: m.params(F.relu(m.names(x))), params=nn.Linear(3, 3), names=nn.Linear(3, 3))),
    _case("a parameter around others", lambda: nn.Sequential(Scaled(nn.Linear(3, 3)), nn.Tanh(), nn.Linear(3, 3))),
    _case("a parameter around others, relu", lambda: nn.Sequential(Scaled(nn.Linear(3, 3)), nn.ReLU(), nn.Linear(3, 3))),
    _case("of no dimension", lambda: Model(lambda m, x: m.a(x) * m.s, a=nn.Linear(3, 3), s=torch.tensor(2.0))),
    _case("of no dimension in a loss of no curvature", lambda: Model(lambda m, x: m.a(x) + m.s, a=nn.Linear(3, 3), s=torch.tensor(2.0))),
    _case("logit scale", lambda: Model(lambda m, x: F.normalize(m.a(x), dim=1) * m.s.exp(), a=nn.Linear(3, 3), s=torch.tensor(1.0))),
    _case("of no dimension alone", lambda: Model(lambda m, x: m.s * x, s=torch.tensor(2.0))),
    _case("ReZero", lambda: Model(lambda m, x: m.b(x + m.s * torch.tanh(m.a(x))), a=nn.Linear(3, 3), b=nn.Linear(3, 3), s=torch.tensor(0.0))),
    _case("one number", lambda: Model(lambda m, x: m.s * x, s=torch.tensor([2.0]))),
    _case("empty", lambda: Model(lambda m, x: m.a(x) + m.e.sum(), a=nn.Linear(3, 3), e=torch.zeros(0))),
    _case("transposed storage", lambda: Model(lambda m, x: m.b(F.relu(x @ m.w)), w=torch.randn(3, 3).T, b=nn.Linear(3, 3))),
    _case("all weights zero", lambda: Model(lambda m, x: m.a(x), a=_zeroed(nn.Linear(3, 3)))),
    _case("zero last layer", lambda: nn.Sequential(nn.Linear(3, 3), nn.Tanh(), _zeroed(nn.Linear(3, 3)))),
    _case("frozen first layer", lambda: nn.Sequential(nn.Linear(3, 3).requires_grad_(False), nn.ReLU(), nn.Linear(3, 3))),
    _case("frozen last layer", lambda: nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3).requires_grad_(False))),
    _case("all frozen", lambda: net(nn.ReLU()).requires_grad_(False)),
    _case("unused layer", lambda: Model(lambda m, x: m.a(x), a=nn.Linear(3, 3), spare=nn.Linear(2, 2))),
    _case("no parameters", lambda: Apply(lambda x: x)),
    _case("glob of one layer", lambda: net(nn.ReLU()), options={"params": "2"}),
    _case("glob of biases", lambda: net(nn.Tanh()), options={"params": "*.bias"}),
    _case("glob of a shared parameter's second name", _two(_share, lambda m, x: m.b(F.relu(m.a(x)))), options={"params": "a"}),
    _case("complex", lambda: Model(lambda m, x: (x.to(torch.complex128) @ m.w).abs(), w=torch.randn(3, 3, dtype=torch.complex128))),
    _case("complex beside real", lambda: Model(lambda m, x: m.a((x.to(torch.complex128) @ m.w).abs()), a=nn.Linear(3, 3).double(), w=torch.randn(3, 3, dtype=torch.complex128))),
    _case("Lazy", lambda: nn.Sequential(nn.LazyLinear(3), nn.Tanh(), nn.Linear(3, 3))),
]  # fmt: skip


class _Cached(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x):
        with parametrize.cached():
            return self.inner(x)


def _cached(model: nn.Module) -> nn.Module:
    parametrize.register_parametrization(model[0], "weight", Function(torch.exp))
    return _Cached(model)


def _pruned(model: nn.Module) -> nn.Module:
    prune.global_unstructured([(model[0], "weight"), (model[2], "weight")], prune.L1Unstructured, amount=6)
    return model


def _frozen_base(model: nn.Module) -> nn.Module:
    model[0].weight.requires_grad_(False)
    return model


def _zeroed(layer: nn.Module) -> nn.Module:
    for p in layer.parameters():
        nn.init.zeros_(p)
    return layer


def _without_grad(work):
    with torch.no_grad():
        return work()
