"""Attention: by hand, scaled dot product, MultiheadAttention and Transformer layers, masks and positions."""

# ruff: noqa: E501, N812 (one line a case; F as in torch's own)

import torch
from torch import nn
from torch.nn import functional as F

from tests.zoo.case import Apply, Case, Model


def _case(name: str, model, **more) -> Case:
    return Case(f"attention/{name}", model, **({"x": (3, 2)} | more))


def _causal(t: int) -> torch.Tensor:
    return torch.ones(t, t, dtype=torch.bool).triu(1)


def _padding(x: torch.Tensor) -> torch.Tensor:
    """(n, t): the last token of every example with a negative first number is padding."""
    mask = torch.zeros(x.shape[:2], dtype=torch.bool)
    mask[:, -1] = x[:, 0, 0] < 0
    return mask


def _heads(function, **more):
    """What ``function`` makes of queries, keys and values (n, 3, 2), its mean over tokens, and a classifier."""
    return lambda: Model(
        lambda m, x: m.fc(function(*m.qkv(x).chunk(3, -1)).mean(1)), qkv=nn.Linear(2, 6), fc=nn.Linear(2, 3), **more
    )


def _mha(call, **more):
    """MultiheadAttention in 2 dimensions, called as ``call(attention, x)``, and a classifier of the mean token."""
    arguments = {"embed_dim": 2, "num_heads": 1, "batch_first": True} | more
    return lambda: Model(
        lambda m, x: m.fc(call(m.a, x).mean(1)), a=nn.MultiheadAttention(**arguments), fc=nn.Linear(2, 3)
    )


def _encoder(call=lambda m, x: m(x), **more):
    """A TransformerEncoderLayer in 2 dimensions and a classifier of the mean token."""
    arguments = {"d_model": 2, "nhead": 1, "dim_feedforward": 2, "batch_first": True} | more
    return lambda: Model(
        lambda m, x: m.fc(call(m.a, x).mean(1)), a=nn.TransformerEncoderLayer(**arguments), fc=nn.Linear(2, 3)
    )


def _stack(call, **more):
    """A TransformerEncoder of one layer."""
    arguments = {"d_model": 2, "nhead": 2, "dim_feedforward": 2, "batch_first": True} | more
    return lambda: Model(
        lambda m, x: m.fc(call(m.a, x).mean(1)),
        a=nn.TransformerEncoder(nn.TransformerEncoderLayer(**arguments), 1),
        fc=nn.Linear(2, 2),
    )


def _softmax(q, k, v):
    return (q @ k.mT).softmax(-1) @ v


def _linear(q, k, v):
    return F.elu(q).add(1) @ (F.elu(k).add(1).mT @ v)


_GRAD = {"grad": True}  # torch's fused inference path is taken without gradients alone, and is another function
_PART = {"grad": True, "sizes": (5,), "options": {"params": "*norm1,*linear1,fc"}}  # an encoder has more than it needs

