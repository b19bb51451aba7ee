"""What a recipe adds to the plain loop, each beside the same thing written out: validation, smoothing, clipping, ..."""

import math
import signal
from collections.abc import Callable
from dataclasses import replace
from functools import partial, wraps
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from landscape.checkpoint import Checkpoint, load_checkpoint
from landscape.data import DATA, Data, Split, augment, load_data
from landscape.models import MODELS, build_model
from landscape.optim.base import MultiPassOptimizer, Passes
from landscape.problem import Problem
from landscape.training import OPTIMIZERS, Recipe, TrainingError, train

ONE = Recipe(model_args={"hidden": [16]}, epochs=1, batch_size=512, weight_decay=0.0)  # three steps
LINEAR = replace(ONE, model_args={"hidden": []}, batch_size=2000, momentum=0.0)  # one step of softmax regression


def trained(recipe: Recipe, out: Path) -> Checkpoint:
    return load_checkpoint(train(recipe, out))


def first_model(recipe: Recipe) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        return build_model("mlp", input_shape=(1, 8, 8), num_classes=10, **recipe.model_args)


def same_weights(got: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return all(torch.equal(got[name], expected[name]) for name in expected)


def test_validation_is_measured_and_not_trained_on(tmp_path: Path) -> None:
    recipe = replace(ONE, data_args={"validation": 0.2, "num_train": 500})
    checkpoint = trained(recipe, tmp_path)
    (row,) = checkpoint.metrics
    assert list(row) == [
        "epoch", "step", "lr", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy",
        "test_loss", "test_accuracy", "gradients", "radius", "seconds",
    ]  # fmt: skip
    assert (tmp_path / "metrics.csv").read_text().splitlines()[0] == ",".join(row)
    assert row["step"] == 1  # of 500 examples
    assert checkpoint.data is not None
    data = load_data(checkpoint.data["name"], **checkpoint.data["args"])
    model = checkpoint.build_model().eval()
    for name, split in data.splits.items():
        logits = model(split.inputs)
        assert row[f"{name}_loss"] == pytest.approx(cross_entropy(logits, split.targets).item(), rel=1e-5)
        assert row[f"{name}_accuracy"] == pytest.approx((logits.argmax(1) == split.targets).double().mean().item())
    assert Problem.of(checkpoint).objective("train").num_examples == 500  # what was trained on is what is measured


def test_label_smoothing_is_trained_on_recorded_and_measured(tmp_path: Path) -> None:
    recipe = replace(LINEAR, label_smoothing=0.3)
    checkpoint = trained(recipe, tmp_path)
    model, data = first_model(recipe), load_data("digits")
    (weight, bias) = model.parameters()
    logits = model(data.train.inputs)
    targets = 0.7 * nn.functional.one_hot(data.train.targets, 10) + 0.3 / 10
    g = (logits.softmax(1) - targets) / 1437  # of the loss by the logits
    expected = weight - 0.1 * g.T @ data.train.inputs.flatten(1)
    torch.testing.assert_close(checkpoint.state["model"]["linear1.weight"], expected.detach(), rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(checkpoint.state["model"]["linear1.bias"], bias.detach() - 0.1 * g.sum(0).detach())
    assert checkpoint.loss == {"name": "cross_entropy", "args": {"label_smoothing": 0.3}}
    loss = Problem.of(checkpoint).objective("test").value()
    assert checkpoint.metrics[0]["test_loss"] == pytest.approx(loss, rel=1e-5)


@pytest.mark.parametrize("optimizer", ["sgd", "sam"])
def test_clipping_shortens_the_step_and_does_not_turn_it(tmp_path: Path, optimizer: str) -> None:
    rho = {"rho": 0.5} if optimizer == "sam" else {}
    recipe = replace(LINEAR, optimizer=optimizer, optimizer_args=rho)
    first = dict(first_model(recipe).named_parameters())
    steps = {}
    for clip_norm in (math.inf, 0.01, 100.0):
        state = trained(replace(recipe, clip_norm=clip_norm), tmp_path / str(clip_norm)).state["model"]
        steps[clip_norm] = torch.cat([(state[name] - first[name]).detach().flatten() for name in first])
    assert steps[0.01].norm().item() == pytest.approx(0.1 * 0.01, rel=1e-3)
    directions = [steps[norm] / steps[norm].norm() for norm in (0.01, math.inf)]
    torch.testing.assert_close(*directions, atol=2e-3, rtol=0)
    assert torch.equal(steps[100.0], steps[math.inf])


def test_the_passes_before_the_last_are_not_clipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    norms = []

    class Twice(MultiPassOptimizer):
        def __init__(self, base: torch.optim.Optimizer, *, model: nn.Module) -> None:
            super().__init__(base, model=model, defaults={})

        def _gather(self, passes: Passes) -> None:
            for _ in range(2):
                passes.run()
                norms.append(self.norm())

        def _update(self) -> None:
            super()._update()
            norms.append(self.norm())

        def norm(self) -> float:
            return math.hypot(*(float(p.grad.norm()) for group in self.param_groups for p in group["params"]))

    monkeypatch.setitem(OPTIMIZERS, "twice", Twice)
    train(replace(LINEAR, optimizer="twice", clip_norm=0.01), tmp_path)
    assert norms[0] == norms[1] > 0.1
    assert norms[2] == pytest.approx(0.01, rel=1e-3)


def test_augmentation_is_drawn_from_the_seed_and_the_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []

    class Seeing(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            if self.training:
                seen.append(x.clone())
            return super().forward(x.flatten(1))

    monkeypatch.setitem(MODELS, "seeing", lambda *, input_shape, num_classes: Seeing(64, num_classes))
    recipe = replace(ONE, model="seeing", model_args={}, epochs=2, augment={"flip": True, "crop": 1, "cutout": 2})
    train(recipe, tmp_path / "a")
    split = load_data("digits").train
    expected = []
    for epoch in (1, 2):
        order = torch.from_numpy(np.random.default_rng((0, epoch)).permutation(1437))
        for batch in order.split(512):
            sequence = np.random.SeedSequence(0, spawn_key=(len(expected),))
            generator = torch.Generator().manual_seed(int(sequence.generate_state(1, np.uint64)[0]))
            expected.append(
                augment(split.inputs[batch], split.prepare, generator=generator, flip=True, crop=1, cutout=2)
            )
    assert len(seen) == len(expected) == 6
    assert all(map(torch.equal, seen, expected))


def test_pixels_stay_pixels_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = torch.randint(256, (40, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    split = Split(pixels, torch.arange(40) % 2, (0.5,) * 3, (0.25,) * 3)
    monkeypatch.setitem(DATA, "pixels", lambda: Data("pixels", {}, split, split, 2))
    seen: list[torch.dtype] = []

    @wraps(augment)
    def spy(inputs: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        seen.append(inputs.dtype)
        return augment(inputs, *args, **kwargs)

    monkeypatch.setattr("landscape.training.loop.augment", spy)
    train(replace(ONE, data="pixels"), tmp_path)
    assert seen == [torch.uint8]


def test_amp_runs_in_bfloat16_and_keeps_float32_weights_and_measurements(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dtypes: list[tuple[bool, torch.dtype]] = []

    class Seeing(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            out = super().forward(x.flatten(1))
            dtypes.append((self.training, out.dtype))
            return out

    monkeypatch.setitem(MODELS, "seeing", lambda *, input_shape, num_classes: Seeing(64, num_classes))
    recipe = replace(ONE, model="seeing", model_args={}, amp=True, optimizer="sam")
    in_bfloat16, in_float32 = trained(recipe, tmp_path / "a"), trained(replace(recipe, amp=False), tmp_path / "b")
    assert set(dtypes[: len(dtypes) // 2]) == {(True, torch.bfloat16), (False, torch.float32)}
    assert {value.dtype for value in in_bfloat16.state["model"].values()} == {torch.float32}
    a, b = in_bfloat16.metrics[0]["train_loss"], in_float32.metrics[0]["train_loss"]
    assert a != b
    assert a == pytest.approx(b, rel=0.01)
    assert same_weights(trained(recipe, tmp_path / "c").state["model"], in_bfloat16.state["model"])


def test_the_loss_for_hessian_products_is_twice_differentiable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    products: list[Tensor] = []

    class Curious(MultiPassOptimizer):
        def __init__(self, base: torch.optim.Optimizer, *, model: nn.Module) -> None:
            super().__init__(base, model=model, defaults={})

        def _gather(self, passes: Passes) -> None:
            params = [p for group in self.param_groups for p in group["params"]]
            with torch.enable_grad():
                assert passes.loss is not None
                value = passes.loss()
                g = torch.autograd.grad(value, params, create_graph=True)
                products.extend(torch.autograd.grad(g, params, [torch.ones_like(p) for p in params]))
            passes.run()
            torch.testing.assert_close(passes.clean_loss, value.detach())

    monkeypatch.setitem(OPTIMIZERS, "curious", Curious)
    recipe = Recipe(
        model="vit-small", model_args={"width": 8, "depth": 1, "num_heads": 2, "patch": 4}, epochs=1, batch_size=2000
    )
    train(replace(recipe, optimizer="curious"), tmp_path)
    assert products
    assert all(product.isfinite().all() for product in products)


def infinite_after(num_passes: int, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    """Three steps of SAM, with gradients that are infinite after so many passes, and a loss that is finite."""
    passes = count()

    class Infinite(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            out = super().forward(x.flatten(1))
            if self.training and next(passes) >= num_passes:
                out.register_hook(lambda g: g * math.inf)
            return out

    monkeypatch.setitem(MODELS, "infinite", lambda *, input_shape, num_classes: Infinite(64, num_classes))
    return replace(ONE, model="infinite", model_args={}, optimizer="sam")


@pytest.mark.parametrize(
    ("optimizer", "args"),
    [("sgd", {}), ("cr-sam", {"regularizer": "log", "alpha": 0.1, "beta": 0.01})],
)
def test_a_run_that_ends_at_chance_says_so(tmp_path: Path, optimizer: str, args: dict[str, Any]) -> None:
    lr = 5.0 if optimizer == "sgd" else 0.1
    recipe = Recipe(optimizer=optimizer, optimizer_args=args, lr=lr, epochs=10, data_args={"num_train": 200})
    with pytest.warns(UserWarning, match=f"^training ended at chance: for 5 epochs the train .* of {optimizer}"):
        train(recipe, tmp_path)


def test_what_learns_or_has_hardly_begun_is_not_said_to_be_at_chance(tmp_path: Path) -> None:
    few: dict[str, Any] = {"data_args": {"num_train": 200}}
    train(Recipe(optimizer="cr-sam", optimizer_args={"regularizer": "log"}, epochs=8, **few), tmp_path / "learns")
    train(Recipe(lr=1e-6, epochs=4, **few), tmp_path / "begun")


def test_skipped_steps_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.warns(UserWarning, match=r"^2 steps of epoch 1 were skipped: a gradient was not finite\.$"):
        train(infinite_after(2, monkeypatch), tmp_path)
    assert load_checkpoint(tmp_path / "last.pt").epoch == 1


def test_a_run_all_of_whose_steps_are_skipped_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = pytest.warns(UserWarning, match=r"^3 steps of epoch 1 were skipped: a gradient was not finite\.$")
    with told, pytest.raises(TrainingError, match=r"all 3 steps of epoch 1 were skipped.* keeps epoch 0. Lower the"):
        train(infinite_after(0, monkeypatch), tmp_path)
    assert load_checkpoint(tmp_path / "last.pt").epoch == 0


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_everything_at_once_goes_on_bit_for_bit_from_the_middle_of_an_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: str
) -> None:
    monkeypatch.setitem(MODELS, "dropout", with_dropout)
    recipe = Recipe(
        model="dropout",
        data_args={"num_train": 600, "validation": 0.1},
        augment={"flip": True, "crop": 1, "cutout": 2},
        optimizer=optimizer,
        lr=0.01,
        epochs=3,
        batch_size=100,
        warmup=1,
        label_smoothing=0.1,
        clip_norm=1.0,
        amp=True,
    )
    straight = load_checkpoint(train(recipe, tmp_path / "straight"))
    out = tmp_path / "resumed"
    for stop_after in (1, 4, 5, 7, 12, 15):  # steps of 18: in an epoch, twice in one, and at the end of one
        with pytest.raises(KeyboardInterrupt):
            train(recipe, out, resume=True, on_step=partial(interrupt_at, stop_after / 6))
        begun = load_checkpoint(out / "last.pt")
        assert (begun.epoch, begun.step) == (stop_after // 6 - (stop_after == 12), stop_after)
    resumed = load_checkpoint(train(recipe, out, resume=True))
    assert same_weights(resumed.state["model"], straight.state["model"])
    for got, expected in zip(resumed.metrics, straight.metrics, strict=True):
        assert {**got, "seconds": 0} == {**expected, "seconds": 0}


def interrupt_at(epochs: float, epochs_done: float) -> None:
    if epochs_done == epochs:
        signal.raise_signal(signal.SIGTERM)


def with_dropout(*, input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, num_classes))


def test_weights_that_are_not_finite_are_not_saved_when_interrupted(tmp_path: Path) -> None:
    recipe = replace(ONE, lr=1e30)
    stop: Callable[[float], None] = partial(interrupt_at, 1.0)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path, on_step=stop)
    kept = load_checkpoint(tmp_path / "last.pt")
    assert kept.step == 0
    assert all(value.isfinite().all() for value in kept.state["model"].values())
