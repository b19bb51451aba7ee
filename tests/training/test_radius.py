"""What a run says of its cost and of how far its steps looked."""

import csv
import math
from pathlib import Path
from typing import Any

import pytest

from landscape import load_checkpoint
from landscape.training import Recipe, train

STEPS = 23  # an epoch
CASES: list[tuple[str, dict[str, Any], int, float | None]] = [  # gradients in two epochs, radius
    ("sgd", {}, 2 * STEPS, 0.0),
    ("sam", {"rho": 0.05}, 4 * STEPS, 0.05),
    ("cr-sam", {"rho": 0.1}, 6 * STEPS, 0.1),
    ("sa-sgd", {}, 4 * STEPS - 1, None),
    ("sa-sam", {}, 6 * STEPS - 1, None),
    ("asam", {"rho": 0.5}, 4 * STEPS, None),
    ("curvsam", {"rho": 0.05, "update_every": 5}, 4 * STEPS + 2 * 10, None),  # products in steps 0, 5, ..., 45
    ("gam", {"mode": "hvp", "rho": 0.2}, 12 * STEPS, 0.2),
    ("gam", {"mode": "fd", "rho": 0.2, "rho_prime": 0.02}, 8 * STEPS, None),
    ("sam", {"rho": 0.0}, 2 * STEPS, 0.0),
]


@pytest.mark.parametrize(("optimizer", "args", "gradients", "radius"), CASES)
def test_gradients_are_counted_and_the_radius_is_how_far_a_step_looked(
    optimizer: str, args: dict[str, Any], gradients: int, radius: float | None, tmp_path: Path
) -> None:
    recipe = Recipe(optimizer=optimizer, optimizer_args=args, epochs=2)
    rows = load_checkpoint(train(recipe, tmp_path)).metrics
    assert rows[-1]["gradients"] == gradients
    if radius is None:
        assert 0 < rows[-1]["radius"] < math.inf
    else:
        assert rows[-1]["radius"] == pytest.approx(radius, rel=1e-4)


def test_a_run_of_an_earlier_version_goes_on(tmp_path: Path) -> None:
    import torch

    recipe = Recipe(optimizer="sam", epochs=3, checkpoint_every=1)
    whole = load_checkpoint(train(recipe, tmp_path / "whole"))
    old = torch.load(tmp_path / "whole" / "epoch-0001.pt", weights_only=True)
    del old["state"]["loop"], old["state"]["optimizer"]["num_gradients"]
    for row in old["metrics"]:
        del row["gradients"], row["radius"]
    (tmp_path / "old").mkdir()
    torch.save(old, tmp_path / "old" / "last.pt")
    rows = load_checkpoint(train(recipe, tmp_path / "old", resume=True)).metrics
    assert rows[-1]["test_loss"] == whole.metrics[-1]["test_loss"]
    assert (rows[-1]["radius"], rows[-1]["gradients"]) == (whole.metrics[-1]["radius"], 2 * 2 * STEPS)
    with (tmp_path / "old" / "metrics.csv").open(newline="") as file:
        assert [row["gradients"] for row in csv.DictReader(file)] == ["", str(2 * STEPS), str(4 * STEPS)]
