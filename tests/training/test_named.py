"""The named recipes can be built, and files are read as they are."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from landscape import load_checkpoint
from landscape.data import DATA, held_out
from landscape.data.digits import digits
from landscape.models import MODELS, build_model
from landscape.registry import options
from landscape.training import Recipe, build_optimizer, load_recipe, recipe_names, train

SHAPES = {"cifar10": ((3, 32, 32), 10), "cifar100": ((3, 32, 32), 100), "folder": ((3, 224, 224), 1000)}
SMALL = (3, 32, 32)  # of what a folder holds
TOY: dict[str, dict[str, Any]] = {
    "resnet18": {"width": 2},
    "resnet50": {"width": 2},
    "resnet101": {"width": 1},
    "wide-resnet": {"depth": 10, "width": 1},
    "vgg19": {"width": 2},
    "pyramidnet": {"depth": 20, "alpha": 6},
    "vit-small": {"width": 12, "depth": 1, "num_heads": 3},
    "sl-vit": {"width": 8, "depth": 1, "num_heads": 1},
}


@pytest.mark.parametrize("name", recipe_names())
def test_every_named_recipe_can_be_built_and_says_what_it_is(name: str) -> None:
    recipe, line = load_recipe(name), recipe_names()[name]
    assert recipe.data.removesuffix("-c") in DATA
    assert recipe.model in MODELS
    cuts = {name: value for name, value in recipe.data_args.items() if name in options(held_out)}
    held_out(digits(), **cuts | {"num_train": 100})
    build_optimizer(recipe, build_model("mlp", input_shape=(1, 8, 8), num_classes=10))
    shape, num_classes = SHAPES.get(recipe.data, ((1, 8, 8), 10))
    with torch.device("meta"):  # of any size, and without memory
        build_model(recipe.model, input_shape=shape, num_classes=num_classes, **recipe.model_args)
    assert 20 < len(line) < 100
    assert Recipe.from_toml(recipe.to_toml()) == recipe
    if not recipe.data.startswith("digits") and "subset" not in name:
        assert f"{recipe.epochs} epochs" in line


@pytest.mark.parametrize("name", [name for name in recipe_names() if not name.startswith("digits")])
def test_the_recipes_of_papers_train_at_toy_size(tmp_path: Path, name: str) -> None:
    """The images, the batch and the network are small; the optimizer, augmentation and schedule are the recipe's."""
    recipe = load_recipe(name)
    rng = np.random.default_rng(0)
    (channels, height, width), num_classes = (SMALL if recipe.data == "folder" else SHAPES[recipe.data][0]), 3
    arrays = {
        f"{what}_{part}": rng.integers(256, size=(20, height, width, channels), dtype=np.uint8)
        if what == "x"
        else np.arange(20) % num_classes
        for part in ("train", "test")
        for what in ("x", "y")
    }
    np.savez(tmp_path / "images.npz", **arrays)
    cuts = {"validation": 0.2} if "validation" in recipe.data_args else {}
    model = "wide-resnet" if recipe.model.startswith("wrn") else recipe.model
    toy = replace(
        recipe,
        model=model,
        model_args=recipe.model_args | TOY[model],
        data="npz",
        data_args={"path": str(tmp_path / "images.npz"), **cuts},
        augment={name: value for name, value in recipe.augment.items() if name != "resized_crop"},  # of files
        epochs=recipe.warmup + 1,
        batch_size=10,
        lr=min(recipe.lr, 1e-3),
    )
    train(toy, tmp_path / "run")
    assert load_checkpoint(tmp_path / "run" / "last.pt").epoch == toy.epochs


@pytest.mark.parametrize("name", [name for name in recipe_names() if name.startswith("digits")])
def test_the_digits_recipes_train(tmp_path: Path, name: str) -> None:
    recipe = load_recipe(name)
    train(replace(recipe, epochs=1), tmp_path)


def test_the_defaults_are_a_recipe_too() -> None:
    assert load_recipe("digits-sgd") == Recipe()


def test_a_file_is_a_recipe_and_a_bad_one_is_named(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('epochs = 5\nmodel = "cnn"\n')
    assert load_recipe(file) == Recipe(epochs=5, model="cnn")
    for content, message in (
        ("epochs: 5", r"mine\.toml: is no TOML file: "),
        ("epochs = 0", r"mine\.toml: epochs=0 is out of range"),
        ("epoch = 5", r"mine\.toml: a recipe has no field 'epoch'"),
    ):
        file.write_text(content)
        with pytest.raises(ValueError, match=message) as error:
            load_recipe(file)
        assert "\n" not in str(error.value)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="is no TOML file"):
        load_recipe(file)
    with pytest.raises(FileNotFoundError):
        load_recipe(tmp_path / "none.toml")
    with pytest.raises(ValueError, match=r"recipe 'digit-sam' is unknown\. Expected a TOML file, or .*digits-sam"):
        load_recipe("digit-sam")
