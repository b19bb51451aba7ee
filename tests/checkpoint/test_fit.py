"""Whose weights are whose: names up to wrappers, ties, and nothing by force."""

import warnings
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from landscape.checkpoint import Checkpoint, CheckpointError


class Tied(nn.Module):
    """A decoder that shares the weight of its embedding, and a mask that is not saved."""

    def __init__(self):
        super().__init__()
        self.embed, self.norm, self.head = nn.Embedding(5, 3), nn.BatchNorm1d(3), nn.Linear(3, 5, bias=False)
        self.head.weight = self.embed.weight
        self.register_buffer("mask", torch.ones(3), persistent=False)


def load(weights, model):
    Checkpoint(Path("w.pt"), "", "state_dict", {"model": weights}).load_into(model)
    return model


def quantized(tensor):
    with warnings.catch_warnings(action="ignore"):  # torch wants to be rid of them, and files have them
        return torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8)


def other(model):
    """Another state of the model, of which no entry is as it was."""
    return {name: value + 1 if value.is_floating_point() else value + 7 for name, value in model.state_dict().items()}


def renamed(weights, change):
    return {change(name): value for name, value in weights.items()}


CHANGES = {
    "module": lambda name: f"module.{name}",
    "compiled in a module": lambda name: f"module._orig_mod.{name}",
    "Lightning's": lambda name: f"net.{name}",
    "DDP in Lightning's": lambda name: f"model.module.{name}",
    "DeepSpeed": lambda name: f"_forward_module.model.{name}",
    "one's own": lambda name: f"task.backbone.{name}",
    "a compiled layer": lambda name: name.replace("embed.", "embed._orig_mod."),
    "DDP of two layers": lambda name: name.replace("embed.", "embed.module.").replace("norm.", "norm.module."),
    "checkpointed": lambda name: name.replace("norm.", "norm._checkpoint_wrapped_module."),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("wrap", ["", "module", "net"])
def test_wrappers_on_either_side(change, wrap):
    model = Tied()
    weights = other(model)
    if wrap and "." in change("x") and not change("x").startswith(f"{wrap}."):
        pytest.skip("two different wrappers of one's own")
    load(renamed(weights, change), nn.ModuleDict({wrap: model}) if wrap else model)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in weights.items())


@pytest.mark.parametrize("left", ["embed.weight", "head.weight", "norm.num_batches_tracked"])
def test_what_a_writer_rightly_leaves_out(left):
    model = Tied()
    weights = other(model)
    del weights[left]
    load(renamed(weights, CHANGES["Lightning's"]), model)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in weights.items())


@pytest.mark.parametrize("left", ["norm.running_mean", "norm.weight"])
def test_what_no_writer_leaves_out(left):
    model = Tied()
    weights = other(model)
    del weights[left]
    with pytest.raises(CheckpointError, match=rf"missing: {left} \(3,\)\. Pass"):
        load(weights, model)


def test_both_names_of_a_tie_are_missing():
    weights = other(Tied())
    del weights["embed.weight"], weights["head.weight"]
    with pytest.raises(CheckpointError, match=r"missing: embed\.weight \(5, 3\), head\.weight \(5, 3\)\."):
        load(weights, Tied())


def test_one_weight_of_the_model_is_two_in_the_file():
    weights = other(Tied())
    load(weights, Tied())
    weights["head.weight"] = weights["head.weight"] + 1
    with pytest.raises(CheckpointError, match=r"embed\.weight and head\.weight are one weight in the model, and two"):
        load(weights, Tied())


def test_a_buffer_that_the_model_does_not_save():
    model = Tied()
    load(other(model) | {"mask": model.mask.clone()}, model)
    with pytest.raises(CheckpointError, match=r"unexpected: mask \(3,\)"):
        load(other(model) | {"mask": torch.zeros(3)}, model)


