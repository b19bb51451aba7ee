"""The norm of the gradient."""

from landscape.linalg.estimate import norm_of
from landscape.measure.metric import Cost, Work, metric
from landscape.measure.rounding import rounded
from landscape.objective import Objective
from landscape.results import Measurement


@metric(
    symbol="‖∇L(w)‖₂",
    latex=r"$\|\nabla L(w)\|_2$",
    definition="the length of the gradient of the mean loss",
    meaning="How far from a critical point: 0 where the loss is level.",
    limits=(
        "On test it is not 0 even at a minimum of the training loss. Weight decay, which training adds, is not in it."
    ),
    cost="one gradient",
    error_kind="none",
    estimate_cost=lambda _: Cost(gradients=1),
)
def gradient_norm(objective: Objective) -> Measurement:
    """||grad L(w)||_2 over the selected parameters, exact on these data.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(2, 1, bias=False)
        >>> _ = torch.nn.init.zeros_(model.weight)
        >>> batch = (torch.tensor([[3.0, 4.0]]), torch.tensor([[0.5]]))
        >>> gradient_norm(Objective(model, torch.nn.MSELoss(), [batch])).value  # ||2 (0 - 0.5) (3, 4)||
        5.0
    """
    gradient = objective.gradient()
    found = Measurement("gradient_norm", norm_of(gradient), num_gradients=1)
    return rounded(found, Work.of(objective).rounding.of_gradient(found.value))
