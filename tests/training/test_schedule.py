"""Schedules beside torch's and davda54's, and the epochs before them."""

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR

from landscape.training import Recipe, learning_rate


def rates(recipe: Recipe) -> list[float]:
    return [learning_rate(recipe, epoch) for epoch in range(1, recipe.epochs + 1)]


def test_the_cosine_is_torchs_and_constant_is_constant() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    scheduler = CosineAnnealingLR(optimizer, T_max=7)
    expected = []
    for _ in range(7):
        expected += scheduler.get_last_lr()
        optimizer.step()
        scheduler.step()
    assert rates(Recipe(lr=0.3, epochs=7)) == pytest.approx(expected, rel=1e-12)
    assert rates(Recipe(lr=0.3, epochs=7, schedule="constant")) == [0.3] * 7


@pytest.mark.parametrize("epochs", [10, 120, 200, 350])
def test_steps_are_where_davda54_has_them(epochs: int) -> None:
    def step_lr(epoch: int) -> float:  # of its example's StepLR, with epochs counted from 0
        return 0.1 * 0.2 ** sum(10 * epoch >= tenths * epochs for tenths in (3, 6, 8))

    assert rates(Recipe(schedule="step", epochs=epochs)) == pytest.approx([step_lr(e) for e in range(epochs)])
    halved = Recipe(schedule="step", schedule_args={"milestones": [0.5], "factor": 0.5}, epochs=4, lr=1)
    assert rates(halved) == [1, 1, 0.5, 0.5]


@pytest.mark.parametrize("schedule", ["cosine", "step", "constant"])
def test_warm_up_climbs_and_the_schedule_takes_the_other_epochs(schedule: str) -> None:
    recipe = Recipe(lr=0.8, epochs=13, warmup=3, schedule=schedule)
    assert rates(recipe)[:3] == pytest.approx([0.2, 0.4, 0.6])
    assert rates(recipe)[3:] == rates(Recipe(lr=0.8, epochs=10, schedule=schedule))
