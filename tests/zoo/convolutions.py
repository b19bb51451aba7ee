"""Convolutions, pooling, resampling and other images: strides, groups, paddings, functional calls, frames in batches."""

# ruff: noqa: E501, N812 (one line a case; F as in torch's own)

import torch
from torch import nn
from torch.nn import functional as F

from tests.zoo.case import Apply, Case, Model
from tests.zoo.norms import used


def _case(name: str, model, **more) -> Case:
    return Case(f"convolutions/{name}", model, **({"x": (1, 4, 4)} | more))


def _signal(name: str, *layers, out: int = 6, **more) -> Case:
    """Layers made by functions, on (1, 5), and a classifier of 2 on ``out`` features."""
    model = lambda: nn.Sequential(*(layer() for layer in layers), nn.Flatten(), nn.Linear(out, 2))  # noqa: E731
    return Case(f"convolutions/{name}", model, **({"x": (1, 5), "y": 2} | more))


def _image(name: str, *layers, **more) -> Case:
    """Layers made by functions, on (1, 4, 4), and a classifier of 3 on the mean of 2 channels."""
    tail = (lambda: nn.AdaptiveAvgPool2d(1), nn.Flatten, lambda: nn.Linear(2, 3))
    return _case(name, lambda: nn.Sequential(*(layer() for layer in (*layers, *tail))), **more)


def _conv(*args, kind=nn.Conv2d, **more):
    return lambda: kind(*args, **more)


class Residual(nn.Module):
    def __init__(self, act) -> None:
        super().__init__()
        self.a, self.b, self.act = nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1), act

    def forward(self, x):
        return self.act(x + self.b(self.act(self.a(x))))


_R = nn.ReLU

