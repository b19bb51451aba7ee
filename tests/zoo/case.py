"""One animal of the zoo: a small model, its loss and its data, made anew for everybody who needs them.

    Case("tanh", lambda: net(nn.Tanh()))                        cross-entropy of 3 classes, inputs (3,), batches of 5 and 4
    Case("embedding", ..., x=ids(7, 4), y=(2,), loss=nn.MSELoss())

``model`` returns a module, or (module, loss) where the loss needs the module. Everything is drawn from ``seed``, data
first. Refusal by name is a right answer for any case, so that a case never says what should be refused.
"""

# ruff: noqa: E501 (one line a case; F as in torch's own)

import copy
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from landscape.batches import to


class Built(NamedTuple):
    """What an objective is made of."""

    model: nn.Module
    loss: Any
    batches: list[Any]


@dataclass(frozen=True)
class Case:
    """How to build a model, a loss and batches, and how to measure them.

    Attributes:
        name: of the case, area first: "norms/layer_norm".
        model: makes the module, or (module, loss).
        loss: a criterion (copied for each build) or ``loss(model, batch)``.
        x: shape of an example's input, or a function of the number of examples.
        y: number of classes, shape of a target, or a function of the number of examples.
        sizes: of the batches.
        batches: makes all batches, in the place of ``x``, ``y`` and ``sizes``.
        seed: of data and weights; the oracle moves on where a kink is near.
        dtype: of model, criterion and data; None leaves them as they are made.
        options: further arguments of ``Objective``.
        edit: what is done to (model, loss, batches) between construction and measurement.
        context: what the measurement runs under.
        reference: makes the same function of the same parameters in plain operations, for the oracle.
        grad: whether the oracle evaluates with gradients on, as losses need that differentiate by themselves.
        rounds: the dtype that the model computes in somewhere, where that is coarser than ``dtype``: what has no error
            bar, gradients and products, may be off by it.
        slow: whether `make quick` leaves it out.
    """

    name: str
    model: Callable[[], Any]
    loss: Any = field(default_factory=nn.CrossEntropyLoss)
    x: Any = (3,)
    y: Any = 3
    sizes: tuple[int, ...] = (5, 4)
    batches: Callable[[], list[Any]] | None = None
    seed: int = 0
    dtype: torch.dtype | None = torch.float64
    options: Mapping[str, Any] = field(default_factory=dict)
    edit: Callable[[nn.Module, Any, list[Any]], Any] | None = None
    context: Callable[[], AbstractContextManager[Any]] = nullcontext
    reference: Callable[[], Any] | None = None
    grad: bool = False
    rounds: torch.dtype | None = None
    slow: bool = False

    def build(self, seed: int, *, reference: bool = False) -> Built:
        """The same for the same seed, never the same objects; the reference is in float64."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            batches = self.batches() if self.batches else self._batches()
            made = self.reference() if reference and self.reference else self.model()
        model, loss = made if isinstance(made, tuple) else (made, self.loss)
        loss = copy.deepcopy(loss) if isinstance(loss, nn.Module) and loss is self.loss else loss
        for dtype in (self.dtype, torch.float64 if reference else None):  # in turn: weights are rounded in both
            if dtype is not None:
                model, batches = model.to(dtype=dtype) if not _complex(model) else model, to(batches, "cpu", dtype)
                loss = loss.to(dtype=dtype) if isinstance(loss, nn.Module) else loss
        return Built(model, loss, batches)

    def _batches(self) -> list[tuple[Any, Any]]:
        n = sum(self.sizes)
        x = self.x(n) if callable(self.x) else torch.randn(n, *self.x)
        y = self.y(n) if callable(self.y) else _targets(self.y, n)
        return list(zip(x.split(self.sizes), y.split(self.sizes), strict=True))


def net(*layers: nn.Module, hidden: int = 3, out: int = 3, bias: bool = True) -> nn.Sequential:
    """(n, 3) -> (n, out), with these layers between two linear ones: 24 parameters and theirs."""
    return nn.Sequential(nn.Linear(3, hidden, bias=bias), *layers, nn.Linear(hidden, out, bias=bias))


def ids(num: int, *shape: int) -> Callable[[int], Tensor]:
    """Random integers below ``num``, (n, *shape)."""
    return lambda n: torch.randint(num, (n, *shape))


def positive(*shape: int) -> Callable[[int], Tensor]:
    """Random numbers in (0.1, 0.9), (n, *shape)."""
    return lambda n: 0.1 + 0.8 * torch.rand(n, *shape)


def signs(*shape: int) -> Callable[[int], Tensor]:
    """Random -1 and 1, (n, *shape)."""
    return lambda n: torch.randint(2, (n, *shape)) * 2.0 - 1.0


class Apply(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., Any], **modules: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x: Any) -> Any:
        return self.function(x)


class Model(nn.Module):
    """Modules and parameters by name, and what is computed with them: ``Model(lambda m, x: m.fc(x), fc=...)``."""

    def __init__(self, function: Callable[..., Any], **members: Any) -> None:
        super().__init__()
        self.function = function
        for name, member in members.items():
            plain = isinstance(member, Tensor) and not isinstance(member, nn.Buffer)
            setattr(self, name, nn.Parameter(member) if plain else member)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(self, *args, **kwargs)


def _targets(y: Any, n: int) -> Tensor:
    return torch.randint(y, (n,)) if isinstance(y, int) else torch.randn(n, *y)


def _complex(model: nn.Module) -> bool:
    return any(p.is_complex() for p in model.parameters())
