"""Hooks of modules and tensors, and attributes that a model keeps of what it computed."""

# ruff: noqa: E501, N812 (one line a case; F as in torch's own)

import torch
from torch import nn
from torch.nn import functional as F

from tests.zoo.case import Apply, Case, Model, net


def _case(name: str, model, **more) -> Case:
    return Case(f"hooks/{name}", model, **more)


def _hooked(register, act=nn.ReLU):
    """A net on which ``register(model)`` has put hooks."""

    def model() -> nn.Module:
        made = net(act())
        register(made)
        return made

    return model


def _tensor_hook(change, act=nn.ReLU):
    """A net whose hidden activations have a hook on their gradient."""

    def hooked(h):
        if h.requires_grad:
            h.register_hook(change)
        return h

    return lambda: net(act(), Apply(hooked))


class Caching(nn.Module):
    """A linear layer with the exponential of its weight, kept in eval mode until ``train`` or for ever."""

    def __init__(self, *, clears: bool = True, detaches: bool = False) -> None:
        super().__init__()
        self.weight, self.kept = nn.Parameter(torch.randn(3, 3) / 2), None
        self.clears, self.detaches = clears, detaches

    def train(self, mode: bool = True) -> nn.Module:
        if self.clears:
            self.kept = None
        return super().train(mode)

    def forward(self, x):
        if self.training:
            return x @ self.weight.exp()
        if self.kept is None:
            self.kept = self.weight.exp().detach() if self.detaches else self.weight.exp()
        return x @ self.kept


class BufferCaching(Caching):
    """... in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        del self.kept
        self.register_buffer("kept", None)


class Counting(nn.Module):
    """Counts its calls, and says so in a number or in what it computes."""

    def __init__(self, *, used: bool) -> None:
        super().__init__()
        self.fc, self.calls, self.used = nn.Linear(3, 3), 0, used

    def forward(self, x):
        self.calls += 1
        return self.fc(x) * (1 + self.calls if self.used else 1)


class Penalized(nn.Module):
    """Keeps a penalty on its weights for the loss to find."""

    def __init__(self, penalty) -> None:
        super().__init__()
        self.inner, self.penalty_of, self.penalty = net(nn.ReLU()), penalty, None

    def forward(self, x):
        self.penalty = self.penalty_of(self.inner, x)
        return self.inner(x)


class WithPenalty(nn.CrossEntropyLoss):
    """Cross-entropy and what the model kept."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.of = [model]

    def forward(self, outputs, targets):
        return super().forward(outputs, targets) + self.of[0].penalty


def _penalized(penalty):
    def model():
        made = Penalized(penalty)
        return made, WithPenalty(made)

    return model


def _changes_weight(module, inputs):
    module.scaled = F.relu(module.weight)


