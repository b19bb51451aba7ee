"""What the optimizers of this folder share: a step of a base optimizer along a gradient gathered in several passes.

    each pass:  closure() -> loss and gradient where the weights are now: at w first, then at w + e
    restore:    w by copy, bit for bit, and with `model=` every buffer as the first pass left it
    update:     base.step() at w, with the gathered direction as the gradient

A subclass writes `_gather`: it runs the passes, moves the weights between them, and leaves the direction in `.grad`.
A pass whose loss or gradient is not finite ends the step: the weights stay, `num_skipped` counts it. A gradient whose
norm overflows counts as one. Telling costs one host synchronization a pass, so the norms may as well be Python floats.

Not here: loss scaling for float16 (bfloat16 autocast needs none) and gradient exchange between processes.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


class MultiPassOptimizer(Optimizer):
    """A torch optimizer that steps along a direction found by several forward and backward passes.

    `param_groups` is the base's own list, so a scheduler may be built on either. A deep copy copies the base too.

    Args:
        base: The optimizer that makes the update. Options that its groups have already win over `defaults`.
        model: Where given, every buffer of it (BatchNorm statistics, ...) follows the first pass of each step only.
        defaults: The options of a parameter group that the subclass adds to the base's.

    Raises:
        ValueError: `base` is not an optimizer instance.
    """

    def __init__(self, base: Optimizer, *, model: nn.Module | None, defaults: dict[str, Any]) -> None:
        if not isinstance(base, Optimizer):
            raise ValueError(
                f"base={base!r} is not an optimizer. Expected one: torch.optim.SGD(model.parameters(), lr=0.1)."
            )
        self.base = base
        self.model = model
        self.num_skipped = 0
        self._in_passes = False
        groups = base.param_groups
        try:
            super().__init__(list(groups), {**base.defaults, **defaults})
        finally:
            base.param_groups = groups

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The base's groups: the same list, also after the base loaded another state."""
        return self.base.param_groups

    @param_groups.setter
    def param_groups(self, groups: list[dict[str, Any]]) -> None:
        self.base.param_groups = groups

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters to the base, with this optimizer's options beside the base's."""
        self.base.add_param_group(self._with_options(param_group))

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None, *, loss: Callable[[], Tensor] | None = None) -> Any:
        """Make one update and return the clean loss: that of the first pass, at the weights the step began with.

        Args:
            closure: Zeroes the gradients, runs forward and backward, returns the loss. It is called once a pass, so it
                must use the same examples each time; it may loop over micro-batches.
            loss: Returns the differentiable loss without a backward pass, for methods that use Hessian products.

        Raises:
            ValueError: No closure, a closure that returns nothing, or a sparse gradient. As after any exception in a
                pass, weights and buffers are restored.
        """
        if closure is None:
            raise ValueError(
                f"{type(self).__name__}.step() got no closure. Expected step(closure), where closure() zeroes the "
                "gradients, runs forward and backward, and returns the loss."
            )
        for group in self.param_groups:
            self._with_options(group)  # which the state of a plain base, loaded into it, does not bring
        passes = Passes(self, closure, loss)
        finite = True
        self._in_passes = True
        try:
            self._gather(passes)
        except NonFinitePassError:
            finite = False
        finally:
            passes.restore()
            self._in_passes = False
        if finite:
            self._update()
        else:
            self.num_skipped += 1
        return passes.clean_loss

    def state_dict(self) -> dict[str, Any]:
        """Return the base's state under "base" and this optimizer's beside it; it loads under ``weights_only=True``.

        Raises:
            RuntimeError: Called from a closure, where the weights may be perturbed.
        """
        self._refuse_in_passes("state_dict")
        return {"base": self.base.state_dict(), "num_skipped": self.num_skipped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what `state_dict` returned, of this optimizer over the same kind of base.

        Raises:
            RuntimeError: Called from a closure.
            ValueError: `state_dict` is of another optimizer.
        """
        self._refuse_in_passes("load_state_dict")
        expected = set(self.state_dict())
        if set(state_dict) != expected:
            raise ValueError(
                f"this is not a state of {type(self).__name__}: expected the keys {sorted(expected)}, "
                f"found {sorted(state_dict)}. The state of a plain optimizer belongs to .base."
            )
        self.base.load_state_dict(state_dict["base"])
        self.num_skipped = state_dict["num_skipped"]

    def __getstate__(self) -> dict[str, Any]:
        # torch's own drops every attribute it does not know; `step` is here only where a scheduler wrapped it
        return {name: value for name, value in vars(self).items() if name != "step"}

    def _gather(self, passes: "Passes") -> None:
        raise NotImplementedError

    def _update(self) -> None:
        self.base.step()

    def _with_options(self, group: dict[str, Any]) -> dict[str, Any]:
        for name, value in self.defaults.items():
            group.setdefault(name, value)
        return group

    def _refuse_in_passes(self, method: str) -> None:
        if self._in_passes:
            raise RuntimeError(
                f"{type(self).__name__}.{method}() was called between two passes, where the weights may be perturbed. "
                "Call it after step() returned."
            )


