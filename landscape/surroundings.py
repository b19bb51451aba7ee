"""What surrounds a pass and is put back after it: random states, train/eval flags, an autocast."""

import random
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

import numpy as np
import torch
from torch import nn

_UNTOUCHED = ContextVar("whether what runs now is inside rng_untouched", default=False)


def no_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """Out of an autocast around the measurement, which would round what is measured; the model's own stays."""
    surrounded = torch.is_autocast_enabled(device.type)
    return torch.autocast(device.type, enabled=False) if surrounded else nullcontext()


@contextmanager
def rng_untouched(*generators: Any) -> Iterator[None]:
    """Run the body and put back the random states of torch, numpy, Python and the ``generators`` given.

    Inside of another, whose end puts back the global ones, it leaves those to that: reading numpy's takes as long as
    the forward pass of a small network.
    """
    own_states = [_state_of(generator) for generator in generators]
    try:
        with nullcontext() if _UNTOUCHED.get() else _global_rng_untouched():
            yield
    finally:
        for generator, state in zip(generators, own_states, strict=True):
            _set_state(generator, state)


def _state_of(generator: Any) -> Any:
    """The state of a generator of torch's, numpy's or Python's."""
    if isinstance(generator, np.random.Generator):
        return generator.bit_generator.state
    return generator.getstate() if isinstance(generator, random.Random) else generator.get_state()


def _set_state(generator: Any, state: Any) -> None:
    if isinstance(generator, np.random.Generator):
        generator.bit_generator.state = state
    elif isinstance(generator, random.Random):
        generator.setstate(state)
    else:
        generator.set_state(state)


@contextmanager
def _global_rng_untouched() -> Iterator[None]:
    cuda_devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
    numpy_state, python_state = np.random.get_state(), random.getstate()
    token = _UNTOUCHED.set(True)
    try:
        with torch.random.fork_rng(cuda_devices, device_type="cuda"):
            yield
    finally:
        _UNTOUCHED.reset(token)
        np.random.set_state(numpy_state)
        random.setstate(python_state)


@contextmanager
def other_random_numbers(device: torch.device, *generators: Any) -> Iterator[None]:
    """Run the body further along every random stream, so that what depends on them comes out differently."""
    with _global_rng_untouched(), rng_untouched(*generators):
        torch.rand(1)
        torch.rand(1, device=device)
        np.random.rand()
        random.random()
        for generator in generators:
            if isinstance(generator, torch.Generator):
                torch.rand(1, device=generator.device, generator=generator)
            else:
                generator.random()
        yield


@contextmanager
def mode_of(modules: Sequence[nn.Module], *generators: Any, training: bool) -> Iterator[None]:
    """Run the body with every module in train or eval mode; flags and random states are put back in any case."""
    others = [module for module in modules if module.training != training]
    with rng_untouched(*generators):
        try:
            _flag(others, training)
            yield
        finally:
            _flag(others, not training)


def _flag(modules: Sequence[nn.Module], training: bool) -> None:
    for module in modules:
        if "training" in module.__dict__:  # past nn.Module's search for parameters and modules of that name
            module.__dict__["training"] = training
        else:
            module.training = training
