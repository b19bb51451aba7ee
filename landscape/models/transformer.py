"""Transformers: a ViT for images and a GPT for text, of the same pre-norm blocks, without dropout.

    x = x + attention(norm1(x)),    x = x + mlp(norm2(x)).

Attention goes through ``scaled_dot_product_attention``; second derivatives exist in its math form alone, which
``Hessian`` chooses by itself. Blocks and ViT name their parameters as timm does, whose state dicts load.
"""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from landscape.models.plain import require_images


class ViT(nn.Module):
    """A vision transformer (Dosovitskiy et al. 2021, arXiv:2010.11929), with the sizes of ViT-Small.

    The image is cut into patches, each mapped to a token by one convolution; a class token and learned positions are
    added (drawn from a normal distribution of deviation 0.02); the blocks follow, a LayerNorm, and a linear layer on
    the class token. The sizes are those of Touvron et al. 2021 (arXiv:2012.12877). SA-SAM's "ViT-Small" is another
    network: ``landscape.models.sl_vit``.

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
        >>> model = ViT(input_shape=(3, 32, 32), num_classes=10, width=8, depth=1, num_heads=2)
        >>> sum(p.numel() for p in model.parameters())
        1898
    """

    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        num_classes: int,
        patch: int = 4,
        width: int = 384,
        depth: int = 12,
        num_heads: int = 6,
    ) -> None:
        if min(patch, depth) < 1:
            raise ValueError(f"patch={patch}, depth={depth} are out of range. Expected at least 1.")
        require_images(input_shape, smallest=patch, multiple=patch)
        super().__init__()
        channels, height, breadth = input_shape
        num_tokens = 1 + height // patch * (breadth // patch)
        to_tokens = nn.Conv2d(channels, width, kernel_size=patch, stride=patch)
        self.patch_embed = nn.Sequential(OrderedDict(proj=to_tokens))
        blocks = (_Block(width, num_heads=num_heads, eps=1e-6) for _ in range(depth))
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, num_classes)
        self.cls_token = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, num_tokens, width))

    def forward(self, x: Tensor) -> Tensor:
        """Map images (n, channels, height, width) to logits (n, num_classes)."""
        patches = self.patch_embed(x).flatten(2).transpose(1, 2)  # (n, tokens - 1, width)
        tokens = torch.cat([self.cls_token.expand(len(x), -1, -1), patches], dim=1) + self.pos_embed
        return self.head(self.norm(self.blocks(tokens))[:, 0])


class GPT(nn.Module):
    """A GPT (Radford et al. 2019): learned positions, causal attention, GELU, a linear head.

    Logits have the classes second, as torch's criteria take them: ``Objective(model, nn.CrossEntropyLoss(), [(tokens,
    next_tokens)])`` needs no loss of its own, and targets of -100 (padding) are not counted. Token vectors and
    positions are drawn from a normal distribution of deviation 0.02.

    Args:
        input_shape: (context,), the most tokens that it reads; fewer are welcome.
        num_classes: size of the vocabulary.
        width: features of a token.
        depth: number of blocks.
        num_heads: attention heads; they divide ``width``.
        tied: whether the head's weight is the token vectors.

    Raises:
        ValueError: ``input_shape`` is not (context,), or a size is out of range.

    Example:
        >>> model = GPT(input_shape=(16,), num_classes=50, width=8, depth=1, num_heads=2)
        >>> model(torch.zeros(2, 16, dtype=torch.long)).shape, sum(p.numel() for p in model.parameters())
        (torch.Size([2, 50, 16]), 1416)
    """

    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        num_classes: int,
        width: int = 128,
        depth: int = 4,
        num_heads: int = 4,
        tied: bool = True,
    ) -> None:
        if len(input_shape) != 1 or input_shape[0] < 1:
            found = tuple(input_shape)
            raise ValueError(f"input_shape={found} is not accepted. Expected (context,) of at least 1 token.")
        if min(num_classes, depth) < 1:
            raise ValueError(f"num_classes={num_classes}, depth={depth} are out of range. Expected at least 1.")
        super().__init__()
        blocks = [_Block(width, num_heads=num_heads, causal=True) for _ in range(depth)]
        self.token = nn.Embedding(num_classes, width)
        self.position = nn.Embedding(input_shape[0], width)
        for embedding in (self.token, self.position):
            nn.init.normal_(embedding.weight, std=0.02)  # torch's deviation of 1 would make tied logits enormous
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_classes, bias=False)
        if tied:
            self.head.weight = self.token.weight

    def forward(self, tokens: Tensor) -> Tensor:
        """Map token numbers (n, num_tokens) to the logits of the tokens that follow, (n, num_classes, num_tokens)."""
        num_tokens, context = tokens.shape[1], self.position.num_embeddings
        if num_tokens > context:
            raise ValueError(f"The text has {num_tokens} tokens. Expected at most {context} (the model's context).")
        x = self.token(tokens) + self.position.weight[:num_tokens]
        return self.head(self.norm(self.blocks(x))).transpose(1, 2)


class _Block(nn.Module):
    """Multi-head self-attention, causal or not, and a perceptron, each behind a LayerNorm and added to its input."""

    def __init__(self, width: int, *, num_heads: int, causal: bool = False, eps: float = 1e-5) -> None:
        if num_heads < 1 or width < 1 or width % num_heads:
            raise ValueError(f"width={width} is not divided by num_heads={num_heads}. Expected a multiple of it.")
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.attn = _Attention(width, num_heads, causal=causal)
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.mlp = nn.Sequential(
            OrderedDict(fc1=nn.Linear(width, 4 * width), act=nn.GELU(), fc2=nn.Linear(4 * width, width))
        )

    def forward(self, x: Tensor) -> Tensor:  # (n, num_tokens, width) -> the same
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class _Attention(nn.Module):
    def __init__(self, width: int, num_heads: int, *, causal: bool) -> None:
        super().__init__()
        self.num_heads, self.causal = num_heads, causal
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.qkv(x).unflatten(-1, (3, self.num_heads, -1))  # (n, tokens, 3, heads, width / heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        mixed = scaled_dot_product_attention(q, k, v, is_causal=self.causal)  # (n, heads, tokens, width / heads)
        return self.proj(mixed.transpose(1, 2).flatten(2))
