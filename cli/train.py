"""``landscape train``: train a network and leave checkpoints that say what they hold."""

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

from typer import Option

from .console import print_json, progress
from .device import find_device


def train(
    out: Annotated[Path, Option(metavar="DIR", help="Folder of the run: last.pt and metrics.csv.")],
    model: Annotated[
        str | None, Option(metavar="NAME", help="mlp (the default), cnn, resnet18, vit-small, ...")
    ] = None,
    data: Annotated[str | None, Option(metavar="NAME", help="digits (the default), cifar10:PATH, ...")] = None,
    optimizer: Annotated[str | None, Option(metavar="NAME", help="sgd (the default) or sam.")] = None,
    epochs: Annotated[int | None, Option(metavar="N", help="Passes over the data; 60 by default.")] = None,
    lr: Annotated[float | None, Option(metavar="X", help="Learning rate of the first epoch; 0.1 by default.")] = None,
    momentum: Annotated[float | None, Option(metavar="X", help="Of SGD, alone or under SAM; 0.9 by default.")] = None,
    weight_decay: Annotated[float | None, Option(metavar="X", help="On all parameters; 0.0005 by default.")] = None,
    rho: Annotated[float | None, Option(metavar="X", help="Radius of SAM's ball; 0.05 by default.")] = None,
    batch_size: Annotated[int | None, Option(metavar="N", help="Examples a step; 64 by default.")] = None,
    seed: Annotated[int | None, Option(metavar="N", help="Of weights and order; 0 by default.")] = None,
    checkpoint_every: Annotated[int | None, Option(metavar="N", help="Keep every N-th epoch's weights.")] = None,
    resume: Annotated[bool, Option("--resume", help="Go on from OUT/last.pt, with its recipe.")] = False,
    device: Annotated[str, Option(metavar="D", help="cpu, cuda, cuda:1, mps.")] = "cpu",
    json: Annotated[bool, Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Train a network and leave checkpoints that say what they hold.

    [bold]landscape train --epochs 20 --out runs/sgd[/]
    [bold]landscape train --optimizer sam --rho 0.05 --out runs/sam[/]

    A run that was stopped goes on with --resume, bit for bit.
    """
    from landscape.checkpoint import load_checkpoint
    from landscape.training import Recipe
    from landscape.training import train as run

    last = out / "last.pt"
    begun = load_checkpoint(last).recipe if resume and last.exists() else {}
    flags = {
        "model": model,
        "data": data,
        "optimizer": optimizer,
        "optimizer_args": None if rho is None else {"rho": rho},
        "epochs": epochs,
        "lr": lr,
        "momentum": momentum,
        "weight_decay": weight_decay,
        "batch_size": batch_size,
        "seed": seed,
    }
    recipe = Recipe.from_dict(begun | {name: value for name, value in flags.items() if value is not None})
    again = shlex.join(["landscape", "train", "--out", str(out), "--resume"])
    try:
        with progress("Epochs", recipe.epochs) as tell:
            run(
                recipe,
                out,
                resume=resume,
                device=find_device(device),
                checkpoint_every=checkpoint_every,
                on_epoch=lambda row: tell(
                    row["epoch"], f"loss {row['train_loss']:.4f}, accuracy {row['train_accuracy']:.4f}"
                ),
            )
    except KeyboardInterrupt:
        if last.exists():
            print(f"{last} is whole. To go on: {again}", file=sys.stderr)
        raise
    done = load_checkpoint(last)
    if json:
        facts = {"path": str(last), "sha256": done.sha256, "epoch": done.epoch, "step": done.step}
        print_json({"checkpoint": facts, "recipe": done.recipe, "metrics": done.metrics})
    else:
        print(f"{last}: epoch {done.epoch}, {_words(done.metrics[-1])}")
        print(f"Next: {shlex.join(['landscape', 'analyze', str(last)])}")


def _words(row: dict[str, Any]) -> str:
    train, test = (
        f"{split} loss {row[f'{split}_loss']:.4f}, accuracy {row[f'{split}_accuracy']:.4f}"
        for split in ("train", "test")
    )
    return f"{train}; {test}"
