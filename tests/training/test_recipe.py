"""Recipes: what they refuse, and that they come back from the formats they are kept in."""

import json
import math
import tomllib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from landscape.training import Recipe


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
        ("schedule", "line", r"schedule='line' is out of range\. Expected one of: cosine, step, constant\."),
        ("schedule_args", {"factor": 1}, r"'cosine' does not take 'factor'\. Expected arguments: none\."),
        ("warmup", 60, r"warmup=60 is out of range\. Expected 0 <= warmup < epochs \(60\)\."),
        ("optimizer", "smga", r"optimizer='smga' is out of range\. Expected one of: sgd, adam, adamw, sam"),
        ("label_smoothing", 1.0, r"label_smoothing=1\.0 is out of range"),
        ("clip_norm", 0.0, r"clip_norm=0\.0 is out of range\. Expected 0 < clip_norm"),
        ("amp", 1, r"amp=1 is of type int\. Expected bool\."),
        ("checkpoint_every", -1, r"checkpoint_every=-1 is out of range"),
        ("checkpoint_at", 3, r"checkpoint_at=3 is of type int\. Expected tuple\."),
        ("checkpoint_at", [1, True], r"checkpoint_at=\[1, True\] is out of range\. Expected numbers of epochs\."),
        ("seed", -1, "seed=-1 is out of range"),
        ("model_args", [1], r"model_args=\[1\] is of type list\. Expected dict\."),
        ("learning_rate", 0.1, r"a recipe has no field 'learning_rate'\. Expected fields: model, model_args, data"),
    ],
)
def test_bad_fields_are_refused_in_one_line(field: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        Recipe.from_dict({field: value})
    assert "\n" not in str(error.value)


SCALARS = st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
NAMES = st.text(min_size=0, max_size=8)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3).map(tuple) | st.dictionaries(NAMES, inner, max_size=3)
)
RECIPES = st.builds(
    Recipe,
    model=st.text(),
    model_args=st.dictionaries(NAMES, VALUES, max_size=3),
    data=st.text(),
    optimizer_args=st.dictionaries(NAMES, VALUES, max_size=3),
    lr=st.floats(min_value=0, exclude_min=True, allow_infinity=False),
    clip_norm=st.floats(min_value=0, exclude_min=True),
    amp=st.booleans(),
    checkpoint_at=st.lists(st.integers(min_value=1)).map(tuple),
    seed=st.integers(0, 2**63 - 1),
)


@given(RECIPES)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_round_trip_through_toml(recipe: Recipe) -> None:
    text = recipe.to_toml()
    assert Recipe.from_toml(text) == recipe
    assert len(tomllib.loads(text)) == text.count("\n") == len(recipe.to_dict())  # one line a field


def test_every_character_survives_toml() -> None:
    text = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x110000)]))  # all but surrogates, which are no characters
    assert Recipe.from_toml(Recipe(data=text, data_args={text: text}).to_toml()).data_args == {text: text}


def test_toml_of_a_few_fields_and_what_is_no_toml() -> None:
    assert Recipe.from_toml("epochs = 5\n[optimizer_args]\nnesterov = true\n") == Recipe(
        epochs=5, optimizer_args={"nesterov": True}
    )
    with pytest.raises(ValueError, match="line 1"):
        Recipe.from_toml("epochs: 5")
    with pytest.raises(ValueError, match="a recipe has no field 'epoch'"):
        Recipe.from_toml("epoch = 5")
    with pytest.raises(ValueError, match=r"None cannot be written as TOML\. Expected strings, numbers"):
        Recipe(optimizer_args={"preset": None}).to_toml()
