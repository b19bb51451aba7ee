"""What the optimizers of this folder share: a step of a base optimizer along a gradient gathered in several passes.

    each pass:  closure() -> loss and gradient where the weights are now: at w first, then at w + e
    restore:    w by copy, bit for bit, and with ``model=`` every buffer as the first pass left it
    update:     base.step() at w, with the gathered direction as the gradient

A subclass writes ``_gather``: it runs the passes, moves the weights between them, and leaves the direction in
``.grad``. A pass whose loss or gradient is not finite ends the step: the weights stay, ``num_skipped`` counts it.

Several processes: with ``model=DistributedDataParallel(...)`` each process perturbs by its own gradients, and the
direction is averaged once, at the end (m-sharpness, as in the papers). After ``optimizer.sync_perturbation = True``
every pass is averaged instead: the perturbation of the whole batch. Either way all processes skip a step together and
end it with the same weights. In the first way buffers are each process's own. Without such a ``model`` the passes are
averaged by DistributedDataParallel, but losses, Hessian products and the decision to skip are each process's own.
The base may be a ZeroRedundancyOptimizer (not the other way round: it would see its own part of the parameters only);
call its ``consolidate_state_dict`` before ``state_dict``. Parameters in shards (FSDP, DTensor) are refused: each
process would take the norm of its own.

float16: ``optimizer.grad_scaler = torch.amp.GradScaler()``; the closure runs ``grad_scaler.scale(loss).backward()``
and returns the loss unscaled; after ``optimizer.step(closure)`` comes ``grad_scaler.update()``, and no
``grad_scaler.step``. Gradients are unscaled after each pass; one infinity skips the whole step and lowers the scale.
bfloat16 autocast needs none of this.

Loops of others, which accumulate over micro-batches, clip or scale by themselves: ``gather``, landscape.integrations.
"""

import math
from collections.abc import Callable, Sequence
from inspect import Parameter, signature
from types import SimpleNamespace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer

from landscape.optim.passes import Passes
from landscape.optim.precision import NonFinitePassError, Precision

STATE = ("base", "generators", "num_gradients", "num_skipped", "scalars", "tensors")  # the keys of a state


