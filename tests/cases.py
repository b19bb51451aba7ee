"""Small float64 networks with data, and the dense Hessian every measurement is held against.

The oracle is double backward, row by row (``torch.autograd.functional.hessian``), of the mean loss over all examples
at once: torch 2.13's forward-over-reverse is silently wrong through ``layer_norm``. ``test_cases.py`` checks the
oracle itself, for symmetry and against finite differences of the gradient.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention


@dataclass(frozen=True)
class Case:
    """A model, a torch criterion with its own mean, and all the data."""

    model: nn.Module
    criterion: nn.Module
    inputs: Tensor  # (n, ...)
    targets: Tensor  # (n, ...)

    def batches(self, size: int | None = None) -> list[tuple[Tensor, Tensor]]:
        size = size or len(self.inputs)
        return list(zip(self.inputs.split(size), self.targets.split(size), strict=True))

    @property
    def data(self) -> tuple[Tensor, Tensor]:
        return self.inputs, self.targets


def make(name: str) -> Case:
    """The case called ``name``, always with the same weights and data, never the same objects."""
    with torch.random.fork_rng():
        torch.manual_seed(sorted(CASES).index(name))
        case = CASES[name]()
    case.model.double().eval()
    return case


def dense_hessian(
    model: nn.Module,
    loss_fn: Callable[[Tensor, Tensor], Tensor],
    data: tuple[Tensor, Tensor],
    names: Sequence[str] = (),
) -> Tensor:
    """Hessian (d, d) of the mean loss in eval mode, over the trainable parameters in their order (or ``names``)."""
    loss, at = flat_loss(model, loss_fn, data, names)
    with sdpa_kernel(SDPBackend.MATH):
        return torch.autograd.functional.hessian(loss, at)


def dense_gradient(
    model: nn.Module, loss_fn: Callable[[Tensor, Tensor], Tensor], data: tuple[Tensor, Tensor], at: Tensor | None = None
) -> Tensor:
    loss, here = flat_loss(model, loss_fn, data)
    w = (here if at is None else at).clone().requires_grad_()
    return torch.autograd.grad(loss(w), w)[0]


def flat_loss(
    model: nn.Module,
    loss_fn: Callable[[Tensor, Tensor], Tensor],
    data: tuple[Tensor, Tensor],
    names: Sequence[str] = (),
) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """The mean loss as a function of the flat parameters, and where they are now."""
    params = {k: p.detach() for k, p in model.named_parameters() if (k in names if names else p.requires_grad)}
    shapes = [p.shape for p in params.values()]
    sizes = [p.numel() for p in params.values()]

    def loss(flat: Tensor) -> Tensor:
        pieces = [piece.view(shape) for piece, shape in zip(flat.split(sizes), shapes, strict=True)]
        flags = [m.training for m in model.modules()]
        try:
            outputs = functional_call(model.eval(), dict(zip(params, pieces, strict=True)), (data[0],))
        finally:
            for module, flag in zip(model.modules(), flags, strict=True):
                module.training = flag
        return loss_fn(outputs, data[1])

    return loss, torch.cat([p.flatten() for p in params.values()])


@cache
def oracle(name: str) -> Tensor:
    """The dense Hessian of a case. Cached: read it, never write to it."""
    case = make(name)
    return dense_hessian(case.model, case.criterion, case.data)


def relative_error(got: Tensor, expected: Tensor) -> float:
    return float((got - expected).norm() / expected.norm())


def snapshot(model: nn.Module) -> dict[str, Any]:
    """Everything of a model and of the process that a measurement must leave as it was."""
    return {
        "parameters": {k: (id(p), p.data_ptr(), p.dtype, p.detach().clone()) for k, p in model.named_parameters()},
        "buffers": {k: (id(b), b.dtype, b.clone()) for k, b in model.named_buffers()},
        "grad": {k: None if p.grad is None else (id(p.grad), p.grad.clone()) for k, p in model.named_parameters()},
        "requires_grad": {k: p.requires_grad for k, p in model.named_parameters()},
        "training": {k: m.training for k, m in model.named_modules()},
        "hooks": {k: (len(m._forward_hooks), len(m._forward_pre_hooks)) for k, m in model.named_modules()},
        "attributes": {k: sorted(vars(m)) for k, m in model.named_modules()},
        "rng": (torch.get_rng_state(), np.random.get_state(), random.getstate()),
        "grad mode": (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_default_dtype()),
        "attention": (torch.backends.cuda.flash_sdp_enabled(), torch.backends.cuda.mem_efficient_sdp_enabled()),
    }


def assert_unchanged(before: dict[str, Any], after: dict[str, Any]) -> None:
    for what in before:
        assert _same(before[what], after[what]), f"{what} changed"


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b)
    if isinstance(a, dict):
        return list(a) == list(b) and all(_same(a[k], b[k]) for k in a)
    if isinstance(a, tuple):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


def _mlp_tanh() -> Case:
    model = nn.Sequential(nn.Linear(5, 9), nn.Tanh(), nn.Linear(9, 7), nn.Tanh(), nn.Linear(7, 4))
    return Case(model, nn.CrossEntropyLoss(), 2 * torch.randn(70, 5).double(), torch.randint(4, (70,)))


def _mlp_relu() -> Case:
    model = nn.Sequential(nn.Linear(6, 10), nn.ReLU(), nn.Linear(10, 8), nn.ReLU(), nn.Linear(8, 3))
    return Case(model, nn.MSELoss(), torch.randn(70, 6).double(), torch.randn(70, 3).double())


def _conv_batchnorm() -> Case:
    model = nn.Sequential(
        nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)),
        nn.Sequential(nn.Conv2d(4, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(1)),
        nn.Flatten(),
        nn.Linear(6, 3),
    )
    for norm in model[0][1], model[1][1]:
        nn.init.normal_(norm.running_mean, std=0.3)
        nn.init.uniform_(norm.running_var, 0.3, 2.0)
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias)
    return Case(model, nn.CrossEntropyLoss(), torch.randn(37, 1, 6, 6).double(), torch.randint(3, (37,)))


class _Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(3, 8)
        self.norm1, self.norm2 = nn.LayerNorm(8), nn.LayerNorm(8)
        self.qkv, self.out = nn.Linear(8, 24), nn.Linear(8, 8)
        self.mlp = nn.Sequential(nn.Linear(8, 12), nn.GELU(), nn.Linear(12, 8))
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:  # (n, tokens, 3) -> (n, 3)
        x = self.embed(x)
        q, k, v = self.qkv(self.norm1(x)).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)
        x = x + self.out(scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        x = x + self.mlp(self.norm2(x))
        return self.head(x.mean(1))


def _attention() -> Case:
    return Case(_Attention(), nn.CrossEntropyLoss(), 2 * torch.randn(37, 4, 3).double(), torch.randint(3, (37,)))


def _tied() -> Case:
    model = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 2))
    model[2].weight = model[0].weight
    return Case(model, nn.CrossEntropyLoss(), torch.randn(37, 6).double(), torch.randint(2, (37,)))


class _Unused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.spare, self.last = nn.Linear(4, 6), nn.Linear(3, 3), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.first(x)))


def _unused() -> Case:
    return Case(_Unused(), nn.CrossEntropyLoss(), torch.randn(37, 4).double(), torch.randint(3, (37,)))


def _frozen() -> Case:
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 3))
    model[0].requires_grad_(False)
    model[2].bias.requires_grad_(False)
    return Case(model, nn.CrossEntropyLoss(), torch.randn(37, 4).double(), torch.randint(3, (37,)))


CASES: dict[str, Callable[[], Case]] = {
    "mlp_tanh": _mlp_tanh,
    "mlp_relu": _mlp_relu,
    "conv_batchnorm": _conv_batchnorm,
    "attention": _attention,
    "tied": _tied,
    "unused": _unused,
    "frozen": _frozen,
}
