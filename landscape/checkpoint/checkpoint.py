"""What a checkpoint file holds: weights, and what it says of the model, data, loss and training they came from.

A file of format ``landscape.checkpoint/1`` says all of that. A ``state_dict`` holds weights only: the caller brings the
model. Reading and writing are in the neighbouring files.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from landscape.checkpoint.building import no_larger_than
from landscape.checkpoint.content import told
from landscape.checkpoint.fit import fitted
from landscape.edge import update_in
from landscape.forms import AT_LEAST_0, is_ours
from landscape.models import build_model
from landscape.reading import FileError, reading
from landscape.text import reason_of

_MODEL = "Pass the model it was trained with."


class CheckpointError(FileError):
    """A file that is no checkpoint or does not fit; the message is one line, "PATH: what is wrong. What to do."."""


class NoCheckpointError(CheckpointError):
    """A file that can be read, and holds no state dict."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The content of one checkpoint file.

    Attributes:
        path: the file.
        sha256: of the file's bytes, in hexadecimal.
        format: "landscape.checkpoint/1", or "state_dict" where the file holds weights only and all below is unknown.
        state: {"model": {name: tensor}, "optimizer": state dict or None, "rng": generator states or None}.
        model: {"name": str, "args": dict} for ``landscape.models.build_model``, or None.
        data: {"name": str, "args": dict} for ``landscape.data.load_data``, or None.
        loss: {"name": str, "args": dict}, or None.
        recipe: how it was trained.
        epoch: epochs done.
        step: optimizer steps done.
        metrics: one row an epoch, so far.
        fingerprint: of what it was trained on (``landscape.fingerprint``); empty in files that do not say.
        container: what kind of file or folder it is: "torch zip", "safetensors", "distributed", ...
        key: where in it the state dict was, "ema.state_dict"; "" where it is all there is.
        others: where other state dicts are.
        left_out: what the file names that was not run, "argparse.Namespace".
        config: of a Hugging Face folder, its config.json.
        adapter: of an adapter's folder, its adapter_config.json.
        trusted: whether what the file says was run.
    """

    path: Path
    sha256: str
    format: str
    state: dict[str, Any] = field(repr=False)
    model: dict[str, Any] | None = None
    data: dict[str, Any] | None = None
    loss: dict[str, Any] | None = None
    recipe: dict[str, Any] = field(default_factory=dict)
    epoch: int | None = None
    step: int | None = None
    metrics: list[dict[str, Any]] = field(default_factory=list, repr=False)
    fingerprint: dict[str, Any] = field(default_factory=dict, repr=False)
    container: str = "torch zip"
    key: str = ""
    others: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    config: dict[str, Any] | None = field(default=None, repr=False)
    adapter: dict[str, Any] | None = field(default=None, repr=False)
    trusted: bool = False

    @property
    def identity(self) -> dict[str, Any]:
        """What a result says of the file that it was measured on."""
        keys = ("sha256", "epoch", "step", "model", "data", "recipe")
        known = {"path": str(self.path)} | {key: told(getattr(self, key)) for key in keys}
        if update := update_in(self.state.get("optimizer")):
            known["update"] = told(update)
        read = {"key": self.key, "left_out": list(self.left_out), "trusted": self.trusted}
        known |= {name: value for name, value in read.items() if value}
        if self.metrics and all(AT_LEAST_0.holds(row.get("seconds")) for row in self.metrics):
            known["seconds"] = sum(row["seconds"] for row in self.metrics)  # that it was trained
        return known

    def build_model(self) -> nn.Module:
        """Build the model that the checkpoint describes, with its weights; the global generator is left as it was.

        Raises:
            CheckpointError: the checkpoint does not describe its model, or one that is unknown or does not fit.
        """
        if self.model is None:
            raise CheckpointError(
                f"{self.path}: holds weights and does not say of which model. "
                "Build the model and call load_checkpoint(path).load_into(model)."
            )
        try:
            with torch.random.fork_rng(devices=[]), no_larger_than(self.state["model"]):
                model = build_model(self.model["name"], **self.model["args"])
        except Exception as error:  # whatever torch and Python say of arguments that make no sense
            raise CheckpointError(
                f"{self.path}: describes a model that cannot be built: {reason_of(error)}. "
                "Build the model it was trained with and call load_checkpoint(path).load_into(model)."
            ) from error
        self.load_into(model)
        return model

    def load_into(self, model: nn.Module) -> None:
        """Copy the weights into ``model``: names and shapes must agree, but for prefixes of wrappers on either side.

        One of two names of a tied weight may be missing, and counts of batches; numbers of another kind (integers,
        quantized, complex) are refused. Weights that are rounded into a narrower dtype, and tensors outside the prefix
        under which the model's names are, are told in a warning.

        Raises:
            CheckpointError: they do not agree; names the first three of each kind of difference. ``model`` is
                untouched.

        Example:
            >>> weights = {"weight": torch.ones(1, 2), "bias": torch.zeros(1)}
            >>> checkpoint = Checkpoint(Path("last.pt"), "", "state_dict", {"model": weights})
            >>> checkpoint.load_into(linear := nn.Linear(2, 1))
            >>> linear.weight.data
            tensor([[1., 1.]])
        """
        try:
            state = fitted(model, self.state["model"])
        except ValueError as error:
            raise CheckpointError(
                f"{self.path}: does not fit {type(model).__name__}: {reason_of(error)}. {_MODEL}"
            ) from error
        with reading(self.path, _MODEL, CheckpointError):
            model.load_state_dict(state)

    def require_steps(self, num_examples: int) -> None:
        """Refuse one of more steps than its recipe, one of ours, makes on so many examples. Raises CheckpointError."""
        if is_ours(self.recipe) and self.step is not None:
            most = self.recipe["epochs"] * math.ceil(num_examples / self.recipe["batch_size"])
            if self.step > most:
                raise CheckpointError(
                    f"{self.path}: is of step {self.step}, and its recipe makes {most} on {num_examples} examples. "
                    "Expected a checkpoint with the data it was trained on."
                )


def without_prefixes(state: Mapping[str, Any], *, lightning: bool) -> dict[str, Any]:
    """``state`` without what DataParallel, DDP and torch.compile put before every one of its names.

    Also without what a Lightning module puts there that calls its network ``model``, if ``lightning``.
    """
    prefixes = ("module.", "_orig_mod.", "model.") if lightning else ("module.", "_orig_mod.")
    stripped = dict(state)
    while prefix := next((p for p in prefixes if stripped and all(name.startswith(p) for name in stripped)), None):
        stripped = {name.removeprefix(prefix): value for name, value in stripped.items()}
    return stripped


def to_device(tree: Any, device: torch.device) -> Any:
    """Nested dicts, lists and tuples, their tensors detached and on ``device``; those that shared memory still do."""
    storages: dict[int, torch.UntypedStorage] = {}

    def move(node: Any) -> Any:
        if isinstance(node, Tensor):
            return node.detach() if node.device == device else move_tensor(node.detach())
        if isinstance(node, dict):
            return {key: move(value) for key, value in node.items()}
        return type(node)(map(move, node)) if type(node) in (list, tuple) else node

    def move_tensor(tensor: Tensor) -> Tensor:
        if tensor.layout != torch.strided or tensor.is_quantized:
            return tensor.to(device)
        tensor = tensor.resolve_conj().resolve_neg()
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in storages:
            whole = torch.empty(0, dtype=torch.uint8, device=tensor.device).set_(storage)
            storages[storage.data_ptr()] = whole.to(device).untyped_storage()
        moved = torch.empty(0, dtype=tensor.dtype, device=device)
        return moved.set_(storages[storage.data_ptr()], tensor.storage_offset(), tensor.shape, tensor.stride())

    return move(tree)