def test_an_averaged_model_and_a_plain_one():
    model = Tied()
    averaged = AveragedModel(model)
    weights = other(averaged)
    load(weights, model)
    assert torch.equal(model.norm.weight, weights["module.norm.weight"])
    load(weights, averaged)
    load(other(model), averaged)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (torch.ones(1, 2, dtype=torch.int8), r"weight is integer \(int8\), expected float32 \(1, 2\)"),
        (torch.ones(1, 2, dtype=torch.bool), r"weight is integer \(bool\), expected float32 \(1, 2\)"),
        (torch.ones(1, 2, dtype=torch.complex64), r"weight is complex \(complex64\), expected float32 \(1, 2\)"),
        (quantized(torch.ones(1, 2)), r"weight is quantized \(qint8\), expected"),
        (torch.ones(1, 2).to_sparse(), r"weight is sparse_coo \(float32\), expected"),
        (torch.ones(2), r"weight is \(2,\), expected \(1, 2\)"),
    ],
)
def test_nothing_is_loaded_by_force(found, message):
    model = nn.Linear(2, 1, bias=False)
    before = model.weight.detach().clone()
    with pytest.raises(CheckpointError, match=message):
        load({"weight": found}, model)
    assert torch.equal(model.weight, before)


@pytest.mark.parametrize(
    ("found", "into", "is_told"),
    [
        (torch.float64, torch.float32, True),
        (torch.float32, torch.bfloat16, True),
        (torch.float16, torch.bfloat16, True),
        (torch.bfloat16, torch.float32, False),
        (torch.float8_e4m3fn, torch.float32, False),
        (torch.float32, torch.float64, False),
    ],
)
def test_rounding_is_told(found, into, is_told):
    weights = {"weight": torch.tensor([[1 / 3, -1 / 7]], dtype=torch.float64).to(found)}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = load(weights, nn.Linear(2, 1, bias=False).to(into))
    assert torch.equal(model.weight, weights["weight"].to(into))
    assert [str(one.message).startswith("1 tensors are rounded from") for one in caught] == [True] * is_told


def test_of_two_networks_the_user_chooses():
    one, two = nn.Linear(2, 1), nn.Linear(2, 1)
    both = renamed(other(one), lambda name: f"g.{name}") | renamed(other(two), lambda name: f"d.{name}")
    with pytest.raises(CheckpointError, match=r"its names fit under several prefixes: 'd\.', 'g\.'"):
        load(both, nn.Linear(2, 1))
    with pytest.warns(UserWarning, match=r"those under 'g\.'; not used: d\.weight, d\.bias"):
        load(both | {"d.weight": torch.ones(1, 9)}, one)


def test_a_name_that_a_wrapper_has_too_stays_as_it_is():
    model = nn.ModuleDict({"module": nn.ModuleDict({"_orig_mod": nn.Linear(2, 1)})})
    weights = other(model)
    load(weights, model)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in weights.items())


def test_weights_of_the_older_weight_norm_are_those_of_the_newer():
    def net(norm):
        return nn.Sequential(norm(nn.Linear(4, 3)), nn.ReLU(), norm(nn.Linear(3, 2)))

    with warnings.catch_warnings(action="ignore"):  # torch wants to be rid of it, and files have it
        old = net(nn.utils.weight_norm)
    x = torch.ones(2, 4)
    for prefix in ("", "module.", "net."):
        new = load(renamed(old.state_dict(), lambda name: prefix + name), net(nn.utils.parametrizations.weight_norm))  # noqa: B023
        assert torch.equal(new(x), old(x))
    with pytest.raises(CheckpointError, match=r"unexpected: 0\.weight_g"):
        load(old.state_dict(), nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)))


def test_a_hook_that_fails_is_a_refusal():
    def fail(*_):
        raise KeyError("version")

    model = nn.Linear(2, 1)
    model.register_load_state_dict_pre_hook(fail)
    with pytest.raises(CheckpointError, match="missing: bias"):
        load({"weight": torch.ones(1, 2)}, model)


def test_a_model_on_meta_is_refused():
    with pytest.raises(CheckpointError, match="weight, bias of the model are on meta"):
        load(nn.Linear(2, 1).state_dict(), nn.Linear(2, 1, device="meta"))
