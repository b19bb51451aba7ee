"""What measurements at one set of weights share, so that none is paid for twice.

``Work.of(objective)`` finds it. The objective carries it until its weights change, and then it is made anew.
"""

from collections.abc import Hashable

import torch

from landscape.linalg import Lanczos
from landscape.linalg.slq import SpectralQuadrature, slq
from landscape.objective import Objective
from landscape.operators import Hessian
from landscape.results import Measurement

PROBES = 1 << 32  # added to the seed of probes: they must not be drawn from the state that drew the Krylov start


class Work:
    """One Hessian, one Krylov run a seed, one quadrature for its settings, and the measurements that were made.

    Attributes:
        hessian: whose kept graphs serve every metric.
        measured: measurements, by metric and arguments.

    Example:
        >>> model, batch = torch.nn.Linear(2, 1), (torch.eye(2), torch.zeros(2, 1))
        >>> objective = Objective(model, torch.nn.MSELoss(), [batch])
        >>> work = Work.of(objective)
        >>> _ = model.weight.data.mul_(2)
        >>> Work.of(objective) is work
        False
    """

    def __init__(self, objective: Objective) -> None:
        self.hessian = Hessian(objective)
        self.measured: dict[Hashable, Measurement] = {}
        self._krylov: dict[int, Lanczos] = {}
        self._quadratures: dict[tuple[int, int, int], SpectralQuadrature] = {}

    @classmethod
    def of(cls, objective: Objective) -> "Work":
        """The work at the objective's weights as they are now."""
        objective.refresh()
        if objective.work is None:
            objective.work = cls(objective)
        work: Work = objective.work
        return work

    def krylov(self, seed: int) -> Lanczos:
        """The Lanczos run from this seed's start, made longer by whoever needs it: largest, least, top k, density."""
        if seed not in self._krylov:
            self._krylov[seed] = Lanczos(self.hessian, generator=generator(seed))
        return self._krylov[seed]

    def quadrature(self, num_runs: int, num_steps: int, seed: int) -> SpectralQuadrature:
        """Stochastic Lanczos quadrature, whose first run is the Krylov run of this seed."""
        key = (num_runs, num_steps, seed)
        if key not in self._quadratures:
            self._quadratures[key] = slq(
                self.hessian,
                generator=generator(seed + PROBES),
                num_runs=num_runs,
                num_steps=num_steps,
                first=self.krylov(seed),
            )
        return self._quadratures[key]

    def release(self) -> None:
        """Let go of what is large, graphs and Krylov bases; measurements and quadratures stay."""
        self.hessian, self._krylov = Hessian(self.hessian.objective), {}


def generator(seed: int) -> torch.Generator:
    """A CPU generator for this seed: the same draws on every device."""
    return torch.Generator().manual_seed(seed)
