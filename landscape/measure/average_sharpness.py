"""Average sharpness: how far the loss rises under a random Gaussian perturbation of the weights, in the mean.

    E[L(w + sigma e)] - L(w),    e ~ N(0, I)

For small sigma it is sigma^2 / 2 times the trace of the Hessian. Perturbations come in pairs +e and -e, so that the
gradient cancels. It is in the PAC-Bayes bounds of SAM and CR-SAM (Foret et al. 2021, Wu, Luo & Wunsch 2024).
"""

import math

import numpy as np
import torch

from landscape.linalg.estimate import require_positive
from landscape.linalg.hutchinson import FIRST_LOOK
from landscape.measure.metric import FORWARD, Cost, generator, metric
from landscape.measure.rise import Rise
from landscape.objective import Objective
from landscape.results import Measurement
from landscape.statistics import half_width, interval_reason, looked_at_error, looks

_LENGTH = 0.05  # of a typical perturbation where sigma is not given: the default radius of the other sharpnesses


@metric(
    definition="the mean rise of the loss when Gaussian noise is added to the weights",
    meaning="How sharp the place is in an average direction.",
    limits="A mean over directions, most of which are flat: it says nothing of the worst one.",
    cost="two forward passes a pair, 16 pairs and more",
    error_kind="standard error",
    estimate_cost=lambda _: Cost(gradients=2 * FIRST_LOOK * FORWARD),
    details={
        "sigma": "of the noise on every weight",
        "samples": "rises of the pairs",
        "rounding": "error from it",
    },
)
def average_sharpness(
    objective: Objective,
    *,
    sigma: float | None = None,
    adaptive: bool = False,
    rel_error: float = 0.05,
    num_probes: int | None = None,
    max_probes: int = 1000,
    seed: int = 0,
) -> Measurement:
    """The mean rise of the loss under Gaussian noise; the error includes rounding, found on one pair.

    Args:
        objective: the loss around whose parameters to measure.
        sigma: standard deviation of each entry's noise; by default 0.05 / sqrt(d), so that its norm is about 0.05.
        adaptive: noise in units of |w|, entry by entry (as ASAM, Kwon et al. 2021).
        rel_error: stop when the half-width of the 95 % interval is within this fraction of the value.
        num_probes: take exactly so many pairs instead; ``converged`` says whether they reached ``rel_error``.
        max_probes: the budget; a mean that needs more is reported as not converged.
        seed: of the noise.

    Raises:
        ValueError: for a ``sigma`` or accuracy that is not positive, or fewer than 2 probes.

    Example:
        >>> model = torch.nn.Linear(2, 1, bias=False).double()
        >>> batch = (torch.eye(2).double(), torch.zeros(2, 1).double())
        >>> found = average_sharpness(Objective(model, torch.nn.MSELoss(), [batch]), sigma=0.1, num_probes=100)
        >>> abs(found.value - 0.01) < 3 * found.std_error  # sigma^2 / 2 times the trace of X^T X
        True
    """
    budget = max_probes if num_probes is None else num_probes
    if budget < 2:
        raise ValueError(f"{budget} probes give no error bar. Expected at least 2.")
    sigma = _LENGTH / objective.num_params**0.5 if sigma is None else sigma
    require_positive(sigma=sigma, rel_error=rel_error)
    rise, draws = Rise(objective, adaptive=adaptive), generator(seed)

    def noise() -> torch.Tensor:
        return (sigma * torch.randn(len(rise.origin), generator=draws, dtype=torch.float64)).to(rise.origin)

    first = noise()
    rounding = abs(rise.rounding_error(first) + rise.rounding_error(-first)) / 2
    samples = [(rise(first) + rise(-first)) / 2]
    for look in looks(FIRST_LOOK, budget, fixed=num_probes is not None):
        while len(samples) < look:
            u = noise()
            samples.append((rise(u) + rise(-u)) / 2)
        mean, error = np.mean(samples).item(), math.hypot(looked_at_error(samples), rounding)
        half = half_width(error, len(samples))
        if converged := half <= rel_error * abs(mean):
            break
    return Measurement(
        "average_sharpness",
        mean,
        error,
        converged=converged,
        reason=f"{interval_reason(mean, half, rel_error)} after {len(samples)} pairs",
        details={"sigma": sigma, "samples": np.array(samples), "rounding": rounding},
        error_kind="standard error",
        num_samples=len(samples),
    )
