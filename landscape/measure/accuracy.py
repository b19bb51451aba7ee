"""The fraction of examples classified correctly."""

from landscape.measure.metric import metric
from landscape.objective import Objective
from landscape.results import Measurement


@metric
def accuracy(objective: Objective) -> Measurement:
    """The fraction, in [0, 1], of examples (or tokens) whose largest output is their target. One forward pass.

    ``details["data_std_error"]`` is the binomial standard error as an estimate of the accuracy on fresh data.

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
