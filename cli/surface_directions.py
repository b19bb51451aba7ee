"""What ``landscape surface --directions`` stands for: directions by name, or made of other checkpoints."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from landscape.checkpoint import Checkpoint
    from landscape.objective import Objective
    from landscape.problem import Problem
    from landscape.surface.directions import Directions

_TOWARDS = "to:"


def read_others(directions: str) -> "dict[str, Checkpoint]":
    """The checkpoints after ``to:``, by their paths; none where it is another word."""
    from landscape.checkpoint import load_checkpoint

    if not directions.startswith(_TOWARDS):
        return {}
    paths = directions.removeprefix(_TOWARDS)
    if not paths:
        raise ValueError("--directions to: names no checkpoint. Expected to:CKPT or to:CKPT,CKPT.")
    whole = Path(paths)
    return {path: load_checkpoint(path) for path in ([paths] if whole.is_file() else paths.split(","))}


def find_directions(
    kind: str,
    objective: "Objective",
    problem: "Problem",
    trajectory: "list[Checkpoint]",
    others: "dict[str, Checkpoint]",
    *,
    num: int,
    seed: int,
    **options: Any,
) -> "Directions":
    """The directions around the weights of the objective: by name, of a trajectory, or towards others."""
    from landscape.surface import directions

    found: Directions | str = kind
    if trajectory:
        plane = directions.pca(objective, [_vector(file, problem, objective) for file in trajectory])
        steps = [{"path": str(file.path), "epoch": file.epoch, "step": file.step} for file in trajectory]
        found = replace(plane, details=plane.details | {"trajectory": steps})
    elif others:
        vectors = {name: _vector(file, problem, objective) for name, file in others.items()}
        found = directions.towards(objective, vectors, num=num, seed=seed)
    return directions.find_directions(objective, found, num=num, seed=seed, **options)


def _vector(file: "Checkpoint", problem: "Problem", objective: "Objective") -> "Tensor":
    """The weights of another checkpoint of the same model, (d,)."""
    from copy import deepcopy

    model = deepcopy(problem.model)
    file.load_into(model)
    params = dict(model.named_parameters())
    return objective.layout.flatten([params[name].detach() for name in objective.names])
