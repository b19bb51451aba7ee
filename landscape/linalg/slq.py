"""Stochastic Lanczos quadrature: spectral density and traces of functions (Ghorbani et al. 2019, Yao et al. 2020).

    v^T f(A) v ~ sum_i w_i f(theta_i),    theta_i: Ritz values of a run that starts at v, w_i: squared first entries
    tr f(A) = d E[v^T f(A) v],            v uniform on the unit sphere            of the eigenvectors of its T

A run is a Gauss quadrature rule for the spectrum as v sees it, exact for polynomials of degree 2 m - 1; its weights add
up to 1. A run of m = d steps knows the spectrum, and every weight is then 1/d.

Runs differ by their starts. How much is no matter of how much a few of them happened to: the rules know it,

    Var(v^T f(A) v) = 2 (m_2 - m_1^2) / (d + 2),    m_k the mean of f^k over the spectrum,

and how sure of it they are, from m_4: n runs give (d + 2) n m_2^2 / (m_4 - m_2^2) degrees of freedom (Satterthwaite
1946; f less its mean), n where one eigenvalue has it all. What m steps cannot resolve (a kink of f inside the bulk) all
runs miss alike: what the last step, or the last quarter of them, changed is added to the error for that.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from landscape.linalg.eigenvalues import Tridiagonal
from landscape.linalg.estimate import Estimate, Operator, power_of_two, require_positive
from landscape.linalg.lanczos import Lanczos
from landscape.statistics import half_width, interval_reason

Array = NDArray[np.float64]
Function = Callable[[Array], Array]
_MARGIN = 5  # widths of the kernel beyond the outermost node: less than 1e-6 of it is cut off
_POINTS_A_WIDTH = 4


@dataclass(frozen=True)
class Rule:
    """Nodes and weights, (m,) each, of one run."""

    nodes: Array
    weights: Array

    def mean(self, f: Function) -> float:
        """The mean of f over the spectrum as this run saw it."""
        return float(self.weights @ f(self.nodes))


@dataclass(frozen=True)
class Density:
    """Eigenvalues a unit of ``coordinate``, as a fraction of all, on a uniform grid; arrays (n,).

    ``coordinate`` is the eigenvalue itself, or sign(x) log10(1 + |x| / threshold); the integral over it is 1.
    ``std_error`` is over starts, infinite for one run.
    """

    eigenvalues: Array
    coordinate: Array
    density: Array
    std_error: Array
    width: float


@dataclass(frozen=True)
class SpectralQuadrature:
    """The rules of one or more runs on a matrix with d rows.

    ``coarse`` are the same of one step less, and of the first three quarters. ``exact`` says that a run was complete:
    the only rule is the spectrum itself.
    """

    dimension: int
    rules: tuple[Rule, ...]
    coarse: tuple[tuple[Rule, ...], ...]
    exact: bool
    num_matvecs: int

    def trace(self, f: Function, *, rel_error: float = 0.05) -> Estimate:
        """The trace of f(A) with standard error; ``converged``: its 95 % interval is within ``rel_error``."""
        return self.ratio(lambda x: self.dimension * f(x), np.ones_like, rel_error=rel_error)

    def ratio(self, f: Function, g: Function, *, rel_error: float = 0.05) -> Estimate:
        """The trace of f(A) over that of g(A), likewise; 0 where that of g(A) is 0."""
        require_positive(rel_error=rel_error)
        value, samples = _ratio(self.rules, f, g)
        error, num_samples = 0.0, len(samples)
        if not self.exact:
            spread, num_samples = self._spread(f, g)
            error = math.hypot(spread, max(abs(value - _ratio(rules, f, g)[0]) for rules in self.coarse))
        half = half_width(error, num_samples) if error else 0.0
        runs = "one run, which gives no error bar" if half == math.inf else f"{len(samples)} runs"
        reason = f"{interval_reason(value, half, rel_error)} after {runs}"
        converged = half <= rel_error * abs(value)
        return Estimate(value, error, self.num_matvecs, converged, reason, {"samples": samples}, num_samples)

    def _spread(self, f: Function, g: Function) -> tuple[float, int]:
        """The standard error of the ratio over starts, and its degrees of freedom plus 1; infinite for one run."""
        n, value = len(self.rules), _ratio(self.rules, f, g)[0]
        scale = np.mean([rule.mean(g) for rule in self.rules])
        if n == 1 or scale == 0:
            return math.inf if n == 1 else 0.0, n
        off = [(f(rule.nodes) - value * g(rule.nodes)) / scale for rule in self.rules]  # its mean is 0
        unit = power_of_two(torch.from_numpy(np.concatenate(off)))
        second, fourth = (
            float(np.mean([rule.weights @ (x / unit) ** k for rule, x in zip(self.rules, off, strict=True)]))
            for k in (2, 4)
        )
        freedom = n * (self.dimension + 2) * second**2 / max(fourth - second**2, 1e-300)
        return unit * math.sqrt(2 * second / (self.dimension + 2) / n), 1 + int(min(max(freedom, 1.0), 1e9))

    def density(self, *, width: float | None = None, threshold: float | None = None) -> Density:
        """The density: each node made a Gaussian of standard deviation ``width`` that holds the node's weight.

        Args:
            width: in units of the coordinate; by default a hundredth of the distance between the outermost nodes.
            threshold: makes the axis symmetric-logarithmic: linear for much smaller eigenvalues, logarithmic beyond.
        """
        nodes = [_coordinate(rule.nodes, threshold) for rule in self.rules]
        low, high = min(x.min() for x in nodes), max(x.max() for x in nodes)
        width = (high - low or abs(high) or 1.0) / 100 if width is None else width
        require_positive(width=width)
        num_points = round((high - low + 2 * _MARGIN * width) / width * _POINTS_A_WIDTH) + 1
        grid = np.linspace(low - _MARGIN * width, high + _MARGIN * width, num_points)
        kernels = [np.exp(-(((grid[:, None] - x) / width) ** 2) / 2) / math.sqrt(2 * math.pi) for x in nodes]
        first, second = (
            np.mean([k**power @ rule.weights for k, rule in zip(kernels, self.rules, strict=True)], axis=0)
            for power in (1, 2)
        )
        variance = np.maximum(second - first**2, 0) * 2 / (self.dimension + 2)
        n = len(self.rules)
        error = np.zeros_like(grid) if self.exact else np.sqrt(variance / n) if n > 1 else np.full_like(grid, np.inf)
        return Density(_eigenvalue(grid, threshold), grid, first / width, error / width, width)


def slq(
    A: Operator, *, generator: torch.Generator, num_runs: int = 4, num_steps: int = 64, first: Lanczos | None = None
) -> SpectralQuadrature:
    """Lanczos runs from random starts, ``num_steps`` products each; with d steps or more, one, which is exact.

    Args:
        A: symmetric operator or dense tensor.
        generator: draws the starts.
        num_runs: at least 2 for an error bar.
        num_steps: more resolve more of the bulk; 64 place the outliers of trained networks.
        first: a run of A that exists, whose first ``num_steps`` steps are used, and made if they were not.

    Raises:
        ValueError: for fewer than 1 run or step.

    Example:
        >>> A = torch.diag(torch.arange(1.0, 101.0))
        >>> found = slq(A, generator=torch.Generator().manual_seed(0), num_steps=100)
        >>> round(found.trace(np.sqrt).value, 2)  # of the sum of the square roots of 1 to 100
        671.46
    """
    require_positive(num_runs=num_runs, num_steps=num_steps)
    found: list[list[Rule]] = []
    used = 0
    for index in range(num_runs):
        run = first if first is not None and index == 0 else Lanczos(A, generator=generator)
        run.announce(num_steps)
        T = run.first(num_steps)
        used += len(T.alphas)
        if len(T.alphas) == T.dimension:
            spectrum = Rule(T.ritz()[0], np.full(T.dimension, 1 / T.dimension))
            return SpectralQuadrature(T.dimension, (spectrum,), (), True, used)
        found.append([_rule(run.first(m)) for m in (num_steps, max(1, num_steps - 1), math.ceil(0.75 * num_steps))])
    rules, *coarse = zip(*found, strict=True)
    return SpectralQuadrature(A.shape[0], rules, tuple(coarse), False, used)


def effective_dimension(found: SpectralQuadrature, *, gamma: float, rel_error: float = 0.05) -> Estimate:
    """The sum of lambda / (lambda + gamma) over the positive eigenvalues (MacKay 1992): what data determine."""
    require_positive(gamma=gamma)
    return found.trace(lambda x: np.maximum(x, 0) / (np.maximum(x, 0) + gamma), rel_error=rel_error)


def negative_share(found: SpectralQuadrature, *, rel_error: float = 0.05) -> Estimate:
    """The negative eigenvalues' part of the sum of all |lambda|: 0 for a convex loss, 1/2 for a balanced saddle."""
    return found.ratio(lambda x: np.maximum(-x, 0), np.abs, rel_error=rel_error)


def _rule(T: Tridiagonal) -> Rule:
    nodes, _, vectors = T.ritz()
    return Rule(nodes, vectors[0] ** 2)


def _ratio(rules: Sequence[Rule], f: Function, g: Function) -> tuple[float, Array]:
    """Mean of f over mean of g, and a sample a run, with the spread of the ratio to first order."""
    tops, bottoms = (np.array([rule.mean(h) for rule in rules]) for h in (f, g))
    if bottoms.mean() == 0:
        return 0.0, np.zeros(len(rules))
    value = tops.mean() / bottoms.mean()
    return float(value), value + (tops - value * bottoms) / bottoms.mean()


def _coordinate(eigenvalues: Array, threshold: float | None) -> Array:
    if threshold is None:
        return eigenvalues
    require_positive(threshold=threshold)
    return np.sign(eigenvalues) * np.log10(1 + np.abs(eigenvalues) / threshold)


def _eigenvalue(coordinate: Array, threshold: float | None) -> Array:
    if threshold is None:
        return coordinate
    return np.sign(coordinate) * threshold * (10 ** np.abs(coordinate) - 1)
