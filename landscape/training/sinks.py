"""Where the rows of metrics go beside metrics.csv: TensorBoard, or Weights & Biases.

Both are extras: ``pip install "landscape-geometry[tensorboard]"`` or ``[wandb]``. A sink is used as a context, and what
it gives is called with each row:

    with tensorboard(out) as write:
        train(recipe, out, on_epoch=write)
"""

import importlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from landscape.files import write_text
from landscape.reading import read_text
from landscape.training.recipe import Recipe

Sink = Callable[[dict[str, Any]], None]


@contextmanager
def tensorboard(out: str | os.PathLike[str]) -> Iterator[Sink]:
    """Write event files to OUT/tensorboard, the steps of the run for steps: ``tensorboard --logdir OUT``.

    Raises:
        ValueError: tensorboard is not installed.
    """
    with _imported("torch.utils.tensorboard", "tensorboard").SummaryWriter(str(Path(out, "tensorboard"))) as writer:

        def write(row: dict[str, Any]) -> None:
            for name, value in row.items():
                writer.add_scalar(name, value, row["step"])
            writer.flush()

        yield write


@contextmanager
def wandb(out: str | os.PathLike[str], *, project: str, recipe: Recipe) -> Iterator[Sink]:
    """Log to a project of Weights & Biases, one run a folder, also when it is resumed; WANDB_MODE=offline is heeded.

    Raises:
        ValueError: wandb is not installed.
    """
    Path(out).mkdir(parents=True, exist_ok=True)
    name = Path(out, "wandb.txt")
    package = _imported("wandb", "wandb")
    begun = read_text(name).strip() if name.exists() else None
    with package.init(project=project, config=recipe.to_dict(), dir=str(out), id=begun, resume="allow") as run:
        write_text(name, f"{run.id}\n")
        yield lambda row: run.log(row, step=row["step"])


def _imported(module: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ValueError(f'{extra} is needed ({error}): pip install "landscape-geometry[{extra}]".') from error
