"""What lets a run stop at any moment and go on bit for bit: signals that wait, and the states of the generators.

Ctrl-C and SIGTERM wait until training is between two steps, where everything can be saved. The global generators are
those of torch, which draws first weights and dropout masks, and of numpy and Python, as a dataset may use any. Their
states are tensors and plain values, so that they load under ``weights_only=True``.
"""

import random
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import numpy as np
import torch


class Interrupted(KeyboardInterrupt):
    """A signal came, and training is between two steps."""


@contextmanager
def interrupts_wait() -> Iterator[Callable[[], None]]:
    """Make SIGINT and SIGTERM wait in the body for the function given to it, which raises ``Interrupted`` if one came.

    A second signal does not wait. One for which the body was over too soon is sent again after it. Signals that are
    ignored stay so; in a thread other than the main one, which cannot have handlers, nothing waits.
    """
    received: list[int] = []

    def wait(number: int, _: FrameType | None) -> None:
        received.append(number)
        if len(received) > 1:
            raise KeyboardInterrupt

    def check() -> None:
        if received:
            raise Interrupted

    if threading.current_thread() is not threading.main_thread():
        yield check
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    waiting = [number for number, handler in before.items() if handler not in (signal.SIG_IGN, None)]
    for number in waiting:
        signal.signal(number, wait)
    try:
        yield check
    finally:
        for number in waiting:
            signal.signal(number, before[number])
    if received:
        signal.raise_signal(received[0])


def seed_everything(seed: int) -> None:
    """Seed the three generators, torch's on every device."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


def rng_states(device: torch.device) -> dict[str, Any]:
    """Return the states of the generators; of the CUDA ones, that of ``device``.

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
    """Put the generators in the states that ``rng_states`` returned."""
    torch.set_rng_state(states["torch"])
    if device.type == "cuda" and states["cuda"] is not None:
        torch.cuda.set_rng_state(states["cuda"], device)
    inner = states["numpy"]["state"]
    np.random.set_state({**states["numpy"], "state": {**inner, "key": inner["key"].numpy().astype(np.uint32)}})
    random.setstate(states["python"])
