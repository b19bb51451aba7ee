"""Normalizations: by running statistics, by the example, by hand, with and without parameters, and rescaled weights."""

# ruff: noqa: E501, N812 (one line a case; F as in torch's own)

import torch
from torch import nn
from torch.nn import functional as F

from tests.zoo.case import Apply, Case, Model, net


def used(norm: nn.Module) -> nn.Module:
    """The layer with running statistics as if it had been trained."""
    for name, buffer in norm.named_buffers():
        if name.endswith("mean"):
            nn.init.normal_(buffer, std=0.3)
        elif name.endswith("var"):
            nn.init.uniform_(buffer, 0.4, 2.0)
    for p in norm.parameters():
        nn.init.uniform_(p, 0.5, 1.5)
    return norm


def _conv(norm: nn.Module, *after: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv1d(1, 2, 3), norm, *after, nn.Flatten(), nn.Linear(6, 2))


def _image(norm: nn.Module, *after: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 2), norm, *after, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 3))


def _case(name: str, model, **more) -> Case:
    return Case(f"norms/{name}", model, **more)


_SIGNAL = {"x": (1, 5), "y": 2}
_PICTURE = {"x": (1, 4, 4), "y": 3}


class FrozenBatchNorm(nn.Module):
    """torchvision's: statistics and scale are buffers."""

    def __init__(self, num: int) -> None:
        super().__init__()
        self.register_buffer("scale", torch.rand(num) + 0.5)
        self.register_buffer("shift", torch.randn(num))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.scale + self.shift


