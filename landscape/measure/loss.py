"""The loss L(w) itself: the mean over all examples of the split."""

from landscape.measure.metric import FORWARD, Cost, Work, metric
from landscape.measure.rounding import rounded
from landscape.objective import Objective
from landscape.results import Measurement


@metric(
    definition="L(w), the mean loss over all examples of the split",
    meaning="How well the weights fit these examples.",
    limits="Exact on these examples, it says nothing of the ground around the weights.",
    cost="one forward pass",
    error_kind="none",
    estimate_cost=lambda _: Cost(gradients=FORWARD),
    details={"data_std_error": "standard error of the mean as an estimate for fresh data"},
)
def loss(objective: Objective) -> Measurement:
    """L(w) = (1/n) sum_i l_i(w), exact on these data; ``data_std_error`` is the spread of the examples, no error of it.

    Example:
        >>> import torch
        >>> model, batch = torch.nn.Linear(1, 1), (torch.ones(4, 1), torch.ones(4, 1))
        >>> loss(Objective(model, torch.nn.MSELoss(), [batch])).std_error
        0.0
    """
    losses = objective.losses().double()
    data_error = losses.std().item() / len(losses) ** 0.5 if len(losses) > 1 else float("nan")
    found = Measurement("loss", objective.value(), details={"data_std_error": data_error})
    return rounded(found, Work.of(objective).rounding.of_loss(found.value))
