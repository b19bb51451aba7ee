"""VGG-19 with BatchNorm and one linear layer (Simonyan and Zisserman 2015, arXiv:1409.1556), as in code for CIFAR.

Sixteen 3×3 convolutions in five groups of 2, 2, 4, 4, 4, each with BatchNorm and ReLU; a max-pool ends each group. The
paper's three fully connected layers are one. The convolutions keep their biases, which BatchNorm makes redundant, so
that counts and state dicts are those of github.com/kuangliu/pytorch-cifar and of SA-SAM's code.
"""

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from landscape.models.images import require_images

_GROUPS = ((1, 2), (2, 2), (4, 4), (8, 4), (8, 4))  # channels over width, number of convolutions


def vgg19(*, input_shape: Sequence[int], num_classes: int, width: int = 64) -> nn.Sequential:
    """Build VGG-19 with BatchNorm.

    Args:
        input_shape: (channels, height, width) of one image, at least 32×32 pixels.
        num_classes: number of logits.
        width: channels of the first group; the others have two, four, eight and eight times as many.

    Raises:
        ValueError: the examples are not images of at least 32×32 pixels, or ``width`` is less than one.

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
