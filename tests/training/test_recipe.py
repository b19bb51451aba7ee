"""Recipes: what they refuse, and that they come back from the formats they are kept in."""

import json
import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR

from landscape.optim import SAM
from landscape.training import Recipe, build_optimizer, learning_rate


def test_round_trip_through_a_dict_and_json() -> None:
    recipe = Recipe(model_args={"hidden": [32, 16]}, optimizer="sam", optimizer_args={"rho": 0.1}, lr=1, seed=3)
    assert recipe.lr == 1.0
    assert recipe.model_args == {"hidden": (32, 16)}
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("epochs", 0, r"epochs=0 is out of range\. Expected at least 1\."),
        ("epochs", 2.5, r"epochs=2.5 is of type float\. Expected int\."),
        ("epochs", True, r"epochs=True is of type bool\. Expected int\."),
        ("batch_size", 0, r"batch_size=0 is out of range"),
        ("lr", "0.1", r"lr='0.1' is of type str\. Expected float\."),
        ("lr", 0.0, r"lr=0\.0 is out of range\. Expected 0 < lr < inf\."),
        ("lr", math.nan, "lr=nan is out of range"),
        ("momentum", 1.0, r"momentum=1\.0 is out of range"),
        ("weight_decay", -1.0, "weight_decay=-1.0 is out of range"),
        ("schedule", "step", r"schedule='step' is out of range\. Expected one of: cosine, constant\."),
        ("optimizer", "adam", r"optimizer='adam' is out of range\. Expected one of: sgd, sam\."),
        ("seed", -1, "seed=-1 is out of range"),
        ("model_args", [1], r"model_args=\[1\] is of type list\. Expected dict\."),
        ("learning_rate", 0.1, r"a recipe has no field 'learning_rate'\. Expected fields: model, model_args, data"),
    ],
)
def test_bad_fields_are_refused_in_one_line(field: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        Recipe.from_dict({field: value})
    assert "\n" not in str(error.value)


def test_the_cosine_is_torchs_and_constant_is_constant() -> None:
    recipe = Recipe(lr=0.3, epochs=7)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    scheduler = CosineAnnealingLR(optimizer, T_max=7)
    for epoch in range(1, 8):
        assert learning_rate(recipe, epoch) == pytest.approx(scheduler.get_last_lr()[0], rel=1e-12)
        assert learning_rate(Recipe(lr=0.3, epochs=7, schedule="constant"), epoch) == 0.3
        optimizer.step()
        scheduler.step()


def test_optimizers_take_what_the_recipe_says() -> None:
    model = nn.Linear(2, 1)
    recipe = Recipe(optimizer="sam", optimizer_args={"rho": 0.2}, lr=0.3, momentum=0.5, weight_decay=0.1)
    optimizer = build_optimizer(recipe, model)
    assert isinstance(optimizer, SAM)
    assert optimizer.model is model
    group = optimizer.base.param_groups[0]
    assert (group["rho"], group["lr"], group["momentum"], group["weight_decay"]) == (0.2, 0.3, 0.5, 0.1)
    assert build_optimizer(Recipe(optimizer_args={"nesterov": True}), model).param_groups[0]["nesterov"]


def test_arguments_an_optimizer_does_not_take_are_named() -> None:
    with pytest.raises(ValueError, match=r"'sgd' does not take 'rho'\. Expected arguments: nesterov\."):
        build_optimizer(Recipe(optimizer_args={"rho": 0.1}), nn.Linear(2, 1))
    with pytest.raises(ValueError, match=r"rho=-1\.0 is out of range"):
        build_optimizer(Recipe(optimizer="sam", optimizer_args={"rho": -1.0}), nn.Linear(2, 1))
