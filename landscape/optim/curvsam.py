"""CurvSAM (Petrov et al., "Adaptive SAM with Curvature-Dependent Learning Rates"), algorithm 1.

    h <- beta h + (1 - beta) |z * H z|     every update_every steps, from the first; z ~ N(0, I), h_0 = 1   (eq. 3, 4)
    D = diag(max(sqrt(h), delta))                                                                             (eq. 5)
    e = rho D^-1 g / (||D^-1/2 g|| + 1e-12)                                               g = G(w)            (eq. 6)
    w <- base(w, G(w + e))                 the base's update at w; both gradients on the same mini-batch

To first order, e is the worst point of the ellipsoid e'De <= rho^2 (eq. 2). H is the Hessian of the mini-batch's loss
at w, before the perturbation. h has an entry for each weight, as in the algorithm (the abstract says "per group").
|z * H z| overestimates the diagonal's absolute value, by the entries beside it. The length of e is not rho: in
directions without curvature it tends to rho / sqrt(delta). The paper gives update_every = 5 and no other value; those
of ``rho``, ``beta`` and ``delta`` are ours.

H z needs ``loss`` in ``step(closure, loss=loss)``. In the steps that need it, the clean pass is then made by ``loss``,
with a graph that is kept, so that H z is one more backward. Without ``loss``, or with ``hvp="finite-difference"``,

    H z ~ (G(w + r z) - G(w - r z)) / 2r        r = 1e-3 ||w|| / ||z||        two passes, with the same dropout masks

``hvp_used`` tells which. Several processes draw the same z, and average H z before the absolute value. Not here: h
averaged over blocks, other distributions of z (override ``sample_like``).
"""

import math
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from landscape.optim.base import MultiPassOptimizer
from landscape.optim.passes import Passes
from landscape.optim.vectors import Vectors, add_, global_norm, multiply_, scale_


