"""Optimizers of recipes: who gets which argument, and what is refused."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from landscape.optim import SAM
from landscape.training import OPTIMIZERS, Recipe, build_optimizer, optimizer_args


@pytest.fixture
def model() -> nn.Module:
    return nn.Linear(2, 1)


def test_the_recipe_decides_rate_momentum_and_decay(model: nn.Module) -> None:
    recipe = Recipe(optimizer="sam", optimizer_args={"rho": 0.2}, lr=0.3, momentum=0.5, weight_decay=0.1)
    optimizer = build_optimizer(recipe, model)
    assert isinstance(optimizer, SAM)
    assert isinstance(optimizer.base, torch.optim.SGD)
    assert optimizer.model is model
    (group,) = optimizer.base.param_groups
    assert (group["rho"], group["lr"], group["momentum"], group["weight_decay"]) == (0.2, 0.3, 0.5, 0.1)
    assert group["param_names"] == ["weight", "bias"]  # which ASAM's rule asks for
    assert build_optimizer(Recipe(optimizer_args={"nesterov": True}), model).param_groups[0]["nesterov"]


@pytest.mark.parametrize(("name", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)])
def test_adam_alone_and_as_a_base(model: nn.Module, name: str, kind: type) -> None:
    recipe = Recipe(optimizer=name, optimizer_args={"betas": [0.8, 0.9]}, lr=0.01, weight_decay=0.2)
    alone = build_optimizer(recipe, model)
    wrapped: Any = build_optimizer(
        replace(recipe, optimizer="sam", optimizer_args={"base": name, "betas": [0.8, 0.9], "rho": 0.3}), model
    )
    for optimizer in (alone, wrapped.base):
        assert type(optimizer) is kind
        (group,) = optimizer.param_groups
        assert (group["lr"], group["weight_decay"], group["betas"]) == (0.01, 0.2, (0.8, 0.9))


def test_the_seed_is_the_recipes(monkeypatch: pytest.MonkeyPatch, model: nn.Module) -> None:
    class Noisy(SAM):
        def __init__(self, base: torch.optim.Optimizer, *, seed: int = 0, model: Any = None) -> None:
            self.seed = seed
            super().__init__(base, model=model)

    monkeypatch.setitem(OPTIMIZERS, "noisy", Noisy)
    optimizer: Any = build_optimizer(Recipe(optimizer="noisy", seed=7), model)
    assert optimizer.seed == 7
    assert "seed" not in optimizer_args("noisy")


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (Recipe(optimizer_args={"rho": 0.1}), r"'sgd' does not take 'rho'\. Expected arguments: dampening, nesterov\."),
        (Recipe(optimizer_args={"lr": 0.1}), "'sgd' does not take 'lr'"),
        (Recipe(optimizer_args={"base": "adam"}), "'sgd' does not take 'base'"),
        (Recipe(optimizer="sam", optimizer_args={"betas": (0.9, 0.99)}), "'sam' does not take 'betas'"),
        (
            Recipe(optimizer="sam", optimizer_args={"base": "sam"}),
            r"base='sam' is unknown\. Expected one of: sgd, adam",
        ),
        (Recipe(optimizer="sam", optimizer_args={"base": "adam", "nesterov": True}), "does not take 'nesterov'"),
        (Recipe(optimizer="sam", optimizer_args={"rho": "fog"}), r"rho='fog' is out of range\. Expected 0 <= rho"),
        (Recipe(optimizer="gam", optimizer_args={"period": True}), r"period=True is of type bool\. Expected int"),
        (Recipe(optimizer="sam", optimizer_args={"rho": -1.0}), r"rho=-1\.0 is out of range"),
    ],
)
def test_arguments_an_optimizer_does_not_take_are_named(model: nn.Module, recipe: Recipe, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_optimizer(recipe, model)
