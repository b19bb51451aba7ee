"""Pyramidal residual networks (Han, Kim and Kim 2017, arXiv:1610.02915), the additive kind, for small images.

A 3×3 convolution to 16 channels, then three stages of n blocks; block k of 3n has round(16 + k alpha / 3n) channels,
so that the width grows at every block and not only where the image is halved (at the second and third stage). A
shortcut has no parameters: an average pool where the image is halved, zeros for the channels it lacks.

"PyramidNet-110" is ambiguous. The paper's has basic blocks (n = 18) and alpha 48, 84 or 270, that is 1.8, 3.9 or 28.5
million parameters. GAM's code has bottlenecks (n = 12) and alpha 270, 18.3 million: our default. CR-SAM does not say.
Parameters are named as in github.com/dyhan0920/PyramidNet-PyTorch and GAM's code: such state dicts load.
"""

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import pad

from landscape.models.plain import require_images
from landscape.models.resnet import stages


def pyramidnet(
    *, input_shape: Sequence[int], num_classes: int, depth: int = 110, alpha: float = 270, bottleneck: bool = True
) -> nn.Sequential:
    """Build a PyramidNet.

    Args:
        input_shape: (channels, height, width) of one image.
        num_classes: number of logits.
        depth: number of layers: 9 n + 2 with bottlenecks, 6 n + 2 with basic blocks.
        alpha: channels that the blocks add to the first 16.
        bottleneck: blocks of 1×1, 3×3 and 1×1 convolutions with four times as many output channels, or of two 3×3.

    Raises:
        ValueError: the examples are no images, ``depth`` is not of that form, or ``alpha`` is negative.

    Example:
        >>> model = pyramidnet(input_shape=(3, 32, 32), num_classes=10, depth=20, alpha=6)
        >>> sum(p.numel() for p in model.parameters())
        41525
    """
    require_images(input_shape)
    block = _Bottleneck if bottleneck else _Basic
    num_blocks, rest = divmod(depth - 2, 3 * block.num_convolutions)
    if num_blocks < 1 or rest:
        raise ValueError(f"depth={depth} is not accepted. Expected {3 * block.num_convolutions} n + 2.")
    if alpha < 0:
        raise ValueError(f"alpha={alpha} is out of range. Expected at least 0.")
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv1=nn.Conv2d(input_shape[0], 16, kernel_size=3, padding=1, bias=False), bn1=nn.BatchNorm2d(16)
    )
    widths = [round(16 + alpha * number / (3 * num_blocks)) for number in range(1, 3 * num_blocks + 1)]
    by_stage = [widths[start : start + num_blocks] for start in range(0, len(widths), num_blocks)]
    for number, stage in enumerate(stages(block, 16, by_stage, block.expansion), start=1):
        layers[f"layer{number}"] = stage
    fan_in = widths[-1] * block.expansion
    layers |= {
        "bn_final": nn.BatchNorm2d(fan_in),
        "relu_final": nn.ReLU(),
        "pool": nn.AdaptiveAvgPool2d(1),
        "flatten": nn.Flatten(),
        "fc": nn.Linear(fan_in, num_classes),
    }
    return nn.Sequential(layers)


class _Basic(nn.Module):
    """Two 3×3 convolutions, BatchNorm before each and after the last, ReLU between them only."""

    num_convolutions, expansion = 2, 1

    def __init__(self, fan_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(fan_in)
        self.conv1 = nn.Conv2d(fan_in, width, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, kernel_size=3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.shortcut = _Shortcut(fan_in, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1(self.bn1(x))
        return self.bn3(self.conv2(self.relu2(self.bn2(out)))) + self.shortcut(x)


class _Bottleneck(nn.Module):
    """A 3×3 convolution between two of 1×1, BatchNorm before each and after the last, ReLU between them only."""

    num_convolutions, expansion = 3, 4

    def __init__(self, fan_in: int, width: int, stride: int) -> None:
        super().__init__()
        fan_out = self.expansion * width
        self.bn1 = nn.BatchNorm2d(fan_in)
        self.conv1 = nn.Conv2d(fan_in, width, kernel_size=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.relu3 = nn.ReLU()
        self.conv3 = nn.Conv2d(width, fan_out, kernel_size=1, bias=False)
        self.bn4 = nn.BatchNorm2d(fan_out)
        self.shortcut = _Shortcut(fan_in, fan_out, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1(self.bn1(x))
        out = self.conv2(self.relu2(self.bn2(out)))
        return self.bn4(self.conv3(self.relu3(self.bn3(out)))) + self.shortcut(x)


class _Shortcut(nn.Module):
    """The input, averaged over 2×2 pixels where the image is halved, with zeros for the channels that it lacks."""

    def __init__(self, fan_in: int, fan_out: int, stride: int) -> None:
        super().__init__()
        self.pool = nn.Identity() if stride == 1 else nn.AvgPool2d(2, ceil_mode=True)
        self.num_missing = fan_out - fan_in

    def forward(self, x: Tensor) -> Tensor:
        return pad(self.pool(x), (0, 0, 0, 0, 0, self.num_missing))
