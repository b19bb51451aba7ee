"""What a kind of file is, and the small models whose weights are written in each of them."""

import logging
import sys
import types
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

Weights = Mapping[str, Tensor]


def small(seed: int) -> nn.Module:
    """Four features, three classes; parameters and buffers of every sort."""
    return seeded(nn.Sequential(nn.Linear(4, 7), nn.BatchNorm1d(7), nn.ReLU(), nn.Linear(7, 3)), seed)


def seeded(model: nn.Module, seed: int) -> nn.Module:
    """The model with parameters and buffers, all of them, drawn from this seed."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in model.state_dict().values():
            if value.is_floating_point():
                value.copy_(torch.rand(value.shape, generator=generator, dtype=torch.float64) / 2 + 0.05)
            else:
                value.fill_(seed)
    return model.eval()


def data() -> tuple[Tensor, Tensor]:
    """Inputs and classes for ``small``."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(24, 4, generator=generator), torch.randint(0, 3, (24,), generator=generator)


@dataclass(frozen=True)
class Kind:
    """One kind of file.

    Attributes:
        write: into an empty folder, with the weights of a model; what is then to be read.
        model: of a seed; the model that the file fits.
        ask: the key that the user gives.
        key: where the state dict was found; None where that is the reader's affair.
        others: the other state dicts, likewise.
        container: likewise.
        left_out: names that must be among those that were left out.
        step: optimizer steps done.
        apart: ends of names that are in the model and rightly not in the file; their values stay.
        source: of a seed; the model whose weights are written, where it is another.
        said: what a warning says where they are loaded.
        unread: what the refusal to read it says, where it must be refused.
        unfit: what the refusal to load it into the model says, where it is read but must not be loaded.
        may_refuse: whether a refusal, by either, is as right as the weights.
        slow: imports a framework.
    """

    write: Callable[[Path, nn.Module], Path]
    model: Callable[[int], nn.Module] = small
    ask: str | None = None
    key: str | None = None
    others: tuple[str, ...] | None = None
    container: str | None = None
    left_out: tuple[str, ...] = ()
    step: int | None = None
    apart: tuple[str, ...] = ()
    source: Callable[[int], nn.Module] | None = None
    said: str = ""
    unread: str = ""
    unfit: str = ""
    may_refuse: bool = False
    slow: bool = False

    def build(self, seed: int) -> nn.Module:
        with quiet():
            return self.model(seed)

    def written(self, folder: Path) -> "Written":
        """The file, made on the spot, and the weights that it holds."""
        folder.mkdir(parents=True, exist_ok=True)
        with quiet():
            trained = (self.source or self.model)(1)
            path = self.write(folder, trained)
        return Written(path, {name: value.detach().clone() for name, value in trained.state_dict().items()})


@dataclass(frozen=True)
class Written:
    """A file and what must be in a model after it was loaded."""

    path: Path
    weights: Weights


def saved(
    make: Callable[[dict[str, Any]], Any], name: str = "w.pt", **options: Any
) -> Callable[[Path, nn.Module], Path]:
    """Writes, with ``torch.save``, what is made of the state dict."""

    def write(folder: Path, trained: nn.Module) -> Path:
        torch.save(make(trained.state_dict()), folder / name, **options)
        return folder / name

    return write


def under(*keys: str, **beside: Any) -> Callable[[Any], Any]:
    """Puts something under these keys, one in the other, with other things on the outside."""

    def make(value: Any) -> Any:
        for key in reversed(keys):
            value = {key: value}
        return beside | value if beside else value

    return make


def prefixed(prefix: str, state: Weights) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in state.items()}


def other() -> dict[str, Tensor]:
    """Weights of the same model that must not be loaded."""
    return dict(small(3).state_dict())


@contextmanager
def quiet() -> Iterator[None]:
    """Run the body without what frameworks print and warn of."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


@contextmanager
def lent(**classes: type) -> Iterator[None]:
    """Classes whose modules are there while a file is written, and gone when it is read."""
    names = {cls.__module__ for cls in classes.values()}
    names |= {name.rpartition(".")[0] for name in names} - {""}
    modules = {name: types.ModuleType(name) for name in names}
    for name, cls in classes.items():
        setattr(modules[cls.__module__], name, cls)
    before = {name: sys.modules.get(name) for name in names}
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name, module in before.items():
            sys.modules.pop(name) if module is None else sys.modules.update({name: module})
