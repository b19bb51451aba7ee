"""Random directions made comparable between networks: each part as long as the same part of the weights.

    d_f <- d_f ||w_f|| / ||d_f||        (Li et al. 2018, arXiv:1712.09913, section 4)

"filter": f runs over the output filters, the slices along the first dimension of every parameter; "layer": over whole
parameters; "model": over one part, everything; "none": nothing is done. A filter of zero weights stays where it is.

Biases and normalization layers do not move, as in the paper's own program: parameters of less than two dimensions, and
those of modules that normalize. With ``biases=True`` they do, each such parameter being one filter.
"""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from landscape.objective import Objective

NORMALIZATIONS = ("filter", "layer", "model", "none")
_NORMALIZING = (_NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)


def normalized(objective: Objective, direction: Tensor, normalize: str = "filter", *, biases: bool = False) -> Tensor:
    """The direction (d,), in float64 on the CPU, with the parts that stay set to 0 and the others made comparable.

    Args:
        objective: whose parameters the direction is one of, in their order.
        direction: (d,).
        normalize: "filter", "layer", "model" or "none".
        biases: whether biases and normalization layers move too.

    Raises:
        ValueError: for an unknown normalization, or a direction of another length.

    Example:
        >>> model = nn.Linear(2, 2, bias=False)
        >>> with torch.no_grad():
        ...     _ = model.weight.copy_(torch.tensor([[3.0, 4.0], [0.0, 1.0]]))
        >>> objective = Objective(model, nn.MSELoss(), [(torch.ones(1, 2), torch.ones(1, 2))])
        >>> normalized(objective, torch.tensor([1.0, 0.0, 0.0, 2.0])).view(2, 2).norm(dim=1).tolist()  # of the rows
        [5.0, 1.0]
    """
    if normalize not in NORMALIZATIONS:
        raise ValueError(f"normalize={normalize!r}. Expected one of: {', '.join(NORMALIZATIONS)}.")
    layout = objective.layout
    if direction.shape != (layout.size,):
        raise ValueError(f"The direction has shape {tuple(direction.shape)}. Expected ({layout.size},).")
    objective.refresh()
    d, weights = direction.to("cpu", torch.float64, copy=True), objective.leaves(requires_grad=False)
    still = () if biases else excluded(objective)
    squares = torch.zeros((), dtype=torch.float64)  # of the weights that move
    for name, part, leaf in zip(layout.names, layout.split(d), weights, strict=True):
        weight = leaf.cpu().double()
        if name in still:
            part.zero_()
            continue
        squares += weight.norm() ** 2
        if normalize == "layer" or (normalize == "filter" and weight.ndim < 2):
            part.mul_(_ratio(weight.norm(), part.norm()))
        elif normalize == "filter":
            rows, norms = part.view(len(part), -1), weight.reshape(len(weight), -1).norm(dim=1)
            rows.mul_(_ratio(norms, rows.norm(dim=1))[:, None])
    if normalize == "model":
        d.mul_(_ratio(squares.sqrt(), d.norm()))
    return d


def excluded(objective: Objective) -> list[str]:
    """Names of the parameters that stay: biases and normalization layers; none, where there is nothing else."""
    normalizing = {
        f"{module_name}.{name}".lstrip(".")
        for module_name, module in objective.model.named_modules()
        if isinstance(module, _NORMALIZING)
        for name, _ in module.named_parameters(recurse=False)
    }
    shapes = zip(objective.layout.names, objective.layout.shapes, strict=True)
    still = [name for name, shape in shapes if len(shape) < 2 or name in normalizing]
    return still if len(still) < len(objective.names) else []


def _ratio(wanted: Tensor, found: Tensor) -> Tensor:
    return torch.where(found > 0, wanted / found, 0.0)
