"""Gradient-norm-aware minimization (Zhang et al., CVPR 2023): a penalty on the largest gradient norm around w.

    f = H(w) g / (||g|| + 1e-12)             g = G(w): f is the gradient of ||G||            (alg. 1, line 6; eq. 8)
    w_a = w + rho f / (||f|| + 1e-12)        where that norm is largest, to first order      (line 7; eq. 7)
    h = rho H(w_a) g_a / (||g_a|| + 1e-12)   g_a = G(w_a)                                    (line 8)
    w <- base(w, d),  d = G_oracle(w) + alpha h                                              (lines 5, 10)

Norms are over the parameters of all perturbed groups that have a gradient, jointly. The oracle is the loss, or SAM's:
``G(w + rho_sam g / ||g||)``. With alpha = 0 the step is the oracle's. Modes:

"hvp": as above; with ``step(closure, loss=loss)`` the products are exact, and gradients at w and w_a come from the same
    graph, without the closure. Without ``loss`` the step is that of "fd", and ``hvp_used`` says "finite-difference".
"fd": H(x) G(x) / ||G(x)|| is replaced by ``(G(x + rho' G(x) / ||G(x)||) - G(x)) / rho'``: four gradients.
"accelerated" (alg. 2, the form that was released): from those four, g0 and g1 at w, g2 and g3 at w_a,

    h+ = alpha g1 + (1 - alpha) g3,   h- = beta g0 + (1 - beta) g2
    d = h+ - gamma (h- - <h-, h+> / ||h+||^2 h+)

    It contains SAM: alpha = 1, gamma = 0 is SAM with rho'; alpha = beta = 1 is GSAM. The released code has 1 for the
    coefficient beta of g0: ``preset="official"``.

rho, rho' and rho_sam are each group's own, as the radii of SAM are: a group's e, and its part of h, have that group's.

With ``period`` k > 1 all this is done in every k-th step, from the first on, and the oracle's step in between.
Differences of gradients cancel: keep the weights in float32 or wider.
"""

from typing import Any, ClassVar, Literal

import torch
from torch import nn
from torch.optim import Optimizer

from landscape.optim.base import MultiPassOptimizer, check_range
from landscape.optim.passes import EPS, Passes
from landscape.optim.vectors import Vectors, add_, dot, global_norm, scale_


