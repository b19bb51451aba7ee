"""Curvature-regularized SAM (Wu et al., AAAI 2024): a penalty on the normalized trace of the Hessian, by differences.

    g = G(w), v = g / (||g|| + 1e-12), g+ = G(w + rho v), g- = G(w - rho v); L, L+, L- the losses there      (eq. 5)
    plain:  d = g+ + alpha (g+ + g- - 2g)                  + beta (g+ - g-)
    log:    d = g+ + alpha (g+ + g- - 2g) / (L+ + L- - 2L) + beta (g+ - g-) / (L+ - L-)                      (eq. 6, 7)
    w <- base(w, d)                                        v is held constant, all on the same mini-batch

||g|| is over the parameters of all perturbed groups that have a gradient, jointly. With alpha = beta = 0 this is SAM.

The paper writes "log", its authors' code computes "plain", which therefore is the default. Unlike in that code:
1. The paper's alpha > beta holds for the defaults, which are those of the training script, not of the class.
2. Weights are restored by copy, buffers follow the pass at w, and its loss is returned, not that at w - rho v.

Settings do not carry over: "log" with alpha c, where c = L+ + L- - 2L is of the order of rho^2, pulls as "plain" does
with alpha. On the digits c is 0.03 in the median and 0.001 to 0.005 at its tenth percentile: the alpha of "log" is by
default 0.1 * 0.001, and beta a tenth of it, as in "plain". Two things make a larger one end at chance, where the loss
is log C of C classes and c is 0. A logarithm has no bottom: log C + alpha log c may be the least there is, and that is
it. And where c crosses 0, as the curvature along the gradient is often negative at first, one step is as large as
alpha / c. (With 0.01 an MLP on the digits ended there in 3 of 6 runs, with 0.1 in all of 6; where 40 % of the labels
are wrong, with 0.0003 in 1 of 12, and with the default in none.)
A term is left out, and counted, where the argument of its logarithm is 1e-12 or less. That argument is a cancellation:
return the loss in float32 or wider.
"""

from typing import ClassVar, Literal

from torch import nn
from torch.optim import Optimizer

from landscape.optim.base import MultiPassOptimizer, check_range
from landscape.optim.passes import EPS, Passes
from landscape.optim.vectors import add_, scale_

_USUAL = {"plain": (0.1, 0.01), "log": (1e-4, 1e-5)}  # alpha and beta


class CRSAM(MultiPassOptimizer):
    """Curvature-regularized sharpness-aware minimization over a base optimizer: three passes a step.

    Groups have ``rho`` and ``perturb`` as in ``SAM``.

    Args:
        base: the optimizer that makes the update.
        rho: distance of the two outer points, in units of the weights.
        alpha: weight of the curvature along the gradient; by default 0.1, and 0.0001 in "log" (see the module).
        beta: weight of the slope, less than alpha in the paper; by default 0.01, and 0.00001 in "log".
        regularizer: "plain" as in the authors' code, "log" as in the paper.
        model: where given, its buffers follow the clean pass only.

    Raises:
        ValueError: for a number out of its range, an unknown regularizer.

    Example:
        >>> import torch
        >>> w = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
        >>> optimizer = CRSAM(torch.optim.SGD([w], lr=1.0), rho=0.5, alpha=0.0, beta=1.0)
        >>> def closure():
        ...     optimizer.zero_grad()
        ...     loss = w.square().sum() / 2
        ...     loss.backward()
        ...     return loss
        >>> optimizer.step(closure)  # d = 1.1 w + (1.1 w - 0.9 w)
        tensor(12.5000)
        >>> w.detach()
        tensor([-0.9000, -1.2000])
    """

    usual_radii: ClassVar[dict[str, float]] = {"rho": 0.1}

    def __init__(
        self,
        base: Optimizer,
        *,
        rho: float = 0.1,
        alpha: float | None = None,
        beta: float | None = None,
        regularizer: Literal["plain", "log"] = "plain",
        model: nn.Module | None = None,
    ) -> None:
        if regularizer not in _USUAL:
            raise ValueError(f'regularizer={regularizer!r} is unknown. Expected "plain" or "log".')
        usual_alpha, usual_beta = _USUAL[regularizer]
        self.alpha = usual_alpha if alpha is None else alpha
        self.beta = usual_beta if beta is None else beta
        check_range("alpha", self.alpha, usual=usual_alpha)
        check_range("beta", self.beta, usual=usual_beta)
        self.regularizer = regularizer
        self._num_dropping = 0
        super().__init__(base, model=model, defaults={"rho": rho, "perturb": True})
        self.scalars["num_dropped"] = 0

    @property
    def num_dropped(self) -> int:
        """How many terms of "log" were left out so far."""
        return int(self.scalars["num_dropped"])

    def _gather(self, passes: Passes) -> None:
        self._num_dropping = 0
        if not self._perturbs():
            return passes.run()
        g, here = passes.gradient(), passes.value
        passes.climb_to(g)
        if not self.alpha and not self.beta:
            del g
            return passes.run()
        d, worst = passes.gradient(), passes.value
        passes.back()
        minus_g = scale_(g, -1.0)
        passes.climb_to(minus_g)
        g_best, best = passes.gradient(), passes.value
        alpha, beta = self.alpha, self.beta
        if self.regularizer == "log":
            alpha = self._of_log(alpha, worst.item() + best.item() - 2 * here.item())
            beta = self._of_log(beta, worst.item() - best.item())
        scale_(d, 1 + alpha + beta)
        add_(d, g_best, alpha=alpha - beta)
        return passes.leave(add_(d, minus_g, alpha=2 * alpha))

    def _of_log(self, weight: float, argument: float) -> float:
        if weight and argument <= EPS:
            self._num_dropping += 1
            return 0.0
        return weight / argument if weight else 0.0

    def _update(self) -> None:
        self.scalars["num_dropped"] += self._num_dropping
        super()._update()