class NonFinitePassError(ArithmeticError):
    """The loss or the gradient of a pass is not finite."""


class Passes:
    """The passes of one step: run the closure, move the weights, put everything back.

    Args:
        optimizer: Whose groups and model they are.
        closure: As of its `step`.
        loss: As of its `step`.
    """

    def __init__(
        self, optimizer: MultiPassOptimizer, closure: Callable[[], Any], loss: Callable[[], Tensor] | None
    ) -> None:
        self.closure = closure
        self.loss = loss
        self.clean_loss: Tensor | None = None
        self._groups = optimizer.param_groups
        self._model = optimizer.model
        self._weights: dict[Tensor, Tensor] = {}
        self._buffers: dict[str, Tensor] = {}

    def run(self) -> None:
        """Run the closure where the weights are now; the gradients are then in `.grad`.

        Raises:
            NonFinitePassError: The loss or the gradient is not finite.
            ValueError: The closure returned nothing, or a gradient is sparse.
        """
        torch.clear_autocast_cache()  # within autocast it would hold half-precision copies of the weights before a move
        with torch.enable_grad():
            returned = self.closure()
        if returned is None:
            raise ValueError("the closure returned None. Expected it to return the loss.")
        loss = torch.as_tensor(returned).detach()
        if self.clean_loss is None:
            self.clean_loss = loss.clone()
            if self._model is not None:
                self._buffers = {name: buffer.clone() for name, buffer in self._model.named_buffers()}
        for group in self._groups:
            for index, p in enumerate(group["params"]):
                if p.grad is not None and p.grad.layout != torch.strided:
                    name = group["param_names"][index] if "param_names" in group else f"{index}, {tuple(p.shape)}"
                    raise ValueError(f"the gradient of parameter {name} is sparse. Expected dense: set sparse=False.")
        norm = global_norm(gradients(p for group in self._groups for p in group["params"]))
        if not torch.isfinite(norm + loss.to(norm.device)):
            raise NonFinitePassError

    def move(self, params: list[Tensor], directions: list[Tensor], *, alpha: float) -> None:
        """Add ``alpha * directions`` to `params`, from where they are; those not moved before are saved first."""
        unsaved = [p for p in params if p not in self._weights]
        copies = [torch.empty_like(p) for p in unsaved]
        _copy(copies, unsaved)
        self._weights.update(zip(unsaved, copies, strict=True))
        torch._foreach_add_(params, directions, alpha=alpha)

    def restore(self) -> None:
        """Put back the weights the step began with, and the model's buffers as the first pass left them."""
        _copy(list(self._weights), list(self._weights.values()))
        if self._buffers and self._model is not None:
            current = dict(self._model.named_buffers())
            _copy([current[name] for name in self._buffers], list(self._buffers.values()))
        torch.clear_autocast_cache()


def gradients(params: Iterable[Tensor]) -> list[Tensor]:
    """Return the gradients of those `params` that have one.

    >>> w = torch.zeros(2, requires_grad=True)
    >>> w.sum().backward()
    >>> gradients([w, torch.zeros(3, requires_grad=True)])
    [tensor([1., 1.])]
    """
    return [p.grad for p in params if p.grad is not None]


def global_norm(tensors: list[Tensor]) -> Tensor:
    """Return the 2-norm of all the tensors as one vector, accumulated in float32 or wider, on the first one's device.

    >>> global_norm([torch.tensor([3.0]), torch.tensor([4.0])]).item()
    5.0
    """
    if not tensors:
        return torch.zeros(())
    dtype = reduce(torch.promote_types, {t.dtype for t in tensors}, torch.float32)
    norms = torch._foreach_norm(tensors, 2, dtype=dtype)
    return torch.linalg.vector_norm(torch.stack([n.to(tensors[0].device) for n in norms]))


def _copy(targets: list[Tensor], sources: list[Tensor]) -> None:
    """Copy list to list, in one kernel for each device and dtype (buffers mix float and integer ones)."""
    batches: dict[tuple[torch.device, torch.dtype], tuple[list[Tensor], list[Tensor]]]
    batches = defaultdict(lambda: ([], []))
    for target, source in zip(targets, sources, strict=True):
        batch = batches[target.device, target.dtype]
        batch[0].append(target)
        batch[1].append(source)
    for some_targets, some_sources in batches.values():
        torch._foreach_copy_(some_targets, some_sources)
