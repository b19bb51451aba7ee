"""The training loop: the rule it follows, what it writes, what it refuses, and that it goes on bit for bit."""

import csv
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from landscape.checkpoint import CheckpointError, load_checkpoint
from landscape.data import DATA, Split, load_data
from landscape.models import MODELS, build_model
from landscape.training import Recipe, TrainingError, train

TINY = Recipe(model_args={"hidden": [16]}, epochs=4, batch_size=512, lr=0.1)


def test_it_is_sgd_written_out(tmp_path: Path) -> None:
    data = load_data("digits")
    with torch.random.fork_rng():
        torch.manual_seed(TINY.seed)
        model = build_model("mlp", input_shape=(1, 8, 8), num_classes=10, hidden=(16,))
    params = list(model.parameters())
    momenta = [torch.zeros_like(p) for p in params]
    for epoch in range(1, 5):
        lr = 0.1 / 2 * (1 + np.cos(np.pi * (epoch - 1) / 4))
        order = np.random.default_rng((0, epoch)).permutation(1437)
        for start in (0, 512, 1024):
            batch = torch.from_numpy(order[start : start + 512])
            loss = cross_entropy(model(data.train.inputs[batch]), data.train.targets[batch])
            with torch.no_grad():
                for p, m, g in zip(params, momenta, torch.autograd.grad(loss, params), strict=True):
                    m.copy_(0.9 * m + g + 5e-4 * p)
                    p -= lr * m
    trained = load_checkpoint(train(TINY, tmp_path)).build_model()
    for got, expected in zip(trained.parameters(), params, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["sgd", "sam"])
def test_the_default_recipe_learns_digits(tmp_path: Path, optimizer: str) -> None:
    train(Recipe(optimizer=optimizer), tmp_path)
    last = read_metrics(tmp_path)[-1]
    assert float(last["train_accuracy"]) > 0.995
    assert float(last["test_accuracy"]) > 0.95


def test_what_it_writes(tmp_path: Path) -> None:
    recipe = Recipe(
        model="cnn", model_args={"width": 4}, epochs=4, batch_size=512, checkpoint_every=3, checkpoint_at=(2, 3)
    )
    rows: list[dict[str, Any]] = []
    out = tmp_path / "a" / "run"
    epochs_done: list[float] = []
    last = train(recipe, out, on_epoch=rows.append, on_step=epochs_done.append)
    assert epochs_done == [step / 3 for step in range(1, 13)]
    assert last == out / "last.pt"
    assert sorted(p.name for p in out.iterdir()) == ["epoch-0002.pt", "epoch-0003.pt", "last.pt", "metrics.csv"]
    checkpoint = load_checkpoint(last)
    assert (checkpoint.epoch, checkpoint.step, checkpoint.metrics) == (4, 12, rows)
    assert checkpoint.data == {"name": "digits", "args": {}}
    assert checkpoint.loss == {"name": "cross_entropy", "args": {}}
    assert Recipe.from_dict(checkpoint.recipe) == recipe
    assert load_checkpoint(out / "epoch-0002.pt").epoch == 2
    assert [{k: float(v) for k, v in row.items()} for row in read_metrics(out)] == rows
    assert list(rows[0]) == [
        "epoch", "step", "lr", "train_loss", "train_accuracy", "test_loss", "test_accuracy",
        "gradients", "radius", "seconds",
    ]  # fmt: skip

    model, data = checkpoint.build_model().eval(), load_data("digits")
    for name, split in (("train", data.train), ("test", data.test)):
        logits = model(split.inputs)
        assert rows[-1][f"{name}_loss"] == pytest.approx(cross_entropy(logits, split.targets).item(), rel=1e-5)
        correct = (logits.argmax(1) == split.targets).double().mean().item()
        assert rows[-1][f"{name}_accuracy"] == pytest.approx(correct)


def test_pixels_are_trained_on_as_the_floats_they_stand_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digits = load_data("digits")
    arrays = {}
    for name, split in (("train", digits.train), ("test", digits.test)):
        arrays[f"x_{name}"] = (255 * split.inputs[:, 0]).round().byte().numpy()
        arrays[f"y_{name}"] = split.targets.numpy()
    np.savez(tmp_path / "digits.npz", **arrays)
    pixels = load_data("npz", path=tmp_path / "digits.npz")
    floats = replace(pixels, train=prepared(pixels.train), test=prepared(pixels.test))
    monkeypatch.setitem(DATA, "floats", lambda: floats)
    recipe = replace(TINY, data=f"npz:{tmp_path / 'digits.npz'}", epochs=2)
    a = load_checkpoint(train(recipe, tmp_path / "pixels"))
    b = load_checkpoint(train(replace(recipe, data="floats"), tmp_path / "floats"))
    assert same_weights(a.state["model"], b.state["model"])
    assert [without_seconds(row) for row in a.metrics] == [without_seconds(row) for row in b.metrics]
    assert a.data == {"name": "npz", "args": {"path": str(tmp_path / "digits.npz")}}


def prepared(split: Split) -> Split:
    return Split(split.prepare(split.inputs), split.targets)


