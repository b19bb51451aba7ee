"""Three problems in float64, each a model under an optimizer of torch and a function of one flat vector as well.

A small network with another mini-batch every step, a quadratic, Rosenbrock's function. The two groups of parameters,
with hyper-parameters of their own, lie across each other in the model.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy
from torch.optim import SGD, Adam, AdamW, Optimizer

from tests.optim import naive

NUM_STEPS = 22


class Network(nn.Module):
    """Convolution, LayerNorm and linear layers: weights of one to three dimensions, biases of one."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(2, 3, 3), nn.Flatten(), nn.LayerNorm(9), nn.Tanh(), nn.Linear(9, 4), nn.Tanh(), nn.Linear(4, 3)
        )
        generator = torch.Generator().manual_seed(0)
        for p in self.parameters():
            p.data = 0.6 * torch.randn(p.shape, generator=generator, dtype=torch.float64)
        self.x = torch.randn(NUM_STEPS, 6, 2, 5, generator=generator, dtype=torch.float64)
        self.y = torch.randint(3, (NUM_STEPS, 6), generator=generator)

    def forward(self, step: int) -> Tensor:
        return cross_entropy(self.layers(self.x[step]), self.y[step])


class Quadratic(nn.Module):
    """Half of w'Aw, with eigenvalues of A between 0.1 and 5."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        Q = torch.linalg.qr(torch.randn(9, 9, generator=generator, dtype=torch.float64)).Q
        self.A = Q @ torch.diag(torch.logspace(-1, math.log10(5), 9, dtype=torch.float64)) @ Q.T
        self.weight = nn.Parameter(torch.randn(2, 3, generator=generator, dtype=torch.float64) + 1)
        self.bias = nn.Parameter(torch.randn(3, generator=generator, dtype=torch.float64) - 1)

    def forward(self, _: int) -> Tensor:
        w = torch.cat([self.weight.flatten(), self.bias])
        return w @ self.A @ w / 2


class Tiny(Quadratic):
    """The same times 1e-9: what is added to a norm of gradients, 1e-12 as a rule, tells."""

    def forward(self, step: int) -> Tensor:
        return 1e-9 * super().forward(step)


class Rosenbrock(nn.Module):
    """In the valley's bend, where the curvature along the gradient is negative at first."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([-0.3], dtype=torch.float64))
        self.bias = nn.Parameter(torch.tensor([1.0], dtype=torch.float64))

    def forward(self, _: int) -> Tensor:
        return ((1 - self.weight) ** 2 + 100 * (self.bias - self.weight**2) ** 2).sum()


@dataclass(frozen=True)
class Base:
    torch: type[Optimizer]
    naive: Callable[..., naive.Update]
    options: tuple[dict[str, float], dict[str, float]]


BASES = {
    "sgd": Base(
        SGD,
        naive.sgd,
        ({"lr": 0.05, "momentum": 0.9, "weight_decay": 0.02}, {"lr": 0.02, "momentum": 0.5, "weight_decay": 0.0}),
    ),
    "adam": Base(Adam, naive.adam, ({"lr": 0.02, "weight_decay": 0.02}, {"lr": 0.01, "weight_decay": 0.0})),
    "adamw": Base(AdamW, naive.adamw, ({"lr": 0.02, "weight_decay": 0.0}, {"lr": 0.01, "weight_decay": 0.2})),
}
PROBLEMS: dict[str, type[nn.Module]] = {"network": Network, "quadratic": Quadratic, "rosenbrock": Rosenbrock}
SCALES = {
    "rosenbrock": 100.0,
    "tiny": 1e-9,
}  # of gradients: what SGD divides its rate by, and multiplies its penalty by


