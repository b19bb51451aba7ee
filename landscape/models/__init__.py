"""Networks by name, so that a checkpoint can say what it holds."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torch import nn

from landscape.models.plain import cnn, mlp, vgg19
from landscape.models.pyramidnet import pyramidnet
from landscape.models.resnet import resnet18, resnet50, resnet101
from landscape.models.sl_vit import SLViT
from landscape.models.transformer import GPT, ViT
from landscape.models.wide_resnet import wide_resnet
from landscape.registry import check, find, options

__all__ = ["MODELS", "build_model"]

MODELS: dict[str, Callable[..., nn.Module]] = {
    "mlp": mlp,
    "cnn": cnn,
    "resnet18": resnet18,
    "resnet50": resnet50,
    "resnet101": resnet101,
    "wrn-28-2": partial(wide_resnet, 28, 2),
    "wrn-28-10": partial(wide_resnet, 28, 10),
    "wrn-16-8": partial(wide_resnet, 16, 8),
    "wide-resnet": wide_resnet,
    "vgg19": vgg19,
    "pyramidnet": pyramidnet,
    "vit-small": ViT,
    "sl-vit": SLViT,
    "gpt": GPT,
}


def build_model(name: str, *, input_shape: Sequence[int], num_classes: int, **args: Any) -> nn.Module:
    """Build the model called ``name``; its weights are torch's default, drawn from the global generator.

    Args:
        name: a key of ``MODELS``.
        input_shape: shape of one example.
        num_classes: number of logits.
        args: what else that model takes.

    Raises:
        ValueError: the name is unknown, or the model does not take these arguments.

    Example:
        >>> import torch
        >>> model = build_model("cnn", input_shape=(3, 32, 32), num_classes=10, width=4)
        >>> model(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """
    build = find(MODELS, "model", name)
    check(f"model '{name}'", args, options(build, "input_shape", "num_classes"))
    return build(input_shape=input_shape, num_classes=num_classes, **args)