class MultiPassOptimizer(Optimizer):
    """A torch optimizer that steps along a direction found by several forward and backward passes.

    ``param_groups`` is the base's own list, so a scheduler may be built on either. A deep copy copies the base too.

    What a subclass carries from step to step it keeps in two places, both saved and loaded: ``scalars``, numbers by
    name, all set in ``__init__``; and ``self.state[p]``, tensors by name for a parameter. It changes them in
    ``_update`` only, which a skipped step does not reach.

    Args:
        base: the optimizer that makes the update. Options that its groups have already win over ``defaults``.
        model: where given, every buffer of it (BatchNorm statistics, ...) follows the first pass of each step only.
        defaults: the options of a parameter group that the subclass adds to the base's.
        seed: of the random draws (``sample_like``).

    Attributes:
        num_skipped: how many steps were skipped because a pass was not finite.
        num_gradients: what all steps cost, in gradients of a mini-batch: one a pass, and two a Hessian product.
        hvp_used: which Hessian products the last step used: "exact" (``loss`` was given), "finite-difference", or None.
        grad_scaler, sync_perturbation: see the module.

    Raises:
        ValueError: ``base`` is not an optimizer instance, or one that needs a closure; a radius of a group is negative
            or not finite.
    """

    usual_radii: ClassVar[dict[str, float]] = {}  # the options of a group that must be in [0, inf), with usual values
    named_radii: ClassVar[tuple[str, ...]] = ()  # words that may stand for such a number, see ``Passes.climb_to``

    def __init__(self, base: Optimizer, *, model: nn.Module | None, defaults: dict[str, Any], seed: int = 0) -> None:
        if not isinstance(base, Optimizer):
            raise ValueError(
                f"base={base!r} is not an optimizer. Expected one: torch.optim.SGD(model.parameters(), lr=0.1)."
            )
        own = signature(base.step).parameters.get("closure")  # a base is given none
        if isinstance(base, MultiPassOptimizer) or (own is not None and own.default is Parameter.empty):
            raise ValueError(
                f"base={type(base).__name__} runs passes of its own. Expected an optimizer that steps along a gradient "
                "without a closure: torch.optim.SGD(model.parameters(), lr=0.1)."
            )
        self.base = base
        self.model = model
        self.num_skipped = 0
        self.num_gradients = 0
        self.scalars: dict[str, float] = {}
        self.hvp_used: str | None = None
        self.grad_scaler: GradScaler | None = None
        self.sync_perturbation = False
        self._seed = seed
        self._generators: dict[str, torch.Generator] = {}
        self._scaler_checks: list[SimpleNamespace] = []
        self._in_passes = False
        self._gathered: bool | None = None  # whether the direction in .grad is finite; None: there is none
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
        for name, usual in self.usual_radii.items():
            check_range(name, param_group.get(name, self.defaults[name]), usual=usual, words=self.named_radii)
        param_group.update(self.defaults | param_group)
        self.base.add_param_group(param_group)

    def sample_like(self, p: Tensor) -> Tensor:
        """Standard normal numbers like ``p``, from the generator of its device; every draw of a step is made here.

        All processes draw the same numbers unless they are given other seeds.
        """
        device = p.device
        if str(device) not in self._generators:
            self._generators[str(device)] = torch.Generator(device).manual_seed(self._seed + (device.index or 0))
        return torch.randn(p.shape, generator=self._generators[str(device)], dtype=p.dtype, device=device)

    def step(
        self,
        closure: Callable[[], Any] | None = None,
        *,
        loss: Callable[[], Tensor] | None = None,
        gathered: bool = False,
    ) -> Any:
        """Make one update and return the clean loss: that of the first pass, at the weights the step began with.

        After ``gather`` it takes no closure, makes the update alone, and returns None.

        Args:
            closure: zeroes the gradients, runs forward and backward, returns the loss. It is called once a pass, so it
                must use the same examples each time; it may loop over micro-batches.
            loss: returns the differentiable loss without a backward pass, for methods that use Hessian products.
            gathered: the closure is called once, and calls ``gather`` itself: for frameworks that always give a
                closure, and clip in it what it left in ``.grad``.

        Raises:
            ValueError: no closure, a closure that returns no number, adds to gradients that were there before it or
                zeroes its own, or a sparse gradient. As after any exception in a pass, weights, buffers and generators
                are restored.
        """
        returned = None
        if closure is not None:
            with torch.enable_grad():
                returned = closure() if gathered else self._pass(closure, loss)
        finite, self._gathered = self._gathered, None
        if finite is None:
            raise ValueError(
                f"{type(self).__name__}.step() got no closure. Expected step(closure), where closure() zeroes the "
                "gradients, runs forward and backward, and returns the loss; or gather(closure) before it. In loops "
                "that have no closure (transformers, Lightning, accelerate): landscape.integrations."
            )
        if finite:
            with torch.no_grad():
                self._update()
        return returned

    def gather(self, closure: Callable[[], Any], *, loss: Callable[[], Tensor] | None = None) -> Any:
        """Run the passes of a step and leave its direction in ``.grad``: ``step()`` then makes the update along it.

        This is to a plain optimizer's step what the backward pass is: in between, the direction may be clipped, like a
        gradient. With a ``grad_scaler`` it is scaled like one too: ``unscale_``, ``grad_scaler.step(optimizer)`` and
        ``update`` may follow. Where a pass was not finite it is NaN, and the update is skipped.

        Args:
            closure: as of ``step``.
            loss: as of ``step``.

        Returns:
            The clean loss, as of ``step``.

        Raises:
            ValueError: as ``step``.

        Example:
            >>> from landscape.optim import SAM
            >>> w = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
            >>> optimizer = SAM(torch.optim.SGD([w], lr=0.1), rho=0.5)
            >>> def closure():
            ...     optimizer.zero_grad()
            ...     loss = w.square().sum() / 2
            ...     loss.backward()
            ...     return loss
            >>> optimizer.gather(closure)
            tensor(12.5000)
            >>> torch.nn.utils.clip_grad_norm_([w], 1.0)
            tensor(5.5000)
            >>> optimizer.step()
            >>> w.detach()
            tensor([2.9400, 3.9200])
        """
        clean_loss = self._pass(closure, loss)
        params = [p for p in self._all_params() if p.requires_grad]
        if not self._gathered:
            for p in params:
                p.grad = None
            params[0].grad = torch.full_like(params[0], torch.nan)  # one is enough to be found
        elif self.grad_scaler is not None:
            torch._foreach_mul_([p.grad for p in params if p.grad is not None], self.grad_scaler.get_scale())
        return clean_loss

    @torch.no_grad()
    def _pass(self, closure: Callable[[], Any], loss: Callable[[], Tensor] | None) -> Any:
        """Gather the direction of a step in ``.grad``, note whether it is finite, and return the clean loss."""
        self._gathered = None
        for group in self.param_groups:
            group.update(self.defaults | group)  # which the state of a plain base, loaded into it, does not bring
        passes = Passes(
            closure,
            loss,
            groups=self.param_groups,
            model=self.model,
            sync=self.sync_perturbation,
            precision=Precision(self.grad_scaler, self.param_groups, self._scaler_checks),
        )
        drawn = self._generator_states()
        done = False
        self._in_passes = True
        try:
            try:
                self._gather(passes)
                finite = True
            except NonFinitePassError:
                finite = False
            finally:
                passes.restore()
            done = passes.agree(finite)
        finally:
            self._in_passes = False
            if not done:
                self._set_generator_states(drawn)
        self.hvp_used = passes.hvp
        self.num_skipped += not done
        self.num_gradients += passes.num_gradients
        self._gathered = done
        return passes.clean_loss

    def state_dict(self) -> dict[str, Any]:
        """The base's state under "base" and this optimizer's beside it; it loads under ``weights_only=True``.

        Tensors of parameters are under the parameter's position, counted over all groups.

        Raises:
            RuntimeError: called from a closure, where the weights may be perturbed.
        """
        self._refuse_in_passes("state_dict")
        return {
            "base": self.base.state_dict(),
            "num_skipped": self.num_skipped,
            "num_gradients": self.num_gradients,
            "scalars": dict(self.scalars),
            "tensors": {i: dict(self.state[p]) for i, p in enumerate(self._all_params()) if p in self.state},
            "generators": self._generator_states(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what ``state_dict`` returned, of this optimizer over the same kind of base.

        Raises:
            RuntimeError: called from a closure.
            ValueError: ``state_dict`` is of another optimizer.
        """
        self._refuse_in_passes("load_state_dict")
        if "num_skipped" in state_dict:
            state_dict = {"num_gradients": 0, **state_dict}  # earlier versions did not count them
        expected = [*STATE, *sorted(self.scalars)]  # without the base's, which some bases have to gather first
        found = [*sorted(state_dict), *sorted(state_dict.get("scalars", ()))]
        if found != expected:
            raise ValueError(
                f"this is not a state of {type(self).__name__}: expected the keys {expected}, found {found}. "
                "The state of a plain optimizer belongs to .base."
            )
        own = [{name: group[name] for name in self.defaults if name in group} for group in self.param_groups]
        self.base.load_state_dict(state_dict["base"])
        for group, options in zip(self.param_groups, own, strict=True):
            group.update(options | group)  # what an earlier version had in no group stays as it was built
        self.num_skipped = state_dict["num_skipped"]
        self.num_gradients = state_dict["num_gradients"]
        self.scalars = dict(state_dict["scalars"])
        params = self._all_params()
        self.state.clear()
        for i, tensors in state_dict["tensors"].items():
            self.state[params[i]] = {name: t.to(params[i].device, copy=True) for name, t in tensors.items()}
        self._set_generator_states(state_dict["generators"])

    def __getstate__(self) -> dict[str, Any]:
        # torch's own drops every attribute it does not know; ``step`` is here only where a scheduler wrapped it
        return {name: value for name, value in vars(self).items() if name != "step"}

    def _gather(self, passes: Passes) -> None:
        raise NotImplementedError

    def _update(self) -> None:
        self.base.step()

    def _update_with(self, option: str, values: list[float]) -> None:
        """The base's step with these values of an option of its groups, which are put back after it."""
        own = [group[option] for group in self.param_groups]
        try:
            for group, value in zip(self.param_groups, values, strict=True):
                group[option] = value
            self.base.step()
        finally:
            for group, value in zip(self.param_groups, own, strict=True):
                group[option] = value

    def _perturbs(self) -> bool:
        return any(group["rho"] and group["perturb"] for group in self.param_groups)

    def _all_params(self) -> list[Tensor]:
        return [p for group in self.param_groups for p in group["params"]]

    def _generator_states(self) -> dict[str, Tensor]:
        return {device: generator.get_state() for device, generator in self._generators.items()}

    def _set_generator_states(self, states: dict[str, Tensor]) -> None:
        self._generators = {device: torch.Generator(device) for device in states}
        for device, state in states.items():
            self._generators[device].set_state(state.cpu())

    def _refuse_in_passes(self, method: str) -> None:
        if self._in_passes:
            raise RuntimeError(
                f"{type(self).__name__}.{method}() was called between two passes, where the weights may be perturbed. "
                "Call it after step() returned."
            )


def check_range(name: str, value: Any, *, usual: float, words: Sequence[str] = ()) -> None:
    """Refuse a value that is neither in [0, inf) nor one of the words.

    Raises:
        ValueError: naming a usual value.

    Example:
        >>> check_range("rho", -1.0, usual=0.05)
        Traceback (most recent call last):
        ValueError: rho=-1.0 is out of range. Expected 0 <= rho < inf; 0.05 is a usual value.
    """
    if value in words:
        return
    if isinstance(value, str) or not 0 <= value < math.inf:
        others = "".join(f" or {word!r}" for word in words)
        raise ValueError(
            f"{name}={value!r} is out of range. Expected 0 <= {name} < inf{others}; {usual} is a usual value."
        )
