"""Networks without shortcuts: ``mlp`` for anything, ``cnn`` and ``vgg19`` for images; and what images are accepted."""

import math
from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from landscape.registry import find

_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh}
_GROUPS = ((1, 2), (2, 2), (4, 4), (8, 4), (8, 4))  # of VGG-19: channels over width, number of convolutions


def mlp(
    *, input_shape: Sequence[int], num_classes: int, hidden: Sequence[int] = (64, 32), activation: str = "relu"
) -> nn.Sequential:
    """Build a multilayer perceptron from examples to logits; with the defaults on 8×8 images it is 64-64-32-10.

    With ``hidden=()`` it is softmax regression, whose Hessian has a closed form.

    Args:
        input_shape: shape of one example.
        num_classes: number of logits.
        hidden: widths of the hidden layers.
        activation: "relu", or "tanh" where second derivatives must exist everywhere.

    Raises:
        ValueError: a width is less than one, or the activation is unknown.

    Example:
        >>> sum(p.numel() for p in mlp(input_shape=(1, 8, 8), num_classes=10).parameters())
        6570
    """
    if min(hidden, default=1) < 1:
        raise ValueError(f"hidden={tuple(hidden)} is out of range. Expected widths of at least 1.")
    activate = find(_ACTIVATIONS, "activation", activation)
    widths = [math.prod(input_shape), *hidden, num_classes]
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    for index, (fan_in, fan_out) in enumerate(pairwise(widths), start=1):
        layers[f"linear{index}"] = nn.Linear(fan_in, fan_out)
        layers[f"{activation}{index}"] = activate()
    layers.popitem()  # logits have no activation
    return nn.Sequential(layers)


def cnn(*, input_shape: Sequence[int], num_classes: int, width: int = 16) -> nn.Sequential:
    """Build a small convolutional network from images to logits.

    Two blocks of 3×3 convolution, BatchNorm and ReLU with a max-pool between them, global average pooling, a linear
    layer. The convolutions have no bias: beside BatchNorm's shift it would only add directions in which the loss is
    exactly flat.

    Args:
        input_shape: (channels, height, width) of one image, at least 2×2 pixels.
        num_classes: number of logits.
        width: channels of the first block; the second has twice as many.

    Raises:
        ValueError: the examples are no such images, or ``width`` is less than one.

    Example:
        >>> sum(p.numel() for p in cnn(input_shape=(1, 8, 8), num_classes=10).parameters())
        5178
    """
    require_images(input_shape, smallest=2, width=width)
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
    """Build VGG-19 with BatchNorm (Simonyan and Zisserman 2015, arXiv:1409.1556), as in code for CIFAR.

    Sixteen 3×3 convolutions in five groups, each with BatchNorm and ReLU; a max-pool ends each group. The paper's three
    fully connected layers are one. Convolutions keep their biases, which BatchNorm makes redundant, so that counts and
    state dicts are those of github.com/kuangliu/pytorch-cifar and of SA-SAM's code.

    Args:
        input_shape: (channels, height, width) of one image, at least 32×32 pixels.
        num_classes: number of logits.
        width: channels of the first group; the others have two, four, eight and eight times as many.

    Raises:
        ValueError: the examples are no such images, or ``width`` is less than one.

    Example:
        >>> sum(p.numel() for p in vgg19(input_shape=(3, 32, 32), num_classes=10, width=4).parameters())
        79662
    """
    require_images(input_shape, smallest=32, width=width)
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


def require_images(input_shape: Sequence[int], *, smallest: int = 1, multiple: int = 1, width: int = 1) -> None:
    """Refuse examples that are not images, sides below the smallest or no multiples, and a width below one.

    Raises:
        ValueError: saying what is expected.

    Example:
        >>> require_images((3, 32, 32), smallest=32)
        >>> require_images((1, 8, 8), smallest=32)
        Traceback (most recent call last):
        ValueError: input_shape=(1, 8, 8) is not accepted. Expected (channels, height, width) of at least 32×32 pixels.
    """
    sides = input_shape[1:]
    if len(input_shape) != 3 or min(sides) < smallest or any(side % multiple for side in sides):
        raise ValueError(
            f"input_shape={tuple(input_shape)} is not accepted. Expected (channels, height, width) of at least "
            f"{smallest}×{smallest} pixels{f', in multiples of {multiple}' if multiple > 1 else ''}."
        )
    if width < 1:
        raise ValueError(f"width={width} is out of range. Expected at least 1.")