class CurvSAM(MultiPassOptimizer):
    """Sharpness-aware minimization in an ellipsoid that is narrow where the curvature is large: two passes a step.

    Groups have ``rho`` and ``perturb`` as in ``SAM``; a group with perturb=False is in no Hessian product either.

    Args:
        base: the optimizer that makes the update, for instance ``torch.optim.SGD(model.parameters(), lr=0.1)``.
        rho: radius of the ellipsoid.
        beta: how much of the curvature's average an update keeps; with 1 this is SAM.
        delta: bounds sqrt(h) from below.
        update_every: steps from one update of the curvature to the next.
        hvp: "exact", or "finite-difference" where the model cannot be differentiated twice (see the module).
        seed: of z.
        model: where given, its buffers (BatchNorm statistics) follow the clean pass only.

    Raises:
        ValueError: for a number out of its range, an unknown ``hvp``.

    Example:
        >>> w = torch.nn.Parameter(torch.tensor([1.0, 1.0]))
        >>> optimizer = CurvSAM(torch.optim.SGD([w], lr=0.0), update_every=1)
        >>> def loss():
        ...     return (torch.tensor([100.0, 1.0]) * w.square()).sum() / 2
        >>> def closure():
        ...     optimizer.zero_grad()
        ...     value = loss()
        ...     value.backward()
        ...     return value
        >>> losses = [optimizer.step(closure, loss=loss).item() for _ in range(100)]
        >>> h = optimizer.state[w]["curvature"]  # an average of z^2 (100, 1)
        >>> bool(h[0] > 10 * h[1])
        True
    """

    usual_radii: ClassVar = {"rho": 0.05}

    def __init__(
        self,
        base: Optimizer,
        *,
        rho: float = 0.05,
        beta: float = 0.9,
        delta: float = 0.1,
        update_every: int = 5,
        hvp: str = "exact",
        seed: int = 0,
        model: nn.Module | None = None,
    ) -> None:
        if not 0 <= beta <= 1:
            raise ValueError(f"beta={beta} is out of range. Expected 0 <= beta <= 1; 0.9 is a usual value.")
        if not 0 < delta < math.inf:
            raise ValueError(f"delta={delta} is out of range. Expected 0 < delta < inf; 0.1 is a usual value.")
        if update_every < 1:
            raise ValueError(f"update_every={update_every} is out of range. Expected 1 <= update_every; 5 is usual.")
        if hvp not in ("exact", "finite-difference"):
            raise ValueError(f'hvp={hvp!r} is not known. Expected "exact" or "finite-difference".')
        self.beta = beta
        self.delta = delta
        self.update_every = update_every
        self.hvp = hvp
        self._curvature: Vectors = {}
        super().__init__(base, model=model, defaults={"rho": rho, "perturb": True}, seed=seed)
        self.scalars = {"step": 0}

    def _gather(self, passes: Passes) -> None:
        self._curvature = {}
        due = self.scalars["step"] % self.update_every == 0
        g = self._gradient_and_curvature(passes) if due else passes.gradient()
        if self._climb(passes, g):
            del g  # the last pass needs its room
            passes.run()
        else:
            passes.leave(g)

    def _gradient_and_curvature(self, passes: Passes) -> Vectors:
        """Run the clean pass, update the curvature, and return the gradient."""
        if self.hvp == "exact" and passes.loss is not None:
            g, times_hessian = passes.gradient_and_product()
        else:
            g, times_hessian = passes.gradient(), partial(_difference_product, passes)
            passes.hvp = "finite-difference"
        params = [p for group in self.param_groups if group["perturb"] for p in group["params"] if p.requires_grad]
        z = {p: self.sample_like(p) for p in params}  # the same in all processes, whatever has a gradient there
        z = {p: z[p] for p in params if p in g}
        Hz = times_hessian(z)
        h = passes.workers.mean_of_step(multiply_({p: Hz[p] for p in z if p in Hz}, z))
        del z, Hz
        if h:
            torch._foreach_abs_(list(h.values()))
        scale_(h, 1 - self.beta)
        self._curvature = add_(h, {p: self._h(p) for p in h}, alpha=self.beta)
        return g

    def _h(self, p: Tensor) -> Tensor:
        if p in self._curvature:
            return self._curvature[p]
        return self.state[p]["curvature"] if p in self.state else torch.ones_like(p)

    def _climb(self, passes: Passes, g: Vectors) -> bool:
        """Move to w + e, and use ``g`` up for that; tell if anything moved."""
        g = passes.perturbed(g)
        if not any(group["rho"] and p in g for group in self.param_groups for p in group["params"]):
            return False
        roots = torch._foreach_sqrt([self._h(p) for p in g])
        torch._foreach_clamp_min_(roots, self.delta)
        torch._foreach_sqrt_(roots)
        torch._foreach_div_(list(g.values()), roots)
        norm = passes.norm(g)  # of D^-1/2 g
        torch._foreach_div_(list(g.values()), roots)
        del roots
        return passes.climb_to(g, norm=norm)

    def _update(self) -> None:
        for p, h in self._curvature.items():
            self.state[p]["curvature"] = h
        self._curvature = {}
        self.scalars["step"] += 1
        super()._update()


def _difference_product(passes: Passes, z: Vectors) -> Vectors:
    """H z at the weights of the step, by a central difference of gradients."""
    if not z:
        return {}
    w_norm, z_norm = torch.stack([global_norm(z), global_norm(z.values())]).tolist()
    r = 1e-3 * (w_norm or 1.0) / z_norm
    with passes.rewound():
        product = _gradient_at(passes, z, r)
    add_(product, _gradient_at(passes, z, -r), alpha=-1.0)
    return scale_(product, 0.5 / r)


def _gradient_at(passes: Passes, z: Vectors, r: float) -> Vectors:
    passes.move(z, r)
    gradient = passes.gradient()
    passes.back()
    return gradient
