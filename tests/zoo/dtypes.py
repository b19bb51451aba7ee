"""Dtypes: single, half and mixed precision, casts inside, scales near the ends, autocast, and the areas in float32."""

# ruff: noqa: E501, N812 (one line a case; F as in torch's own)

from dataclasses import replace

import torch
from torch import nn
from torch.nn import functional as F

from tests.zoo import activations, attention, convolutions, norms, recurrent
from tests.zoo.case import Apply, Case, Model, net


def _case(name: str, model, dtype=torch.float32, **more) -> Case:
    return Case(f"dtypes/{name}", model, dtype=dtype, **more)


def _autocast(dtype=torch.bfloat16):
    return lambda: torch.autocast("cpu", dtype=dtype)


def _hard(dtype, act=torch.tanh):
    """A net that computes its middle in a dtype of its own."""
    return lambda: net(Apply(lambda h: act(h.to(dtype)).to(h.dtype)))


def _scaled(*factors: float, act=nn.Tanh):
    """A net whose loss is times the first factor."""
    return lambda: net(act()), lambda m, b: factors[0] * F.cross_entropy(m(b[0]), b[1], reduction="none")


def _times(name: str, factor: float, dtype=torch.float64, act=nn.Tanh, **more) -> Case:
    model, loss = _scaled(factor, act=act)
    return _case(f"loss times {name}", model, dtype, loss=loss, **more)


_SINGLE = [
    "activations/Tanh", "activations/ReLU", "activations/GELU", "activations/Softplus", "activations/exp",
    "activations/norm", "activations/Softmax", "activations/PReLU", "norms/BatchNorm1d relu", "norms/LayerNorm",
    "norms/GroupNorm", "norms/RMSNorm", "convolutions/Conv2d", "convolutions/Conv2d gelu", "convolutions/Conv1d",
    "convolutions/Conv3d", "recurrent/LSTM", "recurrent/GRU", "recurrent/Embedding", "recurrent/cell by hand",
    "attention/by hand", "attention/MultiheadAttention", "attention/sdpa causal",
]  # fmt: skip
_ALL = {case.name: case for area in (activations, norms, convolutions, recurrent, attention) for case in area.CASES}

