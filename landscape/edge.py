"""The edge of stability: how steep a quadratic may be before an optimizer with these numbers diverges on it.

Along an eigenvector of curvature h, each update is linear in the weight and the momentum, and diverges where an
eigenvalue of it leaves the unit circle, which it does at -1. With rate r, momentum b, dampening t and L2 decay d:

    gradient descent    h + d < 2 / r
    heavy ball          h + d < 2 (1 + b) / ((1 - t) r)         Polyak 1964
    Nesterov's          h + d < 2 (1 + b) / ((1 + 2 b) r)       as torch has it; Cohen et al. 2021 (2103.00065), app. B
    Adam                h + d < 2 (1 + b1) / ((1 - b1) r)       38 / r for b1 = 0.9; Cohen et al. 2022 (2207.14484)
    decoupled decay     h < ... - d (1 + b1) / (1 - b1)         AdamW: the limit above for (2 - r d) in place of 2

For Adam, h is of P^-1/2 H P^-1/2, P = diag(sqrt(v_hat) + eps): the metric ``preconditioned_sharpness``, which adds the
L2 decay itself, as it is scaled too. With small batches the noise of momentum counts, and training tends to stay nearer
2 (1 - b) / r. An optimizer in several passes (SAM, ...) has an edge of its own: what is told is that of its base.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_SGD, _ADAM = ("momentum", "dampening", "nesterov"), ("betas", "eps", "amsgrad")
_TELLING = 1e-3  # share of the edge from which weight decay is mentioned


@dataclass(frozen=True)
class Edge:
    """A limit of stability.

    Attributes:
        value: what the metric must stay below.
        metric: "lambda_max" or "preconditioned_sharpness".
        rule: how it follows from the optimizer's numbers: "3.8/lr".
        notes: what must be said beside it.
        lr: the learning rate that it is of.
    """

    value: float
    metric: str
    rule: str
    notes: tuple[str, ...]
    lr: float

    @property
    def words(self) -> str:
        """The rule with its value."""
        return f"{self.rule} = {self.value:.4g}"


def update_in(state: Any) -> dict[str, Any] | None:
    """What a state dict of torch's, or of ours with a base, says of the update; None of an optimizer not known here.

    Of several groups it is that of the largest learning rate, which is the first to diverge on the same curvature.

    Example:
        >>> group = {"lr": 0.1, "momentum": 0.9, "dampening": 0, "nesterov": False, "weight_decay": 0.0}
        >>> update_in({"state": {}, "param_groups": [group]})["kind"]
        'sgd'
    """
    base = base_state(state)
    listed = base.get("param_groups") if base is not None else None
    groups = [group for group in listed if isinstance(group, Mapping)] if isinstance(listed, list | tuple) else []
    if base is None or not groups:
        return None
    adaptive = "eta" if "theta" in _mapping(state.get("scalars")) else "lr"  # SA-SGD finds its rate by itself
    try:
        group = max(groups, key=lambda one: float(one[adaptive]))
        told = {"lr": float(group[adaptive]), "weight_decay": float(group["weight_decay"]), "passes": base is not state}
        if set(_ADAM) <= group.keys():
            told |= {"beta": float(group["betas"][0]), "decoupled": bool(group.get("decoupled_weight_decay"))}
            return {"kind": "adam", **told}
        if set(_SGD) <= group.keys():
            told |= {"beta": float(group["momentum"]), "dampening": float(group["dampening"])}
            return {"kind": "sgd", **told, "nesterov": bool(group["nesterov"])}
    except (KeyError, TypeError, ValueError, RuntimeError):  # no state of theirs
        return None
    return None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def update_of(optimizer: Any) -> dict[str, Any] | None:
    """The same of an optimizer that is there, whose state dict is not made.

    Example:
        >>> from types import SimpleNamespace
        >>> update_of(SimpleNamespace(param_groups=[])) is None
        True
    """
    groups, scalars = getattr(optimizer, "param_groups", None), getattr(optimizer, "scalars", None)
    state = {"param_groups": groups}
    return update_in({"base": state, "scalars": scalars} if hasattr(optimizer, "base") else state)


def update_told(recipe: Mapping[str, Any], lr: float) -> dict[str, Any]:
    """The same of a recipe, at this rate."""
    return _of_recipe({"recipe": recipe, "lr": lr})


def base_state(state: Any) -> Mapping[str, Any] | None:
    """The state dict of the optimizer that makes the update: of ours in several passes, that of the base."""
    inner = state.get("base", state) if isinstance(state, Mapping) else None
    return inner if isinstance(inner, Mapping) else None


def edge_of(checkpoint: Mapping[str, Any] | None) -> Edge | None:
    """The edge of a checkpoint as results tell of it: of its optimizer's state, or else of its recipe and rate.

    None where the rate is not known. Where only that is, it is the edge of plain gradient descent, and says so.

    Example:
        >>> edge_of({"lr": 0.1, "recipe": {"optimizer": "sgd", "momentum": 0.9}}).words
        '3.8/lr = 38'
    """
    checkpoint = checkpoint or {}
    update = checkpoint.get("update") or _of_recipe(checkpoint)
    lr = update.get("lr")
    if not isinstance(lr, int | float) or not lr > 0:
        return None
    kind, beta, decay = update.get("kind"), update.get("beta", 0.0), update.get("weight_decay", 0.0)
    notes = []
    factor, less = 2.0, decay
    if kind == "adam":
        factor = 2 * (1 + beta) / (1 - beta)
        less = decay * (1 + beta) / (1 - beta) if update.get("decoupled") else 0.0
        notes.append("Adam's, of the preconditioned Hessian")
    elif update.get("nesterov"):
        factor = 2 * (1 + beta) / (1 + 2 * beta)
        notes.append(f"with Nesterov momentum {beta:g}")
    elif beta:
        factor = 2 * (1 + beta) / (1 - update.get("dampening", 0.0))
        notes.append(
            f"with momentum {beta:g}; at small batches it is nearer 2 (1 - {beta:g})/lr = {2 * (1 - beta) / lr:.4g}"
        )
    elif kind is None:
        notes.append("of plain gradient descent, as the optimizer is not known")
    if less > _TELLING * factor / lr:
        notes.append(f"less {less:.4g} for weight decay")
    if update.get("passes"):
        notes.append("of its base alone: an optimizer in several passes has an edge of its own")
    metric = "preconditioned_sharpness" if kind == "adam" else "lambda_max"
    return Edge(factor / lr - less, metric, f"{factor:.4g}/lr", tuple(notes), float(lr))


def _of_recipe(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """What a recipe says of the update, at the rate that a row of a track tells, or one that does not change."""
    recipe = checkpoint.get("recipe") or {}
    args = recipe.get("optimizer_args") or {}
    lr = checkpoint.get("lr")
    if lr is None and recipe.get("schedule") in (None, "constant"):
        lr = recipe.get("lr")
    told = {"lr": lr, "weight_decay": recipe.get("weight_decay") or 0.0}
    name = recipe.get("optimizer")
    if name is None:
        return {"lr": lr}
    if name in ("sa-sgd", "sa-sam"):  # whose rate is known to their state alone
        return {}
    base = name if name in ("sgd", "adam", "adamw") else args.get("base", "sgd")
    told["passes"] = base != name
    if "adam" in base:
        beta = (args.get("betas") or (0.9,))[0]
        return {"kind": "adam", **told, "beta": beta, "decoupled": base == "adamw"}
    beta = recipe.get("momentum") or 0.0
    return {"kind": "sgd", **told, "beta": beta, "nesterov": bool(args.get("nesterov"))}
