"""The processes that train one model, and the means over them that make all of them step alike.

Every process passes the same parameters, so one that has no gradient for some of them makes nobody wait. What comes
back is the same on all of them, bit for bit.
"""

from collections import defaultdict
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from landscape.optim.precision import NonFinitePassError
from landscape.optim.vectors import Vectors


class Workers:
    """The processes of a DistributedDataParallel ``model``; with any other model one process, with no means to take.

    Args:
        model: as of the optimizer.
        params: the parameters of all groups.
        sync: whether each pass is averaged; else the direction is, once, at the end of the step.

    Raises:
        ValueError: the processes have shards of the parameters.
    """

    def __init__(self, model: nn.Module | None, params: list[Tensor], *, sync: bool) -> None:
        for p in params:
            if hasattr(p, "device_mesh") or getattr(p, "_fsdp_flattened", False):
                raise ValueError(
                    f"a parameter of {tuple(p.shape)} is in shards (FSDP or DTensor), and each process would take the "
                    "norm of its own. Expected whole parameters: DistributedDataParallel, with torch.distributed.optim."
                    "ZeroRedundancyOptimizer as the base where its state is what takes the memory."
                )
        model = getattr(model, "_orig_mod", model)  # in what torch.compile returns
        self._ddp = model if isinstance(model, DistributedDataParallel) else None
        self._params = params
        self.sync = sync and self._ddp is not None
        self._ended = False

    def no_hooks(self) -> AbstractContextManager[None]:
        """Where DistributedDataParallel averages no gradients, nor waits for them."""
        return self._ddp.no_sync() if self._ddp else nullcontext()

    def own(self, gradients: Vectors) -> Vectors:
        """Gradients that the next pass does not write into."""
        if self._ddp is not None and self._ddp.gradient_as_bucket_view:
            return {p: g.clone() for p, g in gradients.items()}
        return gradients

    def mean_loss(self, loss: Tensor) -> Tensor:
        """The mean of the losses of a pass, under ``sync``; else this process's own."""
        if not self.sync or self._ddp is None:
            return loss
        total = loss.clone()
        dist.all_reduce(total, group=self._ddp.process_group)
        return total / dist.get_world_size(self._ddp.process_group)

    def mean_of_pass(self, vectors: Vectors) -> Vectors:
        """The mean of what a pass found and no hook averaged, under ``sync``; else ``vectors``. Takes them over."""
        return (self._mean(vectors) or {}) if self.sync else vectors

    def mean_of_step(self, vectors: Vectors) -> Vectors:
        """The mean of what no pass averaged, without ``sync``; else ``vectors``. Takes them over.

        Raises NonFinitePassError where a pass of another process was not finite.
        """
        mean = self.agree(vectors)
        if mean is None:
            self._ended = True  # the other process is at the end of its step, and this was its mean
            raise NonFinitePassError
        return mean

    def agree(self, direction: Vectors | None) -> Vectors | None:
        """What all processes step along, at the end of the step; None, for all, where any gave None."""
        if self._ddp is None or self.sync or self._ended:
            return direction
        return self._mean(direction)

    def _mean(self, vectors: Vectors | None) -> Vectors | None:
        """The mean, of those parameters that any process has; None where any gave None.

        Takes ``vectors`` over: its entries are dropped one by one, so that they are not kept twice.
        """
        assert self._ddp is not None
        group, params, have = self._ddp.process_group, self._params, vectors or {}
        flags = torch.tensor([vectors is None, *(p in have for p in params)], device=params[0].device).int()
        dist.all_reduce(flags, group=group)
        none, *present = flags.tolist()
        if none:
            return None
        batches: dict[tuple[torch.device, torch.dtype], list[Tensor]] = defaultdict(list)
        for p, count in zip(params, present, strict=True):
            if count:
                batches[p.device, p.dtype].append(p)
        mean: Vectors = {}
        for batch in batches.values():
            flat = torch.cat([(have[p] if p in have else torch.zeros_like(p)).flatten() for p in batch])
            for p in batch:
                have.pop(p, None)
            dist.all_reduce(flat, group=group)
            flat /= dist.get_world_size(group)
            parts = flat.split([p.numel() for p in batch])
            mean.update({p: part.view(p.shape) for p, part in zip(batch, parts, strict=True)})
        return mean
