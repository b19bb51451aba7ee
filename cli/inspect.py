"""``landscape inspect``: what a checkpoint file holds, without running anything in it."""

import gc
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument

from .console import print_json, print_line, print_table, print_text
from .options import Json

if TYPE_CHECKING:
    from torch import Tensor

    from landscape.checkpoint import Checkpoint


def inspect(
    checkpoint: Annotated[Path, Argument(metavar="CKPT", help="A checkpoint, a state dict or a .safetensors file.")],
    json: Json = False,
) -> None:
    """Say what a checkpoint file holds, without running anything in it.

    [bold]landscape inspect runs/sgd/last.pt[/]
    [bold]landscape inspect weights.safetensors --json[/]
    """
    from landscape.checkpoint import load_checkpoint

    gc.disable()  # of many thousand tensors, none is garbage, and looking for it takes a third of the time
    try:
        facts = _describe(load_checkpoint(checkpoint))
    finally:
        gc.enable()
    if json:
        print_json(facts)
        return
    tensors = facts.pop("tensors")
    for name, value in facts.items():
        line = f"{name:<11} {_words(value)}"
        if isinstance(value, dict):
            print_text(line, indent=12)
        elif value is not None:
            print_line(line)
    rows = [
        [
            t["name"],
            " × ".join(map(str, t["shape"])) or "scalar",
            t["dtype"],
            f"{t['norm']:.6g}",
            ", ".join(f"{t[f'num_{kind}']} {kind}" for kind in ("nan", "inf") if t[f"num_{kind}"]),
        ]
        for t in tensors
    ]
    print_table(["tensor", "shape", "dtype", "norm", ""], rows, num_left=3)


def _describe(checkpoint: "Checkpoint") -> dict[str, Any]:
    """What the file says of itself, and what its tensors are."""
    from torch import Tensor

    from landscape.checkpoint.content import told

    weights = {name: value for name, value in checkpoint.state["model"].items() if isinstance(value, Tensor)}
    return {
        "path": str(checkpoint.path),
        "sha256": checkpoint.sha256,
        "format": checkpoint.format,
        "num_bytes": checkpoint.path.stat().st_size,
        "model": told(checkpoint.model),
        "data": told(checkpoint.data),
        "loss": told(checkpoint.loss),
        "recipe": told(checkpoint.recipe) or None,
        "epoch": checkpoint.epoch,
        "step": checkpoint.step,
        "metrics": told(checkpoint.metrics[-1]) if checkpoint.metrics else None,
        "num_params": _num_params(checkpoint),
        "num_entries": sum(value.numel() for value in weights.values()),
        "tensors": [_facts(name, value) for name, value in weights.items()],
    }


def _num_params(checkpoint: "Checkpoint") -> int | None:
    """Number of parameters; a state dict does not tell them from buffers, so there it is unknown."""
    from landscape.checkpoint import CheckpointError

    try:
        return sum(p.numel() for p in checkpoint.build_model().parameters())
    except CheckpointError:
        return None


def _facts(name: str, tensor: "Tensor") -> dict[str, Any]:
    import torch

    if tensor.layout == torch.sparse_coo:
        values = tensor.coalesce().values()  # the rest, which may be any number of them, is 0
    else:
        values = tensor.dequantize() if tensor.is_quantized else tensor.to_dense()
    values = values.to(torch.complex128 if values.is_complex() else torch.float64)
    norm = values.norm().item()
    finite = math.isfinite(norm)
    return {
        "name": name,
        "shape": list(tensor.shape),
        "dtype": str(tensor.dtype).removeprefix("torch."),
        "norm": norm,
        "num_nan": 0 if finite else int(values.isnan().sum()),
        "num_inf": 0 if finite else int(values.isinf().sum()),
    }


def _words(value: Any) -> str:
    if not isinstance(value, dict):
        return f"{value:.6g}" if isinstance(value, float) else str(value)
    if value.keys() == {"name", "args"}:
        return f"{value['name']}({_words(value['args'])})"
    return ", ".join(f"{name}={_words(item)}" for name, item in value.items() if item != {})