CASES = [
    _signal("Conv1d", _conv(1, 2, 3, kind=nn.Conv1d), _R),
    _signal("Conv1d tanh", _conv(1, 2, 3, kind=nn.Conv1d), nn.Tanh),
    _signal("Conv1d stride", _conv(1, 2, 3, stride=2, kind=nn.Conv1d), _R, out=4),
    _signal("Conv1d dilation", _conv(1, 2, 2, dilation=2, kind=nn.Conv1d), _R),
    _signal("Conv1d padding", _conv(1, 2, 3, padding=1, kind=nn.Conv1d), _R, out=10),
    _signal("Conv1d same", _conv(1, 2, 3, padding="same", kind=nn.Conv1d), _R, out=10),
    _signal("Conv1d groups", _conv(1, 2, 2, kind=nn.Conv1d), _R, _conv(2, 2, 2, groups=2, kind=nn.Conv1d), _R),
    _signal("Conv1d causal", lambda: nn.ConstantPad1d((2, 0), 0.0), _conv(1, 2, 3, kind=nn.Conv1d), _R, out=10),
    _signal("ConvTranspose1d", _conv(1, 1, 2, kind=nn.ConvTranspose1d), _R),
    _signal("MaxPool1d", _conv(1, 2, 2, kind=nn.Conv1d), lambda: nn.MaxPool1d(2), out=4),
    _signal("LPPool1d", _conv(1, 2, 2, kind=nn.Conv1d), lambda: nn.LPPool1d(2, 2), out=4),
    _signal("AdaptiveMaxPool1d", _conv(1, 2, 2, kind=nn.Conv1d), lambda: nn.AdaptiveMaxPool1d(3)),
    _signal("Unfold", lambda: Apply(lambda x: x[:, 0].unfold(1, 3, 1)), lambda: nn.Linear(3, 2), _R),
    _image("Conv2d", _conv(1, 2, 2), _R),
    _image("Conv2d gelu", _conv(1, 2, 2), nn.GELU),
    _image("Conv2d no bias", _conv(1, 2, 2, bias=False), _R),
    _image("Conv2d stride padding", _conv(1, 2, 3, stride=2, padding=1), _R),
    _image("Conv2d circular", _conv(1, 2, 3, padding=1, padding_mode="circular"), _R),
    _image("Conv2d reflect", _conv(1, 2, 3, padding=1, padding_mode="reflect"), _R),
    _image("Conv2d replicate", _conv(1, 2, 2, padding=1, padding_mode="replicate"), nn.Tanh),
    _image("Conv2d valid", _conv(1, 2, 2, padding="valid"), _R),
    _image("Conv2d uneven", _conv(1, 2, (1, 3), stride=(2, 1), padding=(0, 1)), _R),
    _image("Conv2d depthwise", _conv(1, 2, 2), _R, _conv(2, 2, 2, groups=2), _R, _conv(2, 2, 1)),
    _image("Conv2d twice", _conv(1, 2, 2), _R, _conv(2, 2, 2), _R),
    _image("Conv2d channels last", lambda: Apply(lambda x: x.to(memory_format=torch.channels_last)), _conv(1, 2, 2), _R),
    _image("ConvTranspose2d", _conv(1, 2, 2, kind=nn.ConvTranspose2d), _R),
    _image("ConvTranspose2d stride", _conv(1, 2, 2, stride=2, output_padding=1, kind=nn.ConvTranspose2d), nn.Tanh),
    _image("LazyConv2d", lambda: nn.LazyConv2d(2, 2), _R),
    _image("MaxPool2d", _conv(1, 2, 1), lambda: nn.MaxPool2d(2), _R),
    _image("AvgPool2d", _conv(1, 2, 2), _R, lambda: nn.AvgPool2d(2, 1, count_include_pad=False)),
    _image("LPPool2d", _conv(1, 2, 1), nn.Sigmoid, lambda: nn.LPPool2d(3, 2)),
    _image("FractionalMaxPool2d", _conv(1, 2, 1), lambda: nn.FractionalMaxPool2d(2, output_size=2)),
    _image("AdaptiveMaxPool2d", _conv(1, 2, 1), lambda: nn.AdaptiveMaxPool2d(2)),
    _image("Upsample nearest", _conv(1, 2, 2), _R, lambda: nn.Upsample(scale_factor=2), _conv(2, 2, 2), _R),
    _image("Upsample bilinear", _conv(1, 2, 2), _R, lambda: nn.Upsample(scale_factor=2, mode="bilinear"), _conv(2, 2, 1), _R),
    _image("Upsample bicubic", _conv(1, 2, 2), nn.Tanh, lambda: nn.Upsample(scale_factor=2, mode="bicubic")),
    _image("PixelShuffle", _conv(1, 8, 1), lambda: nn.PixelShuffle(2), _R),
    _image("PixelUnshuffle", lambda: nn.PixelUnshuffle(2), _conv(4, 2, 1), _R),
    _image("ChannelShuffle", _conv(1, 2, 2), lambda: nn.ChannelShuffle(2), _R),
    _image("Dropout2d", _conv(1, 2, 2), lambda: nn.Dropout2d(0.5), _R),
    _image("Residual", _conv(1, 2, 2), lambda: Residual(nn.ReLU())),
    _image("Residual inplace", _conv(1, 2, 2), lambda: Residual(nn.ReLU(inplace=True))),
    _image("Conv BatchNorm ReLU MaxPool", _conv(1, 2, 2), lambda: used(nn.BatchNorm2d(2)), _R, lambda: nn.MaxPool2d(2)),
    _image("shared convolution", _conv(1, 2, 1), _R, lambda: (lambda c: nn.Sequential(c, nn.ReLU(), c))(nn.Conv2d(2, 2, 1))),
    _image("checkerboard kernel", lambda: Model(lambda m, x: F.conv2d(x, m.w * torch.tensor([[1.0, 0.0], [0.0, 1.0]]).to(x)), w=torch.randn(2, 1, 2, 2)), _R),
    _image("symmetric kernel", lambda: Model(lambda m, x: F.conv2d(x, m.w + m.w.transpose(2, 3)), w=torch.randn(2, 1, 2, 2)), _R),
    _image("dynamic kernel", lambda: Model(lambda m, x: m.c(x) * torch.sigmoid(m.g(x.mean((2, 3))))[..., None, None], c=nn.Conv2d(1, 2, 2), g=nn.Linear(1, 2))),
    _case("Conv3d", lambda: nn.Sequential(nn.Conv3d(1, 2, 2), nn.ReLU(), nn.Flatten(), nn.Linear(2, 3)), x=(1, 2, 2, 2)),
    _case("Conv3d tanh", lambda: nn.Sequential(nn.Conv3d(1, 2, 2), nn.Tanh(), nn.Flatten(), nn.Linear(2, 3)), x=(1, 2, 2, 2)),
    _case("Fold", lambda: nn.Sequential(nn.Unfold(2), Apply(lambda u: u.mT), nn.Linear(4, 3), nn.ReLU(), Apply(lambda t: t.mean(1)))),
    _case("grid sample", lambda: Model(lambda m, x: m.fc(F.grid_sample(x, F.affine_grid(m.t.expand(len(x), 2, 3), x.shape, align_corners=True), align_corners=True).mean((2, 3))), t=torch.tensor([[0.8, 0.1, 0.05], [-0.1, 0.7, 0.1]]), fc=nn.Linear(1, 3))),
    _case("interpolated input", lambda: nn.Sequential(Apply(lambda x: F.interpolate(x, size=3, mode="bilinear")), nn.Flatten(), nn.Linear(9, 3)), y=3),
    _case("squeeze and excite", lambda: Model(lambda m, x: m.fc((h := F.relu(m.c(x))).mean((2, 3)) * torch.sigmoid(m.e(h.mean((2, 3))))), c=nn.Conv2d(1, 2, 2), e=nn.Linear(2, 2), fc=nn.Linear(2, 3))),
    _case("weights per pixel", lambda: Model(lambda m, x: m.fc(F.relu(x * m.w).flatten(1)[:, :6]), w=torch.randn(1, 4, 4), fc=nn.Linear(6, 3))),
    _case("patches as tokens", lambda: nn.Sequential(nn.Conv2d(1, 3, 2, 2), nn.Flatten(2), Apply(lambda t: t.mT), nn.Linear(3, 3), nn.ReLU(), Apply(lambda t: t.mean(1)), nn.Linear(3, 3))),
    _case("frames in the batch", lambda: Model(lambda m, x: m.fc(F.relu(m.c(x.flatten(0, 1)[:, None])).mean((2, 3)).view(len(x), 2, -1).mean(1)), c=nn.Conv2d(1, 2, 2), fc=nn.Linear(2, 3)), x=(2, 3, 3)),
    _case("frames in the batch, max", lambda: Model(lambda m, x: m.fc(F.relu(m.c(x.flatten(0, 1)[:, None])).amax((2, 3)).view(len(x), 2, -1).amax(1)), c=nn.Conv2d(1, 2, 2), fc=nn.Linear(2, 3)), x=(2, 3, 3)),
    _case("frames apart", lambda: Model(lambda m, x: m.fc(sum(F.relu(m.c(f[:, None])).mean((2, 3)) for f in x.unbind(1))), c=nn.Conv2d(1, 2, 2), fc=nn.Linear(2, 3)), x=(2, 3, 3)),
    _case("frames through a batch norm", lambda: Model(lambda m, x: m.fc(F.relu(m.n(m.c(x.flatten(0, 1)[:, None]))).mean((2, 3)).view(len(x), 2, -1).mean(1)), c=nn.Conv2d(1, 2, 2), n=used(nn.BatchNorm2d(2)), fc=nn.Linear(2, 3)), x=(2, 3, 3)),
    _case("flipped copies in the batch", lambda: Model(lambda m, x: m.fc(F.relu(m.c(torch.cat([x, x.flip(3)]))).mean((2, 3)).view(2, len(x), -1).mean(0)), c=nn.Conv2d(1, 2, 2), fc=nn.Linear(2, 3))),
    _case("channels in the batch", lambda: Model(lambda m, x: m.fc(F.relu(m.c(x.reshape(-1, 1, 3, 3))).amax((2, 3)).view(len(x), -1)), c=nn.Conv2d(1, 1, 2), fc=nn.Linear(2, 3)), x=(2, 3, 3)),
    _case("segmentation", lambda: nn.Sequential(nn.Conv2d(1, 2, 2), nn.ReLU(), nn.Conv2d(2, 3, 1)), y=lambda n: torch.randint(3, (n, 3, 3))),
    _case("autoencoder", lambda: nn.Sequential(nn.Conv2d(1, 2, 2), nn.ReLU(), nn.ConvTranspose2d(2, 1, 2)), y=(1, 4, 4), loss=nn.MSELoss()),
    _case("global pool then bias", lambda: Model(lambda m, x: F.relu(m.c(x)).mean((2, 3)) + m.b, c=nn.Conv2d(1, 3, 2), b=torch.zeros(3))),
]  # fmt: skip
