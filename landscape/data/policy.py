"""RandAugment and AutoAugment by kornia: ``pip install "landscape-geometry[augment]"``.

RandAugment (Cubuk et al. 2020, arXiv:1909.13719) makes two changes of strength 9 of 30; AutoAugment (Cubuk et al. 2019,
arXiv:1805.09501) has the policy found for CIFAR-10. kornia draws the kinds of change once a batch, where the papers
draw them once an image.
"""

import importlib
from typing import Any

import torch
from torch import Tensor

from landscape.passes import rng_untouched

POLICIES = ("randaugment", "autoaugment")


def apply_policy(name: str, images: Tensor, *, generator: torch.Generator) -> Tensor:
    """Change a batch of color images (n, 3, height, width) of uint8 pixels; kornia draws from a seed we draw.

    Raises:
        ValueError: the policy is unknown, kornia is not installed, or the images are others.
    """
    if name not in POLICIES:
        raise ValueError(f"policy='{name}' is unknown. Expected one of: none, {', '.join(POLICIES)}.")
    if images.dtype != torch.uint8 or images.shape[1] != 3:
        raise ValueError(f"policy='{name}' got {images.dtype} of {images.shape[1]} channels. Expected color pixels.")
    kornia = _kornia()
    change = kornia.RandAugment(n=2, m=9) if name == "randaugment" else kornia.AutoAugment(policy="cifar10")
    seed = int(torch.randint(2**62, (), generator=generator))
    with rng_untouched():
        torch.manual_seed(seed)
        changed: Tensor = change(images.float() / 255)
    return (255 * changed).round().clamp(0, 255).byte()


def _kornia() -> Any:
    try:
        return importlib.import_module("kornia.augmentation.auto")
    except ImportError as error:
        raise ValueError(f'kornia is needed ({error}): pip install "landscape-geometry[augment]".') from error
