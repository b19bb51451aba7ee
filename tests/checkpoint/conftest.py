from functools import cache

import pytest
import torch

from landscape.checkpoint import save_checkpoint
from landscape.models import build_model

from .kinds import KINDS

MLP = {"name": "mlp", "args": {"input_shape": (1, 2, 2), "num_classes": 3, "hidden": (4,)}}


@pytest.fixture
def model():
    """A model of known weights: 0, 1, 2, ... in the order of its parameters."""
    with torch.random.fork_rng(devices=[]):
        built = build_model(MLP["name"], **MLP["args"])
    with torch.no_grad():
        for start, parameter in enumerate(built.parameters()):
            parameter.copy_(torch.arange(parameter.numel()).reshape(parameter.shape) + 0.1 * start)
    return built


@pytest.fixture
def save(model):
    """Write a checkpoint of `model`, with what is given in place of what is usual."""

    def write(path, **changes):
        usual = {
            "model": model,
            "model_spec": MLP,
            "data_spec": {"name": "digits", "args": {}},
            "loss_spec": {"name": "cross_entropy", "args": {}},
            "recipe": {"lr": 0.1, "hidden": (4,)},
            "epoch": 2,
            "step": 24,
            "metrics": [{"epoch": 1, "loss": float("inf")}, {"epoch": 2, "loss": 0.5}],
        }
        save_checkpoint(path, **usual | changes)
        return path

    return write


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    """A file of each kind, made when it is first asked for."""
    return cache(lambda name: KINDS[name].written(tmp_path_factory.mktemp("kind")))
