"""Convolutional networks without shortcuts, and the shapes of images that networks accept.

`cnn` is small, for images of any size from 2×2: two blocks of 3×3 convolution, BatchNorm and ReLU with a max-pool
between them, global average pooling, a linear layer. Its convolutions have no bias: beside BatchNorm's shift it would
only add directions in which the loss is exactly flat.

`vgg19` is that of Simonyan and Zisserman 2015 (arXiv:1409.1556) as in code for CIFAR: sixteen 3×3 convolutions in five
groups of 2, 2, 4, 4, 4, each with BatchNorm and ReLU; a max-pool ends each group. The paper's three fully connected
layers are one. Its convolutions keep their biases, which BatchNorm makes redundant, so that counts and
state dicts are those of github.com/kuangliu/pytorch-cifar and of SA-SAM's code.
"""

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

_GROUPS = ((1, 2), (2, 2), (4, 4), (8, 4), (8, 4))  # channels over width, number of convolutions


def cnn(*, input_shape: Sequence[int], num_classes: int, width: int = 16) -> nn.Sequential:
    """Build the network from images to logits.

    Args:
        input_shape: (channels, height, width) of one image.
        num_classes: number of logits.
        width: channels of the first block; the second has twice as many.

    Raises:
        ValueError: the examples are not images of at least 2×2 pixels, or ``width`` is less than one.

    Example:
        >>> sum(p.numel() for p in cnn(input_shape=(1, 8, 8), num_classes=10).parameters())
        5178
    """
    require_images(input_shape, smallest=2)
    if width < 1:
        raise ValueError(f"width={width} is out of range. Expected at least 1.")
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(input_shape[0], width, kernel_size=3, padding=1, bias=False),
            norm1=nn.BatchNorm2d(width),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(width, 2 * width, kernel_size=3, padding=1, bias=False),
            norm2=nn.BatchNorm2d(2 * width),
            relu2=nn.ReLU(),
            pool2=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            linear=nn.Linear(2 * width, num_classes),
        )
    )


def vgg19(*, input_shape: Sequence[int], num_classes: int, width: int = 64) -> nn.Sequential:
    """Build VGG-19 with BatchNorm.

    Args:
        input_shape: (channels, height, width) of one image, at least 32×32 pixels.
        num_classes: number of logits.
        width: channels of the first group; the others have two, four, eight and eight times as many.

    Raises:
        ValueError: the examples are not images of at least 32×32 pixels, or `width` is less than one.

    Example:
        >>> sum(p.numel() for p in vgg19(input_shape=(3, 32, 32), num_classes=10, width=4).parameters())
        79662
    """
    require_images(input_shape, smallest=32)
    if width < 1:
        raise ValueError(f"width={width} is out of range. Expected at least 1.")
    features: list[nn.Module] = []
    fan_in = input_shape[0]
    for times, num_convolutions in _GROUPS:
        for _ in range(num_convolutions):
            fan_out = times * width
            features += [nn.Conv2d(fan_in, fan_out, kernel_size=3, padding=1), nn.BatchNorm2d(fan_out), nn.ReLU()]
            fan_in = fan_out
        features.append(nn.MaxPool2d(2))
    return nn.Sequential(
        OrderedDict(
            features=nn.Sequential(*features),
            pool=nn.AdaptiveAvgPool2d(1),  # 1×1 already for images of 32×32
            flatten=nn.Flatten(),
            classifier=nn.Linear(fan_in, num_classes),
        )
    )


def require_images(input_shape: Sequence[int], *, smallest: int = 1, patch: int = 1) -> None:
    """Refuse examples that are not images, that are too small, or that are not cut into whole patches.

    Args:
        input_shape: should be (channels, height, width).
        smallest: least height and width, in pixels.
        patch: side of the squares into which images are cut.

    Raises:
        ValueError: saying which shape is expected.

    Example:
        >>> require_images((3, 32, 32), smallest=32)
        >>> require_images((1, 8, 8), smallest=32)
        Traceback (most recent call last):
        ValueError: input_shape=(1, 8, 8) is not accepted. Expected (channels, height, width) of at least 32×32 pixels.
    """
    sides = input_shape[1:]
    if len(input_shape) != 3 or min(sides) < smallest or any(side % patch for side in sides):
        raise ValueError(
            f"input_shape={tuple(input_shape)} is not accepted. Expected (channels, height, width) of at least "
            f"{smallest}×{smallest} pixels{f', in multiples of {patch}' if patch > 1 else ''}."
        )
