"""Outputs of a multilayer perceptron at many points w + sum_k t_k u_k at once, cheaper than one forward pass each.

    (W + sum_k t_k U_k) x + b + sum_k t_k c_k = (W x + b) + sum_k t_k (U_k x + c_k)

What goes into the first layer is the same at every point: its products with the data are taken once for the weights and
once for each direction, and a point only adds them up. The other layers of many points are one batched product each.
Exact but for the order of summation. Examples are columns, so that a softmax over the classes runs along them.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from landscape.objective import Objective

_ACTIVATIONS = (nn.ReLU, nn.Tanh, nn.Sigmoid, nn.GELU, nn.SiLU, nn.ELU, nn.LeakyReLU, nn.Identity)  # entry by entry


class Perceptron:
    """The layers of a model that is a plain stack of them.

    Args:
        objective: of a model for which ``is_one`` holds.
        units: the directions u_k, each (d,).

    Example:
        >>> model = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1, bias=False))
        >>> _ = [nn.init.ones_(p) for p in model.parameters()]
        >>> objective = Objective(model, nn.MSELoss(), [(torch.ones(1, 1), torch.zeros(1, 1))])
        >>> network = Perceptron(objective, [torch.tensor([1.0, 0.0, 1.0])])
        >>> network(torch.tensor([[2.0]]), torch.tensor([[0.0], [1.0]]))  # (1 + t) ((1 + t) 2 + 1)
        tensor([[[ 3.]],
        <BLANKLINE>
                [[10.]]])
    """

    def __init__(self, objective: Objective, units: Sequence[Tensor]) -> None:
        self._layers = _layers(objective.model)
        vectors = [objective.vector(), *units]
        self._pieces = list(zip(*(objective.layout.split(v) for v in vectors), strict=True))  # by parameter

    @staticmethod
    def is_one(objective: Objective) -> bool:
        """Whether the model is linear layers and activations in a row, all their parameters selected."""
        model = objective.model
        if type(model) is not nn.Sequential:
            return False
        _, (inputs, _) = next(objective.batches())
        linear = [name for name, layer in model._modules.items() if isinstance(layer, nn.Linear)]
        own = [f"{name}.{key}" for name in linear for key, _ in model.get_submodule(name).named_parameters()]
        return (
            (inputs.ndim == 2 or len(_layers(model)) < len(model))
            and all(type(layer) in (nn.Linear, *_ACTIVATIONS) for layer in _layers(model))
            and own == objective.names
        )

    def __call__(self, inputs: Tensor, t: Tensor) -> Tensor:
        """The outputs (k, classes, n) for inputs (n, ...) at displacements t (k, m)."""
        *before, last = t.unbind(1)
        # What moves all points alike, as along a row of a plane, is added once.
        moves = [*(column[:1] if (column == column[0]).all() else column for column in before), last]
        h, pieces = inputs.flatten(1).T, iter(self._pieces)
        for layer in self._layers:
            if not isinstance(layer, nn.Linear):
                h = h.relu_() if type(layer) is nn.ReLU and h.ndim == 3 else layer(h)  # memory that is there
                continue
            weights = next(pieces)
            biases = [b[:, None] for b in next(pieces)] if layer.bias is not None else None
            if h.ndim == 2:  # the data: the first layer
                products = [w @ h for w in weights]
                h = _at(products if biases is None else [p + b for p, b in zip(products, biases, strict=True)], moves)
            elif biases is None:
                h = torch.bmm(_at(weights, moves), h)
            else:
                h = torch.baddbmm(_at(biases, moves), _at(weights, moves), h)
        return h


def _layers(model: nn.Module) -> list[nn.Module]:
    """Its children in order, each as often as it is used, without one that makes rows of the examples at the start."""
    first, *others = layers = [layer for layer in model._modules.values() if layer is not None]
    flattens = type(first) is nn.Flatten and (first.start_dim, first.end_dim) == (1, -1)
    return others if flattens else layers


def _at(pieces: Sequence[Tensor], moves: Sequence[Tensor]) -> Tensor:
    """One piece of the parameters (*shape), and of each direction, to that of every point (k, *shape)."""
    total, *units = pieces
    for displacement, unit in zip(moves, units, strict=True):  # no matmul, which may round to TF32
        total = torch.addcmul(total, displacement[:, None, None], unit)
    return total