CASES = [
    _case("by hand", _heads(_softmax)),
    _case("by hand, causal", _heads(lambda q, k, v: (q @ k.mT).masked_fill(_causal(3), -torch.inf).softmax(-1) @ v)),
    _case("linear attention", _heads(_linear)),
    _case("relu attention", _heads(lambda q, k, v: F.relu(q @ k.mT) @ v / 3)),
    _case("sigmoid attention", _heads(lambda q, k, v: torch.sigmoid(q @ k.mT) @ v)),
    _case("hard attention", _heads(lambda q, k, v: v.gather(1, (q @ k.mT).argmax(-1, keepdim=True).expand(-1, -1, 2)))),
    _case("cosine attention", _heads(lambda q, k, v: (3 * F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).mT).softmax(-1) @ v)),
    _case("attention over the batch", lambda: Model(lambda m, x: m.fc((m.q(x[:, 0]) @ x[:, 0].T).softmax(-1) @ x[:, 0]), q=nn.Linear(2, 2), fc=nn.Linear(2, 3)), sizes=(9,)),
    _case("attention over two batches", lambda: Model(lambda m, x: m.fc((m.q(x[:, 0]) @ x[:, 0].T).softmax(-1) @ x[:, 0]), q=nn.Linear(2, 2), fc=nn.Linear(2, 3))),
    _case("sdpa", _heads(F.scaled_dot_product_attention)),
    _case("sdpa causal", _heads(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True))),
    _case("sdpa mask", _heads(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, attn_mask=~_causal(3)))),
    _case("sdpa bias", lambda: Model(lambda m, x: m.fc(F.scaled_dot_product_attention(x, x, x, attn_mask=m.b).mean(1)), b=torch.randn(3, 3), fc=nn.Linear(2, 3))),
    _case("sdpa scale", _heads(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, scale=3.0))),
    _case("sdpa dropout", _heads(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, dropout_p=0.3))),
    _case("sdpa grouped heads", _heads(lambda q, k, v: F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None], enable_gqa=True)[:, 0])),
    _case("MultiheadAttention", _mha(lambda a, x: a(x, x, x)[0])),
    _case("MultiheadAttention without weights", _mha(lambda a, x: a(x, x, x, need_weights=False)[0])),
    _case("MultiheadAttention two heads", _mha(lambda a, x: a(x, x, x)[0], num_heads=2)),
    _case("MultiheadAttention padding", _mha(lambda a, x: a(x, x, x, key_padding_mask=_padding(x))[0]), **_GRAD),
    _case("MultiheadAttention padding, no weights", _mha(lambda a, x: a(x, x, x, key_padding_mask=_padding(x), need_weights=False)[0]), **_GRAD),
    _case("MultiheadAttention causal", _mha(lambda a, x: a(x, x, x, attn_mask=_causal(3), is_causal=True, need_weights=False)[0])),
    _case("MultiheadAttention time first", _mha(lambda a, x: a(x.transpose(0, 1), x.transpose(0, 1), x.transpose(0, 1))[0].transpose(0, 1), batch_first=False)),
    _case("MultiheadAttention other keys", _mha(lambda a, x: a(x, x[..., :1], x[..., :1])[0], kdim=1, vdim=1)),
    _case("MultiheadAttention bias_kv", _mha(lambda a, x: a(x, x, x)[0], add_bias_kv=True)),
    _case("MultiheadAttention zero_attn", _mha(lambda a, x: a(x, x, x)[0], add_zero_attn=True)),
    _case("MultiheadAttention no bias", _mha(lambda a, x: a(x, x, x)[0], bias=False)),
    _case("MultiheadAttention dropout in train", _mha(lambda a, x: a(x, x, x)[0], dropout=0.5), options={"mode": "train"}),
    _case("attention weights as output", lambda: Model(lambda m, x: m.a(x, x, x)[1].mean(1), a=nn.MultiheadAttention(2, 1, batch_first=True))),
    _case("encoder layer", _encoder(), **_PART),
    _case("encoder layer, all of it", _encoder(), grad=True, slow=True),
    _case("encoder layer gelu", _encoder(activation="gelu"), **_PART),
    _case("encoder layer norm first", _encoder(norm_first=True), **_PART),
    _case("encoder layer dropout in train", _encoder(), **(_PART | {"options": {"mode": "train", "params": "*norm1,fc"}})),
    _case("encoder layer no dropout in train", _encoder(dropout=0.0), **(_PART | {"options": {"mode": "train", "params": "*norm1,fc"}})),
    _case("encoder layer padding", _encoder(lambda a, x: a(x, src_key_padding_mask=_padding(x)), nhead=2), **_PART),
    _case("encoder layer causal", _encoder(lambda a, x: a(x, src_mask=_causal(3), is_causal=True)), **_PART),
    _case("encoder layer no bias", _encoder(bias=False), **_PART),
    _case("encoder", _stack(lambda a, x: a(x)), y=2, **_PART),
    _case("encoder padding", _stack(lambda a, x: a(x, src_key_padding_mask=_padding(x))), y=2, **_PART),
    _case("encoder padding, nothing fused", _stack(lambda a, x: a(x, src_key_padding_mask=_padding(x)), norm_first=True), y=2, **_PART),
    _case("encoder causal", _stack(lambda a, x: a(x, mask=_causal(3))), y=2, **_PART),
    _case("decoder layer", lambda: Model(lambda m, x: m.fc(m.a(x[:, :2], x).mean(1)), a=nn.TransformerDecoderLayer(2, 1, 1, batch_first=True), fc=nn.Linear(2, 2)), y=2, sizes=(5,), options={"params": "*norm2,*linear1,*out_proj,fc"}),
    _case("positions learned", lambda: Model(lambda m, x: m.fc(_softmax(x + m.p, x + m.p, x).mean(1)), p=torch.randn(3, 2), fc=nn.Linear(2, 3))),
    _case("rotary positions", _heads(lambda q, k, v: _softmax(_rotated(q), _rotated(k), v))),
    _case("class token", lambda: Model(lambda m, x: (lambda t: m.fc(_softmax(t, t, t)[:, 0]))(torch.cat([m.c.expand(len(x), 1, 2), x], 1)), c=torch.randn(1, 1, 2), fc=nn.Linear(2, 3))),
    _case("pooled by a query", lambda: Model(lambda m, x: m.fc(((m.k(x) @ m.q).softmax(1)[..., None] * x).sum(1)), k=nn.Linear(2, 2), q=torch.randn(2), fc=nn.Linear(2, 3))),
    _case("mixture of experts, soft", lambda: Model(lambda m, x: torch.einsum("ne,neo->no", m.g(x).softmax(1), m.e(x).view(-1, 2, 3)), g=nn.Linear(2, 2), e=nn.Linear(2, 6)), x=(2,)),
    _case("mixture of experts, routed", lambda: Model(lambda m, x: m.e(x).view(-1, 2, 3)[torch.arange(len(x)), m.g(x).argmax(1)], g=nn.Linear(2, 2), e=nn.Linear(2, 6)), x=(2,)),
    _case("mixer", lambda: nn.Sequential(Apply(lambda x: x.mT), nn.Linear(3, 3), nn.GELU(), Apply(lambda x: x.mT), nn.Linear(2, 3), Apply(lambda x: x.mean(1)))),
    _case("state space scan", lambda: Model(lambda m, x: m.fc(sum(torch.sigmoid(m.a) ** (2 - t) * x[:, t] for t in range(3))), a=torch.randn(2), fc=nn.Linear(2, 3))),
]  # fmt: skip


def _rotated(q: torch.Tensor) -> torch.Tensor:
    angle = torch.arange(q.shape[1]).to(q)[:, None]
    return q * angle.cos() + torch.stack([-q[..., 1], q[..., 0]], -1) * angle.sin()