CASES = [
    _case("forward hook that looks", _hooked(lambda m: m[0].register_forward_hook(lambda *call: None))),
    _case("forward hook that doubles", _hooked(lambda m: m[0].register_forward_hook(lambda _, x, y: 2 * y))),
    _case("forward hook that squares", _hooked(lambda m: m[0].register_forward_hook(lambda _, x, y: y * y))),
    _case("forward hook that squares the last", _hooked(lambda m: m[2].register_forward_hook(lambda _, x, y: y * y))),
    _case("forward hook that adds its weight", _hooked(lambda m: m[2].register_forward_hook(lambda layer, x, y: y + layer.weight.sum(1)))),
    _case("forward hook that adds its input", _hooked(lambda m: m[2].register_forward_hook(lambda _, x, y: y + x[0]))),
    _case("forward hook in place", _hooked(lambda m: m[0].register_forward_hook(lambda _, x, y: y.mul_(2)))),
    _case("forward hook of the whole", _hooked(lambda m: m.register_forward_hook(lambda _, x, y: 3 * y))),
    _case("forward hook of the whole, squares", _hooked(lambda m: m.register_forward_hook(lambda _, x, y: y.square()))),
    _case("forward hook that keeps", _hooked(lambda m: m[0].register_forward_hook(lambda layer, x, y: setattr(layer, "seen", y.detach())))),
    _case("forward pre-hook that doubles", _hooked(lambda m: m[2].register_forward_pre_hook(lambda _, x: (2 * x[0],)))),
    _case("forward pre-hook that squares", _hooked(lambda m: m[2].register_forward_pre_hook(lambda _, x: (x[0] ** 2,)))),
    _case("forward pre-hook with keywords", _hooked(lambda m: m[2].register_forward_pre_hook(lambda _, x, kw: ((x[0] + 1,), kw), with_kwargs=True))),
    _case("forward pre-hook that makes a weight", lambda: _weight_from_hook()),
    _case("full backward hook that looks", _hooked(lambda m: m[0].register_full_backward_hook(lambda *call: None))),
    _case("full backward hook that halves", _hooked(lambda m: m[2].register_full_backward_hook(lambda _, into, out: tuple(g if g is None else g / 2 for g in into)))),
    _case("full backward pre-hook that halves", _hooked(lambda m: m[2].register_full_backward_pre_hook(lambda _, out: tuple(g / 2 for g in out)))),
    _case("tensor hook that looks", _tensor_hook(lambda g: None)),
    _case("tensor hook that halves", _tensor_hook(lambda g: g / 2)),
    _case("tensor hook that clips", _tensor_hook(lambda g: g.clamp(-0.01, 0.01))),
    _case("tensor hook that clips what is never reached", _tensor_hook(lambda g: g.clamp(-100, 100))),
    _case("tensor hook that reverses", _tensor_hook(torch.neg, nn.Tanh)),
    _case("tensor hook that detaches", _tensor_hook(lambda g: g.detach(), nn.Tanh)),
    _case("tensor hook that scales barely", _tensor_hook(lambda g: 1.01 * g, nn.Tanh)),
    _case("tensor hook in the second batch alone", _tensor_hook(lambda g: g / 2 if len(g) == 4 else g)),
    _case("parameter hook that looks", _hooked(lambda m: m[0].weight.register_hook(lambda g: None))),
    _case("parameter hook that masks", _hooked(lambda m: m[0].weight.register_hook(lambda g: g * torch.eye(3).to(g)))),
    _case("implicit gradient", lambda: net(Apply(_equilibrium), nn.Tanh())),
    _case("cache of a weight", lambda: nn.Sequential(Caching(), nn.Tanh(), nn.Linear(3, 3))),
    _case("cache of a weight, relu", lambda: nn.Sequential(Caching(), nn.ReLU(), nn.Linear(3, 3))),
    _case("cache of a weight, detached", lambda: nn.Sequential(Caching(detaches=True), nn.Tanh(), nn.Linear(3, 3))),
    _case("cache of a weight, never cleared", lambda: nn.Sequential(Caching(clears=False), nn.Tanh(), nn.Linear(3, 3)), reference=lambda: nn.Sequential(Caching(), nn.Tanh(), nn.Linear(3, 3))),
    _case("cache of a weight, alone", lambda: Caching(detaches=True)),
    _case("cache of a weight in a buffer", lambda: nn.Sequential(BufferCaching(), nn.Tanh(), nn.Linear(3, 3))),
    _case("counting calls", lambda: Counting(used=False)),
    _case("counting calls and using it", lambda: Counting(used=True)),
    _case("keeping features", lambda: Model(lambda m, x: m.b(_kept(m, F.relu(m.a(x)))), a=nn.Linear(3, 3), b=nn.Linear(3, 3))),
    _case("keeping features, detached", lambda: Model(lambda m, x: m.b(_kept(m, F.relu(m.a(x)), detach=True)), a=nn.Linear(3, 3), b=nn.Linear(3, 3))),
    _case("penalty on weights kept", _penalized(lambda m, x: m[0].weight.square().sum())),
    _case("penalty on activations kept", _penalized(lambda m, x: m[0](x).square().mean())),
    _case("penalty linear in weights kept", _penalized(lambda m, x: m[0].weight.abs().sum())),
    _case("penalty of nothing kept", _penalized(lambda m, x: 0.0)),
    _case("running statistic in a buffer", lambda: _Running()),
    _case("running statistic in a buffer, used", lambda: _Running(used=True)),
]  # fmt: skip


def _equilibrium(x):
    """z = tanh(z / 2 + x), found without gradients; its derivative is put right by a hook (deep equilibrium models)."""
    with torch.no_grad():
        z = torch.zeros_like(x)
        for _ in range(80):
            z = torch.tanh(z / 2 + x)
    z = torch.tanh(z / 2 + x)
    if z.requires_grad:
        slope = (1 - z.detach() ** 2) / 2
        z.register_hook(lambda g: g / (1 - slope))
    return z


def _kept(model, h, *, detach: bool = False):
    model.features = h.detach() if detach else h
    return h


def _weight_from_hook():
    model = Model(lambda m, x: m.b(F.linear(x, m.a.scaled)), a=nn.Linear(3, 3), b=nn.Linear(3, 3))
    model.register_forward_pre_hook(lambda m, x: _changes_weight(m.a, x))
    return model


class _Running(nn.Module):
    def __init__(self, *, used: bool = False) -> None:
        super().__init__()
        self.fc, self.used = nn.Linear(3, 3), used
        self.register_buffer("mean", torch.zeros(3))

    def forward(self, x):
        h = self.fc(x)
        self.mean = 0.9 * self.mean + 0.1 * h.detach().mean(0)
        return h - self.mean if self.used else h