class SpectralByHand(nn.Module):
    """A linear layer whose weight is divided by its largest singular value."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ (self.weight / torch.linalg.matrix_norm(self.weight, 2)).T


class Counting(nn.BatchNorm1d):
    """A batch norm that counts the examples it has seen, in eval mode too."""

    def __init__(self, num: int) -> None:
        super().__init__(num)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen += len(x)
        return super().forward(x)


CASES = [
    _case("BatchNorm1d", lambda: net(used(nn.BatchNorm1d(3)), nn.Tanh())),
    _case("BatchNorm1d relu", lambda: net(used(nn.BatchNorm1d(3)), nn.ReLU())),
    _case("BatchNorm1d not affine", lambda: net(used(nn.BatchNorm1d(3, affine=False)), nn.ReLU())),
    _case("BatchNorm1d large eps", lambda: net(used(nn.BatchNorm1d(3, eps=0.5)), nn.ReLU())),
    _case("BatchNorm1d first", lambda: nn.Sequential(used(nn.BatchNorm1d(3)), nn.Linear(3, 3))),
    _case("BatchNorm1d last", lambda: nn.Sequential(nn.Linear(3, 3), used(nn.BatchNorm1d(3)))),
    _case("BatchNorm1d twice", lambda: net(used(nn.BatchNorm1d(3)), nn.ReLU(), used(nn.BatchNorm1d(3)))),
    _case("BatchNorm1d shared", lambda: (lambda b: net(b, nn.ReLU(), b))(used(nn.BatchNorm1d(3)))),
    _case("BatchNorm1d without statistics", lambda: net(nn.BatchNorm1d(3, track_running_stats=False), nn.ReLU())),
    _case("BatchNorm1d train mode", lambda: net(nn.BatchNorm1d(3), nn.Tanh()), options={"mode": "train"}),
    _case("BatchNorm1d no momentum", lambda: net(used(nn.BatchNorm1d(3, momentum=None)), nn.ReLU())),
    _case("BatchNorm1d counting", lambda: net(Counting(3), nn.ReLU())),
    _case("BatchNorm1d of tokens", lambda: _conv(used(nn.BatchNorm1d(2)), nn.ReLU()), **_SIGNAL),
    _case("BatchNorm2d", lambda: _image(used(nn.BatchNorm2d(2)), nn.ReLU()), **_PICTURE),
    _case("BatchNorm2d tanh", lambda: _image(used(nn.BatchNorm2d(2)), nn.Tanh()), **_PICTURE),
    _case("BatchNorm3d", lambda: nn.Sequential(nn.Conv3d(1, 2, 2), used(nn.BatchNorm3d(2)), nn.ReLU(), nn.Flatten(), nn.Linear(2, 2)), x=(1, 2, 2, 2), y=2),
    _case("SyncBatchNorm", lambda: net(used(nn.SyncBatchNorm(3)), nn.ReLU())),
    _case("BatchNorm frozen", lambda: net(FrozenBatchNorm(3), nn.ReLU())),
    _case("BatchNorm frozen parameters", lambda: net(used(nn.BatchNorm1d(3)).requires_grad_(False), nn.ReLU())),
    _case("LazyBatchNorm", lambda: net(nn.LazyBatchNorm1d(), nn.ReLU())),
    _case("functional batch norm", lambda: Model(lambda m, x: F.batch_norm(m.fc(x), m.mean, m.var, m.w, m.b), fc=nn.Linear(3, 3), mean=nn.Buffer(torch.zeros(3)), var=nn.Buffer(torch.ones(3)), w=torch.ones(3), b=torch.zeros(3))),
    _case("functional batch norm with parameters for statistics", lambda: Model(lambda m, x: F.batch_norm(m.fc(x), m.mean, m.var), fc=nn.Linear(3, 3), mean=torch.zeros(3), var=torch.ones(3))),
    _case("functional batch norm of this batch", lambda: net(Apply(lambda h: F.batch_norm(h, None, None, training=True)))),
    _case("standardized over the batch", lambda: net(Apply(lambda h: (h - h.mean(0)) / h.std(0))), sizes=(9,)),
    _case("centred over the batch", lambda: net(Apply(lambda h: h - h.mean(0)), nn.ReLU()), sizes=(9,)),
    _case("centred over the batch in two batches", lambda: net(Apply(lambda h: h - h.mean(0)), nn.ReLU())),
    _case("centred barely over the batch", lambda: net(Apply(lambda h: h - 1e-3 * h.mean(0)), nn.ReLU()), sizes=(9,)),
    _case("scaled by the largest of the batch", lambda: net(nn.ReLU(), Apply(lambda h: h / h.detach().max())), sizes=(9,)),
    _case("LayerNorm", lambda: net(nn.LayerNorm(3), nn.Tanh())),
    _case("LayerNorm relu", lambda: net(nn.LayerNorm(3), nn.ReLU())),
    _case("LayerNorm without bias", lambda: net(nn.LayerNorm(3, bias=False), nn.ReLU())),
    _case("LayerNorm not affine", lambda: net(nn.LayerNorm(3, elementwise_affine=False), nn.ReLU())),
    _case("LayerNorm of inputs", lambda: nn.Sequential(nn.LayerNorm(3), nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3))),
    _case("LayerNorm of channels", lambda: _conv(nn.LayerNorm([2, 3]), nn.ReLU()), **_SIGNAL),
    _case("RMSNorm", lambda: net(nn.RMSNorm(3), nn.ReLU())),
    _case("RMSNorm by hand", lambda: Model(lambda m, x: m.b(m.g * (h := m.a(x)) * (h.square().mean(1, keepdim=True) + 1e-2).rsqrt()), a=nn.Linear(3, 3), g=torch.ones(3), b=nn.Linear(3, 3))),
    _case("GroupNorm", lambda: nn.Sequential(nn.Linear(3, 4), nn.GroupNorm(1, 4), nn.ReLU(), nn.Linear(4, 3))),
    _case("GroupNorm of groups", lambda: nn.Sequential(nn.Conv1d(1, 4, 3), nn.GroupNorm(2, 4), nn.GELU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4, 2)), **_SIGNAL),
    _case("InstanceNorm1d", lambda: _conv(nn.InstanceNorm1d(2), nn.ReLU()), **_SIGNAL),
    _case("InstanceNorm1d affine", lambda: _conv(used(nn.InstanceNorm1d(2, affine=True)), nn.ReLU()), **_SIGNAL),
    _case("InstanceNorm1d running", lambda: _conv(used(nn.InstanceNorm1d(2, affine=True, track_running_stats=True)), nn.ReLU()), **_SIGNAL),
    _case("InstanceNorm2d", lambda: _image(nn.InstanceNorm2d(2), nn.Tanh()), **_PICTURE),
    _case("LocalResponseNorm", lambda: _conv(nn.LocalResponseNorm(2, alpha=1.0), nn.ReLU()), **_SIGNAL),
    _case("dropout in eval", lambda: net(nn.Dropout(0.5), nn.ReLU())),
    _case("dropout in train", lambda: net(nn.Dropout(0.5), nn.ReLU()), options={"mode": "train"}),
    _case("dropout of nothing in train", lambda: net(nn.Dropout(0.0), nn.ReLU()), options={"mode": "train"}),
    _case("functional dropout", lambda: net(Apply(lambda h: F.dropout(h, 0.5, training=True)))),
    _case("AlphaDropout in train", lambda: net(nn.AlphaDropout(0.5), nn.SELU()), options={"mode": "train"}),
    _case("gaussian noise", lambda: net(Apply(lambda h: h + 0.1 * torch.randn_like(h)))),
    _case("tiny gaussian noise", lambda: net(Apply(lambda h: h + 1e-9 * torch.randn_like(h))), reference=lambda: net(nn.Identity())),
    _case("noise from a fixed seed", lambda: net(Apply(lambda h: h + torch.randn(h.shape, generator=torch.Generator().manual_seed(1)).to(h)))),
    _case("noise in the second batch alone", lambda: net(Apply(lambda h: h + 0.3 * torch.randn_like(h) * (len(h) == 4)))),
    _case("spectral norm by hand", lambda: nn.Sequential(SpectralByHand(), nn.Tanh(), nn.Linear(3, 3))),
    _case("unit rows", lambda: Model(lambda m, x: F.linear(x, F.normalize(m.w, dim=1)) * 3, w=torch.randn(3, 3))),
    _case("cosine classifier", lambda: Model(lambda m, x: 5 * F.cosine_similarity(m.a(x)[:, None], m.w, dim=-1), a=nn.Linear(3, 3), w=torch.randn(3, 3))),
    _case("weight standardization", lambda: Model(lambda m, x: F.linear(x, (m.w - m.w.mean(1, keepdim=True)) / m.w.std(1, keepdim=True)), w=torch.randn(3, 3))),
    _case("FixUp scalars", lambda: Model(lambda m, x: x + m.s[0] * F.relu(m.a(x) + m.s[1]), a=nn.Linear(3, 3), s=torch.tensor([0.7, 0.1]))),
]  # fmt: skip
