"""The update rules written once more from the papers, as plainly as they can be: what the optimizers are held against.

The weights are one flat float64 vector, a loss is a plain function of it, and nothing here knows an optimizer class, a
parameter group or a closure. Each method is a generator: it takes the loss of every step (of its mini-batch), yields
the weights after it. A hyper-parameter that groups may set for themselves is a number or a vector, one entry a weight.

    g(w) = gradient(loss, w),   H(w) v = hessian_product(loss, w, v),   update(w, d) = the base's weights after d at w
"""

import math
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

Loss = Callable[[Tensor], Tensor]
Update = Callable[[Tensor, Tensor], Tensor]
Steps = Iterator[Tensor]
Value = float | Tensor


def gradient(loss: Loss, w: Tensor) -> Tensor:
    w = w.detach().clone().requires_grad_()
    return torch.autograd.grad(loss(w), w)[0]


def hessian_product(loss: Loss, w: Tensor, v: Tensor) -> Tensor:
    w = w.detach().clone().requires_grad_()
    (g,) = torch.autograd.grad(loss(w), w, create_graph=True)
    return torch.autograd.grad(g @ v, w)[0]


def value(loss: Loss, w: Tensor) -> float:
    return loss(w).item()


def norm(v: Tensor) -> float:
    return math.sqrt(sum(x * x for x in v.tolist()))


def dot(u: Tensor, v: Tensor) -> float:
    return sum(x * y for x, y in zip(u.tolist(), v.tolist(), strict=True))


# Bases. ---------------------------------------------------------------------------------------------------------------


def sgd(*, lr: Value, momentum: Value, weight_decay: Value) -> Update:
    """b = g + wd w at first, then b = momentum b + g + wd w;  w - lr b."""
    state: dict[str, Tensor] = {}

    def update(w: Tensor, d: Tensor) -> Tensor:
        d = d + weight_decay * w
        state["b"] = momentum * state["b"] + d if state else d
        return w - lr * state["b"]

    return update


def adam(*, lr: Value, weight_decay: Value, decoupled: bool = False) -> Update:
    """Adam (Kingma & Ba, algorithm 1) with the penalty in the gradient; AdamW where it is `decoupled`."""
    beta1, beta2, eps = 0.9, 0.999, 1e-8
    state = {"t": 0, "m": torch.zeros(()), "v": torch.zeros(())}

    def update(w: Tensor, d: Tensor) -> Tensor:
        if decoupled:
            w = w - lr * weight_decay * w
        else:
            d = d + weight_decay * w
        state["t"] += 1
        state["m"] = beta1 * state["m"] + (1 - beta1) * d
        state["v"] = beta2 * state["v"] + (1 - beta2) * d**2
        m = state["m"] / (1 - beta1 ** state["t"])
        v = state["v"] / (1 - beta2 ** state["t"])
        return w - lr * m / (v.sqrt() + eps)

    return update


def adamw(*, lr: Value, weight_decay: Value) -> Update:
    return adam(lr=lr, weight_decay=weight_decay, decoupled=True)


# Methods over a base. -------------------------------------------------------------------------------------------------


def plain(losses: Iterable[Loss], w: Tensor, update: Update) -> Steps:
    for loss in losses:
        w = update(w, gradient(loss, w))
        yield w


def sam(
    losses: Iterable[Loss], w: Tensor, update: Update, *, rho: Value, perturbed: Value = 1.0, coupled: Value = 0.0
) -> Steps:
    """Foret et al. 2021, eq. 2 and 3; `perturbed` is 0 on weights left out; `coupled` is the penalty of both passes."""
    for loss in losses:
        g = perturbed * (gradient(loss, w) + coupled * w)
        w_adv = w + rho * g / (norm(g) + 1e-12)
        w = update(w, gradient(loss, w_adv) + coupled * w_adv)
        yield w


