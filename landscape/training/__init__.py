"""Training: a recipe says what is trained and how, `train` does it and leaves checkpoints that describe themselves."""

from landscape.training.loop import TrainingError, train
from landscape.training.recipe import OPTIMIZERS, SCHEDULES, Recipe, build_optimizer, learning_rate

__all__ = ["OPTIMIZERS", "SCHEDULES", "Recipe", "TrainingError", "build_optimizer", "learning_rate", "train"]
