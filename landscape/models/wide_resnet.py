"""Wide residual networks (Zagoruyko and Komodakis 2016, arXiv:1605.07146): WRN-depth-width.

A 3×3 convolution to 16 channels, three stages of (depth - 4) / 6 pre-activation blocks with 16, 32 and 64 times
``width`` channels, the last two halving the image, then BatchNorm, ReLU, global average pooling and a linear layer.
Where a block changes the channels, its shortcut is a 1×1 convolution of the activated input. There is no dropout.

Parameters are named as in github.com/xternalz/WideResNet-pytorch, whose network the code of CR-SAM uses: such state
dicts load.
"""

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn

from landscape.models.plain import require_images
from landscape.models.resnet import stages


def wide_resnet(depth: int = 28, width: int = 10, *, input_shape: Sequence[int], num_classes: int) -> nn.Sequential:
    """Build WRN-depth-width.

    Args:
        depth: number of layers, six times a number of blocks and four more.
        width: how many times as wide as the thin network.
        input_shape: (channels, height, width) of one image.
        num_classes: number of logits.

    Raises:
        ValueError: the examples are no images, ``depth`` is not of that form, or ``width`` is less than one.

    Example:
        >>> model = wide_resnet(16, 1, input_shape=(3, 32, 32), num_classes=10)
        >>> sum(p.numel() for p in model.parameters())
        175066
    """
    require_images(input_shape, width=width)
    num_blocks, rest = divmod(depth - 4, 6)
    if num_blocks < 1 or rest:
        raise ValueError(f"depth={depth} is not accepted. Expected 10, 16, 22, 28, ...: 6 n + 4.")
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv1=nn.Conv2d(input_shape[0], 16, kernel_size=3, padding=1, bias=False)
    )
    widths = [[times * width] * num_blocks for times in (16, 32, 64)]
    for number, stage in enumerate(stages(_Block, 16, widths), start=1):
        layers[f"block{number}"] = nn.Sequential(OrderedDict(layer=stage))
    layers |= {
        "bn1": nn.BatchNorm2d(64 * width),
        "relu": nn.ReLU(),
        "pool": nn.AdaptiveAvgPool2d(1),
        "flatten": nn.Flatten(),
        "fc": nn.Linear(64 * width, num_classes),
    }
    return nn.Sequential(layers)


class _Block(nn.Module):
    """BatchNorm, ReLU and 3×3 convolution, twice, and a shortcut."""

    def __init__(self, fan_in: int, fan_out: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(fan_in)
        self.relu1 = nn.ReLU()
        self.conv1 = nn.Conv2d(fan_in, fan_out, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(fan_out)
        self.relu2 = nn.ReLU()
        self.conv2 = nn.Conv2d(fan_out, fan_out, kernel_size=3, padding=1, bias=False)
        self.convShortcut = (
            None if fan_in == fan_out else nn.Conv2d(fan_in, fan_out, kernel_size=1, stride=stride, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        active = self.relu1(self.bn1(x))
        out = self.conv2(self.relu2(self.bn2(self.conv1(active))))
        return out + (x if self.convShortcut is None else self.convShortcut(active))
