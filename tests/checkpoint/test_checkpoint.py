import dataclasses
import pickle

import pytest
import torch
from torch import nn

from landscape.checkpoint import Checkpoint, CheckpointError, load_checkpoint


@pytest.fixture
def holding(tmp_path):
    """A checkpoint of nothing but these weights."""
    return lambda weights: Checkpoint(tmp_path / "w.pt", "0" * 64, "state_dict", {"model": weights})


def untouched(module, before):
    return all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def copy_of(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def test_build_model_computes_the_same_function(save, model, tmp_path):
    inputs = torch.linspace(-1, 1, 20).reshape(5, 1, 2, 2)
    state = torch.get_rng_state()
    built = load_checkpoint(save(tmp_path / "last.pt")).build_model()
    assert torch.equal(built(inputs), model(inputs))
    assert torch.equal(torch.get_rng_state(), state)


def test_build_model_without_a_description_says_what_to_pass(holding):
    checkpoint = holding({"weight": torch.zeros(2)})
    with pytest.raises(
        CheckpointError, match=r"w\.pt: holds weights .* call load_checkpoint\(path\)\.load_into\(model\)"
    ):
        checkpoint.build_model()


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"name": "resnet", "args": {"input_shape": (1, 2, 2), "num_classes": 3}}, "model 'resnet' is unknown"),
        ({"name": "mlp", "args": {"input_shape": (1, 2, 2), "num_classes": 3, "depth": 9}}, "does not take 'depth'"),
        ({"name": "mlp", "args": {}}, "input_shape"),
        (
            {"name": "mlp", "args": {"input_shape": (1, 2, 2), "num_classes": 3, "hidden": (5,)}},
            r"is \(4, 4\), expected",
        ),
    ],
)
def test_build_model_of_a_wrong_description_is_a_checkpoint_error(save, tmp_path, spec, reason):
    checkpoint = load_checkpoint(save(tmp_path / "last.pt", model_spec=spec))
    with pytest.raises(CheckpointError, match=rf"last\.pt: .*{reason}"):
        checkpoint.build_model()


def test_differences_are_named_and_the_model_is_untouched(holding, tmp_path):
    network = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    before = copy_of(network)
    weights = {name: torch.full(value.shape, 7.0) for name, value in before.items()}
    weights["0.weight"] = torch.full((3, 5), 7.0)
    del weights["1.bias"]
    weights["2.weight"] = torch.zeros(1)
    with pytest.raises(CheckpointError) as raised:
        holding(weights).load_into(network)
    assert str(raised.value) == (
        f"{tmp_path / 'w.pt'}: does not fit Sequential: 0.weight is (3, 5), expected (3, 2); missing: 1.bias (3,); "
        "unexpected: 2.weight (1,). Pass the model it was trained with."
    )
    assert untouched(network, before)


def test_at_most_three_differences_of_a_kind_are_listed(holding):
    with pytest.raises(
        CheckpointError,
        match=r"missing: 0\.weight \(1, 1\), 0\.bias \(1,\), 1\.weight .* and 7 more; unexpected: a \(1,\)\. Pass",
    ):
        holding({"a": torch.zeros(1)}).load_into(nn.Sequential(*(nn.Linear(1, 1) for _ in range(5))))


@pytest.mark.parametrize("odd", [torch.eye(2).to_sparse(), "text", None], ids=["sparse", "text", "none"])
def test_what_cannot_be_copied_is_a_difference(holding, odd):
    network = nn.Linear(2, 2)
    before = copy_of(network)
    with pytest.raises(CheckpointError, match=r"weight is .*, expected .*\(2, 2\)"):
        holding({"bias": torch.full((2,), 7.0), "weight": odd}).load_into(network)
    assert untouched(network, before)


@pytest.mark.parametrize("found", ["", "module.", "_orig_mod.", "model."])
@pytest.mark.parametrize("expected", ["", "module", "model"])
def test_the_prefix_of_a_wrapper_is_no_difference(holding, found, expected):
    linear = nn.Linear(2, 1)
    network = nn.ModuleDict({expected: linear}) if expected else linear
    weights = {f"{found}weight": torch.tensor([[1.0, 2.0]]), f"{found}bias": torch.tensor([3.0])}
    holding(weights).load_into(network)
    assert linear.weight.tolist() == [[1, 2]]
    assert linear.bias.tolist() == [3]


def test_loading_casts_to_the_model_and_leaves_the_checkpoint_alone(holding):
    weights = {"weight": torch.tensor([[0.5, 1.0]], dtype=torch.float64), "bias": torch.tensor([2.0])}
    network = nn.Linear(2, 1).to(torch.bfloat16)
    holding(weights).load_into(network)
    with torch.no_grad():
        network.weight.zero_()
    assert network.bias.dtype == torch.bfloat16
    assert weights["weight"].tolist() == [[0.5, 1.0]]


def test_weights_that_are_not_finite_are_loaded(holding):
    network = nn.Linear(2, 1)
    holding({"weight": torch.tensor([[torch.nan, torch.inf]]), "bias": torch.zeros(1)}).load_into(network)
    assert network.weight.isnan().tolist() == [[True, False]]
    assert network.weight.isinf().tolist() == [[False, True]]


def test_is_frozen_and_prints_no_weights(holding):
    checkpoint = holding({"weight": torch.zeros(2)})
    with pytest.raises(dataclasses.FrozenInstanceError):
        checkpoint.epoch = 3
    assert "tensor" not in repr(checkpoint)


def test_errors_are_one_printable_line_and_survive_pickling():
    error = CheckpointError("a\nb\x1b[31m é.pt: \udcff")
    assert str(error) == r"a\nb\x1b[31m é.pt: \udcff"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
