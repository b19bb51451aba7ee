"""How much memory is free, and how much a graph takes, so that both are planned before they are made."""

import os
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, UntypedStorage
from torch.autograd.graph import saved_tensors_hooks


def available_bytes(device: torch.device) -> int:
    """Bytes that can still be allocated on ``device``: the driver's word for CUDA, the system's estimate elsewhere."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        return int(fields["MemAvailable"].split()[0]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2  # no such figure: assume half is free


def saved_bytes(build: Callable[[], object]) -> int:
    """Bytes that autograd saves while ``build`` runs, each storage once; what it returns is kept until the end."""
    saved: dict[int, UntypedStorage] = {}  # by address; held, so that none is used twice and the sum is always the same

    def weigh(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage
        return tensor.detach()  # the tensor itself would make a cycle that is never freed

    with saved_tensors_hooks(weigh, lambda tensor: tensor):
        built = build()
    del built
    return sum(storage.nbytes() for storage in saved.values())
