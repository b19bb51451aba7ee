"""The norm of the gradient: how far from a critical point."""

from landscape.linalg.estimate import dot
from landscape.measure.metric import metric
from landscape.objective import Objective
from landscape.results import Measurement


@metric
def gradient_norm(objective: Objective) -> Measurement:
    """||grad L(w)||_2 over the selected parameters, exact on these data. One gradient.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(2, 1, bias=False)
        >>> _ = torch.nn.init.zeros_(model.weight)
        >>> batch = (torch.tensor([[3.0, 4.0]]), torch.tensor([[0.5]]))
        >>> gradient_norm(Objective(model, torch.nn.MSELoss(), [batch])).value  # ||2 (0 - 0.5) (3, 4)||
        5.0
    """
    gradient = objective.gradient()
    return Measurement("gradient_norm", dot(gradient, gradient) ** 0.5, num_gradients=1)
