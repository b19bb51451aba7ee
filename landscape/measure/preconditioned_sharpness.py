"""The largest eigenvalue of the Hessian as Adam sees it (Cohen et al. 2022, arXiv:2207.14484).

    lambda_max(P^-1/2 (H + d I) P^-1/2),    P = diag(sqrt(v / (1 - beta2^t)) + eps)

v is the running mean of squared gradients after t steps, as the optimizer's state in the checkpoint has it (with
amsgrad its maximum), and d the L2 weight decay where that is part of the gradient. Adam diverges on a quadratic where
it is above 2 (1 + beta1) / ((1 - beta1) lr), which is 38 / lr.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from landscape.edge import base_state
from landscape.linalg import Lanczos, lanczos_extreme
from landscape.measure.metric import Cost, Work, generator, measurement_of, metric
from landscape.objective import Objective
from landscape.operators import Hessian
from landscape.results import Measurement


@metric(
    symbol="λmax(P⁻¹H)",
    latex=r"$\lambda_{\max}(P^{-1}H)$",
    definition="the largest eigenvalue of the Hessian in the units of Adam's steps, by Lanczos (Cohen et al. 2022)",
    meaning="Adam is stable below 38 / lr; of an optimizer that scales no entries it is λmax.",
    limits="It needs the optimizer's state in the checkpoint. The limit holds for a quadratic loss and full batches.",
    cost="6 to 20 products for 1 %",
    error_kind="bound",
    estimate_cost=lambda given: Cost(products=(4, given.max_matvecs), keeps_basis=True),
    details={
        "preconditioner": "whose: Adam's, or none",
        "engine": "what the products are made with",
        "residual": "||Av - value v||",
    },
)
def preconditioned_sharpness(
    objective: Objective, *, rel_error: float = 0.05, max_matvecs: int = 1000, seed: int = 0
) -> Measurement:
    """The largest eigenvalue of P^-1/2 H P^-1/2, which is that of P^-1 H. One product a step.

    P is that of ``objective.optimizer``, the optimizer's state dict, which ``landscape.problem`` takes from the
    checkpoint: the identity where it is of no Adam. Parameters that the optimizer has never moved have no part in it.

    Args:
        objective: the loss around whose parameters to measure.
        rel_error: stop when ``std_error`` is within this fraction of the value.
        max_matvecs: the budget; a value that needs more is reported as not converged.
        seed: of the start vector.

    Raises:
        ValueError: for a ``rel_error`` or ``max_matvecs`` that is not positive, or a state of other parameters.

    Example:
        >>> model, batch = torch.nn.Linear(1, 1, bias=False), (torch.ones(1, 1), torch.zeros(1, 1))
        >>> objective = Objective(model, torch.nn.MSELoss(), [batch])  # of curvature 2
        >>> optimizer = torch.optim.Adam(model.parameters(), eps=0.0)
        >>> model.weight.grad = torch.full((1, 1), 4.0)
        >>> optimizer.step()  # v_hat is 16
        >>> objective.optimizer = optimizer.state_dict()
        >>> round(preconditioned_sharpness(objective).value, 5)
        0.5
    """
    H = Work.of(objective).hessian
    scale, decay = preconditioner(objective, objective.optimizer)
    A = Lanczos(_Scaled(H, scale, decay), generator=generator(seed))
    found = lanczos_extreme(A, rel_error=rel_error, max_matvecs=max_matvecs)
    whose = "none" if scale is None else "Adam"
    details: dict[str, Any] = {"engine": H.engine, "residual": found.details["residual"]}
    return measurement_of("preconditioned_sharpness", found, preconditioner=whose, **details)


def preconditioner(objective: Objective, state: Any) -> tuple[Tensor | None, Tensor | None]:
    """The diagonals of P^-1/2 and of the L2 decay, each (d,); None for identity and zero.

    Raises:
        ValueError: the state is of parameters of other shapes.
    """
    base = base_state(state)
    groups = [] if base is None else base.get("param_groups") or []
    if base is None or not groups or not all({"betas", "eps", "amsgrad"} <= group.keys() for group in groups):
        return None, None
    order = [name for name, _ in objective.model.named_parameters()]
    scales: dict[str, Tensor] = {}
    decays: dict[str, float] = {}
    for group in groups:
        for place, index in enumerate(group["params"]):
            name = group["param_names"][place] if group.get("param_names") else order[index]
            decays[name] = 0.0 if group.get("decoupled_weight_decay") else float(group["weight_decay"])
            if (own := base["state"].get(index)) is not None:
                v = own["max_exp_avg_sq" if group["amsgrad"] else "exp_avg_sq"].to(objective.device, torch.float64)
                corrected = v / (1 - group["betas"][1] ** float(own["step"]))
                scales[name] = (corrected.sqrt() + group["eps"]).rsqrt()
    pieces = []
    for name, shape in zip(objective.layout.names, objective.layout.shapes, strict=True):
        piece = scales.get(name, torch.zeros(shape, dtype=torch.float64))
        if piece.shape != shape:
            found = f"{tuple(piece.shape)} of {name!r}, whose shape is {tuple(shape)}"
            raise ValueError(f"The optimizer's state is of other parameters: {found}.")
        pieces.append(piece.to(objective.device))
    rows = [torch.full_like(piece, decays.get(name, 0.0)) for name, piece in zip(objective.names, pieces, strict=True)]
    return tuple(objective.layout.flatten(some).to(objective.dtype) for some in (pieces, rows))  # type: ignore[return-value]


@dataclass(frozen=True)
class _Scaled:
    """D (H + d I) D as an operator, its diagonals being None where they change nothing."""

    H: Hessian
    scale: Tensor | None
    decay: Tensor | None

    @property
    def shape(self) -> Any:
        return self.H.shape

    @property
    def dtype(self) -> torch.dtype:
        return self.H.dtype

    @property
    def device(self) -> torch.device:
        return self.H.device

    @property
    def rounding(self) -> float:
        return self.H.rounding

    def __matmul__(self, v: Tensor, /) -> Tensor:
        if self.scale is None or self.decay is None:
            return self.H @ v
        D, d = (x if v.ndim == 1 else x[:, None] for x in (self.scale, self.decay))
        inner = D * v
        return D * (self.H @ inner + d * inner)
