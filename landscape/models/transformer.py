"""The pre-norm transformer block that ``vit`` and ``gpt`` are made of.

    x = x + attention(norm1(x)),    x = x + mlp(norm2(x)).

Attention goes through ``scaled_dot_product_attention``; second derivatives exist in its math form alone, which
``Hessian`` chooses by itself. There is no dropout. Parameters are named as in timm.
"""

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention


class TransformerBlock(nn.Module):
    """Multi-head self-attention and a two-layer perceptron, each behind a LayerNorm and added to its input.

    Args:
        width: features of a token.
        num_heads: attention heads; they divide ``width``.
        causal: whether a token sees only itself and those before it.
        eps: of the LayerNorms.

    Raises:
        ValueError: ``num_heads`` does not divide ``width``.

    Example:
        >>> import torch
        >>> TransformerBlock(8, num_heads=2)(torch.zeros(1, 5, 8)).shape
        torch.Size([1, 5, 8])
    """

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

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (n, num_tokens, width) to tokens of the same shape."""
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
