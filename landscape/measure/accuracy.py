"""The fraction of examples classified correctly."""

from landscape.measure.metric import FORWARD, Cost, metric
from landscape.objective import Objective
from landscape.results import Measurement


@metric(
    definition="the fraction of examples (or tokens) whose largest output is their target",
    meaning="The share of the examples that are classified correctly.",
    limits="On training examples it is no estimate for new ones.",
    cost="one forward pass",
    error_kind="none",
    estimate_cost=lambda _: Cost(gradients=FORWARD),
    details={"data_std_error": "binomial standard error as an estimate for fresh data"},
)
def accuracy(objective: Objective) -> Measurement:
    """The fraction, in [0, 1], of examples (or tokens) whose largest output is their target.

    Raises:
        ValueError: where the loss is not CrossEntropyLoss or NLLLoss with class indices.

    Example:
        >>> import torch
        >>> batch = (torch.tensor([[9.0, 0.0], [0.0, 9.0]]), torch.tensor([0, 0]))
        >>> model = torch.nn.Linear(2, 2, bias=False)
        >>> _ = torch.nn.init.eye_(model.weight)
        >>> accuracy(Objective(model, torch.nn.CrossEntropyLoss(), [batch])).value
        0.5
    """
    value = objective.accuracy()
    data_error = (value * (1 - value) / objective.num_examples) ** 0.5
    return Measurement("accuracy", value, details={"data_std_error": data_error})
