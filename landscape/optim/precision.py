"""What a pass in mixed precision leaves to do: gradients to unscale, and infinities to find before they are used."""

from types import SimpleNamespace
from typing import Any, cast

import torch
from torch import Tensor
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer

from landscape.optim.vectors import Vectors, global_norm


class NonFinitePassError(ArithmeticError):
    """The loss or the gradient of a pass is not finite."""


class Precision:
    """The scaling of the losses of one step, undone after each pass.

    Args:
        scaler: has scaled the loss before the closure's backward; None, or a disabled one, where nothing is scaled.
        groups: the optimizer's groups of parameters.
        checks: the objects under which ``scaler`` keeps what it found in a pass; lengthened as needed.

    Attributes:
        scaler: the scaler; without one, one that is disabled.
    """

    def __init__(self, scaler: GradScaler | None, groups: list[dict[str, Any]], checks: list[SimpleNamespace]) -> None:
        self.scaler = GradScaler("cpu", enabled=False) if scaler is None else scaler
        self._groups = groups
        self._checks = checks
        self._num_passes = 0

    def unscale(self) -> None:
        """Divide ``.grad`` by the scale, once a pass; an infinity among them lowers the scale at the next update."""
        if self._num_passes == len(self._checks):
            self._checks.append(SimpleNamespace())
        check = self._checks[self._num_passes]  # one a pass: a scaler unscales each optimizer once an update
        check.param_groups = self._groups
        self.scaler.unscale_(cast(Optimizer, check))
        self._num_passes += 1


def require_finite(vectors: Vectors, loss: Tensor | float = 0.0) -> None:
    """Raise NonFinitePassError for a gradient or product whose norm is not finite, or a loss; one synchronization.

    Example:
        >>> w = torch.zeros(1)
        >>> require_finite({w: torch.tensor([torch.inf])})
        Traceback (most recent call last):
        landscape.optim.precision.NonFinitePassError
    """
    norm = global_norm(vectors.values())
    if not torch.isfinite(norm + torch.as_tensor(loss, device=norm.device)):
        raise NonFinitePassError
