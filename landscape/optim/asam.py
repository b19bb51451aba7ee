"""Adaptive SAM (Kwon et al. 2021, arXiv:2102.11600): the ball is measured in units of each weight.

    g = G(w)                               gradient of the mini-batch loss
    T = |w| + eta on weights, 1 elsewhere  as they are at w
    e = rho * T^2 g / (||T g|| + 1e-16)    the worst point of the ball ||e / T|| <= rho
    w <- base(w, G(w + e))                 on the same mini-batch

||T g|| is over the parameters of all perturbed groups that have a gradient, jointly.

What a weight is follows the authors' code: a parameter with "weight" in its name, so those of normalization layers
too; biases are not scaled but are in the norm. Names come with ``torch.optim.SGD(model.named_parameters(), ...)``.
Without them a weight is what has two or more dimensions, which leaves those of normalization layers unscaled. The
option ``adaptive`` of a group overrides either. The variant "davda54", after the much used code of that name, scales
every parameter, with eta = 0: there a zero bias never moves, and the best rho is about 4 times as large.
"""

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from landscape.optim.base import MultiPassOptimizer, check_range
from landscape.optim.passes import EPS, Passes
from landscape.optim.vectors import multiply_


class ASAM(MultiPassOptimizer):
    """Adaptive sharpness-aware minimization over a base optimizer: two passes a step.

    Groups have ``rho`` and ``perturb`` as in ``SAM``, and ``adaptive``: True or False, or None for the module's rule.

    Args:
        base: the optimizer that makes the update.
        rho: radius of the ball, relative to the weights. 0.5 is usual for 10 classes, 1 for 100.
        eta: what is added to the absolute weights; 0 in the variant "davda54".
        variant: which parameters are scaled (see the module).
        model: where given, its buffers follow the clean pass only.

    Raises:
        ValueError: for a number out of its range, an unknown variant.

    Example:
        >>> w = torch.nn.Parameter(torch.tensor([[3.0, 0.0]]))
        >>> optimizer = ASAM(torch.optim.SGD([("weight", w)], lr=1.0), rho=0.5, eta=0.0)
        >>> def closure():
        ...     optimizer.zero_grad()
        ...     loss = (w - 1).square().sum() / 2
        ...     loss.backward()
        ...     return loss
        >>> optimizer.step(closure)  # moves by (0.5 * 3, 0): what is zero stays
        tensor(2.5000)
        >>> w.detach()
        tensor([[-0.5000,  1.0000]])
    """

    usual_radii: ClassVar[dict[str, float]] = {"rho": 0.5}

    def __init__(
        self,
        base: Optimizer,
        *,
        rho: float = 0.5,
        eta: float = 0.01,
        variant: Literal["official", "davda54"] = "official",
        model: nn.Module | None = None,
    ) -> None:
        if variant not in ("official", "davda54"):
            raise ValueError(f'variant={variant!r} is unknown. Expected "official" or "davda54".')
        check_range("eta", eta, usual=0.01)
        official = variant == "official"
        self.eta = eta if official else 0.0
        self._eps = 1e-16 if official else EPS
        adaptive = None if official else True
        super().__init__(base, model=model, defaults={"rho": rho, "perturb": True, "adaptive": adaptive})

    def _gather(self, passes: Passes) -> None:
        if not self._perturbs():
            return passes.run()
        g = passes.perturbed(passes.gradient())
        scaled = [p for group in self.param_groups for p in _adaptive(group) if p in g]
        T = dict(zip(scaled, torch._foreach_abs(scaled), strict=True)) if scaled else {}
        if T:
            torch._foreach_add_(list(T.values()), self.eta)
        multiply_(g, T)
        norm = passes.norm(g)
        multiply_(g, T)
        del T
        passes.climb_to(g, norm=norm, eps=self._eps)
        del g
        return passes.run()


def _adaptive(group: dict[str, Any]) -> list[Tensor]:
    params: list[Tensor] = group["params"]
    if group["adaptive"] is not None:
        return params if group["adaptive"] else []
    if "param_names" in group:
        return [p for p, name in zip(params, group["param_names"], strict=True) if "weight" in name]
    return [p for p in params if p.ndim >= 2]
