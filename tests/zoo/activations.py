"""Activations: smooth, piecewise linear, of several inputs, with parameters, in place, and written by hand."""

# ruff: noqa: E501, N812 (one line a case; F as in torch's own)

import torch
from torch import nn
from torch.nn import functional as F

from tests.zoo.case import Apply, Case, Model, net


def _act(name: str, function, **more) -> Case:
    return Case(f"activations/{name}", lambda: net(Apply(function)), **more)


_MODULES = [
    nn.ReLU, nn.LeakyReLU, nn.ReLU6, nn.Hardtanh, nn.Hardsigmoid, nn.Hardswish, nn.Hardshrink, nn.Softshrink,
    nn.Tanh, nn.Sigmoid, nn.GELU, nn.SiLU, nn.Mish, nn.ELU, nn.CELU, nn.SELU, nn.Softplus, nn.Softsign, nn.LogSigmoid,
    nn.Tanhshrink, nn.Identity, nn.PReLU, nn.RReLU,
]  # fmt: skip

CASES = [
    *(Case(f"activations/{m.__name__}", lambda m=m: net(m())) for m in _MODULES),
    Case("activations/ReLU inplace", lambda: net(nn.ReLU(inplace=True))),
    Case("activations/LeakyReLU negative slope", lambda: net(nn.LeakyReLU(-0.3))),
    Case("activations/Threshold", lambda: net(nn.Threshold(0.1, 20.0))),
    Case("activations/GELU tanh", lambda: net(nn.GELU(approximate="tanh"))),
    Case("activations/PReLU per channel", lambda: net(nn.PReLU(3))),
    Case("activations/Softmax", lambda: net(nn.Softmax(1))),
    Case("activations/Softmin", lambda: net(nn.Softmin(1))),
    Case("activations/LogSoftmax", lambda: net(nn.LogSoftmax(1))),
    Case("activations/GLU", lambda: nn.Sequential(nn.Linear(3, 4), nn.GLU(), nn.Linear(2, 3))),
    Case("activations/Maxout", lambda: nn.Sequential(nn.Linear(3, 4), Apply(lambda h: h.view(-1, 2, 2).amax(2)), nn.Linear(2, 3))),
    Case("activations/ReLU deep no bias", lambda: nn.Sequential(*(m for _ in range(3) for m in (nn.Linear(3, 3, bias=False), nn.ReLU())))),
    Case("activations/square of ReLU", lambda: net(Apply(lambda h: F.relu(h) ** 2))),
    Case("activations/PReLU alone", lambda: nn.Sequential(nn.Linear(3, 3), nn.PReLU(3))),
    _act("sin", torch.sin),
    _act("exp", torch.exp),
    _act("square", torch.square),
    _act("power 3", lambda h: h**3),
    _act("abs", torch.abs),
    _act("cumsum", lambda h: h.cumsum(1)),
    _act("cumprod", lambda h: h.cumprod(1)),
    _act("sort", lambda h: h.sort(1).values),
    _act("topk", lambda h: h.topk(3, 1).values),
    _act("max over features", lambda h: h * 0 + h.max(1, keepdim=True).values),
    _act("median", lambda h: h - h.median(1, keepdim=True).values),
    _act("logsumexp", lambda h: h - h.logsumexp(1, keepdim=True)),
    _act("logcumsumexp", lambda h: h.logcumsumexp(1)),
    _act("norm", lambda h: h / h.norm(dim=1, keepdim=True)),
    _act("normalize", F.normalize),
    _act("dist", lambda h: torch.cdist(h, h.new_ones(3, 3))),
    _act("atan2", lambda h: torch.atan2(h, h.new_ones(1))),
    _act("erf", torch.erf),
    _act("sinc", torch.sinc),
    _act("i0", torch.special.i0),
    _act("digamma", lambda h: torch.digamma(h.abs() + 1)),
    _act("lerp with itself", lambda h: torch.lerp(h, h.roll(1, 1), h)),
    _act("clamp of both ends", lambda h: h.clamp(-0.5, 0.5)),
    _act("where", lambda h: torch.where(h > 0, h, 0.2 * h)),
    _act("where of squares", lambda h: torch.where(h > 0, h * h, h)),
    _act("maximum with flip", lambda h: torch.maximum(h, h.flip(1))),
    _act("gate by sigmoid", lambda h: h * torch.sigmoid(h)),
    _act("gate by step", lambda h: h * (h > 0)),
    _act("product of halves", lambda h: h * h.roll(1, 1)),
    _act("straight through sign", lambda h: h + (h.sign() - h).detach()),
    _act("straight through round", lambda h: h + ((4 * h).round() / 4 - h).detach()),
    _act("detached gate", lambda h: h * torch.sigmoid(h).detach()),
    _act("detached norm", lambda h: h / h.norm(dim=1, keepdim=True).detach()),
    _act("half detached", lambda h: 0.5 * h.tanh() + 0.5 * h.tanh().detach()),
    _act("fft", lambda h: torch.fft.rfft(h, dim=1).abs()[:, [0, 1, 1]]),
    _act("complex", lambda h: torch.polar(h.abs() + 1, h).real),
    _act("relu with a hard coded float", lambda h: F.relu(h.float()).to(h.dtype), reference=lambda: net(nn.ReLU())),
    Case("activations/learned slope", lambda: Model(lambda m, x: m.b(F.relu(m.a(x) * m.s)), a=nn.Linear(3, 3), s=torch.ones(3), b=nn.Linear(3, 3))),
    Case("activations/learned temperature", lambda: Model(lambda m, x: m.a(x) / m.t, a=nn.Linear(3, 3), t=2 * torch.ones(1))),
    Case("activations/learned exponent", lambda: Model(lambda m, x: m.a(x).abs() ** m.t, a=nn.Linear(3, 3), t=1.5 * torch.ones(3))),
    Case("activations/spline", lambda: Model(lambda m, x: m.a(F.relu(x[..., None] - m.k).sum(-1)), k=torch.randn(4), a=nn.Linear(3, 3))),
    Case("activations/rational", lambda: Model(lambda m, x: m.a(x * m.p[0] / (1 + (x * m.p[1]) ** 2)), p=torch.ones(2), a=nn.Linear(3, 3))),
]  # fmt: skip
