"""Smoothness-adaptive SGD: the step size of Malitsky & Mishchenko 2020 (arXiv:1910.09529) on mini-batches.

    g = G(w_t), g' = G(w_{t-1})                                                 both on the mini-batch of step t
    eta_t = min(||w_t - w_{t-1}|| / (damping ||g - g'||), sqrt(1 + delta theta_{t-1}) eta_{t-1})     (their Alg. 1)
    theta_t = eta_t / eta_{t-1}                                                 first step: eta_0 = lr, theta_0 = inf
    w <- w_t - eta_t (g + weight_decay w_t)

Their delta is 1; 0.02 is the value of the SA-SAM paper (section 3). Norms are over all groups of parameters, jointly,
and over the parameters that have a gradient. Where nothing moved, or the gradient did not change, eta
grows by the second term; where that is infinite, it stays.

``preset="official"`` is the authors' code: damping 1, theta_0 = 1, 1e-8 added to a step size that was compared, and
growth by the second term before the first step too. (With several groups that code has a step size for each; here
there is one.)

Both passes of a step draw the same dropout masks on CPU and CUDA, or their difference would measure noise.
Several processes find one step size, since ``g - g'`` is averaged over them in any case.
"""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD

from landscape.optim.base import MultiPassOptimizer, check_range
from landscape.optim.passes import Passes
from landscape.optim.precision import NonFinitePassError
from landscape.optim.vectors import Vectors, add_, copy_, global_norm

OFFICIAL_EPS = 1e-8


class SASGD(MultiPassOptimizer):
    """SGD that sets its own step size: two passes a step (one in the first), no momentum, no schedule needed.

    The step size is for all groups. ``group["lr"]`` stays what it was: a scheduler, or a group's own ``lr``, multiplies
    the step size of its group by ``group["lr"] / lr``. What was used last is in ``group["eta"]``.

    Args:
        params: parameters, named parameters or groups, as of any torch optimizer.
        lr: eta_0. Better too small than too large: it grows.
        delta: how fast the step size may grow.
        damping: divides the estimate of 1 / smoothness.
        weight_decay: added to the step, outside the estimate; an option of every group.
        preset: "official" for the authors' code (see the module), which sets ``damping``.
        model: where given, its buffers (BatchNorm statistics) follow the pass at w_t only.

    Raises:
        ValueError: for a number out of its range, an unknown preset.

    Example:
        >>> w = torch.nn.Parameter(torch.tensor([8.0]))
        >>> optimizer = SASGD([w], lr=0.25)
        >>> def closure():
        ...     optimizer.zero_grad()
        ...     loss = w.square().sum()  # its gradient is 2 w: smoothness 2, so eta becomes 1 / (2 * 2)
        ...     loss.backward()
        ...     return loss
        >>> [optimizer.step(closure).item() for _ in range(3)], w.item(), optimizer.eta
        ([64.0, 16.0, 4.0], 1.0, 0.25)
    """

    def __init__(
        self,
        params: Iterable[Any],
        *,
        lr: float,
        delta: float = 0.02,
        damping: float = 2.0,
        weight_decay: float = 0.0,
        preset: str | None = None,
        model: nn.Module | None = None,
    ) -> None:
        for name, value in (("lr", lr), ("damping", damping)):
            if not 0 < value < math.inf:
                raise ValueError(f"{name}={value} is out of range. Expected 0 < {name} < inf.")
        check_range("delta", delta, usual=0.02)
        if preset not in (None, "official"):
            raise ValueError(f'preset={preset!r} is not known. Expected None or "official".')
        self.delta = delta
        self.damping = 1.0 if preset else damping
        self.preset = preset
        self._next: dict[str, float] = {}
        super().__init__(SGD(params, lr=lr, weight_decay=weight_decay), model=model, defaults=self._group_options(lr))
        self.scalars = {"lr": lr, "step": 0, "eta": lr, "theta": 1.0 if preset else math.inf}

    @property
    def eta(self) -> float:
        """The step size found last, without the factors of schedulers and groups; ``lr`` before the first step."""
        return self.scalars["eta"]

    def _group_options(self, lr: float) -> dict[str, Any]:
        return {"eta": lr}

    def _gather(self, passes: Passes) -> None:
        passes.leave(self._adapt(passes))

    def _adapt(self, passes: Passes) -> Vectors:
        """The gradient at w_t, from the passes at w_t and w_{t-1} that find the step size."""
        if self.scalars["step"] == 0:
            g = passes.gradient()
            self._find(0.0, 0.0)
            return g
        with passes.rewound():
            g = passes.gradient()
        moved, previous = list(self.state), [tensors["previous"] for tensors in self.state.values()]
        _exchange(moved, previous)
        try:
            change = passes.gradient()
        finally:
            _exchange(moved, previous)
        change = passes.workers.mean_of_step(add_(change, g, alpha=-1.0))
        gradients_apart = global_norm(change.values())
        motion = {p: change[p] for p in moved if p in change}  # in the same tensors
        copy_(list(motion.values()), list(motion))
        add_(motion, {p: self.state[p]["previous"] for p in motion}, alpha=-1.0)
        weights_apart = global_norm(motion.values())
        self._find(*torch.stack([weights_apart.to(gradients_apart), gradients_apart]).tolist())
        return g

    def _find(self, weights_apart: float, gradients_apart: float) -> None:
        """Find eta and theta from the norms of w_t - w_{t-1} and g - g'."""
        if not math.isfinite(weights_apart + gradients_apart):
            raise NonFinitePassError
        step, eta, theta = self.scalars["step"], self.scalars["eta"], self.scalars["theta"]
        found = eta * math.sqrt(1 + self.delta * theta) if self.delta else eta  # 0 * inf
        if weights_apart > 0 and gradients_apart > 0:
            found = min(weights_apart / gradients_apart / self.damping, found) + (OFFICIAL_EPS if self.preset else 0.0)
        if not found < math.inf:
            found = eta
        if step or self.preset:
            theta = found / eta
        self._next = {"step": step + 1, "eta": found, "theta": theta}

    def _factor(self, group: dict[str, Any]) -> float:
        return group["lr"] / self.scalars["lr"]

    def _update(self) -> None:
        for p in self._all_params():
            if p.grad is None:
                self.state.pop(p, None)  # it stays: the next difference is zero
            elif p not in self.state:
                self.state[p]["previous"] = torch.empty_like(p)
        copy_([tensors["previous"] for tensors in self.state.values()], list(self.state))
        self.scalars.update(self._next)
        for group in self.param_groups:
            group["eta"] = self.eta * self._factor(group)
        self._update_with("lr", [group["eta"] for group in self.param_groups])


def _exchange(some: list[Tensor], others: list[Tensor]) -> None:
    """Swap the contents, one pair at a time: there is no room for a third model."""
    for a, b in zip(some, others, strict=True):
        before = a.clone()
        a.copy_(b)
        b.copy_(before)
