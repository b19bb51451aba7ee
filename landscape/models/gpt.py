"""A GPT for text (Radford et al. 2019): learned positions, pre-norm causal attention, GELU, a linear head.

It reads token numbers (n, num_tokens) and gives logits (n, vocabulary, num_tokens), the classes second, as torch's
criteria take them: ``Objective(model, nn.CrossEntropyLoss(), [(tokens, next_tokens)])`` needs no loss of its own, and
targets of -100 (padding) are not counted. There is no dropout.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from landscape.models.transformer import TransformerBlock


def gpt(
    *,
    input_shape: Sequence[int],
    num_classes: int,
    width: int = 128,
    depth: int = 4,
    num_heads: int = 4,
    tied: bool = True,
) -> nn.Module:
    """Build a GPT from token numbers to the logits of the tokens that follow.

    Token vectors and positions are drawn from a normal distribution of deviation 0.02.

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
        >>> import torch
        >>> model = gpt(input_shape=(16,), num_classes=50, width=8, depth=1, num_heads=2)
        >>> model(torch.zeros(2, 16, dtype=torch.long)).shape, sum(p.numel() for p in model.parameters())
        (torch.Size([2, 50, 16]), 1416)
    """
    if len(input_shape) != 1 or input_shape[0] < 1:
        raise ValueError(f"input_shape={tuple(input_shape)} is not accepted. Expected (context,) of at least 1 token.")
    if min(num_classes, depth) < 1:
        raise ValueError(f"num_classes={num_classes}, depth={depth} are out of range. Expected at least 1.")
    blocks = [TransformerBlock(width, num_heads=num_heads, causal=True) for _ in range(depth)]
    return _GPT(num_classes, input_shape[0], width, blocks, tied=tied)


class _GPT(nn.Module):
    def __init__(
        self, num_classes: int, context: int, width: int, blocks: list[TransformerBlock], *, tied: bool
    ) -> None:
        super().__init__()
        self.token = nn.Embedding(num_classes, width)
        self.position = nn.Embedding(context, width)
        for embedding in (self.token, self.position):
            nn.init.normal_(embedding.weight, std=0.02)  # torch's deviation of 1 would make tied logits enormous
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_classes, bias=False)
        if tied:
            self.head.weight = self.token.weight

    def forward(self, tokens: Tensor) -> Tensor:  # (n, num_tokens) -> (n, num_classes, num_tokens)
        num_tokens, context = tokens.shape[1], self.position.num_embeddings
        if num_tokens > context:
            raise ValueError(f"The text has {num_tokens} tokens. Expected at most {context} (the model's context).")
        x = self.token(tokens) + self.position.weight[:num_tokens]
        return self.head(self.norm(self.blocks(x))).transpose(1, 2)
