"""A small convolutional network with BatchNorm, for images of any size from 2×2.

Two blocks of 3×3 convolution, BatchNorm and ReLU with a max-pool between them, global average pooling, a linear layer.
The convolutions have no bias: beside BatchNorm's shift it would only add directions in which the loss is exactly flat.
"""

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn


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
    if len(input_shape) != 3 or min(input_shape[1:]) < 2:
        raise ValueError(
            f"input_shape={tuple(input_shape)} is no image. Expected (channels, height, width) of at least 2×2 pixels."
        )
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
