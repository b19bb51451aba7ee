"""Checkpoints to track: a tiny network on digits, its weights moved a little from each to the next."""

from pathlib import Path
from typing import Any

import torch

from landscape import save_checkpoint
from landscape.models import build_model

SPEC = {"name": "mlp", "args": {"input_shape": (1, 8, 8), "num_classes": 10, "hidden": (4,)}}
DATA = {"name": "digits", "args": {"num_train": 40}}
STEPS_AN_EPOCH = 5


def write(path: Path, epoch: int, *, epochs: int = 100, **changes: Any) -> Path:
    """A checkpoint of ours after so many of its epochs; its weights follow from the epoch."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build_model(SPEC["name"], **SPEC["args"])
        generator = torch.Generator().manual_seed(epoch)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    usual = {
        "model": model,
        "model_spec": SPEC,
        "data_spec": DATA,
        "loss_spec": {"name": "cross_entropy", "args": {}},
        "recipe": {"epochs": epochs, "lr": 0.1},
        "epoch": epoch,
        "step": STEPS_AN_EPOCH * epoch,
        "metrics": [{"epoch": n + 1, "lr": 0.1 / (n + 1), "seconds": 0.01} for n in range(epoch)],
    }
    save_checkpoint(path, **usual | changes)
    return path


def run(folder: Path, epochs: int, *, every: int = 1) -> Path:
    """The folder of a run that has ended."""
    for epoch in range(every, epochs + 1, every):
        write(folder / f"epoch-{epoch:04d}.pt", epoch, epochs=epochs)
    write(folder / "last.pt", epochs, epochs=epochs)
    return folder
