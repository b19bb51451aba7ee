"""Training that begins with the weights of a file."""

from pathlib import Path
from typing import Any

import pytest
import torch

from landscape import load_checkpoint
from landscape.checkpoint import CheckpointError
from landscape.models import build_model
from landscape.training import Recipe, train

RECIPE = Recipe(epochs=2, data_args={"num_train": 64}, batch_size=32)


def weights_of(path: Path) -> dict[str, Any]:
    return load_checkpoint(path).state["model"]


def first_weights(recipe: Recipe, out: Path, **args: Any) -> dict[str, Any]:
    """Those in last.pt before the first step."""
    seen: dict[str, Any] = {}
    train(recipe, out, on_start=lambda *_: seen.update(weights_of(out / "last.pt")), **args)
    return seen


def test_the_weights_are_those_of_a_run_and_the_checkpoints_say_so(tmp_path: Path) -> None:
    source = train(RECIPE, tmp_path / "a")
    begun = first_weights(RECIPE, tmp_path / "b", init=source)
    assert all(torch.equal(begun[name], value) for name, value in weights_of(source).items())
    last = load_checkpoint(tmp_path / "b" / "last.pt")
    expected = {"path": str(source), "sha256": load_checkpoint(source).sha256, "left": []}
    assert last.fingerprint["init"] == expected
    assert not torch.equal(last.state["model"]["linear1.weight"], weights_of(source)["linear1.weight"])


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_head_of_other_classes_stays_at_its_random_start_and_is_named(tmp_path: Path, prefix: str) -> None:
    model = build_model("mlp", input_shape=(1, 8, 8), num_classes=7)
    torch.save({prefix + name: value for name, value in model.state_dict().items()}, tmp_path / "seven.pt")
    plain = first_weights(RECIPE, tmp_path / "plain")
    with pytest.warns(UserWarning, match=r"other classes than the data: linear3\.weight, linear3\.bias stay at their"):
        begun = first_weights(RECIPE, tmp_path / "tuned", init=tmp_path / "seven.pt")
    for name, value in model.state_dict().items():
        assert torch.equal(begun[name], plain[name] if name.startswith("linear3") else value)
    assert load_checkpoint(tmp_path / "tuned" / "last.pt").fingerprint["init"]["left"] == [
        "linear3.weight",
        "linear3.bias",
    ]


@pytest.mark.parametrize("args", [{"hidden": (64, 16)}, {"hidden": (8, 8)}, {"hidden": (64,)}])
def test_weights_of_another_network_are_refused(tmp_path: Path, args: dict[str, Any]) -> None:
    model = build_model("mlp", input_shape=(1, 8, 8), num_classes=10, **args)
    torch.save(model.state_dict(), tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match=r"other\.pt: does not fit Sequential"):
        train(RECIPE, tmp_path / "run", init=tmp_path / "other.pt")
    assert not (tmp_path / "run" / "last.pt").exists()


def test_a_run_that_was_stopped_goes_on_without_the_file_and_with_the_same(tmp_path: Path) -> None:
    source = train(RECIPE, tmp_path / "a")

    def stop(epochs_done: float) -> None:
        if epochs_done == 1.5:
            raise KeyboardInterrupt

    whole = weights_of(train(RECIPE, tmp_path / "whole", init=source))
    for name, init in (("without", None), ("with", source)):
        with pytest.raises(KeyboardInterrupt):
            train(RECIPE, tmp_path / name, init=source, on_step=stop)
        last = train(RECIPE, tmp_path / name, init=init, resume=True)
        assert all(torch.equal(weights_of(last)[key], value) for key, value in whole.items())
        assert load_checkpoint(last).fingerprint["init"]["path"] == str(source)
    other = train(RECIPE, tmp_path / "b")
    with pytest.raises(ValueError, match=r"last\.pt began from .*last\.pt, and not from .*Resume without --init"):
        train(RECIPE, tmp_path / "with", init=other, resume=True)
    with pytest.raises(ValueError, match=r"last\.pt began from random weights, and not from"):
        train(RECIPE, tmp_path / "a", init=other, resume=True)
