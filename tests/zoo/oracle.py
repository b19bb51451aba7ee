"""The dense truth about a case, by differences of its loss alone: no gradient of torch's takes part in it.

    L(w) = sum over batches of n_b l_b(w) / sum of n_b,    buffers as they were handed over

l_b is what the criterion says of a batch and n_b what it divided by; or the losses of a function, one an example. For
gradient and Hessian L is evaluated in float64 at w ± h e_i and w ± h (e_i + e_j), for the steps h and h / 2:

    D(h) = (L(w + h e_i + h e_j) - L(w + h e_i) - L(w + h e_j) + 2 L(w) - L(w - h e_i) - ...) / 2h^2
    H    = (4 D(h / 2) - D(h)) / 3,    error |H - D(h / 2)| and rounding

A model with a kink near by is not twice differentiable there: its two steps disagree, and another seed is taken.
"""

from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tests.zoo.case import Built, Case

STEP = 5e-4
SEEDS = 8  # tried for one without a kink near by
_AGREE = 1e-3  # of the largest entry, between the steps
_EPS = 2.0**-53


@dataclass(frozen=True)
class Oracle:
    """Value, gradient (d,) and Hessian (d, d) of a case, each with what the differences may be off by."""

    value: float
    gradient: np.ndarray
    hessian: np.ndarray
    gradient_error: float  # of the norm
    hessian_error: float  # of the norm, so of any eigenvalue
    names: list[str]  # of the parameters, one an entry

    @property
    def agrees(self) -> bool:
        if not np.isfinite(self.value):
            return True
        scale = np.abs(self.hessian).max(initial=0.0)
        return self.hessian_error <= _AGREE * scale + 1e-5 * (abs(self.value) + 1)


def oracle(case: Case, seed: int) -> Oracle | None:
    """The truth of the case at this seed; None where there is none, as its loss is random."""
    loss, w, names = loss_of(case, seed)
    value = loss(w)
    if not np.isfinite(value):
        nowhere = np.full(len(w), np.nan)
        return Oracle(value, nowhere, np.outer(nowhere, nowhere), np.inf, np.inf, names)
    if loss(w) != value:
        return None
    coarse, fine = (_differences(loss, w, value, step) for step in (STEP, STEP / 2))
    gradient, hessian = ((4 * b - a) / 3 for a, b in zip(coarse, fine, strict=True))
    rounding = 16 * _EPS * (abs(value) + 1) / (STEP / 2)
    return Oracle(
        value,
        gradient,
        hessian,
        float(np.linalg.norm(gradient - fine[0])) + rounding * len(w) ** 0.5,
        float(np.linalg.norm(hessian - fine[1])) + rounding / (STEP / 2) * len(w),
        names,
    )


def loss_of(case: Case, seed: int) -> tuple[Callable[[np.ndarray], float], np.ndarray, list[str]]:
    """L as a function of a vector, where the case is, and which parameter each entry belongs to."""
    built, here = case.build(seed, reference=True), case.build(seed)
    for what in (built, here):
        if case.edit:
            case.edit(*what)
    chosen, where = (_chosen(what.model, case.options.get("params", "*")) for what in (built, here))
    handed_over, buffers = built.model.training, {n: b.clone() for n, b in built.model.named_buffers()}
    training = case.options.get("mode") == "train"
    acts = any(type(module).train is not nn.Module.train for module in built.model.modules())  # when told a mode
    if not acts:
        set_mode(built.model, training=training)
    w = np.concatenate([_real(p.detach()).double().reshape(-1).numpy() for p in where.values()])
    plain = {name.removeprefix("_orig_mod."): p for name, p in where.items()}  # as the module that was compiled has it
    names = [name for name, p in plain.items() for _ in range(_real(p).numel())]

    def loss(at: np.ndarray) -> float:
        pieces = np.split(at, np.cumsum([_real(p).numel() for p in chosen.values()])[:-1])
        for mode in (not handed_over, handed_over) if acts else ():  # there and back
            set_mode(built.model, training=mode)
        with torch.no_grad():
            for p, piece in zip(chosen.values(), pieces, strict=True):
                real = _real(p.data)
                real.copy_(torch.from_numpy(piece).reshape(real.shape))
        if acts:
            set_mode(built.model, training=training)
        with nullcontext() if case.grad else torch.no_grad():
            return mean_loss(built, case.options.get("weight"), buffers)

    return loss, w, names


def mean_loss(built: Built, weight: Callable[[Any], float] | None, buffers: dict[str, Tensor]) -> float:
    """L of the model as it is, with these buffers in every batch."""
    total = count = 0.0
    for batch in built.batches:
        for name, buffer in built.model.named_buffers():
            if name in buffers:
                buffer.data.copy_(buffers[name])
        found, n = _terms(built, batch, weight)
        total, count = total + found, count + n
    return total / count


def set_mode(model: nn.Module, *, training: bool) -> None:
    """As a user does, by a call; exported programs have but one mode."""
    with suppress(NotImplementedError):
        model.train(training)


def _terms(built: Built, batch: Any, weight: Callable[[Any], float] | None) -> tuple[float, float]:
    """The sum of a batch's losses, and of their weights."""
    if not (isinstance(built.loss, nn.Module) and hasattr(built.loss, "reduction")):
        losses = built.loss(built.model, batch)
        n = float(weight(batch)) if weight else len(losses)
        return float(losses.sum()) * (n if weight else 1.0), n
    inputs, targets = batch
    n = _num(built.loss, targets)
    if not n:
        return 0.0, 0.0
    found = built.loss(built.model(inputs), targets)
    if built.loss.reduction == "none":
        return float(found.mean()) * n, n
    return float(found) * (1.0 if built.loss.reduction == "sum" else n), n


def _num(criterion: nn.Module, targets: Tensor) -> float:
    """What torch's mean over a batch divides by: examples, tokens that are not ignored, or their class weights."""
    if not isinstance(criterion, (nn.CrossEntropyLoss, nn.NLLLoss)) or targets.is_floating_point():
        return len(targets)
    counted = targets[targets != criterion.ignore_index]
    return float(len(counted) if criterion.weight is None else criterion.weight[counted].sum())


def _differences(
    loss: Callable[[np.ndarray], float], w: np.ndarray, value: float, h: float
) -> tuple[np.ndarray, np.ndarray]:
    steps = h * np.eye(len(w))
    plus, minus = (np.array([loss(w + sign * e) for e in steps]) for sign in (1, -1))
    hessian = np.diag(plus - 2 * value + minus) / h**2
    for i in range(len(w)):
        for j in range(i):
            both = loss(w + steps[i] + steps[j]) + loss(w - steps[i] - steps[j])
            mixed = both - plus[i] - plus[j] + 2 * value - minus[i] - minus[j]
            hessian[i, j] = hessian[j, i] = mixed / (2 * h**2)
    return (plus - minus) / (2 * h), hessian


def _chosen(model: nn.Module, glob: str) -> dict[str, Tensor]:
    """The trainable parameters that the glob selects, by name or by a module above, each once."""

    def selected(name: str) -> bool:
        parts = name.split(".")
        paths = [".".join(parts[:k]) for k in range(1, len(parts) + 1)]
        return any(fnmatchcase(path, part.strip()) for path in paths for part in glob.split(","))

    return {name: p for name, p in model.named_parameters() if p.requires_grad and selected(name)}


def _real(p: Tensor) -> Tensor:
    return torch.view_as_real(p) if p.is_complex() else p