CASES = [
    *(replace(_ALL[name], name=f"dtypes/float32 {name}", dtype=torch.float32, slow=name[:9] == "recurrent") for name in _SINGLE),
    _case("float32 measured in float64", lambda: net(nn.Tanh()), options={"dtype": torch.float64}),
    _case("float32 relu measured in float64", lambda: net(nn.ReLU()), options={"dtype": torch.float64}),
    _case("float64 measured in float32", lambda: net(nn.Tanh()), torch.float64, options={"dtype": torch.float32}, rounds=torch.float32),
    _case("bfloat16", lambda: net(nn.Tanh()), torch.bfloat16),
    _case("bfloat16 relu", lambda: net(nn.ReLU()), torch.bfloat16),
    _case("bfloat16 linear", lambda: nn.Linear(3, 3), torch.bfloat16),
    _case("bfloat16 batch norm", lambda: net(norms.used(nn.BatchNorm1d(3)), nn.ReLU()), torch.bfloat16),
    _case("bfloat16 measured in float32", lambda: net(nn.Tanh()), torch.bfloat16, options={"dtype": torch.float32}),
    _case("bfloat16 MSE", lambda: net(nn.ReLU()), torch.bfloat16, loss=nn.MSELoss(), y=(3,)),
    _case("float16", lambda: net(nn.Tanh()), torch.float16),
    _case("float16 relu", lambda: net(nn.ReLU()), torch.float16),
    _case("float16 measured in float64", lambda: net(nn.ReLU()), torch.float16, options={"dtype": torch.float64}),
    _case("float32 measured in bfloat16", lambda: net(nn.ReLU()), torch.float32, options={"dtype": torch.bfloat16}, rounds=torch.bfloat16),
    _case("measured in an integer dtype", lambda: net(nn.ReLU()), options={"dtype": torch.int64}),
    _case("one layer in float64", lambda: Model(lambda m, x: m.b(torch.tanh(m.a(x)).double()), a=nn.Linear(3, 3), b=nn.Linear(3, 3).double()), None, reference=lambda: net(nn.Tanh()), rounds=torch.float32),
    _case("one layer in bfloat16", lambda: Model(lambda m, x: m.b(torch.tanh(m.a(x)).bfloat16()).float(), a=nn.Linear(3, 3), b=nn.Linear(3, 3).bfloat16()), None, reference=lambda: net(nn.Tanh()), rounds=torch.bfloat16),
    _case("one layer in bfloat16, relu", lambda: Model(lambda m, x: m.b(F.relu(m.a(x)).bfloat16()).float(), a=nn.Linear(3, 3), b=nn.Linear(3, 3).bfloat16()), None, reference=lambda: net(nn.ReLU()), rounds=torch.bfloat16),
    _case("middle in float32", _hard(torch.float32), torch.float64, reference=lambda: net(nn.Tanh()), rounds=torch.float32),
    _case("middle in float32, relu", _hard(torch.float32, F.relu), torch.float64, reference=lambda: net(nn.ReLU()), rounds=torch.float32),
    _case("middle in bfloat16", _hard(torch.bfloat16), torch.float32, reference=lambda: net(nn.Tanh()), rounds=torch.bfloat16),
    _case("middle in bfloat16, float64 around", _hard(torch.bfloat16), torch.float64, reference=lambda: net(nn.Tanh()), rounds=torch.bfloat16),
    _case("middle in bfloat16, relu", _hard(torch.bfloat16, F.relu), torch.float32, reference=lambda: net(nn.ReLU()), rounds=torch.bfloat16),
    _case("middle in float16", _hard(torch.float16), torch.float32, reference=lambda: net(nn.Tanh()), rounds=torch.float16),
    _case("input cast to float32", lambda: Model(lambda m, x: m.n(x.float().to(m.n[0].weight.dtype)), n=net(nn.Tanh())), torch.float64, reference=lambda: net(nn.Tanh()), rounds=torch.float32),
    _case("float16 convolution", lambda: nn.Sequential(nn.Conv2d(1, 2, 2), nn.Tanh(), nn.Flatten(), nn.Linear(8, 3)), torch.float16, x=(1, 3, 3)),
    _case("bfloat16 convolution", lambda: nn.Sequential(nn.Conv2d(1, 2, 2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)), torch.bfloat16, x=(1, 3, 3)),
    _case("bfloat16 attention", lambda: Model(lambda m, x: m.fc(m.norm(x + m.a(x, x, x)[0]).mean(1)), a=nn.MultiheadAttention(4, 2, batch_first=True), norm=nn.LayerNorm(4), fc=nn.Linear(4, 3)), torch.bfloat16, x=(3, 4), slow=True),
    _case("bfloat16 layer norm", lambda: net(nn.LayerNorm(3), nn.GELU()), torch.bfloat16),
    _case("bfloat16 LSTM", lambda: Model(lambda m, x: m.fc(m.r(x)[0][:, -1]), r=nn.LSTM(2, 2, batch_first=True), fc=nn.Linear(2, 3)), torch.bfloat16, x=(3, 2), slow=True),
    _case("bfloat16 near a minimum", lambda: _multiplied(nn.Linear(3, 3), 8.0), torch.bfloat16, y=lambda n: torch.arange(n) % 3),
    _case("bfloat16 in a float64 model", lambda: Model(lambda m, x: m.c(torch.tanh(m.b(torch.tanh(m.a(x.double())).bfloat16())).double()), a=nn.Linear(3, 3).double(), b=nn.Linear(3, 3).bfloat16(), c=nn.Linear(3, 3).double()), None, reference=lambda: Model(lambda m, x: m.c(torch.tanh(m.b(torch.tanh(m.a(x))))), a=nn.Linear(3, 3), b=nn.Linear(3, 3), c=nn.Linear(3, 3)), rounds=torch.bfloat16),
    _case("autocast in a part", lambda: Model(lambda m, x: m.b(_cast(lambda: torch.tanh(m.a(x))).to(x.dtype)), a=nn.Linear(3, 3), b=nn.Linear(3, 3)), reference=lambda: net(nn.Tanh()), rounds=torch.bfloat16),
    _case("autocast in the loss", lambda: (net(nn.Tanh()), lambda m, b: _cast(lambda: F.cross_entropy(m(b[0]), b[1], reduction="none"))), reference=lambda: (net(nn.Tanh()), lambda m, b: F.cross_entropy(m(b[0]), b[1], reduction="none")), rounds=torch.bfloat16),
    _case("weights rounded on the way", lambda: Model(lambda m, x: m.b(torch.tanh(F.linear(x, m.a.weight.half().to(x.dtype)))), a=nn.Linear(3, 3, bias=False), b=nn.Linear(3, 3)), torch.float64, reference=lambda: Model(lambda m, x: m.b(torch.tanh(m.a(x))), a=nn.Linear(3, 3, bias=False), b=nn.Linear(3, 3)), rounds=torch.float16),
    _case("losses that cancel in float32", lambda: (net(nn.Tanh()), lambda m, b: (F.cross_entropy(m(b[0]), b[1], reduction="none") + 1e4) - 1e4), reference=lambda: (net(nn.Tanh()), lambda m, b: F.cross_entropy(m(b[0]), b[1], reduction="none"))),
    _case("logits from afar in float32", lambda: Model(lambda m, x: (m.n(x) + 3e5) - 3e5, n=net(nn.ReLU())), reference=lambda: Model(lambda m, x: m.n(x), n=net(nn.ReLU())), rounds=torch.float16),
    _case("a mask of booleans", lambda: Model(lambda m, x: m.n(x * (x > 0)), n=net(nn.ReLU()))),
    _case("quantized weights", lambda: Model(lambda m, x: m.n(x) @ (m.q.to(x.dtype) / 16), n=net(nn.ReLU()), q=nn.Buffer(torch.randint(-8, 8, (3, 3), dtype=torch.int8)))),
    _case("autocast", lambda: net(nn.Tanh()), context=_autocast(), rounds=torch.bfloat16),
    _case("autocast relu", lambda: net(nn.ReLU()), context=_autocast(), rounds=torch.bfloat16),
    _case("autocast in float64", lambda: net(nn.ReLU()), torch.float64, context=_autocast()),
    _case("autocast attention", lambda: Model(lambda m, x: m.fc(F.scaled_dot_product_attention(x, x, m.v(x)).mean(1)), v=nn.Linear(2, 2), fc=nn.Linear(2, 3)), x=(3, 2), context=_autocast(), rounds=torch.bfloat16),
    _case("autocast inside", lambda: Model(lambda m, x: _cast(lambda: m.n(x)).to(x.dtype), n=net(nn.Tanh())), reference=lambda: net(nn.Tanh()), rounds=torch.bfloat16),
    _case("autocast inside, relu", lambda: Model(lambda m, x: _cast(lambda: m.n(x)).to(x.dtype), n=net(nn.ReLU())), reference=lambda: net(nn.ReLU()), rounds=torch.bfloat16),
    _case("inference mode around", lambda: net(nn.ReLU()), context=torch.inference_mode),
    _case("no_grad around", lambda: net(nn.ReLU()), context=torch.no_grad),
    _case("no_grad around, tanh", lambda: net(nn.Tanh()), context=torch.no_grad),
    _case("another default dtype", lambda: net(nn.Tanh()), context=lambda: _Default(torch.float64)),
    _case("anomalies looked for", lambda: net(nn.Tanh()), context=lambda: torch.autograd.detect_anomaly(check_nan=False)),
    _case("deterministic algorithms", lambda: net(nn.ReLU()), context=lambda: _Deterministic()),
    _times("1e30 in float32", 1e30, torch.float32),
    _times("1e-30 in float32", 1e-30, torch.float32),
    _times("1e-30 in float32, relu", 1e-30, torch.float32, act=nn.ReLU),
    _times("1e6", 1e6),
    _times("1e-6", 1e-6),
    _case("large weights", lambda: _multiplied(net(nn.Tanh()), 30.0), torch.float64),
    _case("large weights in float32", lambda: _multiplied(net(nn.ReLU()), 30.0)),
    _case("small weights in float32", lambda: _multiplied(net(nn.Tanh()), 1e-3)),
    _case("badly scaled layers in float32", lambda: _uneven(net(nn.ReLU()), 30.0)),
    _case("badly scaled layers", lambda: _uneven(net(nn.ReLU()), 30.0), torch.float64),
    _case("large outputs that cancel in float32", lambda: nn.Sequential(net(nn.ReLU()), Apply(lambda z: z + 1e4 - 1e4)), reference=lambda: net(nn.ReLU())),
    _case("targets far away in float32", lambda: net(nn.ReLU()), loss=nn.MSELoss(), y=lambda n: 1e4 + torch.randn(n, 3)),
]  # fmt: skip


class _Default:
    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype

    def __enter__(self) -> None:
        self.before = torch.get_default_dtype()
        torch.set_default_dtype(self.dtype)

    def __exit__(self, *error: object) -> None:
        torch.set_default_dtype(self.before)


class _Deterministic:
    def __enter__(self) -> None:
        torch.use_deterministic_algorithms(True)

    def __exit__(self, *error: object) -> None:
        torch.use_deterministic_algorithms(False)


def _cast(work):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return work()


def _multiplied(model: nn.Module, factor: float) -> nn.Module:
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(factor)
    return model


def _uneven(model: nn.Module, factor: float) -> nn.Module:
    with torch.no_grad():
        model[0].weight.mul_(factor)
        model[0].bias.mul_(factor)
        model[2].weight.div_(factor)
    return model
