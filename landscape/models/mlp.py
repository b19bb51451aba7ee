"""A multilayer perceptron: flatten, then linear layers with an activation between them.

With ``hidden=()`` it is softmax regression, whose Hessian has a closed form.
"""

import math
from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from landscape.registry import find

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh}


def mlp(
    *, input_shape: Sequence[int], num_classes: int, hidden: Sequence[int] = (64, 32), activation: str = "relu"
) -> nn.Sequential:
    """Build a multilayer perceptron from examples to logits; with the defaults on 8×8 images it is 64-64-32-10.

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
    activate = find(ACTIVATIONS, "activation", activation)
    widths = [math.prod(input_shape), *hidden, num_classes]
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    for index, (fan_in, fan_out) in enumerate(pairwise(widths), start=1):
        layers[f"linear{index}"] = nn.Linear(fan_in, fan_out)
        layers[f"{activation}{index}"] = activate()
    layers.popitem()  # logits have no activation
    return nn.Sequential(layers)