def test_the_first_weights_are_saved_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(torch.optim.SGD, "step", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(TINY, tmp_path)
    checkpoint = load_checkpoint(tmp_path / "last.pt")
    assert (checkpoint.epoch, checkpoint.step, checkpoint.metrics) == (0, 0, [])
    torch.random.manual_seed(0)
    first = build_model("mlp", input_shape=(1, 8, 8), num_classes=10, hidden=(16,))
    assert same_weights(checkpoint.state["model"], first.state_dict())


@pytest.mark.parametrize("optimizer", ["sgd", "sam"])
@pytest.mark.parametrize("model", ["mlp", "cnn", "dropout"])
def test_resume_goes_on_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, optimizer: str
) -> None:
    monkeypatch.setitem(MODELS, "dropout", with_dropout)
    recipe = Recipe(model=model, optimizer=optimizer, epochs=4, batch_size=512)
    straight = load_checkpoint(train(recipe, tmp_path / "straight"))

    def stop(row: dict[str, Any]) -> None:
        if row["epoch"] in (1, 3):
            raise KeyboardInterrupt

    out = tmp_path / "resumed"
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            train(recipe, out, resume=True, on_epoch=stop)
        torch.rand(7)  # what the caller draws in between does not matter
    resumed = load_checkpoint(train(recipe, out, resume=True))
    assert same_weights(resumed.state["model"], straight.state["model"])
    assert [without_seconds(row) for row in resumed.metrics] == [without_seconds(row) for row in straight.metrics]
    assert len(read_metrics(out)) == 4


def test_a_finished_run_resumed_just_returns(tmp_path: Path) -> None:
    last = train(TINY, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert train(TINY, tmp_path, resume=True, on_epoch=lambda _: pytest.fail("trained")) == last
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_a_folder_with_a_run_is_refused_and_kept(tmp_path: Path) -> None:
    last = train(TINY, tmp_path)
    before = last.read_bytes()
    with pytest.raises(ValueError, match=r"last\.pt exists: the folder holds a run\. Expected a new folder, or resume"):
        train(TINY, tmp_path)
    with pytest.raises(ValueError, match=r"another recipe: epochs=6 \(there 4\), seed=1 \(there 0\)\. Resume with"):
        train(Recipe(model_args={"hidden": [16]}, epochs=6, batch_size=512, seed=1), tmp_path, resume=True)
    assert last.read_bytes() == before


def test_a_damaged_or_foreign_checkpoint_is_refused(tmp_path: Path) -> None:
    last = train(TINY, tmp_path)
    whole = last.read_bytes()
    last.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match=r"last\.pt: "):
        train(TINY, tmp_path, resume=True)
    torch.save({"weight": torch.zeros(2)}, last)
    with pytest.raises(CheckpointError, match="holds no optimizer state to go on from"):
        train(TINY, tmp_path, resume=True)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (Recipe(model="resnet"), "model 'resnet' is unknown"),
        (Recipe(data="imagenet"), "data 'imagenet' is unknown"),
        (Recipe(optimizer_args={"rho": 1.0}), "'sgd' does not take 'rho'"),
        (
            Recipe(augment={"mirror": True}),
            r"augment does not take 'mirror'\. Expected arguments: flip, crop, cutout, policy, resized_crop\.",
        ),
        (Recipe(augment={"flip": 1}), r"augment: flip=1 is of type int\. Expected bool\."),
    ],
)
def test_a_recipe_that_cannot_be_built_writes_nothing(tmp_path: Path, recipe: Recipe, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        train(recipe, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_divergence_ends_clearly_with_the_last_finite_checkpoint(tmp_path: Path) -> None:
    recipe = Recipe(lr=1e4, epochs=5, schedule="constant", weight_decay=0.1)
    with pytest.raises(TrainingError, match=r"diverged: the loss is (nan|inf) after \d+ steps, in epoch \d") as error:
        train(recipe, tmp_path)
    assert isinstance(error.value, ArithmeticError)
    assert "\n" not in str(error.value)
    checkpoint = load_checkpoint(tmp_path / "last.pt")
    assert f"keeps epoch {checkpoint.epoch}" in str(error.value)
    assert all(value.isfinite().all() for value in checkpoint.state["model"].values())
    with pytest.raises(TrainingError):
        train(recipe, tmp_path, resume=True)


def test_a_fatal_last_step_is_seen_before_it_is_saved(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"after 1 steps, in epoch 1; .* keeps epoch 0\."):
        train(Recipe(lr=1e38, epochs=2, batch_size=2000, momentum=0.0), tmp_path)
    assert load_checkpoint(tmp_path / "last.pt").epoch == 0


@pytest.mark.parametrize("fails", [False, True])
def test_the_callers_random_states_and_settings_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    def state() -> list[Any]:
        cudnn = torch.backends.cudnn
        legacy: Any = np.random.get_state()
        return [
            torch.get_rng_state().tolist(),
            legacy[1].tolist(),
            random.getstate(),
            cudnn.deterministic,
            cudnn.benchmark,
        ]

    torch.manual_seed(5)
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    seen = []

    def on_epoch(row: dict[str, Any]) -> None:
        seen.append(torch.backends.cudnn.deterministic)
        if fails:
            raise RuntimeError("stop")

    before = state()
    if fails:
        with pytest.raises(RuntimeError, match="stop"):
            train(TINY, tmp_path, on_epoch=on_epoch)
    else:
        train(TINY, tmp_path, on_epoch=on_epoch)
    assert state() == before
    assert all(seen)


def with_dropout(*, input_shape: tuple[int, ...], num_classes: int) -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(0.5), torch.nn.Linear(64, num_classes))


def same_weights(got: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return got.keys() == expected.keys() and all(torch.equal(got[name], expected[name]) for name in expected)


def without_seconds(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "seconds"}


def read_metrics(out: Path) -> list[dict[str, str]]:
    with (out / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))