class GAM(MultiPassOptimizer):
    """Gradient-norm-aware minimization over a base optimizer: four passes a step, or two and two Hessian products.

    Groups have ``rho``, ``rho_prime``, ``rho_sam`` and ``perturb``, as ``rho`` and ``perturb`` in ``SAM``. With rho = 0
    in every group the step is the oracle's, as with alpha = 0; not so in mode "accelerated".

    Args:
        base: the optimizer that makes the update.
        rho: radius of the ball in which the gradient norm is penalized, in units of the weights.
        alpha: weight of the penalty; in mode "accelerated" that of SAM against it.
        mode: how the gradient of a gradient norm is computed (see the module).
        rho_prime: step of the finite differences; in mode "accelerated" also SAM's radius.
        beta: weight of g0 against g2, in mode "accelerated".
        gamma: how much of what is orthogonal is ascended, in mode "accelerated".
        oracle: "loss", or "sam" for SAM's loss.
        rho_sam: SAM's radius, where the oracle is "sam".
        period: in every how many steps the penalty is there.
        preset: "official" for the released code's variant of mode "accelerated".
        model: where given, its buffers follow the clean pass only.

    Raises:
        ValueError: for a number out of its range, or an unknown mode, oracle or preset.

    Example:
        >>> w = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
        >>> optimizer = GAM(torch.optim.SGD([w], lr=0.1), rho=0.5, alpha=2.0)
        >>> def loss():
        ...     return w.square().sum() / 2
        >>> optimizer.step(lambda: None, loss=loss)  # the gradient's norm is ||w||: d = w + 2 * 0.5 w / ||w||
        tensor(12.5000)
        >>> w.detach()
        tensor([2.6400, 3.5200])
    """

    usual_radii: ClassVar[dict[str, float]] = {"rho": 0.2, "rho_sam": 0.05}

    def __init__(
        self,
        base: Optimizer,
        *,
        rho: float = 0.2,
        alpha: float = 0.6,
        mode: Literal["hvp", "fd", "accelerated"] = "hvp",
        rho_prime: float = 0.02,
        beta: float = 0.5,
        gamma: float = 0.03,
        oracle: Literal["loss", "sam"] = "loss",
        rho_sam: float = 0.05,
        period: int = 1,
        preset: Literal["official"] | None = None,
        model: nn.Module | None = None,
    ) -> None:
        if mode not in ("hvp", "fd", "accelerated"):
            raise ValueError(f'mode={mode!r} is unknown. Expected "hvp", "fd" or "accelerated".')
        if oracle not in ("loss", "sam"):
            raise ValueError(f'oracle={oracle!r} is unknown. Expected "loss" or "sam".')
        if preset not in (None, "official") or (preset and mode != "accelerated"):
            raise ValueError(
                f'preset={preset!r} with mode={mode!r} is unknown. Expected None, or "official" with "accelerated".'
            )
        for name, value, usual in (("alpha", alpha, 0.6), ("beta", beta, 0.5), ("gamma", gamma, 0.03)):
            check_range(name, value, usual=usual)
        if period < 1:
            raise ValueError(f"period={period} is out of range. Expected 1 <= period.")
        self.alpha = alpha
        self.mode = mode
        self.beta = beta
        self.gamma = gamma
        self.oracle = oracle
        self.period = period
        self.preset = preset
        radii = {"rho": rho, "rho_prime": rho_prime, "rho_sam": rho_sam}
        super().__init__(base, model=model, defaults=radii | {"perturb": True})
        self.scalars["num_steps"] = 0

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group as the other optimizers do; its ``rho_prime`` divides, and may not be zero."""
        _require_positive(param_group.get("rho_prime", self.defaults["rho_prime"]))
        super().add_param_group(param_group)

    def _gather(self, passes: Passes) -> None:
        penalized = self.mode == "accelerated" or (self.alpha and self._perturbs())
        if self.scalars["num_steps"] % self.period or not penalized:
            return passes.leave(self._oracle_gradient(passes, passes.gradient()))
        if self.mode == "accelerated":
            return passes.leave(self._accelerated(passes))
        exact = self.mode == "hvp" and passes.loss is not None
        direction, h = self._exact(passes) if exact else self._differences(passes)
        for group in self.param_groups:
            scale_({p: h[p] for p in group["params"] if p in h}, self.alpha * group["rho"])
        return passes.leave(add_(h, direction))

    def _exact(self, passes: Passes) -> tuple[Vectors, Vectors]:
        """The oracle's gradient at w, and the gradient of the gradient norm at w_a."""
        g, f = self._gradient_of_norm(passes)
        direction = self._oracle_gradient(passes, g)
        del g
        passes.back()
        passes.climb_to(f)
        del f
        return direction, self._gradient_of_norm(passes)[1]

    def _gradient_of_norm(self, passes: Passes) -> tuple[Vectors, Vectors]:
        g, product = passes.gradient_and_product()
        norm = passes.norm(g)
        return g, scale_(product(passes.perturbed(g)), 1 / (norm + EPS))

    def _differences(self, passes: Passes) -> tuple[Vectors, Vectors]:
        """What ``_exact`` returns, by finite differences."""
        g0, g1 = self._pair(passes)
        passes.back()
        steps = [group["rho_prime"] for group in self.param_groups]
        if self.oracle == "sam" and steps == [group["rho_sam"] for group in self.param_groups]:  # g1 is the oracle's
            h0, direction = add_(scale_(g0, -1.0), g1), g1
        else:
            h0, direction = add_(g1, g0, alpha=-1.0), self._oracle_gradient(passes, g0)
            passes.back()
        del g0, g1
        passes.climb_to(h0)
        del h0
        g2, g3 = self._pair(passes)
        if self.mode == "hvp":
            passes.hvp = "finite-difference"
        h = add_(g3, g2, alpha=-1.0)
        for group, step in zip(self.param_groups, steps, strict=True):
            _require_positive(step)
            scale_({p: h[p] for p in group["params"] if p in h}, 1 / step)
        return direction, h

    def _pair(self, passes: Passes) -> tuple[Vectors, Vectors]:
        """The gradient where the weights are, and that at ``rho_prime`` along it, where they are left."""
        g = passes.gradient()
        passes.climb_to(g, "rho_prime")
        return g, passes.gradient()

    def _accelerated(self, passes: Passes) -> Vectors:
        g0, g1 = self._pair(passes)
        passes.back()
        passes.climb_to(add_({p: g.clone() for p, g in g1.items()}, g0, alpha=-1.0))
        g2, g3 = self._pair(passes)
        h_plus = add_(scale_(g3, 1 - self.alpha), g1, alpha=self.alpha)
        h_minus = add_(scale_(g0, 1.0 if self.preset == "official" else self.beta), g2, alpha=1 - self.beta)
        del g0, g1, g2, g3
        norm_plus, norm_minus = (global_norm(v.values()).item() for v in (h_plus, h_minus))
        cosine = dot(h_minus, h_plus).item() / (norm_minus * norm_plus + EPS)
        parallel = norm_minus * cosine / (norm_plus + EPS)
        return add_(scale_(h_plus, 1 + self.gamma * parallel), h_minus, alpha=-self.gamma)

    def _oracle_gradient(self, passes: Passes, g: Vectors) -> Vectors:
        """The oracle's gradient at w, where the weights are and the gradient is ``g``, which it takes over."""
        if self.oracle == "loss" or not passes.climb_to(g, "rho_sam"):
            return g
        g.clear()
        return passes.gradient()

    def _update(self) -> None:
        self.scalars["num_steps"] += 1
        super()._update()


def _require_positive(rho_prime: float) -> None:
    if not 0 < rho_prime < torch.inf:
        raise ValueError(f"rho_prime={rho_prime} is out of range. Expected 0 < rho_prime < inf; 0.02 is usual.")
