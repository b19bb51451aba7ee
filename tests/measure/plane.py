"""Functions of two parameters, and their maxima over a disc by brute force: what ascents in the plane are held against.

height   L(w + u) - L(w)             of zeroth-order flatness
slope    rho ||grad L(w + u)||       of first-order flatness
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from landscape import Objective
from tests.matrices import seeded
from tests.measure.quadratics import Point


class Plane(NamedTuple):
    """A loss of two parameters, where it is looked at, and how far around."""

    loss: Callable[[Tensor], Tensor]  # (..., 2) -> (...)
    at: tuple[float, float]
    rho: float

    def objective(self, dtype=torch.float64) -> Objective:
        losses = lambda model, _: self.loss(model())[None]  # noqa: E731
        return Objective(Point(torch.tensor(self.at, dtype=dtype)), losses, [(torch.zeros(1),)])

    def height(self) -> float:
        """The largest rise over the disc."""
        w = torch.tensor(self.at, dtype=torch.float64)
        return _highest(lambda u: self.loss(w + u) - self.loss(w), self.rho)

    def slope(self) -> float:
        """Rho times the largest gradient norm over the disc."""
        w = torch.tensor(self.at, dtype=torch.float64)

        def norm(u: Tensor) -> Tensor:
            at = (w + u).requires_grad_()
            return torch.autograd.grad(self.loss(at).sum(), at, materialize_grads=True)[0].norm(dim=-1)

        return self.rho * _highest(norm, self.rho)


def _highest(function: Callable[[Tensor], Tensor], rho: float) -> float:
    """On a polar grid of 150 by 480, and on ever finer ones around its 30 highest points."""
    radii, angles = torch.linspace(0, 1, 151).double().sqrt(), torch.linspace(0, 2 * math.pi, 481).double()[:-1]
    points = _polar(radii, angles)
    values = function(rho * points)
    best = values.max().item()
    chosen = torch.stack([points.norm(dim=-1), torch.atan2(points[:, 1], points[:, 0])], -1)[values.topk(30).indices]
    offsets, reach = torch.linspace(-1, 1, 9).double(), torch.tensor([0.08, 2 * math.pi / 240]).double()
    grid = torch.cartesian_prod(offsets, offsets)
    for _ in range(16):
        around = chosen[:, None] + reach * grid
        around[..., 0] = around[..., 0].clamp(0, 1)
        points = torch.stack([around[..., 0] * around[..., 1].cos(), around[..., 0] * around[..., 1].sin()], -1)
        values, indices = function(rho * points).max(1)
        chosen = around[torch.arange(len(around)), indices]
        best, reach = max(best, values.max().item()), reach / 2
    return best


def _polar(radii: Tensor, angles: Tensor) -> Tensor:
    r, a = torch.cartesian_prod(radii, angles).unbind(-1)
    return torch.stack([r * a.cos(), r * a.sin()], -1)


def _quadratic(a: float, b: float, turn: float = 0.0, gradient=(0.0, 0.0)):
    c, s = math.cos(turn), math.sin(turn)

    def loss(w: Tensor) -> Tensor:
        x, y = w.unbind(-1)
        return a / 2 * (c * x + s * y) ** 2 + b / 2 * (c * y - s * x) ** 2 + gradient[0] * x + gradient[1] * y

    return loss


def _xy(function: Callable[[Tensor, Tensor], Tensor]):
    return lambda w: function(*w.unbind(-1))


def _bump(x0: float, y0: float, width: float, height: float = 1.0):
    return _xy(lambda x, y: height * torch.exp(-((x - x0) ** 2 + (y - y0) ** 2) / (2 * width**2)))


def _sum(*functions):
    return lambda w: sum(f(w) for f in functions)


def _mean_over(
    x: Tensor, y: Tensor, losses: Callable[[Tensor, Tensor], Tensor], model: Callable[[Tensor, Tensor], Tensor]
):
    return lambda w: losses(model(w[..., None, :], x), y).mean(-1)


def _bumps(number: int, seed: int, width: float, reach: float):
    draws = seeded(seed)
    centres = reach * (2 * torch.rand(number, 2, generator=draws).double() - 1)
    heights = 0.3 + torch.rand(number, generator=draws).double()
    return _sum(*[_bump(*c.tolist(), width, h.item()) for c, h in zip(centres, heights, strict=True)])


_X = torch.randn(12, 2, generator=seeded(0)).double()
_LABELS = (_X[:, 0] + 0.3 * torch.randn(12, generator=seeded(1)).double() > 0).double()
_T = torch.linspace(-2, 2, 12).double()

_logistic = _mean_over(_X, _LABELS, lambda z, y: F.softplus(z) - y * z, lambda w, x: (w * x).sum(-1))
_tanh = _mean_over(
    _T, 1.3 * torch.tanh(0.9 * _T), lambda z, y: (z - y) ** 2, lambda w, t: w[..., 1] * torch.tanh(w[..., 0] * t)
)
_relu = _mean_over(_T, F.relu(_T) - 0.5, lambda z, y: (z - y) ** 2, lambda w, t: w[..., 1] * F.relu(w[..., 0] * t))
_sine_fit = _mean_over(
    _T, torch.sin(2 * _T), lambda z, y: (z - y) ** 2, lambda w, t: w[..., 1] * torch.sin(w[..., 0] * t)
)
_huber = _mean_over(
    _X, _LABELS, lambda z, y: F.huber_loss(z, y.expand_as(z), reduction="none", delta=0.1), lambda w, x: (w * x).sum(-1)
)
_xor = _mean_over(torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]]).double(), torch.tensor([0.0, 1, 1, 0]).double(),
                  lambda z, y: (z - y) ** 2, lambda w, x: torch.sigmoid((torch.tanh(3 * w * x)).sum(-1)))  # fmt: skip

_rosenbrock = _xy(lambda x, y: (1 - x) ** 2 + 100 * (y - x**2) ** 2)
_himmelblau = _xy(lambda x, y: (x**2 + y - 11) ** 2 + (x + y**2 - 7) ** 2)
_monkey = _xy(lambda x, y: x**3 - 3 * x * y**2)
_rastrigin = _xy(lambda x, y: 20 + x**2 + y**2 - 10 * torch.cos(2 * math.pi * x) - 10 * torch.cos(2 * math.pi * y))
_ackley = _xy(
    lambda x, y: 20 - 20 * torch.exp(-0.2 * ((x**2 + y**2) / 2 + 1e-12).sqrt())
    - torch.exp((torch.cos(2 * math.pi * x) + torch.cos(2 * math.pi * y)) / 2)
)  # fmt: skip
_peaks = _xy(
    lambda x, y: 3 * (1 - x) ** 2 * torch.exp(-(x**2) - (y + 1) ** 2)
    - 10 * (x / 5 - x**3 - y**5) * torch.exp(-(x**2) - y**2) - torch.exp(-((x + 1) ** 2) - y**2) / 3
)  # fmt: skip
_camel = _xy(lambda x, y: (4 - 2.1 * x**2 + x**4 / 3) * x**2 + x * y + (-4 + 4 * y**2) * y**2)
_eggs = _xy(lambda x, y: torch.sin(3 * x) * torch.cos(4 * y) + 0.1 * x)
_branin = _xy(lambda x, y: (y - 0.129 * x**2 + 1.59 * x - 6) ** 2 + 9.6 * torch.cos(x) + 10)

CASES = {
    "bowl at its minimum": Plane(_quadratic(1, 3), (0, 0), 0.05),
    "bowl, turned": Plane(_quadratic(1, 3, 0.6, (0.1, -0.2)), (0.3, -0.1), 0.5),
    "bowl, round": Plane(_quadratic(2, 2), (0, 0), 1.0),
    "bowl, ill-conditioned": Plane(_quadratic(1e-4, 1e2, 1.0), (0.5, 0.5), 0.3),
    "bowl, ill-conditioned, at its minimum": Plane(_quadratic(1e-4, 1e2, 1.0), (0, 0), 1e-3),
    "bowl, gradient across the steep axis": Plane(_quadratic(1, 5), (0.4, 0), 0.5),
    "saddle": Plane(_quadratic(2, -3, 0.4), (0, 0), 0.2),
    "saddle, steeper downwards": Plane(_quadratic(1, -8, 0.4), (0.1, 0.1), 0.3),
    "dome": Plane(_quadratic(-1, -3), (0, 0), 0.5),
    "dome beside its top": Plane(_quadratic(-1, -3, 0.3), (0.2, 0.1), 1.0),
    "valley": Plane(_quadratic(0, 4, 0.7), (0.5, 0.2), 0.4),
    "slope": Plane(_quadratic(0, 0, 0, (1, 2)), (0, 0), 3.0),
    "level": Plane(_quadratic(0, 0), (0, 0), 1.0),
    "cubic": Plane(_xy(lambda x, y: x**3 + y**3 / 3 - x * y), (0, 0), 1.0),
    "cubic, far": Plane(_xy(lambda x, y: x**3 - 2 * y**3 + x**2), (0.2, -0.3), 2.0),
    "monkey saddle": Plane(_monkey, (0, 0), 0.5),
    "monkey saddle beside it": Plane(_monkey, (0.05, 0.1), 1.0),
    "quartic well": Plane(_xy(lambda x, y: (x**2 - 1) ** 2 + y**2), (1, 0), 1.5),
    "quartic well, between": Plane(_xy(lambda x, y: (x**2 - 1) ** 2 + y**2 / 2), (0, 0), 2.0),
    "camel": Plane(_camel, (0.09, -0.71), 1.0),
    "camel, wide": Plane(_camel, (0, 0), 2.0),
    "Rosenbrock at its minimum": Plane(_rosenbrock, (1, 1), 0.5),
    "Rosenbrock in the valley": Plane(_rosenbrock, (-0.5, 0.25), 1.0),
    "Rosenbrock, wide": Plane(_rosenbrock, (0, 0), 3.0),
    "Himmelblau at a minimum": Plane(_himmelblau, (3, 2), 0.5),
    "Himmelblau at its top": Plane(_himmelblau, (-0.27, -0.92), 3.0),
    "Branin": Plane(_branin, (3.14, 2.28), 3.0),
    "sines": Plane(_eggs, (0, 0), 1.5),
    "sines, many peaks": Plane(_eggs, (0.2, 0.3), 3.0),
    "Rastrigin at its minimum": Plane(_rastrigin, (0, 0), 0.7),
    "Rastrigin, many peaks": Plane(_rastrigin, (0, 0), 2.3),
    "Rastrigin, beside": Plane(_rastrigin, (0.3, -0.4), 3.0),
    "Ackley": Plane(_ackley, (0.1, 0), 1.7),
    "peaks": Plane(_peaks, (0, -1), 3.0),
    "peaks from the valley": Plane(_peaks, (0.2, -1.6), 2.5),
    "a narrow peak in a bowl": Plane(_sum(_quadratic(1, 1), _bump(0.5, -0.6, 0.08, 2.0)), (0, 0), 1.0),
    "a narrow peak at the rim": Plane(_sum(_quadratic(0.1, 0.2), _bump(-0.9, 0.4, 0.1)), (0, 0), 1.0),
    "two peaks, the lower one near": Plane(_sum(_bump(0.3, 0, 0.2), _bump(-0.8, 0.1, 0.15, 2.0)), (0, 0), 1.0),
    "ten peaks": Plane(_bumps(10, 3, 0.12, 0.9), (0, 0), 1.0),
    "thirty peaks": Plane(_bumps(30, 4, 0.1, 1.0), (0.1, 0), 1.0),
    "logistic regression": Plane(_logistic, (0.5, 0.2), 1.0),
    "logistic regression, far": Plane(_logistic, (4, -1), 3.0),
    "tanh neuron": Plane(_tanh, (0.9, 1.3), 0.5),
    "tanh neuron at zero": Plane(_tanh, (0, 0), 2.0),
    "relu neuron": Plane(_relu, (0.8, 1.1), 1.0),
    "relu neuron at a kink": Plane(_relu, (0, 0.5), 1.5),
    "sine neuron": Plane(_sine_fit, (2, 1), 2.0),
    "huber": Plane(_huber, (0.3, 0.3), 1.0),
    "xor": Plane(_xor, (0.3, -0.4), 2.0),
    "absolute values": Plane(_xy(lambda x, y: 2 * x.abs() + y.abs()), (0, 0), 0.5),
    "piecewise linear": Plane(
        _xy(lambda x, y: torch.maximum(F.relu(x - 0.2), 2 * F.relu(-y - 0.6)) - 0.1 * x), (0, 0), 1.0
    ),
    "trough of absolute values": Plane(_xy(lambda x, y: (x - y).abs() + 0.1 * x**2), (0.3, 0.3), 0.7),
    "product": Plane(_xy(lambda x, y: (x * y - 1) ** 2), (1, 1), 1.0),
    "product at the saddle": Plane(_xy(lambda x, y: (x * y - 1) ** 2), (0, 0), 2.0),
    "step": Plane(_xy(lambda x, y: torch.sigmoid(20 * (x - 0.5)) + torch.sigmoid(30 * (-y - 0.7)) * 1.5), (0, 0), 1.0),
    "exponential": Plane(_xy(lambda x, y: torch.exp(x) + torch.exp(-2 * y)), (0, 0), 1.0),
}
