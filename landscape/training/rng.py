"""The states of the global random-number generators of torch, numpy and Python, as a checkpoint can hold them.

Models draw their first weights and their dropout masks from torch's; a dataset may use any. The states are tensors and
plain values, so that they load under ``weights_only=True``.
"""

import random
from typing import Any

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Seed the three generators, torch's on every device."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


def rng_states(device: torch.device) -> dict[str, Any]:
    """Return the states of the generators; of the CUDA ones, that of `device`.

    Example:
        >>> states = rng_states(torch.device("cpu"))
        >>> drawn = torch.rand(1)
        >>> set_rng_states(states, torch.device("cpu"))
        >>> bool(torch.rand(1) == drawn)
        True
    """
    state: Any = np.random.get_state(legacy=False)
    state["state"]["key"] = torch.from_numpy(state["state"]["key"].astype(np.int64))
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        "numpy": state,
        "python": random.getstate(),
    }


def set_rng_states(states: dict[str, Any], device: torch.device) -> None:
    """Put the generators in the states that `rng_states` returned."""
    torch.set_rng_state(states["torch"])
    if device.type == "cuda" and states["cuda"] is not None:
        torch.cuda.set_rng_state(states["cuda"], device)
    inner = states["numpy"]["state"]
    np.random.set_state({**states["numpy"], "state": {**inner, "key": inner["key"].numpy().astype(np.uint32)}})
    random.setstate(states["python"])
