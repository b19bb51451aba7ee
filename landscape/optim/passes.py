"""The passes of one step: run the closure, move the weights, put everything back.

A pass whose loss or gradient is not finite ends the step, and so does a gradient whose norm overflows. Telling costs
one host synchronization a pass, so the norms may as well be Python floats.
"""

import math
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any

import torch
from torch import Tensor, nn

from landscape.optim.leftovers import no_leftovers
from landscape.optim.precision import Precision, require_finite
from landscape.optim.vectors import Vectors, add_, copy_, global_norm
from landscape.optim.workers import Workers
from landscape.second_derivatives import twice_differentiable

EPS = 1e-12  # what is added to a norm before it divides
SQRT_LR = "sqrt-lr"  # a radius of a group, as SA-SAM compares with: the root of its learning rate at each step


class Passes:
    """The passes of one step, of the ``closure`` and the ``loss`` that the optimizer's ``step`` got.

    Args:
        groups: the optimizer's groups of parameters.
        model: whose buffers follow the first pass only.
        sync: whether the processes of a DistributedDataParallel ``model`` are averaged in each pass; else by ``agree``.
        precision: how the losses are scaled.

    Attributes:
        clean_loss: what the first pass returned.
        value: the loss of the last pass, the mean over the processes under ``sync``.
        num_gradients: what the passes cost, in gradients: one each, and two a Hessian product.
        hvp: which Hessian products were used: "exact", "finite-difference" or None.
        workers: the processes, for means of what a step finds beside its direction.
    """

    def __init__(
        self,
        closure: Callable[[], Any],
        loss: Callable[[], Tensor] | None,
        *,
        groups: list[dict[str, Any]],
        model: nn.Module | None,
        sync: bool,
        precision: Precision,
    ) -> None:
        self._closure = closure
        self.loss = loss
        self.clean_loss: Tensor | None = None
        self.value = torch.zeros(())
        self.num_gradients = 0
        self.hvp: str | None = None
        self._groups = groups
        self._params = [p for group in groups for p in group["params"] if p.requires_grad]
        self.workers = Workers(model, self._params, sync=sync)
        self._model = model
        self._precision = precision
        self._weights: dict[Tensor, Tensor] = {}
        self._buffers: dict[str, Tensor] = {}

    def run(self) -> None:
        """Run the closure where the weights are now; the gradients are then in ``.grad``.

        Raises:
            NonFinitePassError: the loss or the gradient is not finite.
            ValueError: the closure returned no number, added to earlier gradients or left none; a gradient is sparse.
        """
        torch.clear_autocast_cache()  # within autocast it would hold half-precision copies of the weights before a move
        hooks = nullcontext() if self.workers.sync else self.workers.no_hooks()
        with torch.enable_grad(), hooks, no_leftovers(self._params):
            returned = self._closure()
        self._end_pass(_number(returned).detach())

    def gradient(self) -> Vectors:
        """The gradients that ``run`` left in ``.grad``, taken from there; it raises the same."""
        self.run()
        return self.workers.own(self._take())

    def gradient_and_product(self) -> tuple[Vectors, Callable[[Vectors], Vectors]]:
        """The gradient of ``loss`` where the weights are now, and the product with its Hessian there.

        The product may be taken once: it is one more backward through the kept graph, by the parameters of all groups.
        Its vector is the same in all processes. Until then the gradient is the graph's own, not to be changed in place.

        Raises:
            NonFinitePassError: the loss, the gradient or the product is not finite.
            ValueError: ``loss`` did not return a differentiable scalar.
        """
        assert self.loss is not None
        scaler = self._precision.scaler
        torch.clear_autocast_cache()
        # torch.autograd.grad passes by the hooks of DistributedDataParallel, which would wait for them
        with torch.enable_grad(), self.workers.no_hooks(), twice_differentiable():
            loss = self.loss()
            if not isinstance(loss, Tensor) or loss.numel() != 1 or not loss.requires_grad:
                raise ValueError(f"loss() returned {loss!r}. Expected a differentiable scalar, without backward().")
            scaled = scaler.scale(loss.squeeze())
            found = torch.autograd.grad(scaled, self._params, create_graph=True, allow_unused=True)
        kept = {p: g for p, g in zip(self._params, found, strict=True) if g is not None}
        writes = scaler.is_enabled()  # into the gradients, to unscale them
        grads = {p: g.detach().clone() if writes else g.detach() for p, g in kept.items()}
        self.leave(self.workers.mean_of_pass(grads))
        del grads
        self._end_pass(loss.detach().squeeze())
        self.hvp = "exact"

        def product(vectors: Vectors) -> Vectors:
            self.num_gradients += 2
            params = list(kept)
            if along := [p for p in kept if p in vectors and kept[p].requires_grad]:
                outputs, directions = [kept[p] for p in along], [vectors[p] for p in along]
                found = deque(torch.autograd.grad(outputs, params, directions, materialize_grads=True))
                del outputs
            else:
                found = deque(torch.zeros_like(p) for p in params)
            kept.clear()
            scale = scaler.get_scale()
            products = {p: found.popleft() / scale for p in params}  # new: those found may be views
            products = self.workers.mean_of_pass(products)
            require_finite(products)
            return products

        return self._take(), product

    def perturbed(self, vectors: Vectors) -> Vectors:
        """The part of ``vectors`` that belongs to groups with ``perturb``."""
        return {p: vectors[p] for group in self._groups if group["perturb"] for p in group["params"] if p in vectors}

    def norm(self, vectors: Vectors) -> float:
        """The 2-norm over all groups with ``perturb``, jointly."""
        return global_norm(self.perturbed(vectors).values()).item()

    def climb_to(self, v: Vectors, option: str = "rho", *, norm: float | None = None, eps: float = EPS) -> bool:
        """Move the groups with ``perturb`` by ``radius * v / (norm + eps)``, from where they are; tell if any moved.

        Along a gradient that is the worst point of the ball around them, to first order. The radius is each group's
        own, an option of it, and "sqrt-lr" is the root of its learning rate. By default the norm is that of ``v``.
        """
        scale = 1 / ((self.norm(v) if norm is None else norm) + eps)
        moved = False
        for group in self._groups:
            radius = math.sqrt(group["lr"]) if group[option] == SQRT_LR else group[option]
            alpha = scale * radius
            some = {p: v[p] for p in group["params"] if p in v} if group["perturb"] and alpha else {}
            self.move(some, alpha)
            moved |= bool(some)
        return moved

    def move(self, vectors: Vectors, alpha: float = 1.0) -> None:
        """Add ``alpha * vectors`` to their parameters, from where they are; those not moved before are saved first."""
        unsaved = [p for p in vectors if p not in self._weights]
        copies = [torch.empty_like(p) for p in unsaved]
        copy_(copies, unsaved)
        self._weights.update(zip(unsaved, copies, strict=True))
        add_({p: p for p in vectors}, vectors, alpha=alpha)

    def back(self) -> None:
        """Put back the weights the step began with."""
        copy_(list(self._weights), list(self._weights.values()))

    def leave(self, direction: Vectors) -> None:
        """Put ``direction`` into ``.grad``, where the base looks for it."""
        for p in self._params:
            p.grad = direction.get(p)

    def agree(self, finite: bool) -> bool:
        """Average ``.grad`` over the processes if no pass did; tell if every pass of all of them was finite."""
        direction = self.workers.agree(self._grads() if finite else None)
        if direction is not None:
            self.leave(direction)
        return direction is not None

    def rewound(self) -> AbstractContextManager[None]:
        """What is drawn in the body is drawn again after it, on the CPU and the CUDA devices of the parameters."""
        return torch.random.fork_rng(devices=sorted({p.device.index for p in self._params if p.is_cuda}))

    def restore(self) -> None:
        """Put back the weights the step began with, and the model's buffers as the first pass left them."""
        self.back()
        if self._buffers and self._model is not None:
            current = dict(self._model.named_buffers())
            copy_([current[name] for name in self._buffers], list(self._buffers.values()))
        torch.clear_autocast_cache()

    def _grads(self) -> Vectors:
        return {p: p.grad for p in self._params if p.grad is not None}

    def _take(self) -> Vectors:
        taken = self._grads()
        for p in taken:
            p.grad = None
        return taken

    def _end_pass(self, loss: Tensor) -> None:
        """Unscale the gradients; keep the loss, and the buffers after the first pass; end the step if not finite."""
        self.num_gradients += 1
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
        self._precision.unscale()
        self.value = self.workers.mean_loss(loss)
        require_finite(self._grads(), self.value)


def _number(returned: Any) -> Tensor:
    """What a closure returned, as the tensor of one number that it is. Raises ValueError for anything else."""
    with suppress(TypeError, ValueError, RuntimeError):
        if (loss := torch.as_tensor(returned)).numel() == 1:
            return loss
    shape = f" of shape {tuple(returned.shape)}" if isinstance(returned, Tensor) else ""
    what = "None" if returned is None else type(returned).__name__ + shape
    raise ValueError(f"the closure returned {what}. Expected it to return the loss.")
