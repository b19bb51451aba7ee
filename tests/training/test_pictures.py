"""Training on images in files: one run whatever the number of workers, also stopped and resumed in an epoch."""

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from landscape import load_checkpoint
from landscape.training import Recipe, train

AUGMENT = {"resized_crop": 0.08, "flip": True}


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    rng = np.random.default_rng(0)
    for part, count in (("train", 24), ("test", 9)):
        for index in range(count):
            file = tmp_path / "images" / part / "abc"[index % 3] / f"{index:02d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(256, size=(*rng.integers(20, 40, size=2), 3), dtype=np.uint8)).save(file)
    data_args = {"path": str(tmp_path / "images"), "size": 16}
    return Recipe(
        model="cnn",
        model_args={"width": 2},
        data="folder",
        data_args=data_args,
        augment=AUGMENT,
        epochs=2,
        batch_size=8,
    )


def weights(path: Path) -> dict[str, Any]:
    return load_checkpoint(path).state["model"]


def equal(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


def test_a_run_is_the_same_by_any_number_of_workers_and_resumed_with_another(recipe: Recipe, tmp_path: Path) -> None:
    whole = train(recipe, tmp_path / "whole")
    assert equal(weights(train(recipe, tmp_path / "workers", workers=2)), weights(whole))

    def stop(epochs_done: float) -> None:
        if epochs_done > 1.3:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's & has it ignored
    try:
        with pytest.raises(KeyboardInterrupt):
            train(recipe, tmp_path / "stopped", workers=2, on_step=stop)
    finally:
        signal.signal(signal.SIGINT, before)
    assert load_checkpoint(tmp_path / "stopped" / "last.pt").step == 4
    last = train(recipe, tmp_path / "stopped", workers=1, resume=True)
    assert equal(weights(last), weights(whole))
    rows = [load_checkpoint(path).metrics for path in (last, whole)]
    assert [row["test_loss"] for row in rows[0]] == [row["test_loss"] for row in rows[1]]
    centers = train(replace(recipe, augment={}), tmp_path / "centers")
    assert not equal(weights(centers), weights(whole))


def test_crops_of_what_is_in_memory_are_refused_before_anything_is_written(recipe: Recipe, tmp_path: Path) -> None:
    for wrong in (Recipe(augment=AUGMENT), replace(recipe, augment={"resized_crop": 1.5})):
        with pytest.raises(ValueError, match=r"augment: resized_crop=.* is out of range\. Expected a share"):
            train(wrong, tmp_path / "run")
        assert not (tmp_path / "run" / "last.pt").exists()
