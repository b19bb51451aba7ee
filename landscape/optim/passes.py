"""The passes of one step: run the closure, move the weights, put everything back.

A pass whose loss or gradient is not finite ends the step, and so does a gradient whose norm overflows. Telling costs
one host synchronization a pass, so the norms may as well be Python floats.
"""

from collections import deque
from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from landscape.optim.vectors import Vectors, copy_, global_norm
from landscape.optim.workers import Workers
from landscape.second_derivatives import twice_differentiable


class NonFinitePassError(ArithmeticError):
    """The loss or the gradient of a pass is not finite."""


class Passes:
    """The passes of one step.

    Args:
        closure: As of the optimizer's `step`.
        loss: As of the optimizer's `step`.
        groups: The optimizer's groups of parameters.
        model: Whose buffers follow the first pass only.
        sync: Whether the processes of a DistributedDataParallel `model` are averaged in each pass; else by `finish`.
        scaler: Has scaled the loss before the closure's backward.
        checks: The objects under which `scaler` keeps what it found in a pass; lengthened as needed.

    Attributes:
        clean_loss: What the first pass returned.
        value: The loss of the last pass, in float64 if that is what it was, the mean over the processes under `sync`.
        hvp: Which Hessian products were used: "exact" or "finite-difference"; None if none were.
    """

    def __init__(
        self,
        closure: Callable[[], Any],
        loss: Callable[[], Tensor] | None,
        *,
        groups: list[dict[str, Any]],
        model: nn.Module | None,
        sync: bool,
        scaler: GradScaler | None,
        checks: list[SimpleNamespace],
    ) -> None:
        self.closure = closure
        self.loss = loss
        self.clean_loss: Tensor | None = None
        self.value = torch.zeros(())
        self.hvp: str | None = None
        self._groups = groups
        self._params = [p for group in groups for p in group["params"] if p.requires_grad]
        self._model = model
        self._ddp = model if isinstance(model, DistributedDataParallel) else None
        self._workers = Workers(self._ddp.process_group) if self._ddp else None
        self._sync = sync
        self._scaler = scaler if scaler is not None and scaler.is_enabled() else None
        self._checks = checks
        self._num_passes = 0
        self._ended = False
        self._weights: dict[Tensor, Tensor] = {}
        self._buffers: dict[str, Tensor] = {}

    def run(self) -> None:
        """Run the closure where the weights are now; the gradients are then in `.grad`.

        Raises:
            NonFinitePassError: The loss or the gradient is not finite.
            ValueError: The closure returned nothing, or a gradient is sparse.
        """
        torch.clear_autocast_cache()  # within autocast it would hold half-precision copies of the weights before a move
        with torch.enable_grad(), self._ddp.no_sync() if self._ddp and not self._sync else nullcontext():
            returned = self.closure()
        if returned is None:
            raise ValueError("the closure returned None. Expected it to return the loss.")
        self._check(torch.as_tensor(returned).detach())

    def gradient(self) -> Vectors:
        """Run the closure where the weights are now, and take its gradients: `.grad` is None afterwards.

        Raises:
            NonFinitePassError: As of `run`.
            ValueError: As of `run`.
        """
        self.run()
        taken = self._grads()
        if self._ddp is not None and self._ddp.gradient_as_bucket_view:  # the next pass would write into them
            taken = {p: g.clone() for p, g in taken.items()}
        for p in taken:
            p.grad = None
        return taken

    def gradient_and_product(self) -> tuple[Vectors, Callable[[Vectors], Vectors]]:
        """Run `loss` where the weights are now; return its gradient and the product with its Hessian there.

        The product may be taken once: it is one more backward through the kept graph, by the parameters of all groups.
        Its vector is the same in all processes. Until then the gradient is the graph's own, not to be changed in place.
        Attention is computed by its plain kernel, which alone can be differentiated twice.

        Raises:
            NonFinitePassError: The loss or the gradient is not finite; from the product, that it is not.
            ValueError: `loss` did not return a differentiable scalar.
        """
        assert self.loss is not None
        torch.clear_autocast_cache()
        # torch.autograd.grad passes by the hooks of DistributedDataParallel, which would wait for them
        quiet = self._ddp.no_sync() if self._ddp else nullcontext()
        with torch.enable_grad(), quiet, twice_differentiable():
            loss = self.loss()
            if not isinstance(loss, Tensor) or loss.numel() != 1 or not loss.requires_grad:
                raise ValueError(f"loss() returned {loss!r}. Expected a differentiable scalar, without backward().")
            scaled = loss.squeeze() if self._scaler is None else self._scaler.scale(loss.squeeze())
            found = torch.autograd.grad(scaled, self._params, create_graph=True, allow_unused=True)
        kept = {p: g for p, g in zip(self._params, found, strict=True) if g is not None}
        for p in self._params:
            p.grad = kept[p].detach() if p in kept else None
            if p in kept and self._scaler is not None:
                p.grad = kept[p].detach().clone()  # which will be unscaled in place
        if self._workers is not None and self._sync:
            self.leave(self._workers.mean(self._grads(), self._params) or {})
        self._check(loss.detach().squeeze())
        taken = self._grads()
        for p in taken:
            p.grad = None
        self.hvp = "exact"

        def product(vectors: Vectors) -> Vectors:
            along = [p for p in kept if p in vectors and kept[p].requires_grad]
            params = list(kept)
            if not along:
                found = tuple(torch.zeros_like(p) for p in params)
            else:
                found = torch.autograd.grad(
                    [kept[p] for p in along],
                    params,
                    [vectors[p] for p in along],
                    allow_unused=True,
                    materialize_grads=True,
                )
            kept.clear()
            scale = 1.0 if self._scaler is None else self._scaler.get_scale()
            remaining = deque(found)
            del found
            products = {p: remaining.popleft() / scale for p in params}  # new: those found may be views
            if self._sync and self._workers is not None:
                products = self._workers.mean(products, self._params) or {}
            if not torch.isfinite(global_norm(products.values())):
                raise NonFinitePassError
            return products

        return taken, product

    def perturbed(self, vectors: Vectors) -> Vectors:
        """Return the part of `vectors` that belongs to groups with `perturb`."""
        return {p: vectors[p] for group in self._groups if group["perturb"] for p in group["params"] if p in vectors}

    def climb(self, vectors: Vectors, *, scale: float, radius: str | None = "rho") -> bool:
        """Move each group with `perturb` by ``group[radius] * scale * vectors``, from where it is; tell if any moved.

        Without a `radius` by ``scale * vectors``.
        """
        moved = False
        for group in self._groups:
            alpha = scale if radius is None else group[radius] * scale
            params = [p for p in group["params"] if p in vectors] if group["perturb"] and alpha else []
            if params:
                self.move(params, [vectors[p] for p in params], alpha=alpha)
                moved = True
        return moved

    def norm(self, vectors: Vectors) -> float:
        """Return the 2-norm over all groups with `perturb`, jointly."""
        return global_norm(self.perturbed(vectors).values()).item()

    def move(self, params: list[Tensor], directions: list[Tensor], *, alpha: float) -> None:
        """Add ``alpha * directions`` to `params`, from where they are; those not moved before are saved first."""
        unsaved = [p for p in params if p not in self._weights]
        copies = [torch.empty_like(p) for p in unsaved]
        copy_(copies, unsaved)
        self._weights.update(zip(unsaved, copies, strict=True))
        torch._foreach_add_(params, directions, alpha=alpha)

    def back(self) -> None:
        """Put back the weights the step began with."""
        copy_(list(self._weights), list(self._weights.values()))

    def average(self, vectors: Vectors) -> Vectors:
        """Return the mean over the processes, which are not averaged yet without `sync`. Takes `vectors` over.

        Raises:
            NonFinitePassError: A pass of another process was not finite.
        """
        if self._workers is None or self._sync:
            return vectors
        mean = self._workers.mean(vectors, self._params)
        if mean is None:
            self._ended = True  # the other process is at `agree`, which took part
            raise NonFinitePassError
        return mean

    def leave(self, direction: Vectors) -> None:
        """Put `direction` into `.grad`, where the base looks for it."""
        for p in self._params:
            p.grad = direction.get(p)

    def agree(self, finite: bool) -> bool:
        """Without `sync`, average `.grad` over the processes; tell if every pass of all of them was finite."""
        if self._workers is None or self._sync or self._ended:
            return finite
        mean = self._workers.mean(self._grads() if finite else None, self._params)
        self.leave(mean or {})
        return mean is not None

    def restore(self) -> None:
        """Put back the weights the step began with, and the model's buffers as the first pass left them."""
        self.back()
        if self._buffers and self._model is not None:
            current = dict(self._model.named_buffers())
            copy_([current[name] for name in self._buffers], list(self._buffers.values()))
        torch.clear_autocast_cache()

    def _grads(self) -> Vectors:
        return {p: p.grad for p in self._params if p.grad is not None}

    def _check(self, loss: Tensor) -> None:
        """Unscale the gradients; keep the loss, and the buffers after the first pass; end the step if not finite."""
        loss = loss.clone()  # the closure may add up the next one in the same place
        if self.clean_loss is None:
            self.clean_loss = loss
            if self._model is not None:
                self._buffers = {name: buffer.clone() for name, buffer in self._model.named_buffers()}
        for group in self._groups:
            for index, p in enumerate(group["params"]):
                if p.grad is not None and p.grad.layout != torch.strided:
                    name = group["param_names"][index] if "param_names" in group else f"{index}, {tuple(p.shape)}"
                    raise ValueError(f"the gradient of parameter {name} is sparse. Expected dense: set sparse=False.")
        if self._scaler is not None:
            if self._num_passes == len(self._checks):
                self._checks.append(SimpleNamespace())
            check = self._checks[self._num_passes]  # one a pass: a scaler unscales each optimizer once an update
            check.param_groups = self._groups
            self._scaler.unscale_(cast(Optimizer, check))
        self._num_passes += 1
        self.value = self._workers.mean_scalar(loss) if self._workers is not None and self._sync else loss
        norm = global_norm(self._grads().values())
        if not torch.isfinite(norm + self.value.to(norm.device)):
            raise NonFinitePassError
