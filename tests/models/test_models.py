import pytest
import torch
from torch import nn

from landscape.models import MODELS, build_model

DIGITS = {"input_shape": (1, 8, 8), "num_classes": 10}


@pytest.mark.parametrize(
    ("name", "args", "num_params"),
    [
        ("mlp", {}, 64 * 64 + 64 + 64 * 32 + 32 + 32 * 10 + 10),  # 6570
        ("mlp", {"hidden": ()}, 64 * 10 + 10),
        ("mlp", {"hidden": [5], "activation": "tanh"}, 64 * 5 + 5 + 5 * 10 + 10),
        ("cnn", {}, 16 * 9 + 2 * 16 + 16 * 32 * 9 + 2 * 32 + 32 * 10 + 10),
        ("cnn", {"width": 2}, 2 * 9 + 2 * 2 + 2 * 4 * 9 + 2 * 4 + 4 * 10 + 10),
    ],
)
def test_parameter_counts(name, args, num_params):
    assert sum(p.numel() for p in build_model(name, **DIGITS, **args).parameters()) == num_params


@pytest.mark.parametrize("name", ["mlp", "cnn"])
@pytest.mark.parametrize("input_shape", [(1, 8, 8), (3, 32, 32)])
def test_examples_become_logits_one_by_one(name, input_shape):
    torch.manual_seed(0)
    model = build_model(name, input_shape=input_shape, num_classes=7).eval()
    inputs = torch.randn(4, *input_shape)
    logits = model(inputs)
    assert logits.shape == (4, 7)
    torch.testing.assert_close(torch.cat([model(x[None]) for x in inputs]), logits)


def test_mlp_is_the_plain_stack():
    torch.manual_seed(0)
    model = build_model("mlp", **DIGITS)
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    inputs = torch.randn(3, 1, 8, 8)
    assert torch.equal(model(inputs), plain(inputs))


def test_cnn_normalizes_by_the_batch_in_training():
    torch.manual_seed(0)
    model = build_model("cnn", **DIGITS)
    inputs = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    # BatchNorm without bias before it: training sees the images only up to a scale, evaluation does not.
    torch.testing.assert_close(model(inputs), model(100 * inputs), rtol=1e-2, atol=1e-2)
    assert (model.eval()(inputs) - model(100 * inputs)).abs().max() > 0.1


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=rf"model 'resnet' is unknown\. Expected one of: {', '.join(MODELS)}\."):
        build_model("resnet", **DIGITS)


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        ("mlp", {"width": 3}, r"model 'mlp' does not take 'width'\. Expected arguments: hidden, activation\."),
        ("cnn", {"hidden": (3,)}, r"model 'cnn' does not take 'hidden'\. Expected arguments: width\."),
        ("mlp", {"hidden": (64, 0)}, r"hidden=\(64, 0\) is out of range"),
        ("mlp", {"activation": "gelu"}, r"activation 'gelu' is unknown\. Expected one of: relu, tanh\."),
        ("cnn", {"width": 0}, "width=0 is out of range"),
    ],
)
def test_bad_arguments_are_refused(name, args, message):
    with pytest.raises(ValueError, match=message):
        build_model(name, **DIGITS, **args)


@pytest.mark.parametrize("input_shape", [(64,), (1, 1, 8)])
def test_cnn_wants_images(input_shape):
    with pytest.raises(ValueError, match="Expected \\(channels, height, width\\)"):
        build_model("cnn", input_shape=input_shape, num_classes=10)
