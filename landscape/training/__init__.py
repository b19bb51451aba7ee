"""Training: a recipe says what is trained and how; ``train`` does it and leaves checkpoints that say what they are."""

from landscape.training.loop import TrainingError, train
from landscape.training.optimizers import OPTIMIZERS, build_optimizer, learning_rate, optimizer_args
from landscape.training.recipe import Recipe, load_recipe, recipe_names

__all__ = [
    "OPTIMIZERS",
    "Recipe",
    "TrainingError",
    "build_optimizer",
    "learning_rate",
    "load_recipe",
    "optimizer_args",
    "recipe_names",
    "train",
]
