"""Smoothness-adaptive SAM (Naganuma, Kim et al. 2024), algorithm 1.

    g = G(w_t), g' = G(w_{t-1}) give eta_t and theta_t, as in SA-SGD            (line 5, with the delta of section 3)
    rho_t = sqrt(eta_t)                                                         (line 6; rho_0 in line 2)
    d = G(w_t + rho_t g / (||g|| + 1e-12))                                      (line 7)
    w <- w_t - eta_t (d + weight_decay w_t)                                     all on the same mini-batch

The step size is estimated from clean gradients, not from those of SAM. Three passes a step, two in the first.

``preset="official"`` is the authors' code: that of SA-SGD's preset, rho_t = sqrt(eta_{t-1}), and 1e-8 in the norm.

The perturbed pass draws its own dropout masks. Not here: the optional clipping of g in that code, which would also
change the difference of gradients.
"""

import math
from typing import Any

from landscape.optim.passes import EPS, Passes
from landscape.optim.sasgd import OFFICIAL_EPS, SASGD


class SASAM(SASGD):
    """SAM that sets its own step size and radius. The arguments are those of ``SASGD``: ``lr`` is eta_0.

    Every group has the option ``perturb``: False leaves it where it is in the perturbed pass, and out of that pass's
    norm. ``group["rho"]`` is the radius used last: the root of the group's step size.

    Example:
        >>> import torch
        >>> w = torch.nn.Parameter(torch.tensor([8.0]))
        >>> optimizer = SASAM([w], lr=0.25)
        >>> def closure():
        ...     optimizer.zero_grad()
        ...     loss = w.square().sum()
        ...     loss.backward()
        ...     return loss
        >>> optimizer.step(closure).item(), w.item()  # 8 - 0.25 * 2 * (8 + sqrt(0.25))
        (64.0, 3.75)
    """

    def _group_options(self, lr: float) -> dict[str, Any]:
        return {"eta": lr, "rho": math.sqrt(lr), "perturb": True}

    def _gather(self, passes: Passes) -> None:
        g = self._adapt(passes)
        eta = self.eta if self.preset else self._next["eta"]
        for group in self.param_groups:
            group["rho"] = math.sqrt(eta * self._factor(group))
        if passes.climb_to(g, eps=OFFICIAL_EPS if self.preset else EPS):
            del g  # the last pass needs its room
            passes.run()
        else:
            passes.leave(g)
