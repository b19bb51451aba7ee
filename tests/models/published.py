"""The papers' networks written out: the forward passes in eval mode as functions of a state dict, layer by layer."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, max_pool2d, pad, relu

State = dict[str, Tensor]


def resnet(s: State, x: Tensor) -> Tensor:
    """He et al. 2016, fig. 2 and 5; blocks with three convolutions are bottlenecks, with the stride on the second."""
    large = s["conv1.weight"].shape[-1] == 7  # table 1
    x = relu(batch_norm(s, "bn1", conv(s, "conv1", x, 2 if large else 1)))
    if large:
        x = max_pool2d(pad(x, (1, 1, 1, 1), value=-torch.inf), 3, 2)
    shortcut = "downsample" if large else "shortcut"
    for stage in range(1, 5):
        for index, name in enumerate(blocks(s, f"layer{stage}")):
            stride = 2 if stage > 1 and index == 0 else 1
            if f"{name}.conv3.weight" in s:
                out = relu(batch_norm(s, f"{name}.bn1", conv(s, f"{name}.conv1", x)))
                out = relu(batch_norm(s, f"{name}.bn2", conv(s, f"{name}.conv2", out, stride)))
                out = batch_norm(s, f"{name}.bn3", conv(s, f"{name}.conv3", out))
            else:
                out = relu(batch_norm(s, f"{name}.bn1", conv(s, f"{name}.conv1", x, stride)))
                out = batch_norm(s, f"{name}.bn2", conv(s, f"{name}.conv2", out))
            if f"{name}.{shortcut}.0.weight" in s:
                x = batch_norm(s, f"{name}.{shortcut}.1", conv(s, f"{name}.{shortcut}.0", x, stride))
            x = relu(out + x)
    return linear(s, "fc" if large else "linear", x.mean((2, 3)))


def wide_resnet(s: State, x: Tensor) -> Tensor:
    """Zagoruyko and Komodakis 2016, table 1; order BatchNorm, ReLU, convolution."""
    x = conv(s, "conv1", x)
    for stage in range(1, 4):
        for index, name in enumerate(blocks(s, f"block{stage}.layer")):
            stride = 2 if stage > 1 and index == 0 else 1
            active = relu(batch_norm(s, f"{name}.bn1", x))
            out = relu(batch_norm(s, f"{name}.bn2", conv(s, f"{name}.conv1", active, stride)))
            out = conv(s, f"{name}.conv2", out)
            x = out + (conv(s, f"{name}.convShortcut", active, stride) if f"{name}.convShortcut.weight" in s else x)
    return linear(s, "fc", relu(batch_norm(s, "bn1", x)).mean((2, 3)))


def vgg19(s: State, x: Tensor) -> Tensor:
    """Simonyan and Zisserman 2015, table 1, column E, with BatchNorm after every convolution."""
    at = 0
    for num_convolutions in (2, 2, 4, 4, 4):
        for _ in range(num_convolutions):
            x = relu(batch_norm(s, f"features.{at + 1}", conv(s, f"features.{at}", x)))
            at += 3
        x = max_pool2d(x, 2)
        at += 1
    return linear(s, "classifier", x.flatten(1))


def pyramidnet(s: State, x: Tensor) -> Tensor:
    """Han, Kim and Kim 2017, fig. 6d: no ReLU before the first convolution, BatchNorm at the end, zero padding."""
    x = batch_norm(s, "bn1", conv(s, "conv1", x))
    for stage in range(1, 4):
        for index, name in enumerate(blocks(s, f"layer{stage}")):
            halved = stage > 1 and index == 0
            bottleneck = f"{name}.conv3.weight" in s
            out = conv(s, f"{name}.conv1", batch_norm(s, f"{name}.bn1", x), 2 if halved and not bottleneck else 1)
            out = relu(batch_norm(s, f"{name}.bn2", out))
            out = batch_norm(s, f"{name}.bn3", conv(s, f"{name}.conv2", out, 2 if halved and bottleneck else 1))
            if bottleneck:
                out = batch_norm(s, f"{name}.bn4", conv(s, f"{name}.conv3", relu(out)))
            x = avg_pool2d(x, 2) if halved else x
            x = out + torch.cat([x, torch.zeros_like(out[:, x.shape[1] :])], dim=1)
    return linear(s, "fc", relu(batch_norm(s, "bn_final", x)).mean((2, 3)))


def vit(s: State, x: Tensor, *, num_heads: int = 2) -> Tensor:
    """Dosovitskiy et al. 2021, eq. 1 to 4."""
    weight = s["patch_embed.proj.weight"]  # (width, channels, 4, 4)
    patches = x.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)
    tokens = patches @ weight.flatten(1).T + s["patch_embed.proj.bias"]
    tokens = torch.cat([s["cls_token"].repeat(len(x), 1, 1), tokens], dim=1) + s["pos_embed"]
    tokens = transformer(s, tokens, num_heads=num_heads, causal=False, eps=1e-6)
    return linear(s, "head", layer_norm(s, "norm", tokens, 1e-6)[:, 0])


def sl_vit(s: State, x: Tensor, *, num_heads: int = 2, patch: int = 4) -> Tensor:
    """Lee, Lee and Song 2021, eq. 2 to 5, with the shifts of the code that SA-SAM's authors use."""
    n, _, height, width = x.shape
    copies = [x]
    for down, right in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        moved = torch.zeros_like(x)
        for i in range(height):
            for j in range(width):
                if 0 <= i - down < height and 0 <= j - right < width:
                    moved[:, :, i, j] = x[:, :, i - down, j - right]
        copies.append(moved)
    x = torch.cat(copies, dim=1)
    rows = []
    for i in range(0, height, patch):
        for j in range(0, width, patch):
            rows.append(x[:, :, i : i + patch, j : j + patch].permute(0, 2, 3, 1).reshape(n, -1))
    tokens = layer_norm(s, "to_patch_embedding.to_patch_tokens.1", torch.stack(rows, dim=1), 1e-5)
    tokens = linear(s, "to_patch_embedding.to_patch_tokens.2", tokens)
    x = torch.cat([s["cls_token"].repeat(n, 1, 1), tokens], dim=1) + s["pos_embedding"]
    for name in blocks(s, "transformer.layers"):
        y = layer_norm(s, f"{name}.0.norm", x, 1e-5)
        q, k, v = (y @ s[f"{name}.0.fn.to_qkv.weight"].T).chunk(3, dim=-1)
        heads = []
        for head_q, head_k, head_v in zip(*(t.chunk(num_heads, dim=-1) for t in (q, k, v)), strict=True):
            scores = head_q @ head_k.transpose(1, 2) * s[f"{name}.0.fn.temperature"].exp()
            scores = scores.masked_fill(torch.eye(scores.shape[-1], dtype=torch.bool), -torch.inf)
            heads.append(scores.softmax(-1) @ head_v)
        x = x + linear(s, f"{name}.0.fn.to_out.0", torch.cat(heads, dim=-1))
        hidden = linear(s, f"{name}.1.fn.net.0", layer_norm(s, f"{name}.1.norm", x, 1e-5))
        x = x + linear(s, f"{name}.1.fn.net.3", 0.5 * hidden * (1 + torch.erf(hidden / 2**0.5)))
    return linear(s, "mlp_head.1", layer_norm(s, "mlp_head.0", x[:, 0], 1e-5))


