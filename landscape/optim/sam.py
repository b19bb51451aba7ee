"""Sharpness-aware minimization (Foret et al. 2021, arXiv:2010.01412).

    g = G(w)                               gradient of the mini-batch loss
    e = rho * g / (||g|| + 1e-12)          the worst point of the ball, to first order        (eq. 2, p = 2)
    d = G(w + e)                           on the same mini-batch                             (eq. 3)
    w <- base(w, d)                        the base's update at w, with d as the gradient

||g|| is the 2-norm over the parameters of all perturbed groups that have a gradient, jointly. Weight decay is the
base's, at w, as in every PyTorch version. The paper's own code has ``wd/2 ||w||^2`` in the loss of both passes instead.
So does ``coupled_weight_decay``: g = G(w) + wd w, d = G(w + e) + wd (w + e), and the base steps with its own weight
decay at zero, or it would be there twice. (With SGD or Adam, which would have added wd w to d, wd e is what is new; the
decoupled decay of AdamW gives way to this coupled one.)

Each pass draws its own dropout masks. Not here: adaptive scaling (ASAM).
"""

from typing import ClassVar, Literal

from torch import nn
from torch.optim import Optimizer

from landscape.optim.base import MultiPassOptimizer
from landscape.optim.passes import SQRT_LR, Passes
from landscape.optim.vectors import Vectors, add_


class SAM(MultiPassOptimizer):
    """Sharpness-aware minimization over a base optimizer: two passes a step.

    Every group of parameters has the options ``rho``, which may be set and scheduled for itself, and ``perturb``: False
    leaves the group where it is, and out of the norm. With rho = 0 in every group the step is the base's own, in one
    pass.

    Args:
        base: the optimizer that makes the update, for instance ``torch.optim.SGD(model.parameters(), lr=0.1)``.
        rho: radius of the ball, in units of the weights. 0.05 is usual for 10 classes, 0.1 for 100. "sqrt-lr" is the
            root of the learning rate that the group has at each step, as SA-SAM (Naganuma, Kim et al. 2024) has it.
        coupled_weight_decay: put the base's weight decay into both gradients (see the module).
        model: where given, its buffers (BatchNorm statistics) follow the clean pass only, as in the paper's code.

    Raises:
        ValueError: for a rho that is negative, not finite or another word; no ``weight_decay`` in the base to couple.

    Example:
        >>> import torch
        >>> w = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
        >>> optimizer = SAM(torch.optim.SGD([w], lr=0.1), rho=0.5)
        >>> def closure():
        ...     optimizer.zero_grad()
        ...     loss = w.square().sum() / 2
        ...     loss.backward()
        ...     return loss
        >>> optimizer.step(closure)  # the gradient is taken at w + 0.5 w / ||w|| = 1.1 w
        tensor(12.5000)
        >>> w.detach()
        tensor([2.6700, 3.5600])
    """

    usual_radii: ClassVar[dict[str, float]] = {"rho": 0.05}
    named_radii: ClassVar[tuple[str, ...]] = (SQRT_LR,)

    def __init__(
        self,
        base: Optimizer,
        *,
        rho: float | Literal["sqrt-lr"] = 0.05,
        coupled_weight_decay: bool = False,
        model: nn.Module | None = None,
    ) -> None:
        groups = base.param_groups if isinstance(base, Optimizer) else []
        if coupled_weight_decay and not all("weight_decay" in group for group in groups):
            raise ValueError(
                f"coupled_weight_decay=True, but {type(base).__name__} has no weight_decay. "
                "Expected a base that has, such as torch.optim.SGD(params, lr=0.1, weight_decay=5e-4)."
            )
        self.coupled_weight_decay = coupled_weight_decay
        super().__init__(base, model=model, defaults={"rho": rho, "perturb": True})

    def _gather(self, passes: Passes) -> None:
        g = self._gradient(passes)
        if passes.climb_to(g):
            del g  # the last pass needs its room
            g = self._gradient(passes)
        passes.leave(g)

    def _gradient(self, passes: Passes) -> Vectors:
        g = passes.gradient()
        for group in self.param_groups if self.coupled_weight_decay else ():
            add_(g, {p: p for p in group["params"] if p in g}, alpha=group["weight_decay"])
        return g

    def _update(self) -> None:
        if self.coupled_weight_decay:
            self._update_with("weight_decay", [0.0] * len(self.param_groups))
        else:
            super()._update()
