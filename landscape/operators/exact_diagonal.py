"""The exact diagonal of the Gauss-Newton matrix, without probes: one backward pass a class.

    diag(G)_p = (1/n) sum_i sum_c (s_ic^T dz_i/dp)^2,    d^2 l_i / dz^2 = sum_c s_ic s_ic^T

Per-example gradients are never formed for the whole network: in a linear layer the gradient of example i is an outer
product of what came in and what comes back, and its square the product of the squares (Goodfellow 2015; Dangel,
Kunstner & Hennig 2020). For cross-entropy s_ic = sqrt(p_c) (e_c - p); for another convex loss the s are scaled
eigenvectors of its output Hessian. Sums over layers give per-layer traces; where ``piecewise.obstacle`` finds none,
they are those of the Hessian itself.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from landscape.derivatives import DerivativeError, sample
from landscape.losses import Terms
from landscape.objective import Objective
from landscape.operators.layer_squares import RULES, NoExactDiagonalError, Products, sum_of_squares, total_of_squares
from landscape.operators.piecewise import obstacle
from landscape.operators.verified import require_affine, require_same, verify_batch

_EXAMPLES = 8  # on which the claim is verified
_BLOCK_BYTES = 2**26  # of back-propagated vectors, up to which examples and classes share one batched backward pass


def gauss_newton_diagonal(objective: Objective, *, of_hessian: bool = False) -> tuple[Tensor, int]:
    """The diagonal of the Gauss-Newton matrix, (d,) in float64, and the backward passes over all the data it took.

    Args:
        objective: whose loss is a function of one output (n, C) of the model, convex in it, example by example.
        of_hessian: also prove, batch by batch, that it is the diagonal of the Hessian.

    Raises:
        NoExactDiagonalError: where a selected parameter is not of a Linear, Conv, or eval-mode BatchNorm module called
            once a pass; where the loss is not convex; where the proof fails.

    Example:
        >>> x = torch.tensor([[1.0], [2.0]])
        >>> model = nn.Linear(1, 1, bias=False)
        >>> diagonal, _ = gauss_newton_diagonal(Objective(model, nn.MSELoss(), [(x, torch.zeros(2, 1))]))
        >>> round(diagonal.item(), 5)  # mean of 2 x^2
        5.0
    """
    with _no_other_error():
        squares, num_passes = _squares(objective, of_hessian, sum_of_squares)
    return torch.cat([squares[name] for name in objective.names]), num_passes


def gauss_newton_traces(objective: Objective, *, of_hessian: bool = False) -> tuple[Tensor, int]:
    """The sums of that diagonal over each parameter tensor, in the order of ``objective.names``, and the passes.

    Sooner than the diagonal where a convolution has fewer positions than its kernel has entries: with per-example
    gradients b a^T, sum (b a^T)^2 is the sum of the products of the positions' Gram matrices, a^T a and b^T b.
    Arguments and errors as there.

    Example:
        >>> batch = (torch.ones(2, 3), torch.zeros(2, 1))
        >>> traces, _ = gauss_newton_traces(Objective(nn.Linear(3, 1), nn.MSELoss(), [batch]))
        >>> [round(trace, 5) for trace in traces.tolist()]  # of the weight's block of 2 x x^T, and of the bias'
        [6.0, 2.0]
    """
    with _no_other_error():
        squares, num_passes = _squares(objective, of_hessian, total_of_squares)
    return torch.stack([squares[name].sum() for name in objective.names]), num_passes


def exact_passes(objective: Objective) -> int:
    """Backward passes that the exact diagonal of the Hessian will take, judged by the first microbatch. One forward.

    Raises:
        NoExactDiagonalError: where ``gauss_newton_diagonal(objective, of_hessian=True)`` raises it on that microbatch.

    Example:
        >>> batch = (torch.ones(2, 3), torch.tensor([0, 1]))
        >>> exact_passes(Objective(nn.Linear(3, 2), nn.CrossEntropyLoss(), [batch]))
        2
    """
    with _no_other_error():
        layers, leaves = _Layers(objective), objective.leaves()

        def passes(terms: Terms) -> int:
            _prove(terms, leaves)
            return len(_factors(objective, terms))

        return next(objective.over_batches(leaves, passes, context=layers.recording))


@contextmanager
def _no_other_error() -> Iterator[None]:
    """Whatever fails in a model or loss that is not what the rules expect is no exact diagonal.

    That the loss is not finite is left to be said by the estimators: one example alone may have no finite loss.
    """
    try:
        yield
    except (DerivativeError, NoExactDiagonalError):
        raise
    except Exception as error:
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise NoExactDiagonalError(f"no exact diagonal for this model, loss or batch: {first}") from error


def _squares(objective: Objective, of_hessian: bool, products: Products) -> tuple[dict[str, Tensor], int]:
    """By parameter, the mean over examples of squares summed over classes, and the backward passes that it took."""
    if of_hessian:
        _verify(objective)
    layers, leaves = _Layers(objective), objective.leaves()
    losses: list[Tensor] = []

    def squares(terms: Terms) -> tuple[dict[str, Tensor], int]:
        losses.append(terms.losses.detach())
        if of_hessian:
            _prove(terms, leaves)
        factors = _factors(objective, terms)  # (C, n, outputs)
        with torch.no_grad():
            return layers.squares(_checked_outputs(terms), factors, products), len(factors)

    parts = copy.copy(objective)
    parts.microbatch = layers.examples_at_once(objective)
    total: dict[str, Tensor] = {}
    num_passes = 0
    for found, passes in parts.over_batches(leaves, squares, context=layers.recording):
        for name, tensor in found.items():
            total[name] = total.get(name, 0) + tensor.to(objective.accumulation_dtype) / objective.total_weight
        num_passes = max(num_passes, passes)
    together = objective.losses()
    if not torch.allclose(torch.cat(losses), together, rtol=1e-2, atol=1e-2 * float(together.abs().mean())):
        raise NoExactDiagonalError("no exact diagonal for a model in which an example's loss depends on its batch")
    return total, num_passes


def _verify(objective: Objective) -> None:
    """Hold the rules against numbers on some of the examples."""
    objective.verify()
    some = sample(objective, _EXAMPLES, objective.accumulation_dtype)
    few = some.objective
    layers, leaves = _Layers(few), few.leaves()
    alone = copy.copy(few)
    alone.microbatch = 1
    first = next(alone.over_batches(alone.leaves(requires_grad=False), lambda terms: terms.losses))
    require_same("an example's loss depends on its batch", [first], [few.losses()[: len(first)]])

    def verify(terms: Terms) -> None:
        _prove(terms, leaves)
        outputs, factors = _checked_outputs(terms), _factors(few, terms)

        def squares(others: Tensor) -> dict[str, Tensor]:
            with torch.no_grad():
                return layers.squares(outputs, others, total_of_squares)

        verify_batch(few, terms, leaves, factors, squares)

    for _ in few.over_batches(leaves, verify, context=layers.recording):
        pass
    require_affine(sample(objective, _EXAMPLES // 2, objective.accumulation_dtype))


class _Layers:
    """The modules that hold the selected parameters: what goes into each and comes out, and the squares that follow."""

    def __init__(self, objective: Objective) -> None:
        self.modules: dict[str, nn.Module] = {}
        modules = dict(objective.model.named_modules())
        for name in objective.names:
            owner, _, _ = name.rpartition(".")
            module = modules[owner]
            if type(module) not in RULES:
                raise NoExactDiagonalError(f"no exact diagonal for {type(module).__name__} {owner!r}")
            self.modules[owner] = module
        self.calls: dict[str, list[tuple[Tensor, Tensor]]] = {}

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Keep the input and output of every call of the modules while the body runs."""
        self.calls = {owner: [] for owner in self.modules}
        handles = [module.register_forward_hook(self._recorder(owner)) for owner, module in self.modules.items()]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
            self.calls = {}

    def _recorder(self, owner: str) -> Callable[..., Tensor]:
        def record(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            self.calls[owner].append((inputs[0].detach(), output))
            return output.clone()  # what comes after may work in place, and we differentiate by the output as it was

        return record

    def examples_at_once(self, objective: Objective) -> int:
        """Examples that fill a block with all their classes, but half a batch at most, to see whether they are mixed.

        Cost: a forward pass of the first example.
        """

        def num_bytes(terms: Terms) -> int:
            outs = [out for calls in self.calls.values() for _, out in calls]
            return _checked_outputs(terms).shape[1] * _num_bytes(outs)

        one = copy.copy(objective)
        one.microbatch = 1
        try:
            needed = next(one.over_batches(objective.leaves(), num_bytes, context=self.recording))
        except (ValueError, RuntimeError) as error:
            raise NoExactDiagonalError(
                f"no exact diagonal for a model that takes no single example: {error}"
            ) from error
        half_a_batch = objective.num_examples // objective.num_batches // 2
        return max(1, min(_BLOCK_BYTES // needed, half_a_batch, objective.microbatch or half_a_batch))

    def squares(self, outputs: Tensor, factors: Tensor, products: Products) -> dict[str, Tensor]:
        """By parameter, the sum over classes and examples of squared gradients."""
        for owner, calls in self.calls.items():
            if len(calls) != 1:
                raise NoExactDiagonalError(f"no exact diagonal for {owner!r}, called {len(calls)} times a pass")
        into = [output for ((_, output),) in self.calls.values()]
        found: dict[str, Tensor] = {}
        for part in factors.split(self._classes_at_once(into)):
            for (owner, ((entered, _),)), back in zip(self.calls.items(), _back(outputs, into, part), strict=True):
                module = self.modules[owner]
                for kind, square in RULES[type(module)](module, entered, back, products).items():
                    name = f"{owner}.{kind}" if owner else kind
                    found[name] = found.get(name, 0) + square.flatten()
        return found

    def _classes_at_once(self, into: list[Tensor]) -> int:
        return max(1, _BLOCK_BYTES // _num_bytes(into))


def _checked_outputs(terms: Terms) -> Tensor:
    outputs = terms.outputs
    if outputs is None or outputs.ndim != 2 or not outputs.requires_grad:
        raise NoExactDiagonalError("no exact diagonal for a model whose output is not one tensor (n, classes)")
    return outputs


def _prove(terms: Terms, leaves: list[Tensor]) -> None:
    """Raise where the diagonal of this microbatch is not the Hessian's."""
    if reason := obstacle(_checked_outputs(terms), leaves):
        raise NoExactDiagonalError(f"not exact here: {reason}")


def _factors(objective: Objective, terms: Terms) -> Tensor:
    """Vectors s with d^2 l / dz^2 = sum_c s_c s_c^T for each example, (C, n, outputs)."""
    outputs = _checked_outputs(terms)
    criterion = objective.criterion
    (slope,) = torch.autograd.grad(objective.summed(terms), [outputs], create_graph=True)
    if not slope.requires_grad:
        raise NoExactDiagonalError("no curvature: the loss is linear in the output")
    if isinstance(criterion, nn.CrossEntropyLoss) and criterion.weight is None and len(terms.losses) == len(outputs):
        p = outputs.detach().softmax(1)  # also with label smoothing, which is linear in the outputs
        if _is_curved_as_softmax(slope, outputs, p):
            return (torch.diag_embed(p.sqrt()) - p[:, :, None] * p.sqrt()[:, None, :]).permute(2, 0, 1)
    columns = [torch.autograd.grad(slope[:, c].sum(), [outputs], retain_graph=True)[0] for c in range(outputs.shape[1])]
    blocks = torch.stack(columns, dim=2)  # (n, outputs, outputs), if each loss depends on its own output alone
    ramp = torch.linspace(1, 2, outputs.numel(), dtype=outputs.dtype, device=outputs.device).reshape(outputs.shape)
    (whole,) = torch.autograd.grad(slope, [outputs], ramp, retain_graph=True)
    if ((blocks @ ramp[:, :, None])[:, :, 0] - whole).norm() > 1e-3 * whole.norm():
        raise NoExactDiagonalError("no exact diagonal for a loss that couples the examples of a batch")
    values, vectors = torch.linalg.eigh(blocks)
    if float(values.min()) < -1e-4 * float(values.abs().max()):
        raise NoExactDiagonalError("no exact diagonal for a loss that is not convex in the output")
    return (vectors * values.clamp(min=0).sqrt()[:, None, :]).permute(2, 0, 1)


def _is_curved_as_softmax(slope: Tensor, outputs: Tensor, p: Tensor) -> bool:
    """Whether d^2 l / dz^2 = diag(p) - p p^T in every example, as it need not be of a subclass: along a direction."""
    u = torch.linspace(1, 2, outputs.numel(), dtype=p.dtype, device=p.device).reshape(p.shape).sin()
    (curved,) = torch.autograd.grad(slope, [outputs], u, retain_graph=True)
    off = (curved - p * (u - (p * u).sum(1, keepdim=True))).norm(dim=1)
    return bool((off <= 1e-3 * curved.norm(dim=1) + 64 * torch.finfo(p.dtype).eps).all())


def _back(outputs: Tensor, into: list[Tensor], factors: Tensor) -> list[Tensor]:
    """The factors back-propagated to each layer's output, (C, n, ...)."""
    one = len(factors) == 1
    vectors = factors[0] if one else factors
    with torch.enable_grad():
        found = torch.autograd.grad(
            outputs, into, vectors, retain_graph=True, allow_unused=True, is_grads_batched=not one
        )
    missing = (t.new_zeros(len(factors), *t.shape) if g is None else g for g, t in zip(found, into, strict=True))
    return [g[None] if one and g.ndim == t.ndim else g for g, t in zip(missing, into, strict=True)]


def _num_bytes(tensors: list[Tensor]) -> int:
    return max(1, sum(t.numel() * t.element_size() for t in tensors))