def asam(
    losses: Iterable[Loss],
    w: Tensor,
    update: Update,
    *,
    rho: Value,
    eta: float,
    scaled: Tensor,
    eps: float = 1e-16,
    perturbed: Value = 1.0,
) -> Steps:
    """Kwon et al. 2021: T = |w| + eta where `scaled` is 1, else 1;  e = rho T² g / (||T g|| + eps)."""
    for loss in losses:
        g = perturbed * gradient(loss, w)
        T = scaled * (w.abs() + eta) + (1 - scaled)
        w = update(w, gradient(loss, w + rho * T * T * g / (norm(T * g) + eps)))
        yield w


def rsam(
    losses: Iterable[Loss],
    w: Tensor,
    update: Update,
    *,
    rho: Value,
    sigma: float,
    lam: float,
    filters: list[slice] | None,
    draws: Iterator[Tensor],
) -> Steps:
    """Liu et al. 2022, by its official code; noise is scaled by the norm of each of the `filters`."""
    for loss in losses:
        size = torch.ones_like(w)
        for some in filters or []:
            size[some] = norm(w[some])
        noise = sigma * next(draws) * size
        v = lam * gradient(loss, w + noise) + noise
        w = update(w, gradient(loss, w + rho * v / (norm(v) + 1e-12)))
        yield w


def crsam(
    losses: Iterable[Loss],
    w: Tensor,
    update: Update,
    *,
    rho: Value,
    alpha: float,
    beta: float,
    log: bool,
    perturbed: Value = 1.0,
) -> Steps:
    """CR-SAM, eq. 6 and 7, with v held constant; without `log` as the authors' code."""
    for loss in losses:
        g = gradient(loss, w)
        v = perturbed * g / (norm(perturbed * g) + 1e-12)
        worst, best = w + rho * v, w - rho * v
        g_worst, g_best = gradient(loss, worst), gradient(loss, best)
        trace, slope = 1.0, 1.0
        if log:
            trace = value(loss, worst) + value(loss, best) - 2 * value(loss, w)
            slope = value(loss, worst) - value(loss, best)
        d = g_worst
        if trace > 1e-12:
            d = d + alpha * (g_worst + g_best - 2 * g) / trace
        if slope > 1e-12:
            d = d + beta * (g_worst - g_best) / slope
        w = update(w, d)
        yield w


def curvsam(
    losses: Iterable[Loss],
    w: Tensor,
    update: Update,
    *,
    rho: Value,
    beta: float,
    delta: float,
    update_every: int,
    draws: Iterator[Tensor],
) -> Steps:
    """CurvSAM, algorithm 1."""
    h = torch.ones_like(w)
    for t, loss in enumerate(losses):
        if t % update_every == 0:
            z = next(draws)
            h = beta * h + (1 - beta) * (z * hessian_product(loss, w, z)).abs()
        D = torch.tensor([max(math.sqrt(x), delta) for x in h.tolist()], dtype=w.dtype)
        g = gradient(loss, w)
        w = update(w, gradient(loss, w + rho * (g / D) / (norm(g / D.sqrt()) + 1e-12)))
        yield w


def gam(
    losses: Iterable[Loss],
    w: Tensor,
    update: Update,
    *,
    rho: float,
    alpha: float,
    mode: str,
    rho_prime: float = math.nan,
    rho_sam: float | None = None,
    period: int = 1,
) -> Steps:
    """GAM, algorithm 1 of the paper; mode "fd" takes the gradient of a gradient norm by a finite difference.

    The oracle loss is SAM's where `rho_sam` is given, the empirical loss otherwise.
    """

    def of_norm(loss: Loss, at: Tensor) -> Tensor:
        """The gradient of ||g||; for "fd" that times rho'."""
        g = gradient(loss, at)
        unit = g / (norm(g) + 1e-12)
        if mode == "fd":
            return gradient(loss, at + rho_prime * unit) - g
        return hessian_product(loss, at, unit)

    for t, loss in enumerate(losses):
        d = gradient(loss, w)
        if rho_sam is not None:
            d = gradient(loss, w + rho_sam * d / (norm(d) + 1e-12))
        if t % period == 0:
            f = of_norm(loss, w)
            h = of_norm(loss, w + rho * f / (norm(f) + 1e-12))
            d = d + alpha * rho * h / (rho_prime if mode == "fd" else 1.0)
        w = update(w, d)
        yield w


