"""Residual networks (He et al. 2016, arXiv:1512.03385), for small images as in the papers' code for CIFAR.

The stem is one 3×3 convolution, with no stride and no max-pool; for large images, ``stem="imagenet"``, it is the
paper's: 7×7 with stride 2, and a 3×3 max-pool with stride 2. Four stages of ``width`` × 1, 2, 4 and 8 channels follow,
the last three halving the image, then global average pooling and a linear layer. A shortcut that changes shape is a 1×1
convolution with BatchNorm; a bottleneck has its stride on the 3×3 convolution and four times as many output channels.

Parameters are named as in github.com/kuangliu/pytorch-cifar, whose networks GAM's code uses: such state dicts load.
With the stem of ImageNet they are named as torchvision's, whose networks those are, and whose state dicts load.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor, nn

from landscape.models.plain import require_images


def resnet18(*, input_shape: Sequence[int], num_classes: int, width: int = 64, stem: str = "cifar") -> nn.Sequential:
    """Build ResNet-18: stages of 2, 2, 2, 2 basic blocks.

    Args:
        input_shape: (channels, height, width) of one image.
        num_classes: number of logits.
        width: channels of the first stage.
        stem: "cifar" or "imagenet" (see the module).

    Raises:
        ValueError: the examples are no images, ``width`` is less than one, or the stem is unknown.

    Example:
        >>> sum(p.numel() for p in resnet18(input_shape=(3, 32, 32), num_classes=10, width=16).parameters())
        701466
    """
    return _resnet(_BasicBlock, (2, 2, 2, 2), input_shape, num_classes, width, stem)


def resnet50(*, input_shape: Sequence[int], num_classes: int, width: int = 64, stem: str = "cifar") -> nn.Sequential:
    """Build ResNet-50: stages of 3, 4, 6, 3 bottleneck blocks; arguments as for ``resnet18``."""
    return _resnet(_Bottleneck, (3, 4, 6, 3), input_shape, num_classes, width, stem)


def resnet101(*, input_shape: Sequence[int], num_classes: int, width: int = 64, stem: str = "cifar") -> nn.Sequential:
    """Build ResNet-101: stages of 3, 4, 23, 3 bottleneck blocks; arguments as for ``resnet18``."""
    return _resnet(_Bottleneck, (3, 4, 23, 3), input_shape, num_classes, width, stem)


class _BasicBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut."""

    expansion = 1

    def __init__(self, fan_in: int, width: int, stride: int, *, shortcut: str = "shortcut") -> None:
        super().__init__()
        self.name = shortcut  # of that module
        self.conv1 = nn.Conv2d(fan_in, width, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, kernel_size=3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.add_module(shortcut, _shortcut(fan_in, width, stride))
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu1(self.bn1(self.conv1(x)))
        return self.relu2(self.bn2(self.conv2(out)) + self.get_submodule(self.name)(x))


class _Bottleneck(nn.Module):
    """A 3×3 convolution between two 1×1 convolutions that reduce and restore the channels, and a shortcut."""

    expansion = 4

    def __init__(self, fan_in: int, width: int, stride: int, *, shortcut: str = "shortcut") -> None:
        super().__init__()
        self.name = shortcut  # of that module
        fan_out = self.expansion * width
        self.conv1 = nn.Conv2d(fan_in, width, kernel_size=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU()
        self.conv3 = nn.Conv2d(width, fan_out, kernel_size=1, bias=False)
        self.bn3 = nn.BatchNorm2d(fan_out)
        self.add_module(shortcut, _shortcut(fan_in, fan_out, stride))
        self.relu3 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu1(self.bn1(self.conv1(x)))
        out = self.relu2(self.bn2(self.conv2(out)))
        return self.relu3(self.bn3(self.conv3(out)) + self.get_submodule(self.name)(x))


def _resnet(
    block: type[_BasicBlock] | type[_Bottleneck],
    num_blocks: Sequence[int],
    input_shape: Sequence[int],
    num_classes: int,
    width: int,
    stem: str,
) -> nn.Sequential:
    require_images(input_shape, width=width)
    if stem not in ("cifar", "imagenet"):
        raise ValueError(f"stem={stem!r} is unknown. Expected cifar or imagenet.")
    large = stem == "imagenet"
    conv1 = nn.Conv2d(
        input_shape[0],
        width,
        kernel_size=7 if large else 3,
        stride=2 if large else 1,
        padding=3 if large else 1,
        bias=False,
    )
    layers: OrderedDict[str, nn.Module] = OrderedDict(conv1=conv1, bn1=nn.BatchNorm2d(width), relu=nn.ReLU())
    if large:
        layers["maxpool"] = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
    widths = [[width * 2**stage] * count for stage, count in enumerate(num_blocks)]
    build = partial(block, shortcut="downsample" if large else "shortcut")
    for number, stage in enumerate(stages(build, width, widths, block.expansion), start=1):
        layers[f"layer{number}"] = stage
    head = nn.Linear(8 * width * block.expansion, num_classes)
    layers |= {"pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "fc" if large else "linear": head}
    return nn.Sequential(layers)


def stages(
    block: Callable[[int, int, int], nn.Module], fan_in: int, widths: Sequence[Sequence[int]], expansion: int = 1
) -> list[nn.Sequential]:
    """Build the stages of a residual network; the first block of all but the first stage halves the image.

    Args:
        block: takes the channels of its input, its width and its stride.
        fan_in: channels of the input.
        widths: of the blocks of each stage.
        expansion: channels of a block's output over its width.
    """
    built = []
    for number, of_blocks in enumerate(widths):
        blocks = []
        for index, width in enumerate(of_blocks):
            blocks.append(block(fan_in, width, 2 if number > 0 and index == 0 else 1))
            fan_in = expansion * width
        built.append(nn.Sequential(*blocks))
    return built


def _shortcut(fan_in: int, fan_out: int, stride: int) -> nn.Sequential:
    """The identity, or a projection where the shape changes."""
    if stride == 1 and fan_in == fan_out:
        return nn.Sequential()
    return nn.Sequential(nn.Conv2d(fan_in, fan_out, kernel_size=1, stride=stride, bias=False), nn.BatchNorm2d(fan_out))
