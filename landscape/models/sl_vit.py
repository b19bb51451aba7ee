"""SL-ViT, a vision transformer for small sets of images (Lee, Lee and Song 2021, arXiv:2112.13492): SA-SAM's ViT-Small.

    tokens    patches of the image and of four shifted copies of it, side by side: LayerNorm, linear map    (SPT, §3.2)
    attention softmax(q k^T exp(t)), no token attends to itself, t learned from log(1 / sqrt(d)) on         (LSA, §3.3)

What is moved in from outside of the image is black. Copies are shifted by one pixel along the axes, as in the code that
SA-SAM's authors use (github.com/lucidrains/vit-pytorch, vit_for_small_dataset), whose sizes are the defaults and whose
state dicts load. The paper shifts them by half a patch along the diagonals: ``diagonal``. There is no dropout.
"""

import math
from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention

from landscape.models.plain import require_images


class SLViT(nn.Module):
    """A vision transformer with shifted patches and locality self-attention, without dropout.

    Args:
        input_shape: (channels, height, width) of one image, its sides multiples of ``patch``.
        num_classes: number of logits.
        patch: side of a patch in pixels.
        width: features of a token, and of the hidden layer of each block.
        depth: number of blocks.
        num_heads: attention heads, of 64 features each.
        diagonal: shift as the paper does.

    Raises:
        ValueError: the examples are not images of whole patches, or a size is out of range.

    Example:
        >>> model = SLViT(input_shape=(3, 32, 32), num_classes=10, width=8, depth=1, num_heads=1)
        >>> model(torch.zeros(2, 3, 32, 32)).shape, sum(p.numel() for p in model.parameters())
        (torch.Size([2, 10]), 5275)
    """

    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        num_classes: int,
        patch: int = 4,
        width: int = 512,
        depth: int = 6,
        num_heads: int = 8,
        diagonal: bool = False,
    ) -> None:
        if min(patch, depth, num_heads) < 1:
            sizes = f"patch={patch}, depth={depth}, num_heads={num_heads}"
            raise ValueError(f"{sizes} are out of range. Expected at least 1.")
        require_images(input_shape, width=width, smallest=patch, multiple=patch)
        super().__init__()
        channels, height, breadth = input_shape
        num_tokens = 1 + height // patch * (breadth // patch)
        self.to_patch_embedding = _ShiftedPatches(channels, patch, width, diagonal=diagonal)
        self.pos_embedding = nn.Parameter(torch.randn(1, num_tokens, width))
        self.cls_token = nn.Parameter(torch.randn(1, 1, width))
        self.transformer = _Transformer(width, depth, num_heads)
        self.mlp_head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        """Map images (n, channels, height, width) to logits (n, num_classes)."""
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), self.to_patch_embedding(x)], dim=1) + self.pos_embedding
        return self.mlp_head(self.transformer(x)[:, 0])


class _ShiftedPatches(nn.Module):
    def __init__(self, channels: int, patch: int, width: int, *, diagonal: bool) -> None:
        super().__init__()
        self.patch = patch
        s = patch // 2 if diagonal else 1
        steps = ((s, s), (s, -s), (-s, s), (-s, -s)) if diagonal else ((s, 0), (-s, 0), (0, s), (0, -s))
        self.shifts = [(right, -right, down, -down) for right, down in steps]
        fan_in = 5 * channels * patch**2
        # numbered as in that code, where the first of three cuts the patches
        layers = {"1": nn.LayerNorm(fan_in), "2": nn.Linear(fan_in, width)}
        self.to_patch_tokens = nn.Sequential(OrderedDict(layers))

    def forward(self, x: Tensor) -> Tensor:  # (n, channels, height, width) -> (n, tokens, width)
        x = torch.cat([x, *(pad(x, shift) for shift in self.shifts)], dim=1)
        patches = x.unfold(2, self.patch, self.patch).unfold(3, self.patch, self.patch)  # (n, c, h, w, rows, columns)
        return self.to_patch_tokens(patches.permute(0, 2, 3, 4, 5, 1).flatten(3).flatten(1, 2))


class _Transformer(nn.Module):
    def __init__(self, width: int, depth: int, num_heads: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.ModuleList([_PreNorm(width, _LocalAttention(width, num_heads)), _PreNorm(width, _Perceptron(width))])
            for _ in range(depth)
        )

    def forward(self, x: Tensor) -> Tensor:
        for block in self.layers:
            for sub_block in block.children():
                x = x + sub_block(x)
        return x


class _LocalAttention(nn.Module):
    features = 64  # of a head

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        inner = num_heads * self.features
        self.temperature = nn.Parameter(torch.tensor(-math.log(self.features) / 2))
        self.to_qkv = nn.Linear(width, 3 * inner, bias=False)
        self.to_out = nn.Sequential(nn.Linear(inner, width))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.to_qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        others = ~torch.eye(x.shape[1], dtype=torch.bool, device=x.device)
        mixed = scaled_dot_product_attention(q * self.temperature.exp(), k, v, attn_mask=others, scale=1.0)
        return self.to_out(mixed.transpose(1, 2).flatten(2))


class _PreNorm(nn.Module):
    def __init__(self, width: int, fn: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fn = fn

    def forward(self, x: Tensor) -> Tensor:
        return self.fn(self.norm(x))


class _Perceptron(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        layers = {"0": nn.Linear(width, width), "1": nn.GELU(), "3": nn.Linear(width, width)}  # 2 is dropout there
        self.net = nn.Sequential(OrderedDict(layers))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)
