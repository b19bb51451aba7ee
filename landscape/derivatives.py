"""Whether what autograd gives are the derivatives of the loss: held against differences, on a few examples, once.

Hooks on gradients, straight-through functions, ``detach``, kernels that act otherwise without gradients, or that are
not differentiable twice: each gives a number for another function than the loss, without an error. So, in float64
where the model can, at weights moved by a part in a thousand (off the kinks that zero biases and ties make), along a
random v:

    g^T v                      ~  (L(w + hv) - L(w)) / h  and  (L(w) - L(w - hv)) / h
    A v, by parameter tensor   ~  the same of what A differentiates: of g for the Hessian

The difference of the two one-sided quotients is what kinks, curvature and rounding make of them: a claim is wrong where
it is further from their mean, at two steps. Cost: a gradient and four evaluations, and for the first product of an
operator a product and two or three gradients, over at most 64 examples.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor
from torch.autograd.graph import Node

from landscape.batches import num_rows_of, pick
from landscape.errors import MeasurementError
from landscape.surroundings import rng_untouched
from landscape.widened import coarsest_met, widened

T = TypeVar("T")

if TYPE_CHECKING:
    from landscape.objective import Objective

_FEWEST, _MOST, _PART = 8, 64, 16  # examples, and the part of all of them
_PLACES = 4  # batches of which they are, at most
_SMALL = 10**6  # parameters of a sample that is kept
_MOVE = 1e-3  # of the weights, off the kinks
_REL_ERROR = 1e-4  # of a slope
_REL_ERROR_PRODUCT = 1e-3
_TOLD = 0.1  # a quotient whose two sides differ by less, relative to it, tells something
_ROUNDING = 16  # times eps, of a loss
_NOTHING = 1e-7  # of a whole product: what a tensor's part may be off by in any case
_NAMED = 3  # tensors in a message
_EPS = "eps"  # the key of what ``coarsest_eps`` is


class Differentiating(Protocol):
    """An operator that differentiates something."""

    def __matmul__(self, v: Tensor) -> Tensor:
        """The product, (d,)."""

    def by_differences(self, v: Tensor, h: float) -> tuple[Tensor, Tensor, Tensor]:
        """The product as difference quotients at w + hv and w - hv, and what they are of, at w; (d,) each."""


class DerivativeError(MeasurementError):
    """The gradient is not that of the loss; the message says by how much and in which parameters."""


class Sample(NamedTuple):
    """The loss over a few examples, at weights a little along v, (d,)."""

    objective: "Objective"
    v: Tensor


def wrong_gradient(objective: "Objective") -> str:
    """What is wrong with the gradient on a few examples, in words; "" where it is right or nothing can be told."""
    return _on_a_sample(objective, _wrong_gradient) or ""


def wrong_products(objective: "Objective", make: Callable[["Objective"], "Differentiating"]) -> list[str]:
    """Names of the parameters in which an operator's product is wrong on a few examples.

    Args:
        objective: whose operator it is.
        make: the same operator of the few examples.
    """

    def wrong(few: Sample, eps: float) -> list[str]:
        operator, names = make(few.objective), few.objective.names
        product, found = few.objective.layout.split(operator @ few.v), []
        for h in (eps**0.5, 8 * eps**0.5, eps**0.5 / 8):
            above, below, centre = map(few.objective.layout.split, operator.by_differences(few.v, h))
            wrong, told = _wrong_pieces(names, product, above, below, [_ROUNDING * eps / h * c.norm() for c in centre])
            if told and not wrong:
                return []
            found += [wrong] if told else []
        return [name for name in names if len(found) > 1 and all(name in wrong for wrong in found)]

    return _on_a_sample(objective, wrong) or []


def wrong_curvature(objective: "Objective") -> str:
    """What is wrong with the gradient where it is right at the weights, and changes otherwise than the loss does."""
    return _on_a_sample(objective, _wrong_curvature) or ""


def two_functions(off: float, on: float) -> str:
    """That the loss is another one with gradients on, in words."""
    return (
        f"The loss is {off:.6g}, and {on:.6g} with gradients on: part of the model or loss acts otherwise under "
        "torch.no_grad(). Expected one function. Fused attention with a padding mask is such: "
        "torch.backends.mha.set_fastpath_enabled(False) ends it."
    )


def in_words(names: Sequence[str]) -> str:
    """The first of them, and how many more."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def sample(objective: "Objective", num_examples: int, dtype: torch.dtype | None) -> Sample:
    """So many random rows of batches here and there; the first batch as it is, for 0 rows or where it has none."""
    draws = torch.Generator().manual_seed(0)
    places = sorted({round(i * (objective.num_batches - 1) / (_PLACES - 1)) for i in range(_PLACES)})
    share = -(-num_examples // len(places))
    some, seen = [], -1
    for index, batch in objective.batches():
        rows = num_rows_of(batch)
        if not num_examples or not rows:
            some = [batch]
            break
        if index in places and index != seen:
            some.append(pick(batch, torch.randperm(rows, generator=draws)[:share].sort().values))
            seen = index
        if index >= places[-1]:
            break
    v = _direction(objective)
    few = objective.over(some, dtype=dtype, move=_MOVE * v)
    return Sample(few, v.to(few.dtype))


def _direction(objective: "Objective") -> Tensor:
    """A random vector, as long in each tensor as the parameters; where they are zero, as they are on average."""
    w, sizes = objective.vector(), torch.tensor(objective.layout.sizes, device=objective.device)
    scales = torch.stack([piece.norm() for piece in objective.layout.split(w)]) / sizes.sqrt()
    average = float(w.norm()) / math.sqrt(len(w)) or 1.0
    draws = torch.randn(len(w), generator=torch.Generator().manual_seed(0)).to(w)
    return draws * torch.where(scales > 0, scales, average).repeat_interleave(sizes)


def _on_a_sample(objective: "Objective", wrong: Callable[[Sample, float], T]) -> T | None:
    """What is found wrong on a sample, for the eps of its dtype; None where the model takes no part of a batch.

    What the model rounds to coarser dtypes on the way would drown it: so without that, or, where the model cannot do
    without, to the accuracy of those.
    """
    wide, some = objective.accumulation_dtype, _num_examples(objective)
    for num_examples, dtype in ((some, wide), (some, None), (0, None)):
        with suppress(Exception), rng_untouched():  # whatever fails in a model called in another way than the user's
            few, coarse = _kept(objective, num_examples, dtype)
            eps = torch.finfo(few.objective.dtype).eps
            if coarse > eps:
                with suppress(Exception), widened(wide):
                    return wrong(sample(objective, num_examples, wide), torch.finfo(wide).eps)
            return wrong(few, max(eps, coarse))
        objective.doubts.pop(Sample, None)
    return None


def coarsest_eps(objective: "Objective") -> float:
    """The largest eps of the dtypes in which the model computes, also where it is handed the widest; 0 if unknown."""
    if _EPS not in objective.doubts:
        _on_a_sample(objective, lambda *_: None)
    return objective.doubts.get(_EPS, 0.0)


def _num_examples(objective: "Objective") -> int:
    _, first = next(objective.batches())
    return max(_FEWEST, min(_MOST, (num_rows_of(first) or 0) * objective.num_batches // _PART))


def _kept(objective: "Objective", num_examples: int, dtype: torch.dtype | None) -> tuple[Sample, float]:
    """A sample, and the coarsest eps in it: the same for gradient and products where it is small.

    Making it takes as long as three passes.
    """
    few: Sample | None = objective.doubts.get(Sample)
    if few is None:
        few = sample(objective, num_examples, dtype)
        objective.doubts[_EPS] = torch.finfo(coarsest_met(partial(few.objective.losses, at=few.objective.vector()))).eps
        if objective.num_params <= _SMALL:
            objective.doubts[Sample] = few
    return few, objective.doubts[_EPS]


def _wrong_gradient(few: Sample, eps: float) -> str:
    objective, v = few
    gradient = objective.gradient()
    slopes = _wrong_slope(few, gradient, eps)
    if not slopes:
        return ""
    wrong = [name for name, u in _alone(few) if _wrong_slope(Sample(objective, u), gradient, eps)]
    return (
        f"The gradient is not that of the loss: along a random direction the loss changes by {slopes[0]:.6g}, and by "
        f"{float(gradient @ v):.6g} as the gradient says (on {objective.num_examples} examples"
        f"{', in ' if wrong else ''}{in_words(wrong)}). Expected the same. Hooks on gradients, detach, straight-"
        "through functions and Embedding(padding_idx=...) are such: measure without them."
    )


def _wrong_slope(few: Sample, gradient: Tensor, eps: float) -> list[float]:
    """Slopes of the loss along v by two steps, if the gradient tells another one than both."""
    (objective, v), found = few, []
    w, centre, claimed = objective.vector(), objective.value(), float(gradient @ v)
    scale = float((gradient * v).norm())  # of such a sum with random signs
    rounding = _ROUNDING * eps * float(objective.losses().abs().mean())
    for h in (eps ** (1 / 3), eps ** (1 / 3) / 8):
        above, below = ((objective.value(at=w + t * v) - centre) / t for t in (h, -h))
        slope, apart = (above + below) / 2, abs(above - below)
        if abs(slope - claimed) <= _REL_ERROR * max(scale, abs(slope)) + apart + rounding / h:
            return []
        found.append(slope)
    return found


def _wrong_curvature(few: Sample, eps: float) -> str:
    (objective, v), w = few, few.objective.vector()
    h = eps ** (1 / 3)
    above, below = (objective.gradient(at=w + t * v) @ v for t in (h, -h))
    by_gradients = float(above - below) / (2 * h)
    coarse, fine = (
        (objective.value(at=w + t * v) - 2 * objective.value() + objective.value(at=w - t * v)) / t**2
        for t in (2 * eps**0.25, eps**0.25)
    )
    if not abs(fine - by_gradients) > _REL_ERROR_PRODUCT * abs(fine) + 4 * abs(fine - coarse):
        return ""
    return (
        f"The gradient changes otherwise than that of the loss: along a random direction it is curved by {fine:.6g}, "
        f"and by {by_gradients:.6g} as gradients say (on {objective.num_examples} examples). Expected the same. "
        "Functions of the weights that autograd does not see are such (spectral_norm in train mode)."
    )


def _alone(few: Sample) -> Iterator[tuple[str, Tensor]]:
    """For each parameter tensor the part of v that moves it alone."""
    layout = few.objective.layout
    for index, name in enumerate(layout.names):
        alone = torch.zeros_like(few.v)
        layout.split(alone)[index].copy_(layout.split(few.v)[index])
        yield name, alone


def _wrong_pieces(
    names: Sequence[str],
    claimed: Sequence[Tensor],
    above: Sequence[Tensor],
    below: Sequence[Tensor],
    rounding: Sequence[Tensor],
) -> tuple[list[str], bool]:
    """Names where what is claimed is further from the mean of both sides than they are apart; whether that tells."""
    wrong, size, apart = [], 0.0, 0.0
    whole = max(float(torch.cat([c.flatten() for c in side]).norm()) for side in (claimed, above))
    for name, c, a, b, noise in zip(names, claimed, above, below, rounding, strict=True):
        mean, between = (a + b) / 2, float((a - b).norm() + noise)
        scale = max(float(c.norm()), float(mean.norm()))
        if not float((c - mean).norm()) <= _REL_ERROR_PRODUCT * scale + between + _NOTHING * whole:
            wrong.append(name)
        size, apart = math.hypot(size, scale), math.hypot(apart, between)
    return wrong, apart <= _TOLD * size


def nodes(tensors: Sequence[Tensor]) -> Iterator[Node]:
    """The operations of the autograd graph behind the tensors, each once."""
    todo, seen = [tensor.grad_fn for tensor in tensors], set()
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        yield node
        todo += [parent for parent, _ in node.next_functions]
