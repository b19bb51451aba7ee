"""Means over the processes that train one model, so that all of them step alike.

Every process passes the same parameters, so one that has no gradient for some of them makes nobody wait. What comes
back is the same on all of them, bit for bit.
"""

from collections import defaultdict

import torch
import torch.distributed as dist
from torch import Tensor

from landscape.optim.vectors import Vectors


class Workers:
    """The processes of a group.

    Args:
        process_group: As of ``DistributedDataParallel.process_group``.
    """

    def __init__(self, process_group: dist.ProcessGroup) -> None:
        self._group = process_group
        self._size = dist.get_world_size(process_group)

    def mean_scalar(self, scalar: Tensor) -> Tensor:
        """Return the mean over the processes."""
        total = scalar.clone()
        dist.all_reduce(total, group=self._group)
        return total / self._size

    def mean(self, vectors: Vectors | None, params: list[Tensor]) -> Vectors | None:
        """Return the mean over the processes, of those `params` that any has; None where any gave None.

        Takes `vectors` over: its entries are dropped one by one, so that they are not kept twice.
        """
        have = vectors or {}
        flags = torch.tensor([vectors is None, *(p in have for p in params)], device=params[0].device).int()
        dist.all_reduce(flags, group=self._group)
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
            dist.all_reduce(flat, group=self._group)
            flat /= self._size
            mean.update(
                (p, t.view(p.shape)) for p, t in zip(batch, flat.split([p.numel() for p in batch]), strict=True)
            )
        return mean
