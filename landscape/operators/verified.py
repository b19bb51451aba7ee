"""The claim that a diagonal is exact, held against numbers: on two of the examples, in float64, before it is made.

The proof in ``piecewise`` and the rules in ``layer_squares`` read the structure of a program, which may be other than
it looks: a loss that sees parameters elsewhere, rows that are no examples, a parameter that is used twice, a hook. By
plain autograd, which shares no code with them, these must agree:

- the gradient of the loss, and J^T slope: the loss depends on the parameters through the output alone;
- d^2 l / dz^2 u, and F F^T u for the factors F of which the diagonal is made, for random u;
- the rules' squares of J^T F r for random r, and those of one example after the other;
- the output along each of some parameter tensors is affine: its second difference is no more than rounding.

Cost: some ten backward and, for each tensor looked at, two forward passes over the two examples.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from landscape.losses import Terms
from landscape.objective import Objective
from landscape.operators.layer_squares import NoExactDiagonalError

_EXAMPLES = 2
_COMBINATIONS = 2  # random u, and r
_TENSORS = 12  # at most, along which the output must be affine: all of a small network, some of a large one
_STEPS = (1e-5, 3e-6, 1e-6)  # parts of a tensor's length; a smaller one where the step before may have crossed a kink
_REL_ERROR = 1e-6
_CURVED = 1e-2  # second difference over first, for a step of one length: below it is affine


def few_examples(objective: Objective) -> Objective:
    """The same loss over two of the examples, in float64 where the device has it. Raises ValueError as ``recut``."""
    some = next(objective.recut(_EXAMPLES))
    return objective.over(some, dtype=None if objective.device.type == "mps" else torch.float64)


def require_same(name: str, claimed: Tensor, plain: Tensor) -> None:
    """Raise NoExactDiagonalError where two tensors differ by more than rounding, relative to the larger."""
    scale = max(float(claimed.norm()), float(plain.norm()))
    if not float((claimed - plain).norm()) <= _REL_ERROR * scale:
        raise NoExactDiagonalError(f"not exact here: on two examples, {name}")


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
    r = torch.randn(_COMBINATIONS, len(factors), generator=draws, dtype=torch.float64).to(factors)
    combined = torch.einsum("kc,cno->kno", r, factors)

    summed = objective.summed(terms)
    whole = _gradients(summed, leaves)
    (slope,) = torch.autograd.grad(summed, [outputs], create_graph=True)
    through = torch.autograd.grad(outputs, leaves, slope.detach(), retain_graph=True, materialize_grads=True)
    for name, direct, by_output in zip(objective.names, whole, through, strict=True):
        require_same(f"the loss depends on {name} otherwise than through the output", by_output, direct)

    for u in torch.randn(_COMBINATIONS, *outputs.shape, generator=draws, dtype=torch.float64).to(outputs):
        (curved,) = torch.autograd.grad(slope, [outputs], u, retain_graph=True, materialize_grads=True)
        made_of = torch.einsum("cno,cn->no", factors, torch.einsum("cno,no->cn", factors, u))
        require_same("the loss has another curvature in the output", made_of.to(curved), curved)

    plain = {name: torch.zeros((), dtype=factors.dtype, device=factors.device) for name in objective.names}
    for vector in combined:
        for example in range(len(outputs)):
            found = _gradients((outputs[example] * vector[example]).sum(), leaves)
            for name, gradient in zip(objective.names, found, strict=True):
                plain[name] += gradient.square().sum().to(factors.dtype)
    claimed = squares(combined)
    for name in objective.names:
        require_same(
            f"the squared gradients of {name} are others, example by example", claimed[name].sum(), plain[name]
        )


def require_affine(objective: Objective) -> None:
    """Raise NoExactDiagonalError where, by differences, the output is curved along one of the parameter tensors."""
    w, draws = objective.vector(), torch.Generator().manual_seed(1)
    chosen = torch.randperm(len(objective.names), generator=draws)[:_TENSORS].tolist()
    centre = _outputs(objective, w)
    for index in chosen:
        tensor = objective.layout.split(w)[index]
        for step in _STEPS:
            v = torch.randn(tensor.shape, generator=draws, dtype=torch.float64).to(w)
            move = torch.zeros_like(w)
            objective.layout.split(move)[index].copy_(v * (step * (float(tensor.norm()) or 1.0) / v.norm()))
            above, below = (_outputs(objective, w + sign * move) for sign in (1, -1))
            first, second = float((above - below).norm()) / 2, float((above + below - 2 * centre).norm())
            rounding = 64 * torch.finfo(w.dtype).eps * float(centre.norm())
            if second <= _CURVED * step * first + rounding:
                break
        else:
            raise NoExactDiagonalError(
                f"not exact here: on two examples, the output is curved in {objective.names[index]}"
            )


def _gradients(of: Tensor, leaves: list[Tensor]) -> tuple[Tensor, ...]:
    return torch.autograd.grad(of, leaves, retain_graph=True, materialize_grads=True)


def _outputs(objective: Objective, at: Tensor) -> Tensor:
    outputs = list(objective.over_batches(objective.leaves(at, requires_grad=False), lambda terms: terms.outputs))
    return torch.cat([output for output in outputs if output is not None])
