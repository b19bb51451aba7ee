"""Vision transformers (Dosovitskiy et al. 2021, arXiv:2010.11929); ViT-Small with 4×4 patches for images of 32×32.

The image is cut into patches, each mapped to a token by one convolution; a class token and learned positions are added;
blocks of attention follow, a LayerNorm, and a linear layer on the class token. The sizes of ViT-Small are those of
Touvron et al. 2021 (arXiv:2012.12877). SA-SAM's "ViT-Small" is another network: shifted-patch tokens and locality
self-attention. Parameters are named as in timm, so that its state dicts load.
"""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from landscape.models.images import require_images
from landscape.models.transformer import TransformerBlock


def vit_small(
    *,
    input_shape: Sequence[int],
    num_classes: int,
    patch: int = 4,
    width: int = 384,
    depth: int = 12,
    num_heads: int = 6,
) -> nn.Module:
    """Build a vision transformer, with the sizes of ViT-Small.

    The class token and the positions are drawn from a normal distribution of deviation 0.02.

    Args:
        input_shape: (channels, height, width) of one image, its sides multiples of ``patch``.
        num_classes: number of logits.
        patch: side of a patch in pixels.
        width: features of a token.
        depth: number of blocks.
        num_heads: attention heads; they divide ``width``.

    Raises:
        ValueError: the examples are not images of whole patches, or a size is out of range.

    Example:
        >>> model = vit_small(input_shape=(3, 32, 32), num_classes=10, width=8, depth=1, num_heads=2)
        >>> sum(p.numel() for p in model.parameters())
        1898
    """
    if min(patch, depth) < 1:
        raise ValueError(f"patch={patch}, depth={depth} are out of range. Expected at least 1.")
    require_images(input_shape, smallest=patch, patch=patch)
    channels, height, breadth = input_shape
    return _VisionTransformer(
        nn.Conv2d(channels, width, kernel_size=patch, stride=patch),
        [TransformerBlock(width, num_heads=num_heads, eps=1e-6) for _ in range(depth)],
        num_tokens=1 + height // patch * (breadth // patch),
        head=nn.Linear(width, num_classes),
    )


class _VisionTransformer(nn.Module):
    def __init__(
        self, patches_to_tokens: nn.Conv2d, blocks: list[TransformerBlock], *, num_tokens: int, head: nn.Linear
    ) -> None:
        super().__init__()
        width = head.in_features
        self.cls_token = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, num_tokens, width))
        self.patch_embed = nn.Sequential(OrderedDict(proj=patches_to_tokens))
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = head

    def forward(self, x: Tensor) -> Tensor:  # (n, channels, height, width) -> (n, num_classes)
        patches = self.patch_embed(x).flatten(2).transpose(1, 2)  # (n, tokens - 1, width)
        tokens = torch.cat([self.cls_token.expand(len(x), -1, -1), patches], dim=1) + self.pos_embed
        return self.head(self.norm(self.blocks(tokens))[:, 0])