def gam_accelerated(
    losses: Iterable[Loss],
    w: Tensor,
    update: Update,
    *,
    rho: float,
    rho_prime: float,
    alpha: float,
    beta: float,
    gamma: float,
    g0_coefficient: float | None = None,
    period: int = 1,
) -> Steps:
    """GAM, algorithm 2; the coefficient of g0 is `beta` there and 1 in the authors' code."""
    for t, loss in enumerate(losses):
        g0 = gradient(loss, w)
        if t % period:
            w = update(w, g0)
            yield w
            continue
        g1 = gradient(loss, w + rho_prime * g0 / (norm(g0) + 1e-12))
        h0 = g1 - g0
        w2 = w + rho * h0 / (norm(h0) + 1e-12)
        g2 = gradient(loss, w2)
        g3 = gradient(loss, w2 + rho_prime * g2 / (norm(g2) + 1e-12))
        h_plus = alpha * g1 + (1 - alpha) * g3
        h_minus = (beta if g0_coefficient is None else g0_coefficient) * g0 + (1 - beta) * g2
        cosine = dot(h_minus, h_plus) / (norm(h_minus) * norm(h_plus) + 1e-12)
        orthogonal = h_minus - norm(h_minus) * cosine * h_plus / (norm(h_plus) + 1e-12)
        w = update(w, h_plus - gamma * orthogonal)
        yield w


def gsam(losses: Iterable[Loss], w: Tensor, update: Update, *, rho: float, alpha: float) -> Steps:
    """GSAM (Zhuang et al. 2022): descend along SAM's gradient, ascend along what of the clean one is orthogonal."""
    for loss in losses:
        g = gradient(loss, w)
        g_adv = gradient(loss, w + rho * g / (norm(g) + 1e-12))
        parallel = dot(g, g_adv) / dot(g_adv, g_adv) * g_adv
        w = update(w, g_adv - alpha * (g - parallel))
        yield w


# Methods with a step size of their own. -------------------------------------------------------------------------------


def sa_sgd(
    losses: Iterable[Loss],
    w: Tensor,
    *,
    lr: float,
    delta: float = 0.02,
    damping: float = 2.0,
    weight_decay: Value = 0.0,
    official: bool = False,
    sharpness_aware: bool = False,
) -> Steps:
    """Malitsky & Mishchenko's step size; SA-SAM, algorithm 1, where it is `sharpness_aware`.

    The `official` code: damping 1, theta_0 = 1, 1e-8 on the step size and on the norm, growth before the first step,
    and a radius from the step size of the step before.
    """
    eta, theta, previous = lr, math.inf, None
    if official:
        theta, damping = 1.0, 1.0
    for loss in losses:
        g = gradient(loss, w)
        old_eta = eta
        growth = math.sqrt(1 + delta * theta) * eta
        dw = dg = 0.0
        if previous is not None:
            dw = norm(w - previous)
            dg = norm(g - gradient(loss, previous))
        if dw > 0 and dg > 0:
            eta = min(dw / (damping * dg), growth) + (1e-8 if official else 0.0)
            theta = eta / old_eta
        elif previous is not None or official:
            eta = growth if growth < math.inf else eta
            theta = eta / old_eta
        previous = w
        if sharpness_aware and official:
            g = gradient(loss, w + math.sqrt(old_eta) * g / (norm(g) + 1e-8))
        elif sharpness_aware:
            g = gradient(loss, w + math.sqrt(eta) * g / (norm(g) + 1e-12))
        w = w - eta * (g + weight_decay * w)
        yield w