def gpt(s: State, numbers: Tensor, *, num_heads: int = 2) -> Tensor:
    """Radford et al. 2019, §2.3: LayerNorm at the input of each sub-block and after the last block."""
    x = torch.stack(
        [torch.stack([s["token.weight"][n] + s["position.weight"][t] for t, n in enumerate(row)]) for row in numbers]
    )
    x = transformer(s, x, num_heads=num_heads, causal=True, eps=1e-5)
    return (layer_norm(s, "norm", x, 1e-5) @ s["head.weight"].T).transpose(1, 2)


def transformer(s: State, x: Tensor, *, num_heads: int, causal: bool, eps: float) -> Tensor:
    for name in blocks(s, "blocks"):
        q, k, v = linear(s, f"{name}.attn.qkv", layer_norm(s, f"{name}.norm1", x, eps)).chunk(3, dim=-1)
        heads = []
        for head_q, head_k, head_v in zip(*(t.chunk(num_heads, dim=-1) for t in (q, k, v)), strict=True):
            scores = head_q @ head_k.transpose(1, 2) / head_q.shape[-1] ** 0.5
            if causal:
                scores = scores.masked_fill(torch.ones_like(scores).triu(1).bool(), -torch.inf)
            heads.append(scores.softmax(-1) @ head_v)
        x = x + linear(s, f"{name}.attn.proj", torch.cat(heads, dim=-1))
        hidden = linear(s, f"{name}.mlp.fc1", layer_norm(s, f"{name}.norm2", x, eps))
        x = x + linear(s, f"{name}.mlp.fc2", 0.5 * hidden * (1 + torch.erf(hidden / 2**0.5)))
    return x


FORWARD: dict[str, Callable[[State, Tensor], Tensor]] = {
    "resnet18": resnet,
    "resnet50": resnet,
    "wide-resnet": wide_resnet,
    "vgg19": vgg19,
    "pyramidnet": pyramidnet,
    "vit-small": vit,
    "sl-vit": sl_vit,
    "gpt": gpt,
}


def blocks(s: State, prefix: str) -> Iterator[str]:
    index = 0
    while any(key.startswith(f"{prefix}.{index}.") for key in s):
        yield f"{prefix}.{index}"
        index += 1


def conv(s: State, name: str, x: Tensor, stride: int = 1) -> Tensor:
    weight = s[f"{name}.weight"]
    return conv2d(x, weight, s.get(f"{name}.bias"), stride=stride, padding=weight.shape[-1] // 2)


def batch_norm(s: State, name: str, x: Tensor) -> Tensor:
    mean, var, weight, bias = (
        s[f"{name}.{key}"][:, None, None] for key in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / (var + 1e-5).sqrt() * weight + bias


def layer_norm(s: State, name: str, x: Tensor, eps: float) -> Tensor:
    centered = x - x.mean(-1, keepdim=True)
    return centered / (centered.square().mean(-1, keepdim=True) + eps).sqrt() * s[f"{name}.weight"] + s[f"{name}.bias"]


def linear(s: State, name: str, x: Tensor) -> Tensor:
    return x @ s[f"{name}.weight"].T + s[f"{name}.bias"]
