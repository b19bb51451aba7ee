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

from landscape.models.cnn import require_images


def wide_resnet(*, input_shape: Sequence[int], num_classes: int, depth: int = 28, width: int = 10) -> nn.Sequential:
    """Build WRN-depth-width.

    Args:
        input_shape: (channels, height, width) of one image.
        num_classes: number of logits.
        depth: number of layers, six times a number of blocks and four more.
        width: how many times as wide as the thin network.

    Raises:
        ValueError: the examples are no images, ``depth`` is not of that form, or ``width`` is less than one.

    Example:
        >>> model = wide_resnet(input_shape=(3, 32, 32), num_classes=10, depth=16, width=1)
        >>> sum(p.numel() for p in model.parameters())
        175066
    """
    require_images(input_shape)
    num_blocks, rest = divmod(depth - 4, 6)
    if num_blocks < 1 or rest:
        raise ValueError(f"depth={depth} is not accepted. Expected 10, 16, 22, 28, ...: 6 n + 4.")
    if width < 1:
        raise ValueError(f"width={width} is out of range. Expected at least 1.")
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv1=nn.Conv2d(input_shape[0], 16, kernel_size=3, padding=1, bias=False)
    )
    fan_in = 16
    for stage, fan_out in enumerate((16 * width, 32 * width, 64 * width)):
        first = _Block(fan_in, fan_out, stride=1 if stage == 0 else 2)
        rest_of_stage = (_Block(fan_out, fan_out, stride=1) for _ in range(num_blocks - 1))
        layers[f"block{stage + 1}"] = nn.Sequential(OrderedDict(layer=nn.Sequential(first, *rest_of_stage)))
        fan_in = fan_out
    layers |= {
        "bn1": nn.BatchNorm2d(fan_in),
        "relu": nn.ReLU(),
        "pool": nn.AdaptiveAvgPool2d(1),
        "flatten": nn.Flatten(),
        "fc": nn.Linear(fan_in, num_classes),
    }
    return nn.Sequential(layers)


def wrn_28_2(*, input_shape: Sequence[int], num_classes: int) -> nn.Sequential:
    """Build WRN-28-2."""
    return wide_resnet(input_shape=input_shape, num_classes=num_classes, depth=28, width=2)


def wrn_28_10(*, input_shape: Sequence[int], num_classes: int) -> nn.Sequential:
    """Build WRN-28-10."""
    return wide_resnet(input_shape=input_shape, num_classes=num_classes, depth=28, width=10)


def wrn_16_8(*, input_shape: Sequence[int], num_classes: int) -> nn.Sequential:
    """Build WRN-16-8."""
    return wide_resnet(input_shape=input_shape, num_classes=num_classes, depth=16, width=8)


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
