"""Write a checkpoint so that a reader sees the old file or the new one, whole, whatever interrupts the writer."""

import os
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import nn

from landscape import __version__
from landscape.checkpoint.checkpoint import CheckpointError, to_device
from landscape.checkpoint.content import FORMAT
from landscape.disk import DiskFullError
from landscape.files import whole
from landscape.text import first_few


def save_checkpoint(
    path: str | os.PathLike[str],
    *,
    model: nn.Module,
    model_spec: dict[str, Any],
    data_spec: dict[str, Any],
    loss_spec: dict[str, Any],
    recipe: dict[str, Any],
    epoch: int,
    step: int,
    metrics: list[dict[str, Any]],
    optimizer: torch.optim.Optimizer | None = None,
    rng: dict[str, Any] | None = None,
    loop: dict[str, Any] | None = None,
    fingerprint: dict[str, Any] | None = None,
) -> None:
    """Write a self-describing checkpoint of format ``landscape.checkpoint/1``, atomically.

    It loads with ``torch.load(path, weights_only=True)``. Tensors are written as CPU tensors of their own dtype; tied
    weights are written once and stay tied.

    Args:
        path: the file; its folder is made if need be.
        model: whose state dict is written.
        model_spec: {"name": str, "args": dict} for ``landscape.models.build_model``.
        data_spec: {"name": str, "args": dict} for ``landscape.data.load_data``.
        loss_spec: {"name": str, "args": dict}.
        recipe: how it is trained; this and all below are plain Python values and tensors.
        epoch: epochs done.
        step: optimizer steps done.
        metrics: one row an epoch, so far.
        optimizer: whose state dict is written, to resume from.
        rng: generator states, to resume from.
        loop: what the loop itself carries within an epoch, to resume from.
        fingerprint: of what it is trained on (``landscape.fingerprint``), so that it is resumed on nothing else.

    Raises:
        CheckpointError: the file cannot be written, or could not be read back safely; the old one is as it was.

    Example:
        >>> import tempfile
        >>> from landscape import load_checkpoint
        >>> from landscape.models import build_model
        >>> spec = {"name": "mlp", "args": {"input_shape": (1, 8, 8), "num_classes": 10}}
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     path = Path(directory, "last.pt")
        ...     save_checkpoint(path, model=build_model(spec["name"], **spec["args"]), model_spec=spec,
        ...         data_spec={"name": "digits", "args": {}}, loss_spec={"name": "cross_entropy", "args": {}},
        ...         recipe={}, epoch=0, step=0, metrics=[])
        ...     load_checkpoint(path).model["name"]
        'mlp'
    """
    state = {"model": model.state_dict(), "optimizer": optimizer and optimizer.state_dict(), "rng": rng}
    state |= {} if loop is None else {"loop": loop}
    content = {
        "format": FORMAT,
        "model": model_spec,
        "data": data_spec,
        "loss": loss_spec,
        "recipe": recipe,
        "epoch": epoch,
        "step": step,
        "metrics": metrics,
        "fingerprint": fingerprint or {},
        "state": to_device(state, torch.device("cpu")),
        "versions": {"landscape": __version__, "torch": str(torch.__version__)},
    }
    path = Path(path)
    try:
        with whole(path) as part:
            with part.open("wb") as file:
                _save(content, file)
            if refused := torch.serialization.get_unsafe_globals_in_checkpoint(part):
                raise CheckpointError(
                    f"{path}: was not written, as reading it back would run {first_few(sorted(refused))}. "
                    "Pass plain Python values and tensors."
                )
    except DiskFullError as error:
        raise CheckpointError(f"{path}: {error.strerror}.") from error
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot be written: {error}. Check permissions and free space; a file that was there is as it was."
        ) from error


def _save(content: dict[str, Any], file: BinaryIO) -> None:
    try:
        torch.save(content, file)
    except RuntimeError as error:
        # After a write that failed or was interrupted torch still ends the archive; its complaint hides the cause.
        raise error.__context__ or error from None
