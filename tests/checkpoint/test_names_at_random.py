"""Models drawn at random, saved under wrappers and prefixes drawn at random, beside copies that are not meant.

Their own weights are loaded or none: what lies beside them is never taken for them.
"""

import os
import warnings
from pathlib import Path
from random import Random

import torch
from torch import nn

from landscape.checkpoint import Checkpoint, CheckpointError

NUM = int(os.environ.get("LANDSCAPE_FAULTS", "1500"))
CHILDREN = ["net", "model", "0", "1", "2", "layers", "block", "head", "encoder", "a", "ema"]
WRAPPERS = ["_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "module"]
PREFIXES = ["", "", "net.", "model.", "module.", "my.own.", "_orig_mod.module."]
BESIDE = ["teacher.", "ema.", "loss.", "b.", "model.", "module."]


def network(rng: Random, depth: int = 0) -> nn.Module:
    made = nn.Module()
    if depth == 3 or (depth and rng.random() < 0.35):
        made.weight, made.bias = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))
        return made
    for name in rng.sample(CHILDREN, rng.randint(1, 3)):
        made.add_module(name, network(rng, depth + 1))
    return made


def wrapped(rng: Random, names: list[str]) -> dict[str, str]:
    """Each name with wrappers around some of the modules on the way."""
    ways = sorted({name.rsplit(".", depth)[0] for name in names for depth in range(1, 5)})
    around = {way: f".{rng.choice(WRAPPERS)}" if rng.random() < 0.15 else "" for way in ways}
    top = f"{rng.choice(WRAPPERS)}." if rng.random() < 0.15 else ""

    def of(name: str) -> str:
        parts, found = name.split("."), ""
        for depth, part in enumerate(parts, 1):
            found += f".{part}" + around.get(".".join(parts[:depth]), "")
        return top + found[1:]

    return {name: of(name) for name in names}


def test_weights_beside_are_never_taken_for_them():
    loaded = plain = refused = 0
    for number in range(NUM):
        rng = Random(number)
        model = network(rng)
        weights = {name: torch.full((2,), float(at)) for at, name in enumerate(model.state_dict(), 1)}
        prefix, names = rng.choice(PREFIXES), wrapped(rng, list(weights))
        file = {prefix + names[name]: value for name, value in weights.items()}
        beside = rng.random() < 0.3
        if beside:
            other = rng.choice(BESIDE)
            file = {other + name: -value for name, value in weights.items()} | file
        if len(file) < len(weights) * (1 + beside):
            continue  # what lies beside has the same names
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                Checkpoint(Path("w.pt"), "", "state_dict", {"model": file}).load_into(model)
            except CheckpointError:
                refused, plain = refused + 1, plain + (not beside)
                continue
        loaded += 1
        wrong = [name for name, value in model.state_dict().items() if not torch.equal(value, weights[name])]
        assert not wrong, (number, wrong, list(file))
    assert plain == 0
    assert loaded > refused
