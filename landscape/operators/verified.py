"""The claim that a diagonal is exact, held against numbers: on some of the examples, in float64, before it is made.

The proof in ``piecewise`` and the rules in ``layer_squares`` read the structure of a program, which may be other than
it looks: a loss that sees parameters elsewhere, rows that are no examples, a parameter that is used twice, a hook. By
plain autograd, which shares no code with them, these must agree:

- the gradient of the loss, and J^T slope: the loss depends on the parameters through the output alone;
- d^2 l / dz^2 u, and F F^T u for the factors F of which the diagonal is made, for a random u;
- the rules' squares of J^T F r for a random r, and those of one example after the other;
- the output along the parameters of each of some modules is affine: its second difference is no more than rounding.

Cost: some eight backward and, for each module looked at, two forward passes over those examples.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from landscape.derivatives import Sample
from landscape.losses import Terms
from landscape.objective import Objective
from landscape.operators.layer_squares import NoExactDiagonalError

_MODULES = 48  # at most, along which the output must be affine: all of ResNet-18, some of a larger one
_ALONE = 3  # examples whose gradients are made one after the other
_STEP = 1e-6  # part of a tensor's length
_PLACES = (0.0, 2e-5, -3e-5, 5e-5)  # where the step is made, one after the other: the one before may have met a kink
_REL_ERROR = 1e-6
_CURVED = 1e-2  # second difference over first, for a step of one length: below it is affine


def require_same(what: str, claimed: Sequence[Tensor], plain: Sequence[Tensor], names: Sequence[str] = ("",)) -> None:
    """Raise NoExactDiagonalError, for the first ``{name}``, where tensors differ by more than rounding, relatively."""
    off = torch.stack([(a - b).norm() for a, b in zip(claimed, plain, strict=True)])
    scale = torch.stack([torch.maximum(a.norm(), b.norm()) for a, b in zip(claimed, plain, strict=True)])
    same = off <= _REL_ERROR * scale
    if not same.all():
        raise NoExactDiagonalError(
            f"not exact here: on some examples, {what.format(name=names[int(same.int().argmin())])}"
        )


def verify_batch(
    objective: Objective,
    terms: Terms,
    leaves: list[Tensor],
    factors: Tensor,
    squares: Callable[[Tensor], dict[str, Tensor]],
) -> None:
    """Hold a microbatch of few examples against plain autograd.

    Args:
        objective: whose terms they are.
        terms: with their graph.
        leaves: the parameters.
        factors: F, (C, n, outputs).
        squares: what the rules make of other factors (k, n, outputs): sums of squares by parameter.

    Raises:
        NoExactDiagonalError: naming what does not agree.
    """
    outputs = terms.outputs
    assert outputs is not None
    draws = torch.Generator().manual_seed(0)
    r = torch.randn(len(factors), generator=draws, dtype=torch.float64).to(factors)
    combined = torch.einsum("c,cno->no", r, factors)
    combined[_ALONE:] = 0

    summed = objective.summed(terms)
    whole = _gradients(summed, leaves)
    (slope,) = torch.autograd.grad(summed, [outputs], create_graph=True)
    through = torch.autograd.grad(outputs, leaves, slope.detach(), retain_graph=True, materialize_grads=True)
    require_same("the loss depends on {name} otherwise than through the output", through, whole, objective.names)

    u = torch.randn(outputs.shape, generator=draws, dtype=torch.float64).to(outputs)
    (curved,) = torch.autograd.grad(slope, [outputs], u, retain_graph=True, materialize_grads=True)
    made_of = torch.einsum("cno,cn->no", factors, torch.einsum("cno,no->cn", factors, u))
    require_same("the loss has another curvature in the output", [made_of.to(curved)], [curved])

    examples = [_gradients((out * back).sum(), leaves) for out, back in zip(outputs[:_ALONE], combined, strict=False)]
    claimed = squares(combined[None])
    plain = [torch.stack([g.square().sum() for g in found]).sum() for found in zip(*examples, strict=True)]
    by_rules = [claimed[name].sum() for name in objective.names]
    require_same("the squared gradients of {name} are others, example by example", by_rules, plain, objective.names)


def require_affine(few: Sample) -> None:
    """Raise NoExactDiagonalError where, by differences, the output is curved along one of the modules' parameters."""
    (objective, v), w = few, few.objective.vector()
    centre = _outputs(objective, w)
    owners = [name.rpartition(".")[0] for name in objective.names]
    some = list(dict.fromkeys(owners))
    for index in torch.randperm(len(some), generator=torch.Generator().manual_seed(1))[:_MODULES].tolist():
        along = torch.zeros_like(v)
        for owner, own, of_v in zip(owners, objective.layout.split(along), objective.layout.split(v), strict=True):
            own.copy_(of_v if owner == some[index] else own)
        curved = torch.ones(len(centre), dtype=torch.bool, device=centre.device)  # by example
        for place in _PLACES:
            here = _outputs(objective, w + place * along) if place else centre
            above, below = (_outputs(objective, w + (place + t) * along) for t in (_STEP, -_STEP))
            first, second = (above - below).norm(dim=1) / 2, (above + below - 2 * here).norm(dim=1)
            rounding = 64 * torch.finfo(w.dtype).eps * here.norm(dim=1)
            curved &= second > _CURVED * _STEP * first + rounding
            if not curved.any():
                break
        else:
            raise NoExactDiagonalError(
                f"not exact here: on some examples, the output is curved along {some[index] or 'the parameters'}"
            )


def _gradients(of: Tensor, leaves: list[Tensor]) -> tuple[Tensor, ...]:
    return torch.autograd.grad(of, leaves, retain_graph=True, materialize_grads=True)


def _outputs(objective: Objective, at: Tensor) -> Tensor:
    outputs = list(objective.over_batches(objective.leaves(at, requires_grad=False), lambda terms: terms.outputs))
    return torch.cat([output for output in outputs if output is not None])