class Problem:
    """A model under an optimizer of torch, and the same as a function of one flat vector."""

    def __init__(self, name: str, base: str = "sgd") -> None:
        self.model = {**PROBLEMS, "tiny": Tiny}[name]()
        self.params = list(self.model.parameters())
        self._names = [name for name, _ in self.model.named_parameters()]
        self._base = BASES[base]
        scale = SCALES.get(name, 1.0) if base == "sgd" else 1.0
        self._options = [
            {**options, "lr": options["lr"] / scale, "weight_decay": options["weight_decay"] * scale}
            for options in self._base.options
        ]

    def groups(self, *extra: dict[str, Any], named: bool = True) -> list[dict[str, Any]]:
        """Every other parameter in each of the two groups, with their `extra` options."""
        items = list(self.model.named_parameters()) if named else self.params
        return [{"params": items[i::2], **options} for i, options in enumerate(extra or ({}, {}))]

    def base(self, *extra: dict[str, Any], named: bool = True) -> Optimizer:
        groups = zip(self.groups(*extra, named=named), self._options, strict=True)
        return self._base.torch([{**group, **options} for group, options in groups])

    def option(self, name: str) -> Tensor:
        return self.per_weight(*(options[name] for options in self._options))

    def update(self, **instead: float) -> naive.Update:
        return self._base.naive(**{**{name: self.option(name) for name in self._options[0]}, **instead})

    def per_weight(self, first: float, second: float) -> Tensor:
        """The values of the two groups as a flat vector."""
        return torch.cat(
            [torch.full((p.numel(),), (first, second)[i % 2], dtype=p.dtype) for i, p in enumerate(self.params)]
        )

    def where(self, rule: Callable[[str, Tensor], bool]) -> Tensor:
        """1 on the weights of the parameters that the rule is true of, by name and tensor; else 0."""
        pairs = zip(self._names, self.params, strict=True)
        return torch.cat([torch.full_like(p.detach(), rule(name, p)).flatten() for name, p in pairs])

    def filters(self) -> list[slice]:
        """The output filters of the tensors that have more than one dimension, and the others whole."""
        counts = [p.shape[0] if p.ndim > 1 else 1 for p in self.params]
        sizes = [size for p, n in zip(self.params, counts, strict=True) for size in [p.numel() // n] * n]
        ends = list(itertools.accumulate(sizes))
        return [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]

    def flat(self) -> Tensor:
        return torch.cat([p.detach().flatten() for p in self.params])

    def losses(self) -> Iterator[naive.Loss]:
        return (self._loss(step) for step in range(NUM_STEPS))

    def _loss(self, step: int) -> naive.Loss:
        def loss(w: Tensor) -> Tensor:
            parts = w.split([p.numel() for p in self.params])
            shaped = {n: x.view(p.shape) for n, p, x in zip(self._names, self.params, parts, strict=True)}
            return functional_call(self.model, shaped, (step,))

        return loss

    def draws(self) -> Iterator[Tensor]:
        """Flat vectors of normal numbers, for `naive`; `drawing` gives the same ones to an optimizer."""
        return (torch.cat([draw(i, k, p).flatten() for i, p in enumerate(self.params)]) for k in itertools.count())

    def drawing(self, optimizer_class: type) -> type:
        """The class with the draws of `draws`, whatever the order in which it asks for those of a parameter."""
        indices = {p: i for i, p in enumerate(self.params)}
        counts = {p: itertools.count() for p in self.params}

        def sample_like(_: Optimizer, p: Tensor) -> Tensor:
            return draw(indices[p], next(counts[p]), p)

        return type("Drawing", (optimizer_class,), {"sample_like": sample_like})

    def run(self, optimizer: Optimizer, *, with_loss: bool = True) -> Iterator[tuple[float, Tensor]]:
        """What each step returns, and the weights after it."""
        for step in range(NUM_STEPS):

            def closure(step: int = step) -> Tensor:
                optimizer.zero_grad()
                loss = self.model(step)
                loss.backward()
                return loss

            extra = {"loss": lambda step=step: self.model(step)} if with_loss else {}
            yield optimizer.step(closure, **extra).item(), self.flat()


def draw(index: int, count: int, p: Tensor) -> Tensor:
    return torch.randn(p.shape, generator=torch.Generator().manual_seed(1000 * index + count), dtype=p.dtype)


def distance(got: Tensor, expected: Tensor) -> float:
    """The largest difference, in units of the largest expected entry."""
    return ((got - expected).abs().max() / expected.abs().max()).item()
