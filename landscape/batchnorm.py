"""Running statistics of batch normalization: from the training split, and how far a model's are from those.

In eval mode a BatchNorm takes its input for one of the mean and variance that it keeps. Training leaves there an
average over its last steps, of other weights and of few examples, and after large or few steps one that fits nothing.
The *training statistics* are those with which all agrees:

    running mean and variance of every BatchNorm = mean and unbiased variance of its inputs
                                                   over all training rows (and positions) together, in eval mode

A layer's inputs depend on the layers before it, so that this is one solution, found layer by layer: each pass sets all
statistics to those of the inputs, and after so many passes as layers follow each other nothing moves any more. They
depend on neither the order nor the batching of the rows (to rounding), nor on what was there before. They are those of
a pass in train mode over all rows as one batch, but for the n / (n - 1) of the variances: the population's statistics
(*Rethinking "Batch" in BatchNorm*, Wu & Johnson 2021, section 3). ``torch.optim.swa_utils.update_bn`` takes one pass in
train mode, in which layers read what others made of single batches, and a plain mean over these: it depends on how the
rows are batched.

A BatchNorm is whatever calls ``torch.nn.functional.batch_norm`` with running statistics: modules of any dimension,
synchronized ones, other people's.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from landscape.batches import generators, to
from landscape.eager import uncompiled
from landscape.outputs import call
from landscape.surroundings import mode_of

_ARGUMENTS = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
Forwards = Callable[[], Iterable[object]]  # each call is another pass of the model in eval mode, a forward an item


def reestimate(model: nn.Module, batches: Iterable[Any], *, forward: Callable[[Any], Any] | None = None) -> None:
    """Set the running statistics of every BatchNorm, in place, to the training statistics.

    All else stays as it is, modes and random states too; ``num_batches_tracked`` and ``momentum`` as well, so that
    training goes on from here with the averages that it had. After an error the statistics are what they were.

    Args:
        model: the network, any number of whose modules normalize; without one, nothing happens after a batch.
        batches: of the training split, to be gone over again and again, in any order.
        forward: runs the model on a batch; by default ``model(inputs)`` of (inputs, targets), or of a mapping without
            its labels.

    Raises:
        ValueError: where a BatchNorm sees a single value a channel, which has no variance.

    Cost: a forward pass for every BatchNorm that follows another, and one more to see that nothing moves.

    Example:
        >>> model = nn.BatchNorm1d(1)
        >>> reestimate(model, [torch.tensor([[1.0], [2.0]]), torch.tensor([[6.0]])])
        >>> model.running_mean, model.running_var
        (tensor([3.]), tensor([7.]))
    """
    with _evaluating(model, batches, forward) as forwards:
        settle(forwards)


def staleness(model: nn.Module, batches: Iterable[Any], *, forward: Callable[[Any], Any] | None = None) -> float:
    """How wrong the normalized activations are, in standard deviations: 0 where the statistics are the training ones.

    Of a channel with running mean m and variance v, and inputs of mean m' and variance v' over the rows, it is

        d^2 = mean ((x - m) / s - (x - m') / s')^2 = (m - m')^2 / s^2 + v' (1 / s - 1 / s')^2,    s = sqrt(v + eps)

    and the result is the root of its mean over the channels, of the BatchNorm where that is largest. One forward pass
    in eval mode, whose inputs are those that the running statistics before them make; arguments as of ``reestimate``.

    Example:
        >>> model = nn.BatchNorm1d(1, eps=0.0)  # which keeps a mean of 0 and a variance of 1
        >>> round(staleness(model, [torch.tensor([[2.0], [4.0]])]), 6)  # of mean 3 and variance 1
        3.0
    """
    with _evaluating(model, batches, forward) as forwards:
        return distance(forwards)


def settle(forwards: Forwards) -> None:
    """``reestimate`` by passes that somebody else makes."""
    before: dict[int, tuple[Tensor, Tensor, Tensor, Tensor]] = {}
    try:
        num_passes, moved = 0, True
        while moved:
            seen = _seen_in(forwards)
            for one in seen:
                kept = (one.mean, one.variance, one.mean.clone(), one.variance.clone())
                before.setdefault(id(one.mean), kept)
            num_passes += 1
            moved = sum([one.set() for one in seen]) > 0 and num_passes <= len(seen)
    except BaseException:
        for mean, variance, mean_before, variance_before in before.values():
            mean.copy_(mean_before)
            variance.copy_(variance_before)
        raise


def distance(forwards: Forwards) -> float:
    """``staleness`` by a pass that somebody else makes."""
    return max((one.distance() for one in _seen_in(forwards)), default=0.0)


@dataclass
class _Inputs:
    """What a BatchNorm keeps, and the mean and the sum of squares about it of what it has seen, by channel."""

    mean: Tensor
    variance: Tensor
    eps: float
    num_seen: int = 0
    seen_mean: Tensor = field(default_factory=lambda: torch.zeros(()))
    seen_squares: Tensor = field(default_factory=lambda: torch.zeros(()))

    def add(self, x: Tensor) -> None:
        """Take further inputs (n, channels, ...), with the pooled moments of Chan, Golub & LeVeque 1983."""
        num = x.numel() // x.shape[1]
        if not num:
            return
        wide = torch.promote_types(x.dtype, torch.float32)
        variance, mean = torch.var_mean(x.to(wide), [0, *range(2, x.ndim)], correction=0)
        if x.device.type != "mps":
            variance, mean = variance.double(), mean.double()
        total, ahead = self.num_seen + num, mean - self.seen_mean
        self.seen_mean = self.seen_mean + ahead * (num / total)
        self.seen_squares = self.seen_squares + variance * num + ahead**2 * (self.num_seen * num / total)
        self.num_seen = total

    def set(self) -> bool:
        """Keep what was seen; returns whether that is another."""
        if self.num_seen < 2:
            raise ValueError("A BatchNorm sees one value a channel over all batches. Expected at least 2.")
        before = self.mean.clone(), self.variance.clone()
        self.mean.copy_(self.seen_mean)
        self.variance.copy_(self.seen_squares / (self.num_seen - 1))
        return not (torch.equal(self.mean, before[0]) and torch.equal(self.variance, before[1]))

    def distance(self) -> float:
        variance = self.seen_squares / self.num_seen
        kept, seen = ((v + self.eps).rsqrt() for v in (self.variance.to(self.seen_mean), variance))
        squares = (self.mean - self.seen_mean) ** 2 * kept**2 + variance * (kept - seen) ** 2
        return squares.mean().sqrt().item()


class _Watch(TorchFunctionMode):
    """Notes the inputs of every BatchNorm that takes them for ones of its running statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs: dict[int, _Inputs] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is functional.batch_norm:
            given = dict(zip(_ARGUMENTS, args, strict=False)) | (kwargs or {})
            mean, variance = given["running_mean"], given["running_var"]
            if mean is not None and variance is not None and not given.get("training", False):
                one = self.inputs.setdefault(id(mean), _Inputs(mean, variance, given.get("eps", 1e-5)))
                one.add(given["input"].detach())
        return func(*args, **(kwargs or {}))


@torch.no_grad()
def _seen_in(forwards: Forwards) -> list[_Inputs]:
    """What the BatchNorms saw in a pass, in the order of their calls; it ends after a batch where there is none."""
    watch = _Watch()
    with watch:
        for _ in forwards():
            if not watch.inputs:
                break
    return [one for one in watch.inputs.values() if one.num_seen]


@contextmanager
def _evaluating(model: nn.Module, batches: Iterable[Any], forward: Callable[[Any], Any] | None) -> Iterator[Forwards]:
    """Passes over the batches in eval mode; flags and random states are put back."""
    module = uncompiled(model)
    run = forward or partial(_forward, module)
    device = next((t.device for t in (*module.parameters(), *module.buffers())), torch.device("cpu"))
    with mode_of(list(module.modules()), *generators(batches), training=False):
        yield lambda: (run(to(batch, device, None)) for batch in batches)


def _forward(model: nn.Module, batch: Any) -> Any:
    if isinstance(batch, Mapping):
        return call(model, {key: value for key, value in batch.items() if key != "labels"}, by_name=True)
    return call(model, batch[0] if isinstance(batch, (tuple, list)) else batch)
