"""Random SAM (Liu et al., NeurIPS 2022, "Random Sharpness-Aware Minimization"), as its official code has it.

    D = sigma * N(0, I) * s(w)             s = the norm of each output filter; of the whole tensor up to one dimension
    v = lam * G(w + D) + D                 G: gradient of the mini-batch loss
    e = rho * v / (||v|| + 1e-12)          from w, not from w + D
    w <- base(w, G(w + e))                 on the same mini-batch

||v|| is over the parameters of all perturbed groups that have a gradient, jointly. With sigma = 0 this is SAM.

Unlike the official code, tensors of equal shape get different noise, and so do not workers: all processes draw the
same, unless they are given other seeds (then each must save its own state). No pass is at w, so the loss that ``step``
returns, and the buffers with ``model=``, are those at w + D.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from landscape.optim.base import MultiPassOptimizer
from landscape.optim.passes import Passes
from landscape.optim.vectors import Vectors, add_, scale_


class RSAM(MultiPassOptimizer):
    """Random sharpness-aware minimization over a base optimizer: two passes a step.

    Groups have ``rho`` and ``perturb`` as in ``SAM``, and ``sigma``, which may be scheduled too.

    Args:
        base: the optimizer that makes the update.
        rho: radius of the ball, in units of the weights.
        sigma: size of the noise, relative to the weights of a filter where ``filter_wise``. The authors raise it from
            0.0005 to 0.0025 along a cosine.
        lam: how much the gradient at the noisy weights counts beside the noise.
        filter_wise: scale the noise by the norm of each filter.
        seed: of the noise.
        model: where given, its buffers follow the first pass only.

    Raises:
        ValueError: for a rho or sigma that is negative or not finite.

    Example:
        >>> w = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
        >>> optimizer = RSAM(torch.optim.SGD([w], lr=0.1), rho=0.5, sigma=0.0)
        >>> def closure():
        ...     optimizer.zero_grad()
        ...     loss = w.square().sum() / 2
        ...     loss.backward()
        ...     return loss
        >>> optimizer.step(closure)
        tensor(12.5000)
        >>> w.detach()
        tensor([2.6700, 3.5600])
    """

    usual_radii: ClassVar[dict[str, float]] = {"rho": 0.05, "sigma": 0.001}

    def __init__(
        self,
        base: Optimizer,
        *,
        rho: float = 0.05,
        sigma: float = 0.001,
        lam: float = 2.0,
        filter_wise: bool = True,
        seed: int = 0,
        model: nn.Module | None = None,
    ) -> None:
        self.lam = lam
        self.filter_wise = filter_wise
        super().__init__(base, model=model, defaults={"rho": rho, "sigma": sigma, "perturb": True}, seed=seed)

    def _gather(self, passes: Passes) -> None:
        if not self._perturbs():
            return passes.run()
        noise = self._noise()
        passes.move(noise)
        v = scale_(passes.perturbed(passes.gradient()), self.lam)
        passes.back()
        add_(v, {p: noise[p] for p in v if p in noise})
        del noise
        passes.climb_to(v)
        del v
        return passes.run()

    def _noise(self) -> Vectors:
        return {
            p: self.sample_like(p).mul_(group["sigma"] * self._size(p))
            for group in self.param_groups
            if group["perturb"] and group["sigma"]
            for p in group["params"]
            if p.requires_grad
        }

    def _size(self, p: Tensor) -> Tensor | float:
        if not self.filter_wise:
            return 1.0
        return torch.linalg.vector_norm(p, dim=tuple(range(1, p.ndim)) if p.ndim > 1 else None, keepdim=p.ndim > 1)
