"""Nothing that is measured may be visible afterwards: train/eval flags and random-number states are put back.

Parameters, buffers and ``.grad`` need no restoring, because nothing here ever writes to them: the model is called on
copies. The flags are set as attributes, not through ``model.eval()``, which some models override to do work.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn


@contextmanager
def undisturbed(model: nn.Module, *, training: bool) -> Iterator[None]:
    """Run the body with every submodule in train or eval mode; flags and random states are put back in any case."""
    before = [(module, module.training) for module in model.modules()]
    with rng_untouched():
        try:
            for module, _ in before:
                module.training = training
            yield
        finally:
            for module, flag in before:
                module.training = flag


@contextmanager
def rng_untouched(*generators: torch.Generator) -> Iterator[None]:
    """Run the body and put back the random states of torch, numpy, Python and the ``generators`` given."""
    cuda = torch.cuda.is_initialized()
    torch_state, cuda_states = torch.get_rng_state(), torch.cuda.get_rng_state_all() if cuda else []
    numpy_state, python_state = np.random.get_state(), random.getstate()
    own_states = [generator.get_state() for generator in generators]
    try:
        yield
    finally:
        torch.set_rng_state(torch_state)
        if cuda:
            torch.cuda.set_rng_state_all(cuda_states)
        np.random.set_state(numpy_state)
        random.setstate(python_state)
        for generator, state in zip(generators, own_states, strict=True):
            generator.set_state(state)


@contextmanager
def other_random_numbers(device: torch.device) -> Iterator[None]:
    """Run the body further along every random stream, so that what depends on them comes out differently."""
    with rng_untouched():
        torch.rand(1)
        torch.rand(1, device=device)
        np.random.rand()
        random.random()
        yield
